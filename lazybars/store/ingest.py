"""One write: the rows of an arrival into ``bars``, and all that is said about them elsewhere.

Everything happens in the caller's transaction, so that a write is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import duckdb

from lazybars.errors import BadInput
from lazybars.model import BAR_FIELDS, AssetKey, Column, SeriesInfo, WriteSummary
from lazybars.store import catalog, coverage, days, ranges
from lazybars.store.arrivals import Arrival
from lazybars.store.catalog import Entry
from lazybars.store.checks import Findings, instant_sql, value_sql
from lazybars.store.engine import Engine
from lazybars.store.kinds import Field, promote, settle
from lazybars.store.remove import DAY_US, count_nulls, delete_bars
from lazybars.store.schema import floored, identifier

__all__ = ["MODES", "UNITS", "Target", "columns_after", "moved", "touch_source", "write_arrival"]

MODES = ("upsert", "append", "replace")
UNITS = ("s", "ms", "us", "ns")
# Bytes of the memory limit that are set aside for a row while it is sorted.
_SORT_BYTES_A_ROW = 256


@dataclass(frozen=True, slots=True)
class Target:
    """Where a write goes. held : the series as it is, or None where it is new.

    covers : the closed range, microseconds, that its source has answered for; None for that of its bars.
    """

    asset: AssetKey
    quote: AssetKey | None
    timestep: str
    source: str
    held: Entry | None
    covers: ranges.Range | None = None


def write_arrival(
    engine: Engine,
    cur: duckdb.DuckDBPyConnection,
    arrival: Arrival,
    found: Findings,
    target: Target,
    mode: str,
) -> WriteSummary:
    """Put the checked rows in. Raises BadInput where the columns do not fit the series."""
    held = target.held
    new = held is None
    series_id = catalog.new_series_id(cur) if held is None else held.info.series_id
    replaced = 0
    if held is not None:
        if mode == "replace":
            engine.forget(series_id)
        else:
            engine.bring(cur, series_id, found.first_us - DAY_US, found.last_us + DAY_US)
        replaced = _make_room(cur, arrival, found, held, mode)
        if mode == "replace" or not held.info.rows:
            held = None
    columns = columns_after(engine, cur, series_id, arrival.fields, held)
    in_order = held is None or (
        held.in_order
        and (found.first_us > held.info.last_ns // 1000 or not _rows_from(cur, series_id, found.first_us))
    )
    everything = target.held is not None and (mode == "replace" or moved(columns, target.held))
    engine.touch(series_id, *(ranges.EVER if everything else (found.first_us, found.last_us)))
    with engine.one_thread(cur, found.rows):
        written = _insert(cur, series_id, arrival, found, columns, engine.memory_bytes)

    days.refresh(cur, series_id, found.first_us, found.last_us)
    rows, first_us, last_us = days.totals(cur, series_id)
    dropped = found.rows - written
    recount = bool(dropped or replaced)
    nulls = _nulls(engine, cur, series_id, columns, arrival.fields, found, held, recount=recount)
    info = SeriesInfo(
        series_id,
        target.asset if target.held is None else target.held.info.asset,
        target.quote,
        target.timestep,
        target.source,
        rows,
        first_us * 1000,
        last_us * 1000,
        tuple(
            replace(column, dtype=settle(column.dtype, nulls[column.name]), has_null=nulls[column.name])
            for column in columns
        ),
        arrival.time.unit if held is None else max(arrival.time.unit, held.info.index_unit, key=UNITS.index),
    )
    catalog.save(cur, Entry(info, in_order), new=new)
    span = (found.first_us, found.last_us)
    coverage.learn(cur, info, target.covers or span, span)
    touch_source(cur, target.source)
    cur.execute("UPDATE meta SET value = 'mixed' WHERE key = 'layout'")
    repaired = {}
    if found.out_of_order:
        repaired["unsorted rows"] = found.out_of_order
    if dropped:
        repaired["duplicate timestamps"] = dropped
    return WriteSummary(info, found.rows, written, replaced, 0, repaired)


# ----------------------------------------------------------------------- rows


def _make_room(
    cur: duckdb.DuckDBPyConnection, arrival: Arrival, found: Findings, held: Entry, mode: str
) -> int:
    """Delete the rows that the incoming ones stand for; gives how many."""
    info = held.info
    if mode == "replace":
        delete_bars(cur, info.series_id, None)
        cur.execute("DELETE FROM bar_revisions WHERE series_id = ?", [info.series_id])
        cur.execute("DELETE FROM session_days WHERE series_id = ?", [info.series_id])
        cur.execute("DELETE FROM known_ranges WHERE series_id = ?", [info.series_id])
        return info.rows
    if found.first_us > info.last_ns // 1000 or found.last_us < info.first_ns // 1000:
        return 0
    same = (
        "FROM bars WHERE series_id = $series AND ts BETWEEN make_timestamptz($first::BIGINT) AND "
        f"make_timestamptz($last::BIGINT) AND ts IN (SELECT {instant_sql(arrival)} FROM {arrival.relation})"
    )
    params = {**arrival.params, "series": info.series_id, "first": found.first_us, "last": found.last_us}
    if mode == "append":
        overlap = cur.execute(f"SELECT count(*) {same}", params).fetchall()[0][0]
        if overlap:
            raise BadInput(
                f"{arrival.label}: {overlap} of its timestamps are in {info.label} already, and "
                "mode='append' "
                "replaces nothing: write with mode='upsert', or leave those rows out"
            )
        return 0
    return int(cur.execute(f"DELETE {same}", params).fetchall()[0][0])


def _rows_from(cur: duckdb.DuckDBPyConnection, series_id: int, first_us: int) -> bool:
    """Whether rows at or after that time remain: then what is appended now is out of order on disk."""
    return bool(
        cur.execute(
            "SELECT 1 FROM bars WHERE series_id = ? AND ts >= make_timestamptz(?::BIGINT) LIMIT 1",
            [series_id, first_us],
        ).fetchall()
    )


def _insert(
    cur: duckdb.DuckDBPyConnection,
    series_id: int,
    arrival: Arrival,
    found: Findings,
    columns: list[Column],
    memory_bytes: int,
) -> int:
    """Insert the rows, sorted and without duplicates; gives how many."""
    sources = {field.name: value_sql(field) for field in arrival.fields}
    filled = [column for column in columns if column.name in sources]
    names = ", ".join(identifier(column.physical) for column in filled)
    into = f"INSERT INTO bars (series_id, ts, {names})"
    values = ", ".join(f"{sources[column.name]} AS {identifier(column.physical)}" for column in filled)
    rows = f"SELECT {instant_sql(arrival)} AS ts, {values} FROM {arrival.relation}"
    if found.is_sorted:
        result = cur.execute(f"{into} SELECT {series_id:d}, * FROM ({rows})", arrival.params)
        return int(result.fetchall()[0][0])
    # The first of equal timestamps stays, as Lumibot's Data keeps it. Sorted span by span, so that
    # no sort outgrows the memory limit.
    numbered = f"SELECT *, row_number() OVER () AS n FROM ({rows})"
    written = 0
    for start_us, stop_us in _spans(cur, arrival, found, memory_bytes):
        within = f"ts >= make_timestamptz({start_us:d}) AND ts < make_timestamptz({stop_us:d})"
        span = f"SELECT * FROM ({numbered}) WHERE {within}"
        marked = f"SELECT *, lag(ts) OVER (ORDER BY ts, n) AS before FROM ({span})"
        result = cur.execute(
            f"{into} SELECT {series_id:d}, ts, {names} FROM ({marked}) WHERE before IS DISTINCT FROM ts "
            "ORDER BY ts",
            arrival.params,
        )
        written += int(result.fetchall()[0][0])
    return written


def _spans(
    cur: duckdb.DuckDBPyConnection, arrival: Arrival, found: Findings, memory_bytes: int
) -> Iterator[ranges.Range]:
    """Half-open spans of time, ascending, that hold no more rows than a sort within the limit takes."""
    most = max(100_000, memory_bytes // _SORT_BYTES_A_ROW)
    if found.rows <= most:
        yield found.first_us, found.last_us + 1
        return
    day_us = 86_400_000_000
    counts = cur.execute(
        f"SELECT {floored(f'epoch_us({instant_sql(arrival)})', day_us)} AS day, count(*) "
        f"FROM {arrival.relation} "
        "GROUP BY day ORDER BY day",
        arrival.params,
    ).fetchall()
    start_us, held = found.first_us, 0
    for day, rows in counts:
        if held and held + rows > most:
            yield start_us, day * day_us
            start_us, held = day * day_us, 0
        held += rows
    yield start_us, found.last_us + 1


# -------------------------------------------------------------------- columns


def columns_after(
    engine: Engine,
    cur: duckdb.DuckDBPyConnection,
    series_id: int,
    fields: tuple[Field, ...],
    held: Entry | None,
) -> list[Column]:
    """The columns that the series has from now on: its own, then what the input adds."""
    before = {} if held is None else {column.name: column for column in held.info.columns}
    out = dict(before)
    for field in fields:
        old = before.get(field.name)
        if old is None:
            physical = (
                field.name
                if field.name in BAR_FIELDS
                else catalog.physical_column(cur, field.name, field.kind)
            )
            out[field.name] = Column(field.name, field.dtype, physical)
            continue
        dtype = promote(field.name, old.dtype, field.dtype)
        out[field.name] = replace(old, dtype=dtype, physical=_same_kind(engine, cur, series_id, old, field))
    return list(out.values())


def _same_kind(
    engine: Engine, cur: duckdb.DuckDBPyConnection, series_id: int, old: Column, field: Field
) -> str:
    """The physical column for old and new rows together; whole numbers move over to floats."""
    if field.name in BAR_FIELDS:
        return old.physical
    kind = catalog.physical_kind(cur, old.physical)
    if kind == field.kind or (kind, field.kind) == ("float", "int"):
        return old.physical
    if (kind, field.kind) != ("int", "float"):
        raise BadInput(
            f"column {field.name!r} is stored as {kind} and comes as {field.kind}: rename it, convert it, "
            "or write with mode='replace'"
        )
    engine.bring(cur, series_id, *ranges.EVER)
    physical = catalog.physical_column(cur, field.name, "float")
    cur.execute(
        f"UPDATE bars SET {identifier(physical)} = {identifier(old.physical)}, {identifier(old.physical)} "
        "= NULL "
        "WHERE series_id = ?",
        [series_id],
    )
    return physical


def moved(columns: list[Column], held: Entry) -> bool:
    """Whether bars that were there changed their physical column."""
    now = {column.name: column.physical for column in columns}
    return any(now.get(column.name) != column.physical for column in held.info.columns)


def _nulls(
    engine: Engine,
    cur: duckdb.DuckDBPyConnection,
    series_id: int,
    columns: list[Column],
    fields: tuple[Field, ...],
    found: Findings,
    held: Entry | None,
    *,
    recount: bool,
) -> dict[str, bool]:
    """Whether each column of the series has a NULL now, exactly."""
    incoming = {field.name for field in fields}
    before = {} if held is None else {column.name: column.has_null for column in held.info.columns}
    had_rows = held is not None and held.info.rows > 0
    flags = {
        column.name: before.get(column.name, had_rows)
        or column.name not in incoming
        or found.nulls[column.name] > 0
        for column in columns
    }
    # A row that held the only NULL may just have been replaced, or dropped as a duplicate.
    doubtful = [column for column in columns if flags[column.name]] if recount else []
    return {**flags, **count_nulls(engine, cur, series_id, doubtful)}


# ---------------------------------------------------------------- bookkeeping


def touch_source(cur: duckdb.DuckDBPyConnection, source: str) -> None:
    """Bars of that source have arrived."""
    cur.execute("UPDATE sources SET last_updated = now() WHERE source_name = ?", [source])
    cur.execute(
        "INSERT INTO sources SELECT ?, 0, now(), '{}' WHERE NOT EXISTS (SELECT 1 FROM sources WHERE "
        "source_name = ?)",
        [source, source],
    )
