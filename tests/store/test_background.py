"""Putting the file in order while others read and write: what they did is there, and what failed is told."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pandas as pd
import pytest
from test_append import bar
from test_modes import MONDAY_NS, frame_at

from lazybars.errors import StoreBusy, StoreError, StoreInterrupted, StoreReadOnly
from lazybars.store import compact, open_store

WEEK = 7 * 24 * 60


def compactors() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lazybars-compact"]


def mixed(store, series: int = 3, rows: int = 20_000) -> dict[str, pd.DataFrame]:
    """Series written one after the other, so that weeks lie apart on disk."""
    frames = {}
    for n in range(series):
        minutes = np.arange(rows) * 3
        frames[f"S{n}"] = frame_at(minutes, np.arange(rows) + n)
        store.write(frames[f"S{n}"], asset=f"S{n}", timestep="minute")
    return frames


def physical(store) -> list[tuple[int, int, int]]:
    """(week, series, time) of every row, in the order of the disk."""
    got = store.scan(0, 99, 0, 2**62, [])
    us = got.column("ts").cast("int64").to_numpy()
    week = (us + 3 * 86_400_000_000) // (7 * 86_400_000_000)
    return list(zip(week.tolist(), got.column("series_id").to_pylist(), us.tolist(), strict=True))


@pytest.fixture
def held_up(monkeypatch):
    """A compaction that stops before it copies its last span, until it is let go."""
    reached, go = threading.Event(), threading.Event()
    spans = compact._spans

    def slowly(weeks, memory_bytes):
        yield from spans(weeks, memory_bytes)
        reached.set()
        assert go.wait(30)

    monkeypatch.setattr(compact, "_spans", slowly)
    yield reached, go
    go.set()


def test_it_puts_the_file_in_order(store):
    frames = mixed(store)
    assert physical(store) != sorted(physical(store))
    job = store.compact(background=True)
    assert job.wait(60) is True
    assert job.done
    assert physical(store) == sorted(physical(store))
    assert store.is_compact
    for name, frame in frames.items():
        assert store.get_historical_prices(name)["close"].tolist() == frame["close"].tolist()
    assert store.verify() == []
    assert not compactors()
    assert job.wait() is True


def test_what_is_written_meanwhile_is_there(store, held_up):
    reached, go = held_up
    frames = mixed(store)
    store.append(bar(-5, 1.0, bid=1.0), asset="LATER", timestep="minute")
    job = store.compact(background=True)
    assert reached.wait(30)
    store.append(bar(60_000, 5.0, ask=2.0), asset="S0", timestep="minute")  # a bar, and a new column
    store.append(bar(3, -1.0), asset="S1", timestep="minute")  # a revision
    store.append(bar(4, -2.0), asset="S1", timestep="minute")  # late, between others
    store.write(frame_at([7], [7.0]), asset="NEW", timestep="minute")
    store.delete("S2", "minute", pd.Timestamp(MONDAY_NS, tz="UTC") + pd.Timedelta(minutes=300))
    store.delete("LATER", "minute")
    store.mark_empty("GONE", "day", "2024-01-01", "2024-01-05")
    store.prefer("user")
    version = store.version
    assert not job.done
    go.set()
    assert job.wait(60)
    truth = {name: frame["close"].tolist() for name, frame in frames.items()}
    truth["S0"].append(5.0)
    truth["S1"][1:2] = [-1.0, -2.0]
    truth["S2"] = truth["S2"][:100]
    truth["NEW"] = [7.0]
    assert {info.asset.symbol for info in store.series()} == set(truth)
    for name, closes in truth.items():
        assert store.get_historical_prices(name)["close"].tolist() == closes
    assert store.get_historical_prices("S0")["ask"].tolist()[-1] == 2.0
    assert len(store.known_empty("GONE", "day")) == 1
    assert store.revisions().num_rows == 1
    assert store.version == version
    assert not store.is_compact
    assert store.verify() == []
    store.compact()
    assert store.is_compact
    assert physical(store) == sorted(physical(store))
    assert store.verify() == []


def test_what_is_changed_in_sql_meanwhile_is_there(store, held_up):
    reached, go = held_up
    mixed(store, series=2, rows=200)
    job = store.compact(background=True)
    assert reached.wait(30)
    store.sql("UPDATE bars SET close = 77 WHERE series_id = 1")
    store.sql("UPDATE sources SET config = '{\"a\": 1}'")
    go.set()
    assert job.wait(60)
    assert set(store.get_historical_prices("S0")["close"]) == {77.0}
    assert store.sql("SELECT config FROM data_sources").to_pylist() == [{"config": '{"a": 1}'}]


def test_appends_go_on_all_the_time(store):
    mixed(store)
    count = 0
    job = store.compact(background=True)
    while not job.done:
        store.append(bar(100_000 + count, count), asset="S0", timestep="minute")
        count += 1
    assert job.wait()
    assert count
    closes = store.get_historical_prices("S0")["close"].tolist()
    assert closes[20_000:] == [float(n) for n in range(count)]
    assert store.verify() == []


def test_readers_go_on_and_an_open_one_holds_it_up(store):
    mixed(store)
    reader = store.read("S0", "minute")
    reader.read_next_batch()
    job = store.compact(background=True)
    counts, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            counts.add(store.scan(1, 1, 0, 2**62, ["close"]).num_rows)

    thread = threading.Thread(target=look)
    thread.start()
    assert job.wait(1.0) is False
    assert not job.done
    reader.read_all()
    del reader
    gc.collect()
    assert job.wait(60)
    stop.set()
    thread.join()
    assert counts == {20_000}
    assert physical(store) == sorted(physical(store))


def test_cancel_leaves_the_store_as_it_was(store, held_up):
    reached, go = held_up
    frames = mixed(store)
    before = physical(store)
    job = store.compact(background=True)
    assert reached.wait(30)
    threading.Timer(0.2, go.set).start()
    job.cancel()
    job.cancel()
    assert job.done
    with pytest.raises(StoreInterrupted, match="cancelled"):
        job.wait()
    assert physical(store) == before
    assert store.get_historical_prices("S1")["close"].tolist() == frames["S1"]["close"].tolist()
    store.compact()
    assert store.verify() == []


def test_one_at_a_time(store, held_up, tmp_path):
    reached, go = held_up
    mixed(store, rows=100)
    job = store.compact(background=True)
    assert reached.wait(30)
    for attempt in (store.compact, lambda: store.compact(background=True)):
        with pytest.raises(StoreBusy, match=r"wait\(\) for it or cancel\(\) it"):
            attempt()
    go.set()
    job.wait(60)
    path = store.path
    store.close()
    with open_store(path, read_only=True) as reader, pytest.raises(StoreReadOnly):
        reader.compact(background=True)


def test_closing_ends_it(tmp_path, held_up):
    reached, go = held_up
    with open_store(tmp_path / "s") as store:
        mixed(store)
        job = store.compact(background=True)
        assert reached.wait(30)
        threading.Timer(0.2, go.set).start()
    assert job.done
    assert job.cancelled
    assert not compactors()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    with open_store(tmp_path / "s") as store:
        assert store.verify() == []
        assert len(store.series()) == 3


def test_a_forgotten_store_ends_it(tmp_path):
    store = open_store(tmp_path / "s")
    mixed(store)
    store.compact(background=True)
    del store
    gc.collect()
    deadline = time.monotonic() + 30
    while compactors() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not compactors()
    with open_store(tmp_path / "s") as store:
        assert store.verify() == []


@pytest.mark.parametrize("waits", [True, False])
def test_what_fails_in_it_is_raised_in_the_foreground(tmp_path, monkeypatch, waits):
    def broken(*_):
        raise OSError("No space left on device")

    store = open_store(tmp_path / "s")
    mixed(store, rows=100)
    monkeypatch.setattr(compact, "_spans", broken)
    job = store.compact(background=True)
    if waits:
        with pytest.raises(StoreError, match="No space left"):
            job.wait(30)
        store.close()
    else:
        while not job.done:
            time.sleep(0.01)
        with pytest.raises(StoreError, match="No space left"):
            store.close()
    store.close()
    with open_store(tmp_path / "s") as again:
        assert again.verify() == []
