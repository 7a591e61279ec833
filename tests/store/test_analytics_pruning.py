"""What the analytics read: the row groups that hold their series and their time, and no others.

Their queries are taken down as they are made and run again under EXPLAIN ANALYZE, which counts the
row groups that each scan of ``bars`` reads. How many hold what is asked for is counted by a query
over all rows.
"""

from __future__ import annotations

import functools
import json
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from lazybars.store import open_store
from lazybars.store.engine import Engine

NEW_YORK = "America/New_York"
SYMBOLS = [f"S{number}" for number in range(12)]
START, END = pd.Timestamp("2023-06-05 10:00", tz=NEW_YORK), pd.Timestamp("2023-06-07 15:00", tz=NEW_YORK)
BEGINNING = pd.Timestamp("2023-01-01", tz=NEW_YORK)
DAYS = pd.Timedelta(days=1)


def bars(number: int) -> pd.DataFrame:
    """A year of minutes from nine on."""
    days = pd.bdate_range("2023-01-02", "2023-12-29")
    index = np.add.outer(days.to_numpy(), np.arange(360).astype("m8[m]") + np.timedelta64(9, "h")).ravel()
    close = 100 + np.random.default_rng(number).normal(0, 0.01, len(index)).cumsum().round(2)
    frame = pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": 1.0})
    return frame.set_index(pd.DatetimeIndex(index).tz_localize(NEW_YORK))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """The same bars in the order in which they were written, and in that of weeks."""
    folder = tmp_path_factory.mktemp("pruning")
    frames = {symbol: bars(number) for number, symbol in enumerate(SYMBOLS)}
    for name in ("written", "compact"):
        with open_store(folder / f"{name}.duckdb") as store:
            for symbol, frame in frames.items():
                store.write(frame, asset=symbol, timestep="minute")
            if name == "compact":
                store.compact()
    return folder


@pytest.fixture(params=["written", "compact"])
def store(paths, request):
    with open_store(paths / f"{request.param}.duckdb", read_only=True) as opened:
        yield opened


@pytest.fixture
def asked(monkeypatch):
    """The (query, parameters) that any store makes, in order."""
    queries: list[tuple[str, object]] = []
    own = Engine.cursor

    class Noting:
        def __init__(self, cursor):
            self.cursor = cursor

        def __getattr__(self, name):
            return getattr(self.cursor, name)

        def execute(self, query, params=None):
            queries.append((query, params))
            return self.cursor.execute(query, params)

        def sql(self, query, params=None):
            queries.append((query, params))
            return self.cursor.sql(query, params=params)

    @contextmanager
    def noting(self):
        with own(self) as cursor:
            yield Noting(cursor)

    monkeypatch.setattr(Engine, "cursor", noting)
    return queries


def scans_of_bars(store, queries) -> list[int]:
    """The row groups that each scan of the bars reads."""
    found = []

    def walk(node):
        if node.get("extra_info", {}).get("Table", "").endswith(".bars"):
            assert node["total_row_groups_to_scan"] >= 9
            found.append(node["row_groups_scanned"])
        for child in node.get("children", ()):
            walk(child)

    with store._engine.cursor() as cur:
        for query, params in queries:
            if query.lstrip().startswith(("SELECT", "WITH")):
                ((_, plan),) = cur.execute(f"EXPLAIN (ANALYZE, FORMAT json) {query}", params).fetchall()
                for node in json.loads(plan)["operator"]:
                    walk(node)
    return found


@functools.cache
def row_groups(path: str) -> pd.DataFrame:
    """The extremes of every row group of a file, counted over its rows."""
    with open_store(path, read_only=True) as store:
        sizes = store.sql(
            "SELECT sum(count) AS rows FROM pragma_storage_info('bars') WHERE column_name = 'ts' "
            "AND segment_type <> 'VALIDITY' GROUP BY row_group_id ORDER BY row_group_id"
        ).to_pandas()["rows"]
        rows = store.sql("SELECT rowid AS row, series_id, ts FROM bars").to_pandas()
    assert len(rows) == sizes.sum()
    group = np.searchsorted(np.cumsum(sizes), rows["row"], side="right")
    return rows.groupby(group)[["series_id", "ts"]].agg(["min", "max"])


def groups(store, symbols=(), start=None, end=None) -> int:
    """How many row groups there are; or how many may hold bars of one of these between two times."""
    table = row_groups(store.path)
    if not symbols:
        return len(table)
    ids = [store.find(symbol, "minute").series_id for symbol in symbols]
    of_them = [(table["series_id", "min"] <= one) & (table["series_id", "max"] >= one) for one in ids]
    then = (table["ts", "min"] <= end) & (table["ts", "max"] >= start)
    return int((np.any(of_them, axis=0) & then).sum())


def assert_pruned(store, queries, symbols, first, scans):
    """So many scans, each of no more than what holds those series from ``first`` on."""
    made = list(queries)
    needed = groups(store, symbols, first, END)
    assert 0 < needed < groups(store)
    found = scans_of_bars(store, made)
    assert len(found) == scans
    assert max(found) <= needed, (found, needed, groups(store))


@pytest.mark.parametrize("names", [["sma_20"], ["vwap"], ["bbands_20_2", "zscore_20"], ["sma_300", "sma_9"]])
def test_windows_read_the_range_and_what_they_reach(store, asked, names):
    assert len(store.indicators("S5", "minute", START, END, names)) == 1_020
    assert_pruned(store, asked, ["S5"], START - 4 * DAYS, scans=1)  # Friday


def test_a_long_window_reads_days_back_and_no_more(store, asked):
    assert store.indicators("S5", "minute", START, END, "sma_4000").notna().to_numpy().all()
    assert_pruned(store, asked, ["S5"], START - 20 * DAYS, scans=1)


def test_what_remembers_reads_from_the_beginning_to_the_end(store, asked):
    store.indicators("S5", "minute", START, END, ["ema_50", "rsi_14", "macd_12_26_9", "atr_14"])
    assert_pruned(store, asked, ["S5"], BEGINNING, scans=1)


@pytest.mark.parametrize("to", ["15min", "4h", "1D"])
def test_coarser_bars_read_the_range(store, asked, to):
    assert len(store.resample("S5", "minute", to, START, END))
    assert_pruned(store, asked, ["S5"], START, scans=1)


MANY = ["S1", "S2", "S4", "S7", "S8", "S11"]  # five or more in a list are no list to DuckDB


@pytest.mark.parametrize("symbols", [["S3"], ["S9", "S2"], MANY])
@pytest.mark.parametrize("ask", ["panel", "correlation"])
def test_of_many_series_those_alone_are_read(store, asked, ask, symbols):
    got = getattr(store, ask)(symbols, timestep="minute", start=START, end=END)
    assert list(got.columns) == symbols
    assert_pruned(
        store, asked, symbols, START, scans=2 if ask == "panel" else 1
    )  # of the times, of the cells


def test_a_join_reads_both_ranges(store, asked):
    assert len(store.asof("S5", "S9", "minute", START, END)) == 1_020
    assert_pruned(store, asked, ["S5", "S9"], START, scans=3)  # and the day that holds right's bar before


def test_one_day_reads_one_or_two_row_groups_of_many(store, asked):
    """Whatever the layout: the rows of a series and a day lie side by side."""
    store.indicators("S5", "minute", "2023-06-06", "2023-06-06", ["sma_20", "vwap"])
    made = list(asked)
    assert groups(store) >= 9
    assert max(scans_of_bars(store, made)) <= 2
