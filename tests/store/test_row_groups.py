"""How a compact file is cut: the bars of a large one stand in few row groups, and nothing else differs.

DuckDB keeps some KB of every row group that it has passed, outside its memory limit.
"""

from __future__ import annotations

import datetime as dt
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from lazybars.budget import split
from lazybars.errors import CapTooSmall
from lazybars.store import open_store

DUCKDBS_OWN = 122_880
SERIES, ROWS = 5, 800_000
FIELDS = ["open", "high", "low", "close", "volume"]
FIRST = pd.Timestamp("2020-01-06", tz="UTC")


def bars(number: int) -> pd.DataFrame:
    close = 100 + np.random.default_rng(number).integers(-9, 10, ROWS).cumsum() / 100
    index = pd.date_range(FIRST, periods=ROWS, freq="1min", name="datetime")
    return pd.DataFrame(
        {"open": close, "high": close + 0.05, "low": close - 0.05, "close": close, "volume": 1.0}, index=index
    )


def row_groups(path) -> list[int]:
    """The rows of each, counted by DuckDB itself."""
    with duckdb.connect(path, read_only=True) as raw:
        return [
            rows
            for (rows,) in raw.execute(
                "SELECT sum(count) FROM pragma_storage_info('bars') WHERE column_name = 'ts' "
                "AND segment_type <> 'VALIDITY' GROUP BY row_group_id ORDER BY row_group_id"
            ).fetchall()
        ]


def held(store, asset: str, **span: dt.datetime) -> pd.DataFrame:
    return store.read(asset, "minute", **span).read_all().to_pandas().set_index("timestamp")


@pytest.fixture(scope="module")
def once_written(tmp_path_factory):
    path = tmp_path_factory.mktemp("groups") / "bars.duckdb"
    with open_store(path) as store:
        for number in range(SERIES):
            store.write(bars(number), asset=f"S{number}", timestep="minute")
    return path


@pytest.fixture
def written(once_written, tmp_path):
    return Path(shutil.copy(once_written, tmp_path))


def test_the_bars_of_a_large_file_stand_in_few_row_groups(written):
    before = row_groups(written)
    assert max(before) == DUCKDBS_OWN
    with open_store(written) as store:
        store.compact()
    after = row_groups(written)
    assert max(after) == 2 * DUCKDBS_OWN  # a sixteenth of 4 million bars
    assert sum(after) == sum(before) == SERIES * ROWS


def test_what_comes_later_goes_into_row_groups_of_duckdbs_own_size(written):
    """The file is attached with another size than its last row group has."""
    last, later = bars(3).index[-1], pd.Timedelta(minutes=1)
    expected = bars(3)
    news = expected.iloc[:300_000].set_axis(pd.date_range(last + later, periods=300_000, freq="1min"))
    revised = expected.iloc[[100, 799_999]] + 1
    with open_store(written) as store:
        store.compact()
        store.append(news, asset="S3", timestep="minute")
        store.append(revised, asset="S3", timestep="minute")
    expected = pd.concat([expected, news])
    expected.loc[revised.index] = revised
    with open_store(written) as store:
        found = held(store, "S3")
        assert found.to_numpy().tobytes() == expected.to_numpy().tobytes()
        assert (found.index == expected.index).all()
        store.compact()
        again = held(store, "S3")
        assert again.to_numpy().tobytes() == expected.to_numpy().tobytes()
    assert sum(row_groups(written)) == SERIES * ROWS + len(news)


def test_a_small_memory_limit_keeps_the_row_groups_small(written):
    with open_store(written, memory="40MB") as store:
        store.compact()
        one = dt.datetime(2020, 3, 2, tzinfo=dt.UTC)
        found = held(store, "S1", start=one, end=one + dt.timedelta(days=1))
    assert max(row_groups(written)) == DUCKDBS_OWN
    assert found.to_numpy().tobytes() == bars(1).loc[found.index].to_numpy().tobytes()
    assert len(found) == 1441


def test_what_a_large_file_leaves_of_the_pool_is_enough_to_scan_many_series_at_once(written):
    with open_store(written) as store:
        store.compact()
    least_bytes, _ = split(128_000_000).pool(1 << 40)
    week = pd.Timedelta(days=7)
    with open_store(written, read_only=True, memory=least_bytes, threads=1) as store:
        ids = [info.series_id for info in store.series()]
        whole = [bars(number) for number in range(SERIES)]
        for start in pd.date_range(FIRST, whole[0].index[-1], freq=week):
            table = store.scan(ids[0], ids[-1], start.value, (start + week).value, FIELDS)
            found = table.to_pandas().sort_values(["series_id", "ts"]).set_index("series_id")[FIELDS]
            for series_id, frame in zip(ids, whole, strict=True):
                expected = frame.loc[start : start + week - pd.Timedelta(minutes=1)]
                assert found.loc[series_id].to_numpy().tobytes() == expected.to_numpy().tobytes()


def test_a_scan_that_does_not_fit_into_the_pool_takes_the_reserve(written):
    with open_store(written) as store:
        store.compact()
    tiny, reserve = 1 << 20, 7 << 20
    until = FIRST + pd.Timedelta(days=7)
    with open_store(written, read_only=True, memory=tiny + reserve, threads=1) as store:
        first, last = (store.series()[at].series_id for at in (0, -1))
        wanted = (first, last, FIRST.value, until.value, FIELDS)
        assert store.lower_memory(tiny) == tiny + reserve
        with pytest.raises(CapTooSmall):
            store.scan(*wanted)
        store.restore_memory(tiny, reserve)
        with ThreadPoolExecutor(4) as threads:
            tables = list(threads.map(lambda _: store.scan(*wanted), range(4)))
        assert store.lower_memory(1 << 30) == tiny + reserve
        held_rows = slice(None, until - pd.Timedelta(minutes=1))
        expected = sum(bars(number).loc[held_rows].to_numpy().sum() for number in range(SERIES))
        for table in tables:
            assert table.select(FIELDS).to_pandas().to_numpy().sum() == pytest.approx(expected, rel=1e-12)
