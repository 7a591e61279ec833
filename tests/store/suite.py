"""What every implementation of a store must pass: inherit `StoreTests`, and say how its files are made.

Reading is tested on stores that are laid out by hand, writing by looking at what then lies on disk: neither
goes through what is under test. What is right comes from pandas.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lazybars import BadInput, ConfigError, StoreClosed, StoreReadOnly, UnknownSeries, iterate, open_store
from lazybars.model import AssetKey, asset_key
from lazybars.store import FileMark, FileWrite, Storage

NEW_YORK = "America/New_York"
FIELDS = ["open", "high", "low", "close", "volume"]
STAMP = pa.timestamp("us", "UTC")
EPOCH_DAY = dt.date(1970, 1, 1)


def minutes(seed: int, days: int = 8, rows: int = 90, start: str = "2024-03-04 09:30") -> pd.DataFrame:
    """Random minute bars of some business days across weeks, and the change of the clock on March 10."""
    rng = np.random.default_rng(seed)
    stamps = [
        day.replace(hour=9, minute=30) + pd.Timedelta(minutes=at)
        for day in pd.bdate_range(pd.Timestamp(start).normalize(), periods=days)
        for at in range(rows)
    ]
    index = pd.DatetimeIndex(stamps).as_unit("ns").tz_localize(NEW_YORK).rename("datetime")
    close = np.round(100 + rng.normal(0, 0.1, len(index)).cumsum(), 2)
    frame = pd.DataFrame(
        {"open": close, "high": close + 0.25, "low": close - 0.25, "close": close}, index=index
    )
    frame["volume"] = rng.integers(1, 1000, len(frame)).astype("float64")
    return frame


def naive(when: str) -> pd.DataFrame:
    return minutes(0, 1, 1).set_axis(pd.DatetimeIndex([when], name="datetime"))


def daily(seed: int, days: int = 300) -> pd.DataFrame:
    frame = minutes(seed, days, 1, "2019-06-03 09:30")
    frame.index = frame.index.normalize()
    return frame


@dataclass(frozen=True)
class Laid:
    """A series to be laid out by hand."""

    asset: AssetKey
    timestep: str
    frame: pd.DataFrame
    quote: AssetKey | None = None
    source: str = "user"

    @property
    def us(self) -> np.ndarray:
        return self.frame.index.as_unit("us").asi8

    def days(self) -> pd.DataFrame:
        """day, first, last (us) and rows, by pandas."""
        by_day = pd.Series(self.us).groupby(self.frame.index.date)
        return by_day.agg(["min", "max", "size"])


def bars_table(series: Sequence[Laid]) -> pa.Table:
    """Rows of ``bars``, by series and time."""
    return pa.concat_tables(
        pa.table(
            {
                "series_id": pa.array(np.full(len(one.frame), at), pa.int32()),
                "ts": pa.array(one.us).cast(STAMP),
                **{name: pa.array(one.frame[name].to_numpy(), from_pandas=True) for name in FIELDS},
            }
        )
        for at, one in enumerate(series, start=1)
    )


def books(series: Sequence[Laid]) -> dict[str, pa.Table]:
    """The tables beside the bars, as a store has them after these series were written one by one."""
    now = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    catalog: list[dict[str, Any]] = []
    days: list[dict[str, Any]] = []
    known: list[dict[str, Any]] = []
    for at, one in enumerate(series, start=1):
        key, us = one.asset, one.us
        columns = [{"name": n, "dtype": "float64", "physical": n, "has_null": False} for n in FIELDS]
        quote = None if one.quote is None else json.dumps(_fields(one.quote))
        first, last = _moment(us[0]), _moment(us[-1])
        catalog.append(
            {
                "series_id": at,
                **_fields(key),
                "quote": quote,
                "timestep": one.timestep,
                "source": one.source,
                "rows": len(us),
                "first_ts": first,
                "last_ts": last,
                "index_unit": "ns",
                "in_order": True,
                "columns": json.dumps(columns),
                "created_at": now,
                "updated_at": now,
                "version": at,
            }
        )
        for day, row in one.days().iterrows():
            days.append(
                {
                    "series_id": at,
                    "day": day,
                    "first_ts": _moment(row["min"]),
                    "last_ts": _moment(row["max"]),
                    "rows": int(row["size"]),
                }
            )
        span = {"start_ts": first, "end_ts": last, "known_empty": False, "created_at": now}
        known.append({"id": str(uuid.UUID(int=at)), "series_id": at, **span})
    sources = dict.fromkeys(one.source for one in series)
    meta = {
        "application": "lazybars",
        "schema_version": "2",
        "layout": "bucketed",
        "version": str(len(series)),
    }
    return {
        "meta": pa.table({"key": list(meta), "value": list(meta.values())}),
        "series_catalog": _typed(catalog, series_id=pa.int32(), quote=pa.string()),
        "session_days": _typed(days, series_id=pa.int32(), day=pa.date32()),
        "known_ranges": _typed(known, series_id=pa.int32()),
        "sources": _typed(
            [{"source_name": one, "priority": 0, "last_updated": now, "config": "{}"} for one in sources],
            priority=pa.int32(),
        ),
    }


def _fields(key: AssetKey) -> dict[str, Any]:
    names = ("symbol", "asset_type", "expiration", "strike", "right", "multiplier", "auto_expiry")
    return {name: getattr(key, name) for name in names}


def _moment(us: Any) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=int(us))


def _typed(rows: list[dict[str, Any]], **types: pa.DataType) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    for at, field in enumerate(table.schema):
        if field.name in types:
            table = table.set_column(at, field.name, table.column(at).cast(types[field.name]))
        elif pa.types.is_timestamp(field.type):
            table = table.set_column(at, field.name, table.column(at).cast(STAMP))
    return table


def digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def as_rows(frame: pd.DataFrame) -> list[tuple[float, ...]]:
    """(microseconds, open, high, low, close, volume), NaN as None."""
    values = frame[FIELDS].astype(object).where(frame[FIELDS].notna(), None)
    return [
        (us, *row)
        for us, row in zip(frame.index.as_unit("us").asi8.tolist(), values.to_numpy().tolist(), strict=True)
    ]


SPY, QQQ, USD = AssetKey("SPY"), AssetKey("QQQ"), AssetKey("USD", "forex")


class StoreTests:
    """Give `where`, `lay` and `stored`."""

    def where(self, folder: Path) -> str:
        """What to open in an empty folder."""
        raise NotImplementedError

    def lay(self, where: str, series: Sequence[Laid]) -> None:
        """Lay a store out by hand, with series ids from 1 in their order."""
        raise NotImplementedError

    def stored(self, where: str) -> dict[int, list[tuple[float, ...]]]:
        """What lies on disk, read by hand: (us, open, high, low, close, volume) by series, by time."""
        raise NotImplementedError

    # ---- what they share

    laid = (
        Laid(SPY, "minute", minutes(1)),
        Laid(QQQ, "minute", minutes(2, days=6, start="2024-03-06 09:30"), USD),
        Laid(SPY, "day", daily(3), source="vendor"),
    )

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        return self.where(tmp_path)

    @pytest.fixture
    def placed(self, path: str) -> str:
        """A store that no code of ours has written."""
        self.lay(path, self.laid)
        return path

    @pytest.fixture
    def reader(self, placed: str):
        with open_store(placed, read_only=True, memory="64MB") as store:
            yield store

    @pytest.fixture
    def writer(self, placed: str):
        with open_store(placed, memory="64MB") as store:
            yield store

    # ---- the catalog

    def test_is_a_store(self, reader: Storage) -> None:
        assert isinstance(reader, Storage)
        assert reader.read_only
        assert reader.bytes_on_disk > 0

    def test_series_and_assets(self, reader: Storage) -> None:
        found = [(info.asset, info.timestep, info.quote, info.source, info.rows) for info in reader.series()]
        assert found == [
            (one.asset, one.timestep, one.quote, one.source, len(one.frame)) for one in self.laid
        ]
        assert reader.assets() == [QQQ, SPY]
        ends = [(info.first_ns // 1000, info.last_ns // 1000) for info in reader.series()]
        assert ends == [(one.us[0], one.us[-1]) for one in self.laid]

    def test_find(self, reader: Storage) -> None:
        assert reader.find("spy", "minute").series_id == 1
        assert reader.find(SPY, "day").series_id == 3
        assert reader.find("QQQ", "minute", USD).series_id == 2
        with pytest.raises(UnknownSeries, match="QQQ, SPY"):
            reader.find("IWM", "minute")
        with pytest.raises(UnknownSeries):
            reader.find("QQQ", "day")

    def test_coverage_and_missing(self, reader: Storage) -> None:
        frame = self.laid[0].frame
        first, last = frame.index[0].to_pydatetime(), frame.index[-1].to_pydatetime()
        assert reader.coverage("SPY", "minute") == [(first, last)]
        before, after = first - dt.timedelta(days=3), last + dt.timedelta(days=2)
        assert reader.missing("SPY", "minute", before, after) == [(before, first), (last, after)]
        assert reader.missing("SPY", "minute", first, last) == []
        # Half a minute after the last bar there is no room for another.
        assert reader.missing("SPY", "minute", first, last + dt.timedelta(seconds=30)) == []
        assert reader.known_empty("SPY", "minute") == []

    # ---- reading

    @pytest.mark.parametrize("at", range(3))
    def test_a_frame_comes_back_as_it_was(self, reader: Storage, at: int) -> None:
        one = self.laid[at]
        found = reader.get_historical_prices(one.asset, timestep=one.timestep, quote=one.quote)
        pd.testing.assert_frame_equal(found, one.frame, check_freq=False)

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            ("2024-03-05 09:45", "2024-03-05 10:00"),
            ("2024-03-08", "2024-03-11"),
            ("2024-03-09", "2024-03-10"),
            (None, "2024-03-05 09:29:59"),
            ("2024-03-13 10:59", None),
        ],
    )
    def test_a_range_is_closed(self, reader: Storage, start: str | None, end: str | None) -> None:
        frame = self.laid[0].frame
        wanted = frame.loc[start:end]
        pd.testing.assert_frame_equal(
            reader.get_historical_prices("SPY", start, end), wanted, check_freq=False
        )
        rows = reader.read("SPY", "minute", start, end, columns=["close"]).read_all()
        assert rows.column_names == ["timestamp", "close"]
        assert rows.column("close").to_pylist() == wanted["close"].tolist()

    def test_scan(self, reader: Storage) -> None:
        start, end = (pd.Timestamp(day, tz=NEW_YORK).value for day in ("2024-03-06", "2024-03-12"))
        table = reader.scan(1, 2, start, end, ["close", "volume"])
        assert table.schema.types[:2] == [pa.int32(), pa.int64()]
        for series_id in (1, 2):
            frame = self.laid[series_id - 1].frame.loc["2024-03-06":"2024-03-11"]
            rows = table.filter(pa.compute.equal(table.column("series_id"), series_id)).sort_by("ts")
            assert rows.column("ts").to_pylist() == frame.index.as_unit("us").asi8.tolist()
            for name in ("close", "volume"):
                assert rows.column(name).to_pylist() == frame[name].tolist()
        assert reader.scan(1, 3, end, end, ["close"]).num_rows == 0
        assert reader.scan(7, 9, start, end, ["close"]).num_rows == 0

    def test_last_before(self, reader: Storage) -> None:
        frame = self.laid[0].frame
        times = frame.index.asi8
        for at in (1, 89, 90, 200, len(frame) - 1):
            for ns in (times[at], times[at] - 1, times[at - 1] + 1):
                assert reader.last_before(1, int(ns), ["close"]) == (
                    times[at - 1],
                    frame["close"].iloc[at - 1],
                )
        assert reader.last_before(1, int(times[0]), ["close"]) is None
        assert reader.last_before(1, 2**62, []) == (times[-1],)

    def test_days(self, reader: Storage) -> None:
        for series_id, one in enumerate(self.laid, start=1):
            days = one.days()
            number = (pd.to_datetime(days.index) - pd.Timestamp(0)).days
            day, first, last, rows = reader.series_days(series_id)
            assert (day.tolist(), rows.tolist()) == (number.tolist(), days["size"].tolist())
            assert (first.tolist(), last.tolist()) == (
                (days["min"] * 1000).tolist(),
                (days["max"] * 1000).tolist(),
            )
        day, first, last = reader.sessions([1, 2])
        union = (
            pd.concat([one.days() for one in self.laid[:2]])
            .groupby(level=0)
            .agg({"min": "min", "max": "max"})
        )
        assert (first.tolist(), last.tolist()) == (
            (union["min"] * 1000).tolist(),
            (union["max"] * 1000).tolist(),
        )

    def test_timestamps(self, reader: Storage) -> None:
        for series_id, one in enumerate(self.laid, start=1):
            assert reader.timestamps(series_id).tolist() == one.frame.index.asi8.tolist()

    def test_sql(self, reader: Storage) -> None:
        count = "SELECT asset_symbol, timeframe, count(*) AS n, sum(volume) AS v FROM ohlcv_data"
        found = reader.sql(f"{count} GROUP BY ALL ORDER BY ALL").to_pylist()
        wanted = [
            (one.asset.symbol, one.timestep, len(one.frame), one.frame["volume"].sum()) for one in self.laid
        ]
        assert [tuple(row.values()) for row in found] == sorted(wanted)
        since = pd.Timestamp("2024-03-08", tz=NEW_YORK)
        n = reader.sql(
            "SELECT count(*) AS n FROM ohlcv_data WHERE asset_symbol = ? AND timestamp >= ?", ["QQQ", since]
        )
        assert n.to_pylist() == [{"n": int((self.laid[1].frame.index >= since).sum())}]
        assert reader.sql("SELECT symbol FROM assets ORDER BY symbol").column(0).to_pylist() == ["QQQ", "SPY"]
        names = reader.sql("SELECT source_name FROM data_sources ORDER BY 1").column(0).to_pylist()
        assert names == ["user", "vendor"]
        assert reader.sql("SELECT count(*) FROM cache_ranges").column(0).to_pylist() == [3]
        assert reader.sql("SELECT count(*) FROM session_days").column(0).to_pylist() == [8 + 6 + 300]

    def test_verify_finds_nothing(self, reader: Storage) -> None:
        assert reader.verify() == []
        assert reader.is_compact

    def test_a_walk(self, placed: str) -> None:
        with iterate(placed, ["SPY", "QQQ"], lookback=30, memory="80MB") as ticks:
            for tick in ticks:
                for symbol, one in zip(("SPY", "QQQ"), self.laid, strict=False):
                    closed = one.frame["close"][one.frame.index.asi8 <= tick.now_ns - 60_000_000_000]
                    assert tick[symbol].close.tolist() == closed.iloc[-30:].tolist()

    def test_from_several_threads(self, reader: Storage) -> None:
        wrong: list[Any] = []

        def read(at: int) -> None:
            one = self.laid[at % 3]
            for _ in range(4):
                found = reader.get_historical_prices(one.asset, timestep=one.timestep, quote=one.quote)
                if not found.equals(one.frame):
                    wrong.append(at)

        threads = [threading.Thread(target=read, args=(at,)) for at in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    # ---- writing

    def test_what_is_written_lies_on_disk(self, path: str) -> None:
        frame = minutes(5)
        with open_store(path) as store:
            summary = store.write(frame, asset="SPY", timestep="minute")
            assert (summary.rows_read, summary.rows_written, summary.rows_replaced) == (
                len(frame),
                len(frame),
                0,
            )
            assert store.version > 0
        assert self.stored(path) == {1: as_rows(frame)}

    def test_values_keep_their_bits(self, path: str) -> None:
        frame = minutes(5, days=1, rows=6)
        frame["close"] = [0.1 + 0.2, -0.0, np.nan, 1e-310, 1e308, 100.00000000000001]
        frame["high"], frame["low"] = np.inf, -np.inf
        frame["high"], frame["low"] = 1.7e308, -1.7e308
        frame["mine"] = np.array([1, -(2**62), 3, 4, 5, 2**62])
        frame["said"] = ["a", "", None, "ü", "'", '"']
        with open_store(path) as store:
            store.write(frame, asset="SPY", timestep="minute")
            store.write(minutes(6), asset="QQQ", timestep="minute")  # has no such columns
            store.compact()
        with open_store(path, read_only=True) as store:
            pd.testing.assert_frame_equal(store.get_historical_prices("SPY"), frame, check_freq=False)
            bits = store.get_historical_prices("SPY")["close"].to_numpy()
        assert bits.tobytes() == frame["close"].to_numpy().tobytes()

    def test_ranges_of_any_length_are_what_was_written(self, path: str) -> None:
        frame = minutes(7, days=90, rows=60)
        rng = np.random.default_rng(7)
        frame["volume"] = rng.integers(1, 1000, len(frame))
        frame["mine"] = rng.integers(-(2**62), 2**62, len(frame))
        frame["gaps"] = np.where(rng.random(len(frame)) < 0.1, np.nan, rng.normal(size=len(frame)))
        with open_store(path) as store:
            store.write(frame, asset="SPY", timestep="minute")
        with open_store(path, read_only=True) as store:
            for start, end in ((0, 1), (0, 60), (59, 61), (100, 700), (500, 2500), (5, 5399), (0, 5400)):
                span = frame.iloc[start:end]
                found = store.get_historical_prices("SPY", span.index[0], span.index[-1])
                pd.testing.assert_frame_equal(found, span, check_freq=False)
            none = store.get_historical_prices("SPY", "2031-01-01", "2031-01-31")
        pd.testing.assert_frame_equal(none, frame.iloc[:0], check_freq=False)

    def test_whole_numbers_that_only_some_bars_have(self, path: str) -> None:
        first = minutes(8, days=2).assign(mine=np.arange(180))
        second = minutes(9, days=2, start="2024-03-06 09:30")
        with open_store(path) as store:
            store.write(first, asset="SPY", timestep="minute")
            store.write(second, asset="SPY", timestep="minute")
            wanted = pd.concat([first, second])
            for start, end in ((0, 360), (0, 100), (170, 190), (200, 300)):
                span = wanted.iloc[start:end]
                found = store.get_historical_prices("SPY", span.index[0], span.index[-1])
                pd.testing.assert_frame_equal(found, span, check_freq=False)

    def test_bars_from_before_1970(self, path: str) -> None:
        """What rounds times down must do so on both sides of the epoch."""
        days = daily(4, 3600)
        days.index = pd.bdate_range("1962-01-02", periods=len(days), tz=NEW_YORK, name="datetime")
        late = minutes(5, 3, 60)
        late.index = pd.DatetimeIndex(
            [
                pd.Timestamp(day) + pd.Timedelta(minutes=at)
                for day in ("1969-06-02 22:40", "1969-06-06 23:10", "1969-12-31 18:30")
                for at in range(60)
            ],
            tz=NEW_YORK,
            name="datetime",
        )
        with open_store(path) as store:
            assert store.write(days, asset="GE", timestep="day").rows_written == len(days)
            for at in (3, 4, 2000):
                store.write(days.iloc[at : at + 2], asset="GE", timestep="day")
            store.append(days.iloc[:1], asset="ONE", timestep="day")
            store.write(late.iloc[:100], asset="GE", timestep="minute")
            store.append(late.iloc[100:], asset="GE", timestep="minute")
            for compacted in (False, True):
                if compacted:
                    store.compact()
                assert store.verify() == []
                assert store.get_historical_prices("GE", timestep="day").index.equals(days.index)
                assert len(store.get_historical_prices("ONE", timestep="day")) == 1
                found = store.get_historical_prices("GE")
                assert found.to_numpy().tobytes() == late.to_numpy().tobytes()
                day, _, _, rows = store.series_days(store.find("GE", "minute").series_id)
                truth = late.groupby(late.index.date).size()
                assert [EPOCH_DAY + dt.timedelta(int(n)) for n in day] == list(truth.index)
                assert rows.tolist() == truth.tolist()
                hours = store.resample("GE", "minute", "1h")["volume"]
                expected = late["volume"].resample("1h").sum()
                assert hours.to_dict() == expected[expected.index.isin(hours.index)].to_dict()
                assert hours.sum() == late["volume"].sum()

    def test_naive_times_at_a_change_of_the_clock_before_1970(self, writer: Storage) -> None:
        for when, why in (("1968-10-27 01:50", "happens twice"), ("1968-04-28 02:50", "never happens")):
            with pytest.raises(BadInput, match=why):
                writer.write(naive(when), asset="CLOCK", timestep="minute")
        writer.write(naive("1968-10-27 00:50"), asset="CLOCK", timestep="minute")
        found = writer.get_historical_prices("CLOCK").index
        assert found.equals(pd.DatetimeIndex(["1968-10-27 00:50"], tz=NEW_YORK))

    def test_odd_bounds(self, path: str) -> None:
        with open_store(path) as store:
            frame = minutes(6, 2)
            store.write(frame, asset="A", timestep="minute")
            day = str(frame.index[0].date())
            whole = frame.loc[day]
            for end in (day, day.replace("-", ""), np.datetime64(day), dt.date.fromisoformat(day)):
                assert len(store.get_historical_prices("A", day, end)) == len(whole), end
            for end in ("9999-12-31", dt.date.max, dt.datetime.max):
                assert len(store.get_historical_prices("A", day, end)) == len(frame)
            assert store.read("A", "minute", columns="close").schema.names == ["timestamp", "close"]
            for odd in (pd.NaT, np.datetime64("NaT"), "yesterday"):
                with pytest.raises(ConfigError, match="is no time"):
                    store.get_historical_prices("A", odd)

    def test_what_cannot_be_meant_is_refused(self, writer: Any) -> None:
        frame = minutes(7, 1)
        for statement in ("BEGIN", "COMMIT", "ROLLBACK"):
            with pytest.raises(ConfigError, match="a transaction of its own"):
                writer.sql(statement)
        for source in (None, 5):
            with pytest.raises(ConfigError, match="source="):
                writer.write(frame, asset="NEW", timestep="minute", source=source)
            with pytest.raises(ConfigError, match="source="):
                writer.append(frame, asset="NEW", timestep="minute", source=source)
        with pytest.raises(BadInput, match=r"int64\[pyarrow\]"):
            writer.write(
                frame.assign(x=pd.array([1] * len(frame), dtype="int64[pyarrow]")),
                asset="NEW",
                timestep="minute",
            )
        torn = frame.assign(note=["\ud800"] * len(frame))
        with pytest.raises(BadInput, match="cannot be stored"):
            writer.append(torn, asset="NEW", timestep="minute")
        bar = {"timestamp": pd.Timestamp("2024-01-02 09:30:00.000000999", tz=NEW_YORK), "close": 1.0}
        with pytest.raises(BadInput, match="nanoseconds"):
            writer.append(bar | dict.fromkeys(FIELDS, 1.0), asset="NEW", timestep="minute")
        zones = frame.set_axis([frame.index[0], *frame.index[1:].tz_convert("UTC")])
        with pytest.raises(BadInput, match="times that are of no one kind"):
            writer.write(zones, asset="NEW", timestep="minute")
        assert "NEW" not in {info.asset.symbol for info in writer.series()}

    def test_upsert_replaces_and_adds(self, writer: Storage, placed: str) -> None:
        old = self.laid[0].frame
        new = old.iloc[100:200:2].assign(close=50.0, low=49.0)
        more = minutes(9, days=2, start="2024-03-14 09:30")
        summary = writer.write(pd.concat([new, more]), asset="SPY", timestep="minute")
        assert (summary.rows_replaced, summary.rows_written) == (len(new), len(new) + len(more))
        wanted = pd.concat([old.drop(new.index), new, more]).sort_index()
        pd.testing.assert_frame_equal(writer.get_historical_prices("SPY"), wanted, check_freq=False)
        assert writer.verify() == []
        assert not writer.is_compact
        writer.close()
        found = self.stored(placed)
        assert found[1] == as_rows(wanted)
        assert found[2] == as_rows(self.laid[1].frame)

    def test_append_mode_refuses_what_is_there(self, writer: Storage, placed: str) -> None:
        with pytest.raises(BadInput, match="already"):
            writer.write(self.laid[0].frame.iloc[-5:], asset="SPY", timestep="minute", mode="append")
        writer.close()
        assert self.stored(placed)[1] == as_rows(self.laid[0].frame)

    def test_replace_gives_up_the_series(self, writer: Storage, placed: str) -> None:
        new = minutes(11, days=2, start="2024-03-11 09:30")
        writer.write(new, asset="SPY", timestep="minute", mode="replace")
        pd.testing.assert_frame_equal(writer.get_historical_prices("SPY"), new, check_freq=False)
        assert writer.verify() == []
        writer.close()
        assert self.stored(placed)[1] == as_rows(new)
        assert self.stored(placed)[3] == as_rows(self.laid[2].frame)

    def test_a_write_that_fails_leaves_nothing(self, writer: Storage, placed: str) -> None:
        bad = self.laid[0].frame.assign(close=[np.inf, *self.laid[0].frame["close"].iloc[1:]])
        before = writer.version
        with pytest.raises(BadInput):
            writer.write(bad, asset="SPY", timestep="minute")
        with pytest.raises(BadInput):
            writer.write(bad.iloc[:0], asset="NEW", timestep="minute")
        assert writer.version == before
        assert writer.verify() == []
        writer.close()
        assert self.stored(placed) == {at: as_rows(one.frame) for at, one in enumerate(self.laid, start=1)}

    def test_unsorted_rows_and_duplicates(self, path: str) -> None:
        frame = minutes(5, days=2)
        twice = pd.concat([frame.iloc[50:], frame.iloc[:60] * 2, frame.iloc[:50]])
        with open_store(path) as store:
            summary = store.write(twice, asset="SPY", timestep="minute")
            assert set(summary.repaired) == {"unsorted rows", "duplicate timestamps"}
        wanted = twice[~twice.index.duplicated(keep="first")].sort_index()
        assert self.stored(path) == {1: as_rows(wanted)}

    def test_delete(self, writer: Storage, placed: str) -> None:
        frame = self.laid[0].frame
        gone = frame.loc["2024-03-06":"2024-03-07"]
        assert writer.delete("SPY", "minute", "2024-03-06", "2024-03-07") == len(gone)
        left = frame.drop(gone.index)
        pd.testing.assert_frame_equal(writer.get_historical_prices("SPY"), left, check_freq=False)
        missing = writer.missing("SPY", "minute", frame.index[0], frame.index[-1])
        assert [start.date().isoformat() for start, _ in missing] == ["2024-03-06"]
        assert writer.delete("QQQ", "minute") == len(self.laid[1].frame)
        assert [info.series_id for info in writer.series()] == [1, 3]
        assert writer.verify() == []
        writer.close()
        assert self.stored(placed) == {1: as_rows(left), 3: as_rows(self.laid[2].frame)}

    def test_written_again_after_a_delete(self, writer: Storage, placed: str) -> None:
        writer.delete("SPY", "day")
        frame = daily(12, 40)
        writer.write(frame, asset="IWM", timestep="day")
        writer.compact()
        pd.testing.assert_frame_equal(
            writer.get_historical_prices("IWM", timestep="day"), frame, check_freq=False
        )
        with pytest.raises(UnknownSeries):
            writer.find("SPY", "day")
        assert writer.verify() == []

    def test_mark_empty(self, writer: Storage) -> None:
        start, end = dt.datetime(2024, 5, 1, tzinfo=dt.UTC), dt.datetime(2024, 5, 2, tzinfo=dt.UTC)
        writer.mark_empty("IWM", "minute", start, end)
        assert writer.known_empty("IWM", "minute") == [(start, end)]
        assert writer.missing("IWM", "minute", start, end) == []
        with pytest.raises(BadInput, match="has 90 bars"):
            writer.mark_empty("SPY", "minute", "2024-03-05", "2024-03-05")

    def test_describe_source(self, writer: Storage) -> None:
        writer.describe_source("user", {"feed": 1})
        writer.describe_source("user", {"feed": "all"})
        kept = writer.sql("SELECT config FROM data_sources WHERE source_name = 'user'")
        assert [json.loads(text) for text in kept.column(0).to_pylist()] == [{"feed": "all"}]
        with pytest.raises(ConfigError, match="no bars from"):
            writer.describe_source("nobody", {})

    def test_compact_changes_no_answer(self, path: str) -> None:
        frames = {symbol: minutes(at, days=12) for at, symbol in enumerate("ABCD")}
        with open_store(path, memory="64MB") as store:
            for symbol, frame in frames.items():
                store.write(frame, asset=symbol, timestep="minute")
            store.write(daily(7), asset="A", timestep="day")
            store.write(frames["B"].iloc[300:500] * 2, asset="B", timestep="minute")
            store.delete("C", "minute", "2024-03-06", "2024-03-06")
            before = {
                info.series_id: store.read(info.asset, info.timestep).read_all() for info in store.series()
            }
            assert not store.is_compact
            store.compact()
            assert store.is_compact
            after = {
                info.series_id: store.read(info.asset, info.timestep).read_all() for info in store.series()
            }
            assert before == after
            assert store.verify() == []
            store.compact()
            assert store.is_compact
        assert {at: len(rows) for at, rows in self.stored(path).items()} == {
            at: table.num_rows for at, table in before.items()
        }

    def test_compact_in_the_background(self, writer: Storage) -> None:
        writer.write(minutes(9, days=3, start="2024-03-14 09:30"), asset="SPY", timestep="minute")
        before = writer.get_historical_prices("SPY")
        job = writer.compact(background=True)
        assert job.wait(60)
        assert writer.is_compact
        pd.testing.assert_frame_equal(writer.get_historical_prices("SPY"), before)

    def test_files_with_marks(self, path: str, tmp_path: Path) -> None:
        items = []
        for at, symbol in enumerate("ABC"):
            file = tmp_path / f"{symbol}.parquet"
            minutes(at).to_parquet(file)
            items.append(FileWrite((str(file),), asset_key(symbol), "minute", mark=FileMark.of(file, symbol)))
        (tmp_path / "bad.csv").write_text("date,open,high,low,close\n2024-01-02,1,1,2,1\n")
        items.insert(1, FileWrite((str(tmp_path / "bad.csv"),), asset_key("D"), "day"))
        with open_store(path) as store:
            outcomes = [outcome for _, outcome in store.write_files(iter(items), workers=2)]
            assert [isinstance(one, BadInput) for one in outcomes] == [False, True, False, False]
            assert store.marks() == {item.mark for item in items if item.mark}
            whole = FileMark("/whole", 1, 2, "x")
            store.remember([whole])
            assert whole in store.marks()
        assert self.stored(path) == {at + 1: as_rows(minutes(at)) for at in range(3)}

    def test_bars_as_they_arrive(self, writer: Any, placed: str) -> None:
        last = self.laid[0].frame.iloc[-1]
        fresh = minutes(14, days=1, rows=3, start="2024-03-14 09:30")
        writer.append(fresh, asset="SPY", timestep="minute")
        revised = self.laid[0].frame.iloc[[-1]] + 1
        writer.append(revised, asset="SPY", timestep="minute")
        assert writer.revisions("SPY", "minute").column("close").to_pylist() == [last["close"]]
        wanted = pd.concat([self.laid[0].frame.iloc[:-1], revised, fresh])
        assert writer.verify() == []
        writer.close()
        assert self.stored(placed)[1] == as_rows(wanted)

    def test_waiting_for_bars(self, writer: Storage) -> None:
        seen = writer.version
        assert writer.wait_for_bars(seen, 0.01) == seen
        thread = threading.Thread(
            target=writer.write, args=(minutes(20),), kwargs={"asset": "NEW", "timestep": "minute"}
        )
        thread.start()
        assert writer.wait_for_bars(seen, 30) > seen
        thread.join()

    # ---- manners

    def test_read_only_refuses_to_write(self, reader: Storage) -> None:
        for attempt in (
            lambda: reader.write(minutes(1), asset="NEW", timestep="minute"),
            lambda: reader.delete("SPY", "minute"),
            lambda: reader.mark_empty("NEW", "minute", "2024-01-01", "2024-01-02"),
            lambda: reader.remember([FileMark("/a", 1, 2, "x")]),
            reader.compact,
            lambda: reader.sql("DELETE FROM bars"),
        ):
            with pytest.raises(StoreReadOnly):
                attempt()

    def test_closed(self, reader: Storage) -> None:
        stream = reader.read("SPY", "minute")
        reader.close()
        reader.close()
        for attempt in (reader.series, lambda: reader.sql("SELECT 1"), lambda: reader.scan(1, 1, 0, 1, [])):
            with pytest.raises(StoreClosed):
                attempt()
        with pytest.raises(StoreClosed):
            stream.read_all()

    def test_memory_is_lowered_and_given_back(self, reader: Storage) -> None:
        before = reader.lower_memory(16_000_000)
        assert before == 64_000_000
        assert reader.lower_memory(64_000_000) == 16_000_000
        pd.testing.assert_frame_equal(
            reader.get_historical_prices("SPY"), self.laid[0].frame, check_freq=False
        )
        reader.restore_memory(before)
        assert reader.lower_memory(before) == before

    def test_opened_twice_it_is_shared(self, placed: str) -> None:
        with open_store(placed, read_only=True) as one, open_store(placed, read_only=True) as other:
            one.close()
            assert len(other.series()) == 3
