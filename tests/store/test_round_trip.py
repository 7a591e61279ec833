"""What is written comes back: values, dtypes, units, order of columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

REAL = [
    ("aiquant__BTCUSDT__1min", "minute"),
    ("alvinmoore__AAPL__1min", "minute"),
    ("lean__BTCUSD__1min", "minute"),
    ("nautilus__6EH4__1min", "minute"),
    ("lean__SPY__1hour", "hour"),
    ("lean__AAPL__1day", "day"),
    ("traderewind__KO__1day", "day"),
]


def same(got: pd.DataFrame, want: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(got, want, check_freq=False, check_exact=True)


def as_owned(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame as Lumibot's Data has it: New York index called datetime."""
    out = frame.copy()
    out.index = out.index.tz_convert("America/New_York").rename("datetime")
    return out


@pytest.mark.parametrize(("name", "timestep"), REAL)
def test_real_file_comes_back_bit_for_bit(store, real, name, timestep):
    want = as_owned(pd.read_parquet(real(name)).set_index("timestamp"))
    summary = store.write(str(real(name)), asset="A", timestep=timestep)
    assert summary.rows_read == summary.rows_written == summary.series.rows == len(want)
    same(store.get_historical_prices("A", timestep=timestep), want)
    assert store.verify() == []


def test_frame_and_file_give_the_same(store, real):
    frame = pd.read_parquet(real("alvinmoore__GME__1min")).set_index("timestamp")
    store.write(frame, asset="A", timestep="minute")
    store.write(str(real("alvinmoore__GME__1min")), asset="B", timestep="minute")
    same(store.get_historical_prices("A"), store.get_historical_prices("B"))


def test_real_duplicates_keep_the_first_and_are_counted(store, real):
    frame = pd.read_parquet(real("moneytree__SPY__1hour")).set_index("timestamp")
    want = as_owned(frame[~frame.index.duplicated(keep="first")].sort_index())
    summary = store.write(str(real("moneytree__SPY__1hour")), asset="SPY", timestep="hour")
    assert summary.repaired["duplicate timestamps"] == len(frame) - len(want) == 60
    same(store.get_historical_prices("SPY", timestep="hour"), want)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_index_resolution_is_kept(store, bars, unit):
    frame = bars()
    frame.index = frame.index.as_unit(unit)
    store.write(frame, asset="A", timestep="minute")
    got = store.get_historical_prices("A")
    assert got.index.unit == unit
    same(got, frame)


def extras(frame: pd.DataFrame) -> pd.DataFrame:
    n = len(frame)
    stamps = frame.index.tz_localize(None)
    return frame.assign(
        bid=np.where(np.arange(n) % 3, 1.5, np.nan),
        Single=np.arange(n, dtype="float32") / 3,
        trades=np.arange(n, dtype="int32"),
        byte=np.arange(n, dtype="uint8"),
        flag=np.arange(n) % 2 == 0,
        venue=pd.Series(["X", None] * (n // 2), index=frame.index, dtype=object),
        maybe=pd.array([1, None] * (n // 2), dtype="Int64"),
        yes=pd.array([True, None] * (n // 2), dtype="boolean"),
        word=pd.array(["a", None] * (n // 2), dtype="string"),
        seen=stamps.as_unit("ns"),
        last_bid_time=frame.index.tz_convert("UTC"),
        **{'we"ird; DROP TABLE bars --': 1.0, "Stock Splits": 0.0, "timestamp": np.arange(n)},
    )


def test_extra_columns_of_every_dtype(store, bars):
    frame = extras(bars())
    store.write(frame, asset="A", timestep="minute")
    same(store.get_historical_prices("A"), frame)
    flags = {c.name: c.has_null for c in store.find("A", "minute").columns}
    assert {name for name, null in flags.items() if null} == {"bid", "venue", "maybe", "yes", "word"}


def test_two_series_share_the_columns_of_one_name(store, bars):
    store.write(bars().assign(bid=1.0), asset="A", timestep="minute")
    store.write(bars().assign(ask=1, bid=2.0), asset="B", timestep="minute")
    physical = {
        info.asset.symbol: {c.name: c.physical for c in info.columns if c.name not in ("open",)}
        for info in store.series()
    }
    assert physical["A"]["bid"] == physical["B"]["bid"] != physical["B"]["ask"]
    same(store.get_historical_prices("B"), bars().assign(ask=1, bid=2.0))


def test_prices_keep_float32_and_int_dtypes(store, bars):
    frame = bars().astype({"open": "float32", "high": "float32", "low": "int64", "close": "float32"})
    frame["high"] += 5
    store.write(frame, asset="A", timestep="minute")
    same(store.get_historical_prices("A"), frame)


def test_special_floats_are_bit_exact(store, bars):
    frame = bars(rows=6)
    frame["close"] = [0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, np.nan, -1.5]
    frame["low"], frame["high"] = -2.0, 3.0
    store.write(frame, asset="A", timestep="minute")
    got = store.get_historical_prices("A")["close"].to_numpy()
    assert (
        got.view("i8")[[0, 1, 2, 3, 5]].tolist()
        == frame["close"].to_numpy().view("i8")[[0, 1, 2, 3, 5]].tolist()
    )
    assert np.isnan(got[4])


def writers(frame: pd.DataFrame, tmp_path):
    """The same bars as every kind of input."""
    table = pa.Table.from_pandas(frame.reset_index(), preserve_index=False)
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "indexed.parquet")
    pq.write_table(table, tmp_path / "plain.parquet", row_group_size=3)
    feather.write_feather(table, tmp_path / "t.feather")
    frame.to_csv(tmp_path / "t.csv")
    frame.to_csv(tmp_path / "t.csv.gz")
    half = len(frame) // 2
    frame.iloc[:half].to_parquet(tmp_path / "part1.parquet")
    frame.iloc[half:].to_parquet(tmp_path / "part2.parquet")
    return {
        "frame": frame,
        "frame with a column": frame.reset_index(),
        "polars": pl.from_pandas(frame.reset_index()),
        "polars lazy": pl.from_pandas(frame.reset_index()).lazy(),
        "table": table,
        "reader": table.to_reader(max_chunksize=4),
        "batches": table.to_batches(max_chunksize=4),
        "generator": iter(table.to_batches(max_chunksize=4)),
        "parquet of pandas": tmp_path / "indexed.parquet",
        "parquet": str(tmp_path / "plain.parquet"),
        "glob": str(tmp_path / "part*.parquet"),
        "list": [tmp_path / "part1.parquet", tmp_path / "part2.parquet"],
        "feather": tmp_path / "t.feather",
        "csv": tmp_path / "t.csv",
        "csv.gz": tmp_path / "t.csv.gz",
    }


def test_every_kind_of_input_gives_the_same(store, bars, tmp_path):
    frame = bars(rows=12)
    for kind, data in writers(frame, tmp_path).items():
        summary = store.write(data, asset=kind, timestep="minute")
        assert summary.rows_written == 12, kind
        got = store.get_historical_prices(kind)
        same(got, frame.set_axis(frame.index.as_unit(got.index.unit)))
        assert [c.dtype for c in summary.series.columns] == ["float64"] * 4 + ["int64"], kind


def test_data_of_lumibot_is_equal(store, bars):
    lumibot = pytest.importorskip("lumibot.entities")
    asset = lumibot.Asset("SPY")
    original = bars(rows=50).assign(dividend=0.0)
    store.write(
        original.rename(columns=str.upper).rename(columns={"DIVIDEND": "dividend"}),
        asset=asset,
        timestep="minute",
    )
    got = lumibot.Data(asset, store.get_historical_prices(asset), timestep="minute")
    want = lumibot.Data(asset, original.copy(), timestep="minute")
    same(got.df, want.df)


def test_volume_may_be_absent(store, bars):
    store.write(bars().drop(columns="volume"), asset="A", timestep="minute")
    assert [c.name for c in store.find("A", "minute").columns] == ["open", "high", "low", "close"]


def test_naive_times_are_new_yorks_or_the_given_zones(store, bars):
    frame = bars()
    naive = frame.set_axis(frame.index.tz_localize(None))
    store.write(naive, asset="A", timestep="minute")
    same(store.get_historical_prices("A"), frame)
    store.write(naive, asset="B", timestep="minute", tz="Asia/Kolkata")
    want = naive.tz_localize("Asia/Kolkata").tz_convert("America/New_York").rename_axis("datetime")
    same(store.get_historical_prices("B"), want)


def test_dates_are_new_york_midnights(store, tmp_path):
    (tmp_path / "d.csv").write_text(
        "Date,Open,High,Low,Close,Volume\n2024-07-01,1,2,0.5,1.5,10\n2024-12-02,1,2,0.5,1.5,\n"
    )
    store.write(tmp_path / "d.csv", asset="A", timestep="day")
    got = store.get_historical_prices("A", timestep="day")
    assert [str(t) for t in got.index] == ["2024-07-01 00:00:00-04:00", "2024-12-02 00:00:00-05:00"]
    assert got["volume"].dtype == "float64"
    assert got["open"].dtype == "int64"
