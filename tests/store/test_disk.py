"""A disk that is full, and readers in the middle of writes."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_append import bar
from test_modes import frame_at

from lazybars.errors import StoreFull
from lazybars.model import AssetKey
from lazybars.store import open_store

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if done.returncode:
        pytest.skip(f"may not mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def random_bars(rows: int, seed: int) -> pd.DataFrame:
    return frame_at(range(rows), np.random.default_rng(seed).random(rows))


def filled_up(store) -> dict[str, pd.DataFrame]:
    """Write series until the disk is full; gives those that were acknowledged."""
    there: dict[str, pd.DataFrame] = {}

    def go_on() -> None:
        for n in range(99):
            frame = random_bars(100_000, n)
            store.write(frame, asset=f"S{n}", timestep="minute")
            there[f"S{n}"] = frame

    with pytest.raises(
        StoreFull, match=r"the disk is full: free some space.*all that was committed is still there"
    ):
        go_on()
    return there


def holds(path: Path, frames: dict[str, pd.DataFrame]) -> None:
    with open_store(path) as store:
        assert store.verify() == []
        assert {info.asset.symbol for info in store.series()} == set(frames)
        for name, frame in frames.items():
            assert np.array_equal(store.get_historical_prices(name)["close"], frame["close"])


def test_full_while_writing(small_disk):
    path = small_disk / "s"
    store = open_store(path, memory="64MB")
    there = filled_up(store)
    assert there
    store.close()
    holds(path, there)
    # With room again it goes on.
    grown = small_disk.parent / "s"
    for left in small_disk.glob("s*"):  # the log may not have fitted into the file
        shutil.copy(left, grown.parent)
    with open_store(grown) as again:
        again.append(bar(200_000, 1.0), asset="S0", timestep="minute")
        assert again.find("S0", "minute").rows == 100_001


def test_full_while_appending(small_disk):
    path = small_disk / "s"
    store = open_store(path, memory="64MB")
    store.append_all({f"S{n}": bar(0, 0.0) for n in range(5)}, timestep="minute")
    (small_disk / "other").write_bytes(b"x" * (20 * MIB))
    count = 0

    def go_on() -> None:
        nonlocal count
        for count in range(1, 200):
            minutes = range(count * 20_000, (count + 1) * 20_000)
            price = np.random.default_rng(count).random(20_000)
            store.append_all({"S0": frame_at(minutes, price), "S1": bar(count, count)}, timestep="minute")

    with pytest.raises(StoreFull, match="free some space"):
        go_on()
    store.close()
    (small_disk / "other").unlink()
    with open_store(path) as again:
        assert again.verify() == []
        assert again.find("S0", "minute").rows == 1 + 20_000 * (count - 1)
        assert again.find("S1", "minute").rows == count


@pytest.mark.parametrize("background", [True, False])
def test_full_while_compacting(small_disk, background):
    path = small_disk / "s"
    frames = {f"S{n}": random_bars(100_000, n) for n in range(2)}
    with open_store(path, memory="64MB") as store:
        for name, frame in frames.items():
            store.write(frame, asset=name, timestep="minute")
    room = 24 * MIB - path.stat().st_size
    (small_disk / "other").write_bytes(b"x" * (room - 2 * MIB))
    store = open_store(path, memory="64MB")
    with pytest.raises(StoreFull, match="free some space"):
        store.compact(background=True).wait() if background else store.compact()
    store.close()
    assert sorted(one.name for one in small_disk.iterdir()) == ["other", "s"]
    holds(path, frames)
    (small_disk / "other").unlink()
    with open_store(path, memory="64MB") as store:
        store.compact()
        assert store.is_compact
    holds(path, frames)


def test_readers_see_whole_writes(store):
    """While one series is replaced again and again, every read is of one write."""
    rows = 5_000
    store.write(frame_at(range(rows), np.zeros(rows)), asset="A", timestep="minute")
    stop = threading.Event()
    seen: list[set[float]] = []

    def look():
        while not stop.is_set():
            seen.append(set(store.get_historical_prices("A")["close"]))
            table = store.scan(1, 1, 0, 2**62, ["close"])
            seen.append(set(table.column("close").to_pylist()))
            assert table.num_rows == rows

    thread = threading.Thread(target=look)
    thread.start()
    for n in range(1, 13):
        if n % 2:
            store.write(frame_at(range(rows), np.full(rows, n)), asset="A", timestep="minute", mode="replace")
        else:
            store.append(frame_at(range(rows), np.full(rows, n)), asset="A", timestep="minute")
    stop.set()
    thread.join()
    assert all(len(prices) == 1 for prices in seen)
    order = [prices.pop() for prices in seen]
    assert order == sorted(order)
    assert len(set(order)) > 1
    assert store.verify() == []


def test_symbols_and_columns_named_like_sql_are_appended(store):
    names = ['"; DROP TABLE bars; --', "O'NEIL", "select", "ÄÖ 漢字", "lazybars place", "series_id"]
    for name in names:
        for n in (1.0, 2.0):
            one = {**bar(0, n), name: n, "ts": n, "n": n, "place": n, "us": n}
            store.append(one, asset=AssetKey(name), timestep="minute")
    for name in names:
        got = store.get_historical_prices(AssetKey(name))
        assert got.iloc[-1][[name, "ts", "n", "place", "us", "close"]].tolist() == [2.0] * 6
        log = store.revisions(AssetKey(name), "minute").to_pylist()
        assert [row["close"] for row in log] == [1.0]
    store.mark_empty(AssetKey(names[0]), "minute", "2020-01-01", "2020-01-02", source=names[0])
    store.prefer([names[0]])
    store.describe_source(names[0], {names[0]: 1})
    assert store.verify() == []
