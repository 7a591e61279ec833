"""Streams and the scans of the engine, against pandas on the same bars."""

from __future__ import annotations

import datetime as dt
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lazybars.errors import ConfigError, StoreClosed

NAME = "alvinmoore__AAPL__1min"


@pytest.fixture
def held(store, real):
    """A store with two real series and the frame of the first."""
    store.write(str(real("alvinmoore__GME__1min")), asset="GME", timestep="minute")
    store.write(str(real(NAME)), asset="AAPL", timestep="minute")
    return store, pd.read_parquet(real(NAME)).set_index("timestamp")


def ns(index: pd.DatetimeIndex) -> np.ndarray:
    return index.as_unit("ns").asi8


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (None, None),
        ("2022-03-21", "2022-03-22"),
        (dt.date(2022, 3, 21), dt.date(2022, 3, 21)),
        (dt.datetime(2022, 3, 21, 9, 30), dt.datetime(2022, 3, 21, 16, 0)),
        (pd.Timestamp("2022-03-21T13:30Z"), pd.Timestamp("2022-03-21T13:30Z")),
        (np.datetime64("2022-04-01T12:00"), None),
        (None, "2022-03-14T04:00:00-04:00"),
        ("2030-01-01", None),
    ],
)
def test_bounds(held, start, end):
    store, frame = held
    local = frame.index.tz_convert("America/New_York")

    def bound(value, last):
        if (isinstance(value, str) and len(value) == 10) or type(value) is dt.date:
            day = pd.Timestamp(value).tz_localize("America/New_York")
            return day + pd.DateOffset(days=1) - pd.Timedelta(1, "us") if last else day
        stamp = pd.Timestamp(value)
        return stamp if stamp.tz else stamp.tz_localize("America/New_York")

    keep = np.ones(len(frame), bool)
    if start is not None:
        keep &= local >= bound(start, False)
    if end is not None:
        keep &= local <= bound(end, True)
    got = store.read("AAPL", "minute", start, end).read_all()
    assert got.column(0).cast(pa.int64()).to_pylist() == (ns(frame.index[keep]) // 1000).tolist()
    assert got.column("close").to_pylist() == frame["close"][keep].tolist()


def test_schema_and_chosen_columns(held):
    store, _ = held
    reader = store.read("AAPL", "minute")
    assert reader.schema.names[:7] == ["timestamp", "open", "high", "low", "close", "volume", "dividend"]
    assert str(reader.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    assert store.read("AAPL", "minute", columns=["close", "open"]).schema.names == [
        "timestamp",
        "open",
        "close",
    ]
    with pytest.raises(ConfigError, match="no column bid; it has open, high"):
        store.read("AAPL", "minute", columns=["bid"])
    with pytest.raises(ConfigError, match="no time"):
        store.read("AAPL", "minute", "yesterday")


def test_order_after_upserts_into_the_past(held):
    store, frame = held
    past = frame.iloc[100:200] + 1
    store.write(past, asset="AAPL", timestep="minute")
    want = frame.copy()
    want.iloc[100:200] += 1
    got = store.read("AAPL", "minute").read_all()
    assert got.column(0).cast(pa.int64()).to_pylist() == (ns(frame.index) // 1000).tolist()
    assert got.column("close").to_pylist() == want["close"].tolist()
    assert (np.diff(store.timestamps(store.find("AAPL", "minute").series_id)) > 0).all()


def test_scan_is_the_half_open_range_of_an_id_range(held):
    store, frame = held
    info = store.find("AAPL", "minute")
    start, end = (pd.Timestamp(t).value for t in ("2022-03-21T13:30Z", "2022-03-22T13:30Z"))
    table = store.scan(info.series_id, info.series_id, start, end, ["close", "volume"])
    keep = (ns(frame.index) >= start) & (ns(frame.index) < end)
    assert [str(t) for t in table.schema.types] == ["int32", "int64", "double", "double"]
    assert (table["ts"].to_numpy() * 1000).tolist() == ns(frame.index[keep]).tolist()
    assert table["close"].to_pylist() == frame["close"][keep].tolist()
    both = store.scan(1, 2, start, end, ["close"])
    assert set(both["series_id"].to_pylist()) == {1, 2}
    assert store.scan(1, 2, start + 1, start + 2, ["close"]).num_rows == 0


def test_last_before(held):
    store, frame = held
    info = store.find("AAPL", "minute")
    stamps = ns(frame.index)
    rng = np.random.default_rng(0)
    probes = [
        *rng.integers(stamps[0] - 10**12, stamps[-1] + 10**15, 60),
        stamps[0],
        stamps[0] + 1,
        stamps[7],
        stamps[7] + 1,
    ]
    for at in map(int, probes):
        i = int(np.searchsorted(stamps, at)) - 1
        want = None if i < 0 else (int(stamps[i]), float(frame["close"].iloc[i]))
        assert store.last_before(info.series_id, at, ["close"]) == want


def test_sessions_days_and_timestamps(held, real):
    store, frame = held
    other = pd.read_parquet(real("alvinmoore__GME__1min")).set_index("timestamp")
    info = store.find("AAPL", "minute")

    def by_day(index):
        local = (
            index.tz_convert("America/New_York").normalize().tz_localize(None).as_unit("ns").asi8
            // 86_400_000_000_000
        )
        return pd.Series(ns(index)).groupby(local).agg(["min", "max", "size"])

    want = by_day(frame.index)
    day, first, last, rows = store.series_days(info.series_id)
    assert (day.tolist(), first.tolist()) == (want.index.tolist(), want["min"].tolist())
    assert (last.tolist(), rows.tolist()) == (want["max"].tolist(), want["size"].tolist())
    union = by_day(frame.index.union(other.index))
    day, first, last = store.sessions([1, 2])
    assert (day.tolist(), first.tolist(), last.tolist()) == (
        union.index.tolist(),
        union["min"].tolist(),
        union["max"].tolist(),
    )
    assert store.timestamps(info.series_id).tolist() == ns(frame.index).tolist()
    with pytest.raises(ConfigError, match="id 99"):
        store.timestamps(99)


def test_compact_changes_the_order_and_nothing_else(held):
    store, frame = held
    store.write(frame.iloc[50:60] * 2, asset="AAPL", timestep="minute")
    before = {i.asset: store.get_historical_prices(i.asset) for i in store.series()}
    series = store.series()
    assert not store.is_compact
    store.compact()
    assert store.is_compact
    assert store.series() == series
    for asset, want in before.items():
        pd.testing.assert_frame_equal(store.get_historical_prices(asset), want)
    assert store.verify() == []
    table = store.scan(1, 2, 0, 2**62, [])
    week = (table["ts"].to_numpy() + 3 * 86_400_000_000) // (7 * 86_400_000_000)
    order = np.lexsort((table["ts"].to_numpy(), table["series_id"].to_numpy(), week))
    assert (order == np.arange(len(order))).all()
    store.write(frame.iloc[50:60], asset="AAPL", timestep="minute")
    assert not store.is_compact


def test_every_thread_gets_its_own_rows(held):
    store, frame = held
    want = {1: store.scan(1, 1, 0, 2**62, ["close"])["close"].to_pylist(), 2: frame["close"].tolist()}
    right = []

    def work(series_id):
        got = [store.scan(series_id, series_id, 0, 2**62, ["close"])["close"].to_pylist() for _ in range(15)]
        right.append(all(closes == want[series_id] for closes in got))

    threads = [threading.Thread(target=work, args=(1 + i % 2,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 6


def test_reading_while_writing_sees_all_or_nothing(store, bars):
    frame = bars(rows=130_000)  # large enough for the write to change the number of threads
    store.write(frame, asset="A", timestep="minute")
    seen, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            closes = store.scan(1, 1, 0, 2**62, ["close"])["close"].to_numpy()
            seen.add((len(closes), len(np.unique(np.sign(closes)))))

    thread = threading.Thread(target=look)
    thread.start()
    for sign in (-1, 1):
        flipped = frame * sign
        flipped["high"], flipped["low"] = (
            flipped[["high", "low"]].max(axis=1),
            flipped[["high", "low"]].min(axis=1),
        )
        store.write(flipped, asset="A", timestep="minute")
    stop.set()
    thread.join()
    assert seen == {(130_000, 1)}


def test_a_reader_ends_with_its_store(store, real):
    store.write(str(real("aiquant__BTCUSDT__1min")), asset="B", timestep="minute")
    reader = store.read("B", "minute")
    reader.read_next_batch()
    store.close()
    with pytest.raises((StoreClosed, OSError, pa.ArrowException)):
        reader.read_all()
