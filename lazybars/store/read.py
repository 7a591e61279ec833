"""Bars out of the store: streams, and the scans that the engine of lazybars makes."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lazybars.errors import ConfigError, StoreClosed
from lazybars.model import Column, SeriesInfo
from lazybars.store.catalog import Entry
from lazybars.store.days import ZONE
from lazybars.store.engine import Engine
from lazybars.store.kinds import arrow_type
from lazybars.store.schema import identifier

__all__ = [
    "BATCH_ROWS",
    "NS_US",
    "in_time",
    "instant_us",
    "int64s",
    "last_before",
    "reader",
    "revisions",
    "scan",
    "schema_of",
    "selection",
    "series_days",
    "sessions",
    "timestamps",
]

BATCH_ROWS = 65_536
_UTC_STAMP = pa.timestamp("us", "UTC")
NS_US = 2**63 // 1000  # microseconds that nanoseconds reach to, either way
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST_US, _LAST_US = -(2**60), 2**60  # wider than any bar, within what TIMESTAMPTZ holds

Int64s = npt.NDArray[np.int64]


def instant_us(value: Any, *, end: bool = False, zone: str = ZONE) -> int | None:
    """Microseconds since the epoch of a bound, or None for None.

    Naive times are New York's, as Lumibot takes them. A bare date (a ``date``, or an ISO text
    without a time) is its midnight there or, as an end, the last microsecond of that day.
    """
    if value is None:
        return None
    if isinstance(value, np.datetime64):
        value = value.astype("M8[D]" if np.datetime_data(value.dtype)[0] in "YMWD" else "M8[us]").item()
    if isinstance(value, str):
        try:
            value = _date_or_time(value)
        except ValueError as error:
            raise ConfigError(f"{value!r} is no time: give a datetime, a date or an ISO text") from error
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        if end and value == dt.date.max:
            return _LAST_US
        day = value + dt.timedelta(days=1) if end else value
        midnight = dt.datetime(day.year, day.month, day.day, tzinfo=zoneinfo.ZoneInfo(zone))
        return (midnight - _EPOCH) // dt.timedelta(microseconds=1) - end
    if not isinstance(value, dt.datetime) or value != value:  # NaT is a datetime, and unlike itself
        raise ConfigError(f"{value!r} is no time: give a datetime, a date or an ISO text")
    if value.tzinfo is None:
        value = value.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    return int((value - _EPOCH) // dt.timedelta(microseconds=1))


def _date_or_time(text: str) -> dt.date | dt.datetime:
    """An ISO text: a date where it says no time."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return dt.datetime.fromisoformat(text)


def chosen(info: SeriesInfo, columns: Sequence[str] | None) -> list[Column]:
    """The columns asked for, in the owner's order. Raises ConfigError where one is not there."""
    if columns is None:
        return list(info.columns)
    columns = [columns] if isinstance(columns, str) else columns
    names = [column.name for column in info.columns]
    unknown = [name for name in columns if name not in (*names, "timestamp")]
    if unknown:
        raise ConfigError(f"{info.label} has no column {', '.join(unknown)}; it has {', '.join(names)}")
    return [column for column in info.columns if column.name in columns]


def reader(
    engine: Engine, entry: Entry, start_us: int | None, end_us: int | None, columns: list[Column]
) -> pa.RecordBatchReader:
    """Stream one series in time order, both bounds included. The reader owns a cursor until it ends."""
    batches = _batches(engine, entry, start_us, end_us, columns)
    schema = next(batches)  # a fault of the query shows here, and the stream counts as open from now on
    return pa.RecordBatchReader.from_batches(schema, batches)


def _batches(
    engine: Engine,
    entry: Entry,
    start_us: int | None,
    end_us: int | None,
    columns: list[Column],
) -> Iterator[Any]:
    """First the schema, when the query is under way, then the batches."""
    schema: pa.Schema | None = None
    with engine.stream() as seat:
        for held, in_order in engine.stretches(entry, start_us, end_us):
            with held as bars:
                with seat.lock:
                    if schema is not None and seat.closed:
                        raise _closed_early(engine)
                    result = in_time(seat.cursor, bars, in_order, entry, start_us, end_us, columns)
                    rows = result.to_arrow_reader(BATCH_ROWS)
                    seat.on_close = rows.close
                if schema is None:
                    schema = schema_of(columns, rows.schema.types[1:])
                    yield schema
                while True:
                    with seat.lock:
                        if seat.on_close is None:
                            raise _closed_early(engine)
                        batch = next(rows, None)
                    if batch is None:
                        break
                    yield pa.RecordBatch.from_arrays(
                        [array.cast(field.type) for array, field in zip(batch.columns, schema, strict=True)],
                        schema=schema,
                    )


def in_time(
    cur: duckdb.DuckDBPyConnection,
    bars: str,
    in_order: bool,
    entry: Entry,
    start_us: int | None,
    end_us: int | None,
    columns: list[Column],
) -> duckdb.DuckDBPyRelation:
    """The bars of a series in time order, not fetched yet."""
    query, params = selection(bars, in_order, entry, start_us, end_us, columns)
    return cur.sql(query, params=params)


def selection(
    bars: str,
    in_order: bool,
    entry: Entry,
    start_us: int | None,
    end_us: int | None,
    columns: list[Column],
) -> tuple[str, list[int]]:
    """Query and parameters of the bars of a series in time order: ``ts``, then the columns."""
    wanted = ", ".join(["ts", *(identifier(column.physical) for column in columns)])
    bounds = [_FIRST_US if start_us is None else start_us, _LAST_US if end_us is None else end_us]
    # Sorting holds up the stream and costs memory; a series that was only appended to needs none.
    order = "" if in_order else "ORDER BY ts"
    return (
        f"SELECT {wanted} FROM {bars} WHERE series_id = ? "
        f"AND ts BETWEEN make_timestamptz(?::BIGINT) AND make_timestamptz(?::BIGINT) {order}",
        [entry.info.series_id, *bounds],
    )


def schema_of(columns: list[Column], stored: list[pa.DataType]) -> pa.Schema:
    """Names and types that bars are handed out with, of what DuckDB has them as."""
    fields = [pa.field("timestamp", _UTC_STAMP)]
    for column, type_ in zip(columns, stored, strict=True):
        name = "timestamp_" if column.name == "timestamp" else column.name
        fields.append(pa.field(name, arrow_type(column.dtype, type_)))
    return pa.schema(fields)


def _closed_early(engine: Engine) -> StoreClosed:
    return StoreClosed(f"{engine.path}: the store was closed before its reader was drained")


# ------------------------------------------------------------- for the engine


def scan(
    engine: Engine,
    first_id: int,
    last_id: int,
    start_ns: int,
    end_ns: int,
    columns: Sequence[str],
) -> pa.Table:
    """See :meth:`lazybars.store.Store.scan`."""
    wanted = ", ".join(["series_id", "ts", *map(identifier, columns)])
    start_us, end_us = _ceil_us(start_ns), _ceil_us(end_ns)
    with engine.cursor() as cur, engine.bars(first_id, last_id, start_us, end_us - 1) as bars:
        table = cur.sql(
            f"SELECT {wanted} FROM {bars} WHERE series_id BETWEEN ? AND ? "
            "AND ts >= make_timestamptz(?::BIGINT) AND ts < make_timestamptz(?::BIGINT)",
            params=[first_id, last_id, start_us, end_us],
        ).to_arrow_table(BATCH_ROWS)
    # The same eight bytes read as a number: no copy.
    return table.set_column(1, "ts", table.column(1).cast(pa.int64()))


def last_before(
    engine: Engine, cur: duckdb.DuckDBPyConnection, series_id: int, ns: int, columns: Sequence[str]
) -> tuple[Any, ...] | None:
    """See :meth:`lazybars.store.Store.last_before`."""
    before_us = _ceil_us(ns)
    first_us, last_us = cur.execute(
        "SELECT epoch_us(max(first_ts)), epoch_us(max(last_ts)) FROM session_days "
        "WHERE series_id = ? AND first_ts < make_timestamptz(?::BIGINT)",
        [series_id, before_us],
    ).fetchall()[0]
    if first_us is None:
        return None
    wanted = ", ".join(["epoch_us(ts) * 1000", *map(identifier, columns)])
    # Where the whole day lies before, its last bar is the one: no sort.
    whole = last_us < before_us
    span = (last_us, last_us) if whole else (first_us, before_us - 1)
    with engine.bars(series_id, series_id, *span) as held:
        bars = f"SELECT {wanted} FROM {held} WHERE series_id = ? AND ts"
        if whole:
            rows = cur.execute(f"{bars} = make_timestamptz(?::BIGINT)", [series_id, last_us]).fetchall()
        else:
            rows = cur.execute(
                f"{bars} >= make_timestamptz(?::BIGINT) AND ts < make_timestamptz(?::BIGINT) "
                "ORDER BY ts DESC LIMIT 1",
                [series_id, first_us, before_us],
            ).fetchall()
    return rows[0] if rows else None


def sessions(cur: duckdb.DuckDBPyConnection, series_ids: Sequence[int]) -> tuple[Int64s, Int64s, Int64s]:
    """See :meth:`lazybars.store.Store.sessions`."""
    table = cur.sql(
        "SELECT day - DATE '1970-01-01', epoch_us(min(first_ts)), epoch_us(max(last_ts)) FROM session_days "
        "WHERE series_id IN (SELECT unnest(?::INTEGER[])) GROUP BY day ORDER BY day",
        params=[list(series_ids)],
    ).to_arrow_table()
    day, first_us, last_us = (int64s(column) for column in table.columns)
    return day, _countable(first_us) * 1000, _countable(last_us) * 1000


def series_days(cur: duckdb.DuckDBPyConnection, series_id: int) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """See :meth:`lazybars.store.Store.series_days`."""
    table = cur.sql(
        "SELECT day - DATE '1970-01-01', epoch_us(first_ts), epoch_us(last_ts), rows FROM session_days "
        "WHERE series_id = ? ORDER BY day",
        params=[series_id],
    ).to_arrow_table()
    day, first_us, last_us, rows = (int64s(column) for column in table.columns)
    return day, _countable(first_us) * 1000, _countable(last_us) * 1000, rows


def timestamps(engine: Engine, entry: Entry) -> Int64s:
    """See :meth:`lazybars.store.Store.timestamps`."""
    out = np.empty(entry.info.rows, np.int64)
    at = 0
    with engine.cursor() as cur, engine.reading():
        for held, in_order in engine.stretches(entry, None, None):
            with held as bars:
                order = "" if in_order else "ORDER BY ts"
                rows = cur.sql(
                    f"SELECT ts FROM {bars} WHERE series_id = ? {order}", params=[entry.info.series_id]
                )
                for batch in rows.to_arrow_reader(BATCH_ROWS):
                    out[at : at + batch.num_rows] = np.from_dlpack(batch.column(0).cast(pa.int64()))
                    at += batch.num_rows
    out = _countable(out[:at])
    out *= 1000
    return out


def revisions(cur: duckdb.DuckDBPyConnection, where: str, params: list[Any], limit: int | None) -> pa.Table:
    """See :meth:`lazybars.store.Store.revisions`."""
    return cur.sql(
        "SELECT c.symbol AS asset_symbol, c.asset_type, r.ts AS timestamp, c.timestep AS timeframe, "
        "c.source, r.revised_at, r.open, r.high, r.low, r.close, r.volume, "
        "CAST(r.extras AS VARCHAR) AS extras "
        f"FROM (SELECT *, rowid AS n FROM bar_revisions {where}) r JOIN series_catalog c USING (series_id) "
        "ORDER BY r.revised_at, r.n LIMIT ?",
        params=[*params, 2**60 if limit is None else limit],
    ).to_arrow_table()


def _countable(us: Int64s) -> Int64s:
    """The same microseconds. Raises ConfigError where they are beyond what nanoseconds reach to."""
    if len(us) and max(int(us.max()), -int(us.min())) > NS_US:
        raise ConfigError(
            "the series has bars before 1677-09-22 or after 2262-04-11, beyond what nanoseconds count: "
            "get_historical_prices(), resample() and panel() read it, clocks and checks cannot"
        )
    return us


def int64s(column: pa.ChunkedArray) -> Int64s:
    """A column of whole numbers or timestamps as an array."""
    # Through DLPack, because Arrow's own to_numpy imports pandas: half a second and 50 MB.
    chunks = [np.asarray(np.from_dlpack(chunk)) for chunk in column.cast(pa.int64()).chunks]
    return np.concatenate(chunks) if chunks else np.empty(0, dtype=np.int64)


def _ceil_us(ns: int) -> int:
    """The first microsecond at or after ``ns``: bars lie on whole ones, so comparisons stay exact."""
    return min(max(-(-ns // 1000), _FIRST_US), _LAST_US)
