"""The store against plain DuckDB in the same run: writing, size, compacting, reading a range of time.

Wall time, because DuckDB works with several threads. LAZYBARS_BENCH_STORE_ASSETS and _STORE_DAYS set
the size (100 x 256: 10 million rows).
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lazybars import open_store

from .conftest import size
from .market import MinuteMarket
from .measure import in_turns
from .results import Result

# Both sides get the same; sorting ten million rows in less spills to disk.
_MEMORY = "1GB"
_THREADS = 2
_QUERIES = 30
_MANY_ROWS = 1_000_000


class Written:
    """The same bars twice: in a store, and in a plain table sorted by asset and time."""

    def __init__(self, market: MinuteMarket) -> None:
        self.market = market
        self.paths = market.write_parquet()
        self.store = market.folder / "store.duckdb"
        self.plain = market.folder / "plain.duckdb"
        self.rows = 0

    def write_store(self) -> int:
        with open_store(self.store, memory=_MEMORY, threads=_THREADS) as store:
            written = [
                store.write(path, asset=path.stem.split("-")[0], timestep="minute").rows_written
                for path in self.paths
            ]
        self.rows = sum(written)
        return self.rows

    def write_plain(self) -> int:
        with connect(self.plain) as con:
            con.execute(
                "CREATE TABLE bars AS SELECT parse_filename(filename) AS asset, "
                "CAST(datetime AS TIMESTAMPTZ) AS datetime, open, high, low, close, volume "
                "FROM read_parquet(?, filename = true) ORDER BY asset, datetime",
                [[str(path) for path in self.paths]],
            )
            (count,) = con.execute("SELECT count(*) FROM bars").fetchall()[0]
        return int(count)


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        str(path),
        config={"memory_limit": _MEMORY, "threads": _THREADS, "autoinstall_known_extensions": False},
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("store")
    return Written(MinuteMarket(folder, size("STORE_ASSETS", 100), size("STORE_DAYS", 256)))


@pytest.mark.benchmark(group="store")
def test_write(benchmark: BenchmarkFixture, written: Written, record: Callable[[Result], None]) -> None:
    """A Parquet file an asset; one transaction each, checked, and the file closed."""
    pairs = iter([(written.write_plain, written.write_store)])
    took = in_turns(
        benchmark, "write", pairs, 1, unit="us a row", timer=time.perf_counter, against="CREATE TABLE AS"
    )
    note = f"{written.rows / 1e6:.3g} M rows"
    fast, plain = 1 / took.lazy, 1 / took.other
    what, unit = "write from Parquet", "M rows/s"
    record(Result(what, unit, fast, "CREATE TABLE AS", plain, fast, 1.0, at_least=True, note=note))
    record(Result(f"{what}, ratio", unit, fast, "CREATE TABLE AS", plain, fast / plain, 0.7, at_least=True))
    _record_size("bytes on disk, as written", written, record)


def _record_size(what: str, written: Written, record: Callable[[Result], None]) -> None:
    lazy, plain = (path.stat().st_size / written.rows for path in (written.store, written.plain))
    # A file of a few thousand rows is mostly headers.
    target = 16.0 if written.rows >= _MANY_ROWS else None
    record(Result(what, "bytes a bar", lazy, "plain table", plain, lazy, target))


@pytest.mark.benchmark(group="store")
def test_compact(benchmark: BenchmarkFixture, written: Written, record: Callable[[Result], None]) -> None:
    """Rewritten by week, series and time; the other side sorts a plain table so."""
    _require_written(written)

    def plain() -> int:
        with connect(written.plain) as con:
            con.execute(
                "CREATE TABLE weeks AS SELECT * FROM bars "
                "ORDER BY date_trunc('week', datetime), asset, datetime"
            )
            con.execute("DROP TABLE weeks")
        return written.rows

    def lazy() -> int:
        with open_store(written.store, memory=_MEMORY, threads=_THREADS) as store:
            store.compact()
        return written.rows

    pairs = iter([(plain, lazy)])
    record(
        in_turns(
            benchmark, "compact", pairs, 1, unit="us a row", timer=time.perf_counter, against="the same sort"
        )
    )
    written.plain.unlink()
    written.write_plain()
    _record_size("bytes on disk, compact", written, record)


@pytest.mark.benchmark(group="store")
def test_read_range(benchmark: BenchmarkFixture, written: Written, record: Callable[[Result], None]) -> None:
    """One week of one asset, another each time, as an Arrow table."""
    _require_written(written)
    symbols, days = written.market.bars.symbols, written.market.days
    first = dt.datetime(2023, 1, 2, tzinfo=dt.timezone.utc)
    weeks = [first + dt.timedelta(weeks=week) for week in range(max(days // 5, 1))]
    asked = [(symbols[7 * at % len(symbols)], weeks[3 * at % len(weeks)]) for at in range(_QUERIES)]
    with open_store(written.store, read_only=True) as store, connect(written.plain) as con:

        def plain(symbol: str, start: dt.datetime) -> Any:
            name = next(path.name for path in written.paths if path.name.startswith(symbol + "-"))
            return con.sql(
                "SELECT datetime, open, high, low, close, volume FROM bars WHERE asset = $asset "
                "AND datetime >= $start AND datetime < $end ORDER BY datetime",
                params={"asset": name, "start": start, "end": start + dt.timedelta(weeks=1)},
            ).to_arrow_table()

        def lazy(symbol: str, start: dt.datetime) -> Any:
            end = start + dt.timedelta(weeks=1, microseconds=-1)
            return store.read(symbol, "minute", start, end).read_all()

        assert lazy(*asked[0]).num_rows == plain(*asked[0]).num_rows > 0

        def all_of(read: Callable[[str, dt.datetime], Any]) -> int:
            for one in asked:
                read(*one)
            return len(asked)

        pairs = ((lambda: all_of(plain), lambda: all_of(lazy)) for _ in range(5))
        record(
            in_turns(
                benchmark,
                "read a week of an asset",
                pairs,
                5,
                unit="ms a query",
                timer=time.perf_counter,
                against="plain query",
            )
        )


def _require_written(written: Written) -> None:
    """Each benchmark can be run by itself."""
    if not written.rows:
        written.write_plain()
        written.write_store()
