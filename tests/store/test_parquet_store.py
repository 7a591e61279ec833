"""The suite of all stores, on a directory of Parquet files; and what is peculiar to that one."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from suite import FIELDS, NEW_YORK, Laid, StoreTests, bars_table, books, daily, digest, minutes

import lazybars
from lazybars import StoreDamaged, StoreForeign, StoreLocked, StoreMissing, StoreNewer, open_store
from lazybars.store.parquet.store import ParquetStore
from lazybars.store.store import DuckDBStore

COLUMNS = ["path", "size_bytes", "digest", "timestep", "period", "number", "rows"]
COLUMNS += ["first_id", "last_id", "first_us", "last_us", "columns"]


class TestParquetStore(StoreTests):
    def where(self, folder: Path) -> str:
        return str(folder / "bars") + "/"

    def lay(self, where: str, series: Sequence[Laid]) -> None:
        """By pyarrow: a file for each partition, a file for each book, and the manifest."""
        root = Path(where)
        (root / "books").mkdir(parents=True)
        named = {}
        for name, table in books(series).items():
            path = root / "books" / f"{name}-0.parquet"
            pq.write_table(table, path)
            named[name] = {"path": f"books/{path.name}", **_facts(path)}
        files = []
        table = bars_table(series)
        starts: dict[tuple[str, dt.date], list[int]] = {}
        at = 0
        for one in series:
            for stamp in one.frame.index:
                starts.setdefault((one.timestep, _period(one.timestep, stamp.date())), []).append(at)
                at += 1
        for (timestep, period), rows in starts.items():
            path = root / "bars" / f"timestep={timestep}" / f"period={period}" / "0.parquet"
            path.parent.mkdir(parents=True)
            part = table.take(rows)
            pq.write_table(part, path, row_group_size=50)
            ids, us = part.column("series_id").to_pylist(), part.column("ts").cast("int64").to_pylist()
            size, name = _facts(path).values()
            ends = [min(ids), max(ids), min(us), max(us)]
            relative = path.relative_to(root).as_posix()
            files.append([relative, size, name, timestep, str(period), 0, len(rows), *ends, []])
        files.sort(key=lambda file: file[9])
        manifest = {
            "application": "lazybars",
            "format": 1,
            "schema_version": 2,
            "version": len(series),
            "books": named,
            "masks": [],
            "columns": COLUMNS,
            "files": files,
        }
        (root / "manifest.json").write_text(json.dumps(manifest))

    def stored(self, where: str) -> dict[int, list[tuple[float, ...]]]:
        root = Path(where)
        manifest = json.loads((root / "manifest.json").read_text())
        found: dict[int, list[tuple[float, ...]]] = {}
        for row in manifest["files"]:
            file = dict(zip(manifest["columns"], row, strict=True))
            assert digest(root / file["path"]) == file["digest"]
            table = pq.read_table(root / file["path"], partitioning=None)
            assert table.num_rows == file["rows"]
            columns = [table.column("ts").cast("int64"), *(table.column(name) for name in FIELDS)]
            ids = table.column("series_id").to_pylist()
            for series_id, *values in zip(ids, *(column.to_pylist() for column in columns), strict=True):
                hidden = any(
                    number > file["number"] and one == series_id and first <= values[0] <= last
                    for number, one, first, last in manifest["masks"]
                )
                if not hidden:
                    found.setdefault(series_id, []).append(tuple(values))
        return {series_id: sorted(rows) for series_id, rows in sorted(found.items())}


def _facts(path: Path) -> dict[str, int | str]:
    return {"size_bytes": path.stat().st_size, "digest": digest(path)}


def _period(timestep: str, day: dt.date) -> dt.date:
    if timestep == "minute":
        return day - dt.timedelta(days=day.weekday())
    return dt.date(day.year if timestep == "hour" else day.year // 10 * 10, 1, 1)


# ---- what is peculiar to a directory --------------------------------------------------------------


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Three series over three weeks, compacted."""
    path = tmp_path / "bars"
    with open_store(f"{path}/") as store:
        for at, symbol in enumerate("ABC"):
            store.write(minutes(at, days=15), asset=symbol, timestep="minute")
        store.compact()
    return path


def files_of(path: Path) -> list[Path]:
    return sorted((path / "bars").rglob("*.parquet"))


def test_it_is_hive_partitioned_by_weeks_years_and_decades(filled: Path) -> None:
    with open_store(filled) as store:
        store.write(daily(4, 200), asset="A", timestep="day")
        hours = minutes(5, days=3).iloc[::60]
        hours.index = hours.index + pd.Timedelta(days=290)  # into the next year
        store.write(hours, asset="A", timestep="hour")
        store.compact()
    with duckdb.connect() as con:
        found = con.execute(
            "SELECT timestep, period, count(*), min(timezone('America/New_York', ts))::DATE, "
            "bool_and(timestep <> 'minute' OR date_trunc('week', timezone('America/New_York', ts)) = period) "
            "FROM read_parquet(?, hive_partitioning = true) GROUP BY ALL ORDER BY ALL",
            [f"{filled}/bars/**/*.parquet"],
        ).fetchall()
    weeks = [dt.date(2024, 3, day) for day in (4, 11, 18)]
    assert [(one[0], one[1]) for one in found] == [
        ("day", dt.date(2010, 1, 1)),
        ("day", dt.date(2020, 1, 1)),
        ("hour", dt.date(2024, 1, 1)),
        *(("minute", week) for week in weeks),
    ]
    assert [one[2] for one in found[-3:]] == [5 * 90 * 3] * 3
    assert all(one[4] for one in found)


def test_only_the_files_of_a_partition_are_opened(filled: Path) -> None:
    kept = next((filled / "bars").rglob("period=2024-03-11/*.parquet"))
    for file in files_of(filled):
        if file != kept:
            file.write_bytes(b"not to be read")
    frame = minutes(1, days=15)
    with open_store(filled, read_only=True) as store:
        week = store.get_historical_prices("B", "2024-03-11", "2024-03-15")
        pd.testing.assert_frame_equal(week, frame.loc["2024-03-11":"2024-03-15"], check_freq=False)
        start, end = (pd.Timestamp(day, tz=NEW_YORK).value for day in ("2024-03-11", "2024-03-18"))
        assert store.scan(1, 3, start, end, ["close"]).num_rows == 3 * 5 * 90
        assert store.last_before(2, end, ["close"])[1] == frame.loc["2024-03-15", "close"].iloc[-1]
        assert len(store.resample("B", "minute", "1D", "2024-03-11", "2024-03-15")) == 5
        assert len(store.panel(["A", "B"], timestep="minute", start="2024-03-12", end="2024-03-13")) == 180
        assert store.missing("B", "minute", "2024-03-11", "2024-03-12") == []
        with pytest.raises(StoreDamaged):
            store.get_historical_prices("B", "2024-03-04", "2024-03-15")


def test_only_the_row_groups_of_a_series_are_read(tmp_path: Path) -> None:
    """Of a file with many series, those that hold the one asked for."""
    path = f"{tmp_path}/bars/"
    with open_store(path) as store:
        for at in range(20):
            store.write(minutes(at, days=5, rows=390), asset=f"S{at:02}", timestep="minute")
        store.compact()
    (file,) = files_of(tmp_path / "bars")
    held = pq.ParquetFile(file).metadata
    wanted = sum(
        held.row_group(at).column(0).statistics.min <= 5 <= held.row_group(at).column(0).statistics.max
        for at in range(held.num_row_groups)
    )
    assert wanted < held.num_row_groups
    data = bytearray(file.read_bytes())
    for at in range(held.num_row_groups):
        group = held.row_group(at)
        if not group.column(0).statistics.min <= 5 <= group.column(0).statistics.max:
            for column in range(group.num_columns):
                chunk = group.column(column)
                start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
                data[start : start + 64] = b"\xff" * 64
    file.write_bytes(data)
    with open_store(path, read_only=True) as store:
        pd.testing.assert_frame_equal(
            store.get_historical_prices("S04"), minutes(4, days=5, rows=390), check_freq=False
        )
        with pytest.raises(StoreDamaged):
            store.get_historical_prices("S19")


@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
@pytest.mark.parametrize("what", ["bars", "books"])
def test_verify_names_a_file_that_was_harmed(filled: Path, harm: str, what: str) -> None:
    file = sorted((filled / what).rglob("*.parquet"))[-1]
    if what == "books":
        file = next((filled / "books").glob("session_days*"))
    data = file.read_bytes()
    with open_store(filled, read_only=True) as store:
        assert store.verify() == []
        if harm == "gone":
            file.unlink()
        else:
            middle = len(data) // 2
            file.write_bytes(
                data[:middle]
                if harm == "cut"
                else data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]
            )
        (found,) = store.verify()
        assert found.check == "files"
        assert found.detail.startswith(file.relative_to(filled).as_posix())
        if what == "bars" and harm != "flip":
            with pytest.raises(StoreDamaged, match="restore"):
                store.get_historical_prices("A")


def test_a_manifest_that_is_damaged_foreign_or_newer(filled: Path) -> None:
    manifest = filled / "manifest.json"
    text = manifest.read_text()
    for wrong, error in (
        (text[:-30], StoreDamaged),
        ("{}", StoreForeign),
        (text.replace('"files"', '"file"'), StoreDamaged),
        (text.replace('"format": 1', '"format": 2'), StoreNewer),
        (text.replace('"schema_version": 2', '"schema_version": 3'), StoreNewer),
        (text.replace("bars/timestep", "../timestep", 1), StoreDamaged),
    ):
        manifest.write_text(wrong)
        with pytest.raises(error), open_store(filled, read_only=True) as store:
            store.get_historical_prices("A")
    manifest.write_text(text)
    with open_store(filled) as store:
        assert store.verify() == []


def test_what_path_is_what_kind(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match="end it with a slash"):
        open_store(tmp_path)
    with pytest.raises(StoreMissing, match="holds no store"):
        open_store(f"{tmp_path}/", read_only=True)
    with pytest.raises(StoreMissing, match="does not exist"):
        open_store(f"{tmp_path}/none/", read_only=True)
    with pytest.raises(StoreMissing, match="create it first"):
        open_store(f"{tmp_path}/none/bars/")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreForeign, match="other files"):
        open_store(f"{tmp_path}/")
    with pytest.raises(StoreForeign, match="is a file"):
        open_store(f"{tmp_path}/notes.txt/")
    with open_store(tmp_path / "bars.duckdb") as store:
        assert type(store) is DuckDBStore
    # Once it is there, the slash need not be written.
    for name in (f"{tmp_path}/bars/", f"{tmp_path}/bars", tmp_path / "bars"):
        with open_store(name) as store:
            assert type(store) is ParquetStore
            assert store.path == str(tmp_path / "bars")


@pytest.mark.parametrize("name", ["with space", "it's", "[a]*?", "größe", 'quo"te', "per%cent$x"])
def test_any_name_of_a_directory(tmp_path: Path, name: str) -> None:
    frame = minutes(1, days=2)
    with open_store(f"{tmp_path}/{name}/") as store:
        store.write(frame, asset="A", timestep="minute")
        store.write(frame.iloc[5:9] * 2, asset="A", timestep="minute")
        store.compact()
    with open_store(tmp_path / name, read_only=True) as store:
        assert len(store.get_historical_prices("A")) == len(frame)
        assert store.sql("SELECT count(*) FROM ohlcv_data").column(0).to_pylist() == [len(frame)]


HOLD = """
import sys
from lazybars import open_store
with open_store(sys.argv[1], read_only=sys.argv[2] == "read") as store:
    print("open", flush=True)
    for line in sys.stdin:
        closes = store.get_historical_prices("A")["close"]
        print(len(closes), closes.sum(), flush=True)
"""


def test_one_writes_and_others_read_what_they_opened(filled: Path) -> None:
    before = minutes(0, days=15)
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(filled), "read"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(lazybars.__file__).parents[1])},
        ) as other,
        open_store(filled) as store,
    ):
        assert other.stdout.readline() == "open\n"
        store.write(before * 2, asset="A", timestep="minute")
        store.compact()
        assert len(files_of(filled)) > 3, "the old files are still read"
        other.stdin.write("\n")
        other.stdin.flush()
        rows, total = other.stdout.readline().split()
        assert (int(rows), float(total)) == (len(before), before["close"].sum())
        other.stdin.close()
        other.wait()
        assert store.get_historical_prices("A")["close"].sum() == (before * 2)["close"].sum()
        store.mark_empty("A", "minute", "2025-01-01", "2025-01-02")
        assert len(files_of(filled)) == 3, "nobody reads them any more"


def test_two_writers(filled: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(filled), "write"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(lazybars.__file__).parents[1])},
    ) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked, match="wait_s"):
            open_store(filled)
        with open_store(filled, read_only=True) as store:
            assert len(store.series()) == 3
        other.stdin.close()
        with open_store(filled, wait_s=30) as store:
            assert len(store.series()) == 3


def test_a_reader_follows_a_writer_of_another_process(filled: Path) -> None:
    code = (
        "import sys\nsys.path.insert(0, sys.argv[2])\nfrom suite import minutes\n"
        "from lazybars import open_store\n"
        "with open_store(sys.argv[1]) as store:\n"
        "    store.append(minutes(9, days=1, rows=3, start='2024-04-01 09:30'), asset='A', timestep='minute')"
    )
    with open_store(filled, read_only=True) as store:
        seen, rows = store.version, len(store.get_historical_prices("A"))
        assert store.wait_for_bars(seen, 0.05) == seen
        environment = {**os.environ, "PYTHONPATH": str(Path(lazybars.__file__).parents[1])}
        subprocess.run(
            [sys.executable, "-c", code, str(filled), str(Path(__file__).parent)], check=True, env=environment
        )
        assert len(store.get_historical_prices("A")) == rows
        assert store.wait_for_bars(seen, 10) == seen + 1
        assert len(store.get_historical_prices("A")) == rows + 3


def test_threads_read_while_one_writes_and_compacts(filled: Path) -> None:
    """A reading thread sees each write whole or not at all, and no file is taken away from under it."""
    frame = minutes(1, days=15)
    wrong: list[object] = []
    done = threading.Event()
    with open_store(filled) as store:
        series_id = store.find("B", "minute").series_id

        def read() -> None:
            while not done.is_set():
                try:
                    assert len(store.timestamps(series_id)) == len(frame)
                    closes = store.get_historical_prices("B")["close"].to_numpy()
                    times = (closes / frame["close"].to_numpy()).round(9)
                    if len(set(times)) != 1:
                        wrong.append(set(times))
                except Exception as error:
                    wrong.append(error)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for factor in range(2, 6):
            store.write(frame * factor, asset="B", timestep="minute")
            if factor % 2:
                store.compact()
        done.set()
        for thread in threads:
            thread.join()
        assert wrong == []
    assert len(files_of(filled)) == 3


def test_compact_leaves_partitions_that_are_in_order(filled: Path) -> None:
    before = {file.relative_to(filled) for file in files_of(filled)}
    with open_store(filled) as store:
        store.write(minutes(1, days=15).iloc[-5:] * 2, asset="B", timestep="minute")
        store.compact()
        assert store.verify() == []
    after = {file.relative_to(filled) for file in files_of(filled)}
    assert len(after) == 3
    assert {path.parent.name for path in before - after} == {"period=2024-03-18"}


def test_a_compaction_that_is_cancelled_leaves_the_store_as_it_was(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lazybars.store.parquet import compact

    with open_store(filled) as store:
        store.write(minutes(7, days=15), asset="D", timestep="minute")
        before, names = store.get_historical_prices("D"), files_of(filled)
        waiting, go_on = threading.Event(), threading.Event()
        plain = compact._rewrite

        def slow(*args: object) -> object:
            yield from plain(*args)
            waiting.set()
            go_on.wait(30)

        monkeypatch.setattr(compact, "_rewrite", slow)
        monkeypatch.setattr(compact, "_SORT_BYTES_A_ROW", 10**9)
        monkeypatch.setattr(compact, "_LEAST_ROWS", 1)
        job = store.compact(background=True)
        assert waiting.wait(30)
        threading.Timer(0.1, go_on.set).start()
        job.cancel()
        assert job.done
        assert not store.is_compact
        assert store.get_historical_prices("D").equals(before)
        assert files_of(filled) == names
        assert store.verify() == []


def test_a_large_partition_becomes_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lazybars.store.parquet import compact

    monkeypatch.setattr(compact, "_FILE_ROWS", 1000)
    with open_store(f"{tmp_path}/bars/") as store:
        frames = {symbol: minutes(at, days=5) for at, symbol in enumerate("ABCDE")}
        for symbol, frame in frames.items():
            store.write(frame, asset=symbol, timestep="minute")
        store.compact()
        names = files_of(tmp_path / "bars")
        assert [pq.read_metadata(name).num_rows for name in names].count(900) == 2
        assert len(names) == 3
        for symbol, frame in frames.items():
            pd.testing.assert_frame_equal(store.get_historical_prices(symbol), frame, check_freq=False)
        store.compact()
        assert files_of(tmp_path / "bars") == names
        assert store.verify() == []
