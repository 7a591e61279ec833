"""Many files at once: the same as one after the other, goes on where it stopped, leaves nothing behind."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from test_faults import run

from lazybars import cli
from lazybars.errors import BadInput, ConfigError, StoreInterrupted, StoreReadOnly
from lazybars.intake import Intake, Labels
from lazybars.model import AssetKey
from lazybars.store import FileMark, FileWrite, loading, open_store


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("lazybars-load")]


@pytest.fixture
def files(tmp_path, bars) -> dict[str, Path]:
    """Six files of each kind, and one that cannot be stored, by symbol."""
    folder = tmp_path / "files"
    folder.mkdir()
    found = {}
    for n in range(12):
        path = folder / f"S{n:02}__1min.{'csv' if n % 2 else 'parquet'}"
        frame = bars(seed=n, rows=500)
        frame.to_csv(path) if n % 2 else frame.to_parquet(path)
        found[f"S{n:02}"] = path
    (folder / "S05__1min.csv").write_text("datetime,open,high,low,close\n2024-01-02 09:30,1,1,1,x\n")
    return found


def item(symbol: str, path: Path, **how) -> FileWrite:
    return FileWrite((str(path),), AssetKey(symbol), "minute", mark=FileMark.of(path, "test"), **how)


def taken(intake: Intake, store, folder: Path, **how) -> list[str]:
    """The files that an intake dealt with, in order."""
    done: list[str] = []
    intake.take(store, intake.files([str(folder)]), lambda path: done.append(path.name), **how)
    return done


def same_bars(store, files, bars) -> None:
    assert {info.asset.symbol for info in store.series()} == set(files) - {"S05"}
    for n, symbol in enumerate(files):
        if symbol != "S05":
            pd.testing.assert_frame_equal(
                store.get_historical_prices(symbol), bars(seed=n, rows=500), check_freq=False
            )
    assert store.verify() == []


@pytest.mark.parametrize("workers", [1, 3, 20])
def test_several_threads_write_what_one_does(store, files, bars, workers):
    items = [item(symbol, path) for symbol, path in files.items()]
    results = list(store.write_files(iter(items), workers=workers))
    assert [one for one, _ in results] == items
    assert [type(outcome).__name__ for _, outcome in results] == [
        "BadInput" if symbol == "S05" else "WriteSummary" for symbol in files
    ]
    assert results[5][1].rows == ((0, "close is not a number"),)
    same_bars(store, files, bars)
    assert store.marks() == {FileMark.of(path, "test") for s, path in files.items() if s != "S05"}
    assert not loaders()
    assert not list(Path(store.path).parent.glob(".*scratch*/spool*"))


def test_stopped_early_it_leaves_nothing_behind(store, files):
    results = store.write_files((item(s, p) for s, p in files.items()), workers=3)
    assert next(results)[1].rows_written == 500
    assert loaders()
    results.close()
    assert not loaders()
    assert not list(Path(store.path).parent.glob(".*scratch*/spool*"))
    forgotten = store.write_files((item(s, p) for s, p in files.items()), workers=2)
    next(forgotten)
    del forgotten
    gc.collect()
    assert not loaders()
    assert store.verify() == []


def test_what_fails_in_a_thread_is_raised_in_the_foreground(store, files, monkeypatch):
    def broken(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(loading, "inspect", broken)
    with pytest.raises(Exception, match="free some space"):
        list(store.write_files(iter([item("S00", files["S00"])])))
    assert store.series() == []
    assert not loaders()
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="timestep"):
        list(store.write_files(iter([FileWrite((str(files["S00"]),), AssetKey("A"), "tick")])))
    with pytest.raises(ConfigError, match="mode"):
        list(store.write_files(iter([item("A", files["S00"], mode="merge")])))
    with pytest.raises(ConfigError, match="workers"):
        list(store.write_files(iter([]), workers=0))
    with pytest.raises(BadInput, match=r"gone\.parquet cannot be read"):
        FileMark.of("gone.parquet", "")
    path = store.path
    store.close()
    with open_store(path, read_only=True) as reader, pytest.raises(StoreReadOnly):
        list(reader.write_files(iter([])))


def test_interrupted_from_another_thread(store, files):
    """What stops the store's queries stops the threads as well."""

    def slow():
        for symbol, path in files.items():
            if symbol == "S02":
                store.interrupt()
            yield item(symbol, path)

    try:
        got = [type(outcome).__name__ for _, outcome in store.write_files(slow(), workers=2)]
    except StoreInterrupted:
        got = []
    assert not loaders()
    assert store.verify() == []
    assert len(store.series()) >= len([name for name in got if name == "WriteSummary"])


def test_an_intake_passes_over_what_is_there(store, files, bars):
    folder = files["S00"].parent
    first = Intake(Labels())
    assert len(taken(first, store, folder)) == 12
    assert (len(first.written), first.skipped, len(first.failed)) == (11, [], 1)
    assert store.is_compact
    same_bars(store, files, bars)
    second = Intake(Labels())
    version = store.version
    assert len(taken(second, store, folder)) == 12
    assert (second.written, len(second.skipped), len(second.failed)) == ([], 11, 1)
    assert store.version == version
    changed = bars(seed=77, rows=500)
    changed.to_parquet(files["S02"])
    os.utime(files["S04"], ns=(1, 1))
    third = Intake(Labels())
    taken(third, store, folder)
    assert [path.name[:3] for path, _ in third.written] == ["S02", "S04"]
    assert store.get_historical_prices("S02")["close"].tolist() == changed["close"].tolist()
    again = Intake(Labels(), again=True)
    taken(again, store, folder)
    assert (len(again.written), again.skipped) == (11, [])
    # Other labels are another way to understand the file.
    other = Intake(Labels(source="vendor"))
    taken(other, store, folder)
    assert len(other.written) == 11
    assert len(store.series()) == 22
    assert store.verify() == []


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_of_many_symbols_goes_on_after_its_last_whole_one(store, bars, tmp_path, ending, monkeypatch):
    frames = {f"Q{n}": bars(seed=n, rows=200) for n in range(5)}
    both = pd.concat([frame.assign(ticker=name) for name, frame in frames.items()]).sort_index(kind="stable")
    path = tmp_path / f"all.{ending}"
    both.to_csv(path) if ending == "csv" else both.to_parquet(path)
    written = loading.Loading._write_prepared
    count = 0

    def stops(self, one, prepared):
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return written(self, one, prepared)

    monkeypatch.setattr(loading.Loading, "_write_prepared", stops)
    labels = Labels(symbol_column="ticker", timestep="minute")
    with pytest.raises(KeyboardInterrupt):
        taken(Intake(labels), store, path)
    assert len(store.series()) == 3
    assert not loaders()
    monkeypatch.undo()
    rest = Intake(labels)
    assert taken(rest, store, path) == [path.name]
    assert [summary.series.asset.symbol for _, summary in rest.written] == ["Q3", "Q4"]
    for name, frame in frames.items():
        assert store.get_historical_prices(name)["close"].tolist() == frame["close"].tolist()
    done = Intake(labels)
    taken(done, store, path)
    assert done.skipped == [path]
    assert store.verify() == []


def test_a_bad_symbol_leaves_its_file_open(store, bars, tmp_path):
    good, bad = bars(seed=1), bars(seed=2).assign(high=0.0)
    path = tmp_path / "all.parquet"
    pd.concat([good.assign(ticker="GOOD"), bad.assign(ticker="BAD")]).to_parquet(path)
    labels = Labels(symbol_column="ticker", timestep="minute")
    for expected in (1, 0):
        intake = Intake(labels)
        taken(intake, store, path)
        assert (len(intake.written), intake.skipped) == (expected, [])
        assert list(intake.failed) == [f"{path} (BAD)"]


INGEST = "import sys; from lazybars.cli import main; sys.argv[0] = 'lazybars'; main()"


@pytest.mark.parametrize("after", [1, 4, 8])
def test_killed_in_the_middle_it_goes_on_where_it_stopped(tmp_path, files, bars, after):
    """kill -9 after so many files; what the journal says is done is there, and the rest comes now."""
    path = tmp_path / "bars.duckdb"
    process = run(
        f"""
        import os, signal, sys
        from lazybars.store import loading
        written = loading.Loading._write_prepared
        count = 0
        def stops(self, one, prepared):
            global count
            count += 1
            if count > {after}:
                os.kill(os.getpid(), signal.SIGKILL)
            return written(self, one, prepared)
        loading.Loading._write_prepared = stops
        from lazybars.intake import Intake, Labels
        from lazybars.store import open_store
        with open_store(sys.argv[1]) as store:
            intake = Intake(Labels())
            intake.take(store, intake.files([sys.argv[2]]), lambda path: None)
        """,
        path,
        files["S00"].parent,
        wait=False,
    )
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with open_store(path) as store:
        marked = {Path(mark.path).name[:3] for mark in store.marks()}
        assert marked == {info.asset.symbol for info in store.series()}
        assert len(marked) == after
        intake = Intake(Labels())
        taken(intake, store, files["S00"].parent)
        assert len(intake.skipped) == after
        same_bars(store, files, bars)


def test_killed_at_any_moment_on_the_command_line(tmp_path, files, bars, monkeypatch, capsys):
    files.pop("S05").unlink()
    path = tmp_path / "bars.duckdb"
    process = run(INGEST, "ingest", path, files["S00"].parent, wait=False)
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.15)
    process.kill()
    process.communicate()

    def command(*argv) -> str:
        monkeypatch.setattr("sys.argv", ["lazybars", *map(str, argv)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    command("ingest", path, files["S00"].parent)
    assert "11 files are in the store already; --again" in command("ingest", path, files["S00"].parent)
    assert "already" not in command("ingest", path, files["S00"].parent, "--again")
    with open_store(path) as store:
        for symbol in files:
            expected = bars(seed=int(symbol[1:]), rows=500)
            assert store.get_historical_prices(symbol)["close"].tolist() == expected["close"].tolist()
        assert store.verify() == []


def test_text_that_cannot_be_stored_leaves_no_spool_file(store, tmp_path):
    header_only = tmp_path / "none.csv"
    header_only.write_text("datetime,open,high,low,close\n")
    with pytest.raises(BadInput, match="no rows"):
        store.write(header_only, asset="A", timestep="minute")
    assert not list(Path(store.path).parent.glob(".*scratch*/*"))
