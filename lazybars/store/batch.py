"""Bars as they arrive, a few of each of many series, as one relation that is checked and read once."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lazybars.errors import BadInput
from lazybars.model import BAR_FIELDS
from lazybars.store.arrivals import arrival_of, zone_name
from lazybars.store.checks import inspect, instant_sql, value_sql
from lazybars.store.frames import arrow_specs, open_frame
from lazybars.store.kinds import Field
from lazybars.store.read import Int64s, int64s
from lazybars.store.specs import Spec

__all__ = ["Batch", "Part", "batches"]


@dataclass(frozen=True, slots=True)
class Part:
    """The bars of one series of a batch.

    place : which of those given. rows_read : how many were given.
    fields : its columns, as ``ingest`` takes them. unit : the resolution of its index, or None where
    plain values, which have none, were given.
    """

    place: int
    rows_read: int
    fields: tuple[Field, ...]
    unit: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Checked bars of series with the same columns.

    places, us : of each row, which series it is of and its time in microseconds UTC; ascending in both,
        without duplicates.
    rows : the values as they are stored, by name.
    """

    parts: tuple[Part, ...]
    places: Int64s
    us: Int64s
    rows: pa.Table


@dataclass(slots=True)
class _Given:
    place: int
    table: pa.Table
    specs: list[Spec]
    plain: bool


def batches(
    cur: duckdb.DuckDBPyConnection,
    given: Sequence[Any],
    labels: Sequence[str],
    tz: str | dt.tzinfo | None,
    scratch: str,
) -> list[Batch]:
    """Check the bars given for each series, and put those of the same columns together.

    Raises BadInput, as ``inspect`` does, where a row cannot be stored; nothing is stored yet.
    """
    zone = zone_name(tz)
    groups: dict[tuple[Any, ...], list[_Given]] = {}
    for place, bars in enumerate(given):
        one = _given(place, bars, labels[place], scratch)
        key = (one.plain, tuple((spec.source, str(spec.type), spec.dtype, spec.time) for spec in one.specs))
        groups.setdefault(key, []).append(one)
    return [_batch(cur, group, labels, zone) for group in groups.values()]


def _batch(cur: duckdb.DuckDBPyConnection, group: list[_Given], labels: Sequence[str], zone: str) -> Batch:
    places = pa.array(
        np.repeat([one.place for one in group], [one.table.num_rows for one in group]), pa.int32()
    )
    table = pa.concat_tables([one.table for one in group])
    place = "place"
    while place in {name.lower() for name in table.column_names}:
        place += "_"
    table = table.append_column(place, places)
    label = labels[group[0].place] if len(group) == 1 else f"the bars of {len(group)} series"
    cur.register("incoming", table)
    try:
        arrival = arrival_of(cur, label, "incoming", {}, group[0].specs, zone)
        try:
            inspect(cur, arrival)
        except BadInput as error:
            if len(group) == 1 or not error.rows:
                raise
            at = [f"{labels[places[n].as_py()]}: {why}" for n, why in error.rows]
            raise BadInput(f"{error} Of {'; '.join(at[:5])}", error.rows) from error
        values = "".join(f', {value_sql(field)} AS "v{i}"' for i, field in enumerate(arrival.fields))
        numbered = (
            f"SELECT {place} AS place, epoch_us({instant_sql(arrival)}) AS us{values}, "
            "row_number() OVER () AS n FROM incoming"
        )
        rows = cur.sql(
            f"SELECT * FROM ({numbered}) "
            "QUALIFY row_number() OVER (PARTITION BY place, us ORDER BY n) = 1 ORDER BY place, us"
        ).to_arrow_table()
    finally:
        cur.unregister("incoming")
    series_of, us = int64s(rows.column("place")), int64s(rows.column("us"))
    rows = rows.drop_columns(["place", "us", "n"]).rename_columns([field.name for field in arrival.fields])
    # Plain values have no resolution of their own: that of the series is kept where it suffices.
    unit: str | None = arrival.time.unit
    if group[0].plain:
        unit = "us" if (us % 1_000_000).any() else None
    parts = tuple(Part(one.place, one.table.num_rows, arrival.fields, unit) for one in group)
    return Batch(parts, series_of, us, rows)


def _given(place: int, bars: Any, label: str, scratch: str) -> _Given:
    if isinstance(bars, Mapping):
        bars = [bars]
    if isinstance(bars, (str, bytes, os.PathLike)):
        raise BadInput(f"{label}: append() takes a bar, a list of bars or a frame; write() takes files")
    if isinstance(bars, (list, tuple)) and bars and all(isinstance(bar, Mapping) for bar in bars):
        table = _plain(bars, label)
        return _Given(place, table, arrow_specs(table.schema), True)
    _, specs, stream, spool = open_frame(bars, scratch)
    if spool is None:
        try:
            table = pa.table(stream)
        except (pa.ArrowException, UnicodeError) as error:
            raise BadInput(f"{label}: a column cannot be stored: {' '.join(str(error).split())}") from error
    else:
        table = pq.read_table(spool)
        os.remove(spool)
    if not table.num_rows:
        raise BadInput(f"{label}: no rows; where the source says that there are none, use mark_empty()")
    return _Given(place, table, specs, False)


def _plain(bars: Sequence[Mapping[str, Any]], label: str) -> pa.Table:
    """Bars given as mappings: prices are floats, whatever they are spelled as."""
    names = list(dict.fromkeys(name for bar in bars for name in bar))
    columns = {}
    for name in names:
        values = [bar.get(name) for bar in bars]
        times = [value for value in values if isinstance(value, dt.datetime)]
        if len({value.tzinfo is None for value in times}) > 1:
            raise BadInput(f"{label}: {name!r} has a zone in some bars only")
        if any(getattr(value, "nanosecond", 0) for value in times):
            raise BadInput(
                f"{label}: {name!r} has nanoseconds, and a store has microseconds: round them first"
            )
        try:
            array = pa.array(values)
            if str(name).lower() in BAR_FIELDS[:4] and not pa.types.is_boolean(array.type):
                array = array.cast(pa.float64())
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"{label}: {name!r} cannot be stored: {' '.join(str(error).split())}") from error
        # A value that is always missing has no type, and says no more than one that is not there.
        if not pa.types.is_null(array.type):
            columns[name] = array
    return pa.table(columns)
