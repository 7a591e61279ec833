"""Any input as one thing: a relation that DuckDB can scan as often as it must, and its columns.

Frames and tables in memory stay where they are and are scanned in slices; Parquet files are
scanned by DuckDB itself; what can be read only once, and text, is spooled to a Parquet file.
"""

from __future__ import annotations

import datetime as dt
import glob
import os
import zoneinfo
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import pyarrow as pa

from lazybars.errors import BadInput
from lazybars.model import BAR_FIELDS
from lazybars.store import files, frames
from lazybars.store.kinds import Field, dtype_of, kind_of
from lazybars.store.schema import identifier, literal
from lazybars.store.specs import Spec, is_text

__all__ = [
    "MARKET_ZONE",
    "TIME_NAMES",
    "ZONED_TEXT",
    "Arrival",
    "TimeColumn",
    "arrival_of",
    "open_arrival",
    "zone_name",
]

MARKET_ZONE = "America/New_York"
# A time of day and then a zone; the date alone ends like an offset.
ZONED_TEXT = r".*:\d{2}.*(Z|z|UTC|GMT|[+-]\d{2}(:?\d{2})?|[A-Za-z]+/[A-Za-z_]+)"
TIME_NAMES = (
    "datetime",
    "timestamp",
    "date",
    "time",
    "ts",
    "index",
    "__index_level_0__",
    "column0",  # what DuckDB calls a CSV column without a header, as an unnamed index is written
    "unnamed: 0",
)


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """Where the time is.

    form : "instant" (with a zone), "naive", "date", "text" (naive) or "zoned text".
    unit : the resolution that its owner's index has.
    """

    source: str
    form: str
    unit: str

    @property
    def is_ns(self) -> bool:
        """Whether DuckDB counts these times in nanoseconds."""
        return self.unit == "ns" and self.form != "date"


@dataclass(slots=True)
class Arrival:
    """What is to be written, ready to scan. Owned by the thread that writes.

    relation : SQL to put after FROM, on the cursor that it was opened with.
    params : the named parameters in it.
    zone : the IANA zone of naive times.
    spool : a temporary file of ours, or None.
    """

    label: str
    relation: str
    time: TimeColumn
    fields: tuple[Field, ...]
    zone: str
    params: dict[str, Any] = field(default_factory=dict)
    spool: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the times are of a wall clock that may jump."""
        return self.time.form in ("naive", "date", "text") and self.zone != "UTC"


def zone_name(tz: str | dt.tzinfo | None) -> str:
    """The IANA name of a time zone; New York for None, as Lumibot takes naive times."""
    if tz is None:
        return MARKET_ZONE
    name = tz if isinstance(tz, str) else str(getattr(tz, "key", None) or getattr(tz, "zone", None) or tz)
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadInput(
            f"tz={tz!r} is no time zone: give an IANA name such as {MARKET_ZONE!r} or 'UTC'"
        ) from error
    return name


@contextmanager
def open_arrival(
    cur: duckdb.DuckDBPyConnection, data: Any, tz: str | dt.tzinfo | None, scratch: str
) -> Iterator[Arrival]:
    """Recognise ``data`` for as long as the block lasts. Raises BadInput where it holds no bars."""
    zone = zone_name(tz)
    paths = _paths(data)
    stream: Any = None
    spool: str | None = None
    try:
        if paths is not None:
            label, relation, params, specs, spool = files.open_files(cur, paths, scratch)
        else:
            label, specs, stream, spool = frames.open_frame(data, scratch)
            relation, params = ("incoming", {}) if spool is None else files.parquet_relation([spool])
        if stream is not None:
            cur.register("incoming", stream)
        yield arrival_of(cur, label, relation, params, specs, zone, spool)
    finally:
        if stream is not None:
            cur.unregister("incoming")
        if spool is not None:
            os.remove(spool)


def arrival_of(
    cur: duckdb.DuckDBPyConnection,
    label: str,
    relation: str,
    params: dict[str, Any],
    specs: Sequence[Spec],
    zone: str,
    spool: str | None = None,
) -> Arrival:
    """A relation with these columns as an arrival. Raises BadInput where they are no bars."""
    time, fields = _shape(label, specs)
    if time.form == "text":
        time = _text_form(cur, label, relation, params, time)
    return Arrival(label, relation, time, fields, zone, params, spool)


def _paths(data: Any) -> list[str] | None:
    """The files that ``data`` names, in order; None where it names none."""
    if isinstance(data, (str, os.PathLike)):
        name = os.fspath(data)
        if os.path.isfile(name):
            return [name]
        found = sorted(glob.glob(name, recursive=True))
        if not found:
            raise BadInput(f"{name}: no such file, and no file matches it as a pattern")
        return found
    if isinstance(data, Sequence) and data and all(isinstance(item, (str, os.PathLike)) for item in data):
        return [path for item in data for path in _paths(item) or ()]
    return None


def _shape(label: str, specs: Sequence[Spec]) -> tuple[TimeColumn, tuple[Field, ...]]:
    """Find the time, the prices and the extras among the columns."""
    seen: dict[str, str] = {}
    for spec in specs:
        if not isinstance(spec.source, str):
            raise BadInput(
                f"{label}: column name {spec.source!r} is not text; where the columns have two levels, "
                "as yfinance gives them, keep the first: df.columns = df.columns.get_level_values(0)"
            )
        other = seen.get(spec.source.lower())
        seen[spec.source.lower()] = spec.source
        if other is not None:
            raise BadInput(
                f"{label}: two columns are called {other!r} and {spec.source!r}: rename or drop one"
            )
    time = _find_time(label, specs)
    fields = []
    for spec in specs:
        if spec.source == time.source or spec.only_index:
            continue
        bar = spec.source.lower() in BAR_FIELDS
        name = spec.source.lower() if bar else spec.source
        fields.append(_field(name, spec, bar))
    lacking = [name for name in ("open", "high", "low", "close") if name not in {f.name for f in fields}]
    if lacking:
        names = ", ".join(spec.source for spec in specs)
        raise BadInput(f"{label}: no column {', '.join(lacking)}; the columns are {names}")
    return time, tuple(fields)


def _field(name: str, spec: Spec, bar: bool) -> Field:
    text = is_text(spec.type)
    dtype = spec.dtype or dtype_of(spec.type, name)
    if not bar:
        kind = kind_of(dtype, boolean=pa.types.is_boolean(spec.type))
        return Field(name, spec.source, dtype, kind, text and kind != "text")
    if text or pa.types.is_null(spec.type):
        # Prices as text: kept where every one is a number, rejected with its row otherwise.
        return Field(
            name, spec.source, dtype if kind_of(dtype) in ("int", "float") else "float64", "float", text
        )
    if kind_of(dtype) not in ("int", "float"):
        raise BadInput(f"column {name!r} holds {spec.type}, not numbers")
    return Field(name, spec.source, dtype, "float")


def _find_time(label: str, specs: Sequence[Spec]) -> TimeColumn:
    for spec in specs:
        if spec.time:
            return _time_column(label, spec)
    by_name = {spec.source.lower(): spec for spec in specs}
    named = [by_name[name] for name in TIME_NAMES if name in by_name]
    for spec in named:
        if pa.types.is_timestamp(spec.type) or pa.types.is_date(spec.type) or is_text(spec.type):
            if is_text(spec.type) and {"date", "time"} <= by_name.keys():
                raise BadInput(
                    f"{label}: date and time stand in two columns: join them into one called datetime"
                )
            return _time_column(label, spec)
    if named:
        return _time_column(label, named[0])
    names = ", ".join(spec.source for spec in specs)
    raise BadInput(
        f"{label}: no timestamp column; give the frame a DatetimeIndex or call a column datetime, "
        f"timestamp, date or time. The columns are {names}"
    )


def _time_column(label: str, spec: Spec) -> TimeColumn:
    if pa.types.is_timestamp(spec.type):
        return TimeColumn(spec.source, "instant" if spec.type.tz else "naive", spec.type.unit)
    if pa.types.is_date(spec.type):
        return TimeColumn(spec.source, "date", "ns")
    if is_text(spec.type) and (spec.dtype is None or kind_of(spec.dtype) == "text"):
        return TimeColumn(spec.source, "text", "ns")
    if pa.types.is_null(spec.type):
        return TimeColumn(spec.source, "text", "ns")
    raise _unsaid_unit(label, spec.source, spec.dtype or str(spec.type))


def _text_form(
    cur: duckdb.DuckDBPyConnection, label: str, relation: str, params: dict[str, Any], time: TimeColumn
) -> TimeColumn:
    """Whether times given as text carry a zone: the first one decides, the checks see to the rest."""
    column = identifier(time.source)
    first = cur.execute(
        f"SELECT t, regexp_full_match(t, {literal(ZONED_TEXT)}) FROM "
        f"(SELECT CAST({column} AS VARCHAR) AS t FROM {relation} WHERE {column} IS NOT NULL LIMIT 1)",
        params,
    ).fetchall()
    if not first:
        return time
    text, zoned = first[0]
    if text.isdigit():
        raise _unsaid_unit(label, time.source, "integers")
    return replace(time, form="zoned text") if zoned else time


def _unsaid_unit(label: str, column: str, held: str) -> BadInput:
    return BadInput(
        f"{label}: the time column {column!r} holds {held}: whether these are seconds, ms, us or ns is not "
        "said; convert it first, for instance with pandas.to_datetime(column, unit='s', utc=True)"
    )
