"""What cannot be stored is refused whole, with row numbers and the reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lazybars.errors import BadInput, ConfigError


def refused(store, data, *, match, rows=(), **how):
    with pytest.raises(BadInput, match=match) as caught:
        store.write(data, asset="A", timestep="minute", **how)
    assert store.series() == []
    assert store.sql("SELECT count(*) AS n FROM bars").to_pylist() == [{"n": 0}]
    if rows:
        assert [n for n, _ in caught.value.rows] == list(rows)
    return caught.value


def changed(frame, column, row, value):
    out = frame.astype({column: object}) if isinstance(value, str) else frame.copy()
    out.iloc[row, out.columns.get_loc(column)] = value
    return out


def test_no_timestamp_column(store, bars):
    refused(store, bars().reset_index(drop=True), match="no timestamp column.*open, high")


def test_no_price_column(store, bars):
    refused(store, bars().drop(columns=["open", "low"]), match="no column open, low")


def test_no_rows(store, bars, tmp_path):
    refused(store, bars().iloc[:0], match="no rows")
    (tmp_path / "a.csv").write_text("")
    refused(store, tmp_path / "a.csv", match="empty")
    (tmp_path / "b.csv").write_text("date,open,high,low,close\n")
    refused(store, tmp_path / "b.csv", match="no rows")
    bars().iloc[:0].to_parquet(tmp_path / "c.parquet")
    refused(store, tmp_path / "c.parquet", match="no rows")


def test_text_in_a_price(store, bars, tmp_path):
    frame = changed(changed(bars(), "open", 3, "abc"), "close", 7, "1,5")
    refused(store, frame, match="open is not a number.*rows 3, 7", rows=(3, 7))
    frame.to_csv(tmp_path / "a.csv")
    refused(store, tmp_path / "a.csv", match="1 where close is not a number", rows=(3, 7))
    frame.astype({"open": str, "close": str}).to_parquet(tmp_path / "a.parquet")
    refused(store, tmp_path / "a.parquet", match="not a number", rows=(3, 7))


def test_empty_timestamps(store, bars, tmp_path):
    frame = bars().reset_index()
    frame.loc[[2, 5], "datetime"] = pd.NaT
    refused(store, frame, match="empty", rows=(2, 5))
    refused(store, frame.set_index("datetime"), match="empty", rows=(2, 5))
    frame.to_csv(tmp_path / "a.csv", index=False)
    refused(store, tmp_path / "a.csv", match="empty", rows=(2, 5))


def test_high_below_low(store, bars):
    refused(store, changed(bars(), "high", 4, 1.0), match="1 where high is below low", rows=(4,))


def test_yahoos_rounding_is_not_high_below_low(store, bars):
    frame = bars()
    frame["high"] = frame["low"] * (1 - 3e-14)
    assert store.write(frame, asset="A", timestep="minute").rows_written == 10


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("column", ["close", "volume"])
def test_infinity(store, bars, column, value):
    refused(
        store,
        changed(bars().astype({"volume": float}), column, 1, value),
        match=f"{column} is infinite",
        rows=(1,),
    )


def test_nan_prices_are_kept(store, bars):
    frame = changed(bars(), "close", 1, np.nan)
    store.write(frame, asset="A", timestep="minute")
    assert {c.name: c.has_null for c in store.find("A", "minute").columns}["close"]


def test_only_the_first_twenty_rows_are_listed(store, bars):
    frame = bars(rows=100)
    frame["high"] = 0.0
    error = refused(store, frame, match="100 rows, of which cannot be stored: 100 where")
    assert [n for n, _ in error.rows] == list(range(20))


def test_integer_times(store, bars):
    frame = bars().set_axis(list(range(1_700_000_000, 1_700_000_010)))
    frame.index.name = "timestamp"
    refused(store, frame, match="int64.*unit='s'")


def test_integer_text_times(store, tmp_path):
    (tmp_path / "a.csv").write_text("timestamp,open,high,low,close\n1700000000,1,1,1,1\n")
    refused(store, tmp_path / "a.csv", match="integers|int64")


def test_unreadable_times(store, tmp_path):
    (tmp_path / "a.csv").write_text("date,open,high,low,close\n2024-01-02,1,1,1,1\n31/12/2024,1,1,1,1\n")
    refused(store, tmp_path / "a.csv", match="ISO form", rows=(1,))


def test_zone_in_some_rows_only(store, tmp_path):
    (tmp_path / "a.csv").write_text("t,open\n")
    (tmp_path / "b.csv").write_text(
        "time,open,high,low,close\n2024-01-02 09:30:00-05:00,1,1,1,1\n2024-01-02 09:31:00,1,1,1,1\n"
    )
    refused(store, tmp_path / "b.csv", match="zone in some rows only", rows=(1,))


def test_date_and_time_in_two_columns(store, tmp_path):
    (tmp_path / "a.csv").write_text("date,time,open,high,low,close\n2024-01-02,09:30,1,1,1,1\n")
    refused(store, tmp_path / "a.csv", match="two columns")


def test_unknown_zone(store, bars):
    refused(store, bars(), match="no time zone", tz="Mars/Olympus")


@pytest.mark.parametrize(
    ("time", "word"), [("2023-11-05 01:30", "happens twice"), ("2024-03-10 02:30", "never happens")]
)
def test_clock_changes(store, bars, tmp_path, time, word):
    frame = bars(rows=5)
    index = frame.index.tz_localize(None).to_list()
    index[3] = pd.Timestamp(time)
    frame.index = pd.DatetimeIndex(index, name="datetime")
    refused(store, frame, match=word, rows=(3,))
    frame.to_csv(tmp_path / "a.csv")
    refused(store, tmp_path / "a.csv", match=word, rows=(3,))
    assert store.write(frame, asset="A", timestep="minute", tz="UTC").rows_written == 5


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_finer_than_a_microsecond(store, bars, zone, tmp_path):
    frame = bars().set_axis(bars().index + pd.Timedelta(1, "ns"))
    frame = frame.tz_convert("UTC") if zone else frame.tz_localize(None)
    refused(store, frame, match="finer than a microsecond", rows=range(10))
    frame.rename_axis("datetime").to_parquet(tmp_path / "a.parquet")
    refused(store, tmp_path / "a.parquet", match="finer than a microsecond", rows=range(10))


@pytest.mark.parametrize("names", [("close", "Close"), ("vwap", "vwap"), ("vwap", "VWAP")])
def test_two_columns_of_one_name(store, bars, names, tmp_path):
    frame = bars().drop(columns="volume").assign(close=1.0)
    frame.insert(0, names[0], 1.0, allow_duplicates=True)
    frame.insert(0, names[1], 1.0, allow_duplicates=True)
    refused(store, frame, match="two columns")
    if names[0] != names[1]:
        frame = frame.loc[:, ~frame.columns.duplicated()]
        frame.to_parquet(tmp_path / "a.parquet")
        refused(store, tmp_path / "a.parquet", match="one name")


def test_columns_of_two_levels(store, bars):
    frame = bars()
    frame.columns = pd.MultiIndex.from_product([frame.columns, ["SPY"]])
    refused(store, frame, match="two levels")


def test_volume_that_double_would_round(store, bars):
    refused(store, changed(bars(), "volume", 2, 2**53 + 1), match=r"2\*\*53", rows=(2,))


def test_columns_that_no_store_holds(store, bars):
    refused(store, bars().assign(x=[[1]] * 10), match="'x'")
    refused(store, pa.Table.from_pandas(bars().assign(x=[[1]] * 10)), match="'x'")
    refused(store, bars().assign(open=True), match="'open'")


def test_what_is_no_input(store, tmp_path):
    refused(store, 5, match="a int")
    refused(store, {"open": 1}, match="a dict")
    refused(store, tmp_path / "none.parquet", match="no such file")
    (tmp_path / "a.xlsx").write_text("x")
    refused(store, tmp_path / "a.xlsx", match="must end")
    (tmp_path / "a.parquet").write_text("not parquet")
    refused(store, tmp_path / "a.parquet", match=r"a\.parquet cannot be read")
    (tmp_path / "a.feather").write_text("not feather at all")
    refused(store, tmp_path / "a.feather", match=r"a\.feather cannot be read")


def test_second_file_of_other_columns(store, bars, tmp_path):
    bars().to_parquet(tmp_path / "a.parquet")
    bars("2024-01-03").astype({"close": str}).to_parquet(tmp_path / "b.parquet")
    refused(store, str(tmp_path / "*.parquet"), match="b.parquet: 'close' is")


def test_reader_that_fails_midway_writes_nothing(store, bars):
    table = pa.Table.from_pandas(bars().reset_index(), preserve_index=False)

    def batches():
        yield from table.to_batches(max_chunksize=4)
        raise OSError("the disk went away")

    refused(store, pa.RecordBatchReader.from_batches(table.schema, batches()), match="went away")


def test_mode_and_timestep(store, bars):
    with pytest.raises(ConfigError, match="merge"):
        store.write(bars(), asset="A", timestep="minute", mode="merge")
    with pytest.raises(ConfigError, match="1min"):
        store.write(bars(), asset="A", timestep="1min")
