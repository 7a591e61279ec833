"""Bars as they arrive, of many series, into the store in one transaction and a fixed number of statements.

A bar that is there with other values is replaced where it lies, and what it was goes to
``bar_revisions``; one that is there with the same values is left alone. Everything else that is said
of a series (its days, what is known, the catalog) is brought up to date from the bars at hand
alone, so that an append costs the same however large the store is.
"""

from __future__ import annotations

import datetime as dt
import uuid
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lazybars.model import BAR_FIELDS, Column, SeriesInfo, WriteSummary
from lazybars.store import catalog, coverage, ranges
from lazybars.store.batch import Batch, Part
from lazybars.store.catalog import Entry
from lazybars.store.days import ZONE
from lazybars.store.engine import Engine
from lazybars.store.ingest import UNITS, Target, columns_after, moved, touch_source
from lazybars.store.kinds import Field, settle
from lazybars.store.read import Int64s
from lazybars.store.remove import count_nulls
from lazybars.store.schema import identifier, literal, registered

__all__ = ["append_batch"]

_NEW_YORK = zoneinfo.ZoneInfo(ZONE)
_STAMP = pa.timestamp("us", "UTC")


@dataclass(slots=True)
class _Series:
    """One series of a batch: its rows are ``lo`` to ``hi`` of the batch's. fresh : of those, the new ones."""

    part: Part
    target: Target
    series_id: int
    columns: list[Column]
    us: Int64s
    lo: int
    hi: int
    fresh: Int64s
    revised: int = 0

    @property
    def held(self) -> Entry | None:
        held = self.target.held
        return held if held is not None and held.info.rows else None


def append_batch(
    engine: Engine, cur: duckdb.DuckDBPyConnection, batch: Batch, targets: Sequence[Target]
) -> dict[int, WriteSummary]:
    """Put a batch in, within the caller's transaction; what came of each, by its place in ``targets``."""
    series = _series(engine, cur, batch, targets)
    groups: dict[tuple[tuple[str, str], ...], list[_Series]] = {}
    for one in series:
        groups.setdefault(tuple((c.name, c.physical) for c in one.columns), []).append(one)
    for columns, members in groups.items():
        _put(cur, batch, members, dict(columns))
    _put_days(cur, series)
    summaries = _put_catalog(engine, cur, batch, series)
    _put_ranges(cur, series)
    for source in {one.target.source for one in series}:
        touch_source(cur, source)
    cur.execute("UPDATE meta SET value = 'mixed' WHERE key = 'layout'")
    return summaries


def _series(
    engine: Engine, cur: duckdb.DuckDBPyConnection, batch: Batch, targets: Sequence[Target]
) -> list[_Series]:
    us = batch.us
    next_id = catalog.new_series_id(cur)
    out, new = [], []
    for part in batch.parts:
        target = targets[part.place]
        if target.held is None:
            series_id, next_id = next_id, next_id + 1
        else:
            series_id = target.held.info.series_id
        lo, hi = (int(at) for at in batch.places.searchsorted([part.place, part.place + 1]))
        held = target.held if target.held is not None and target.held.info.rows else None
        if held is not None:
            engine.bring(cur, series_id, int(us[lo]), int(us[hi - 1]))
        columns = columns_after(engine, cur, series_id, _fields(part, held, batch.rows, lo, hi), held)
        whole = held is not None and moved(columns, held)
        engine.touch(series_id, *(ranges.EVER if whole else (int(us[lo]), int(us[hi - 1]))))
        out.append(_Series(part, target, series_id, columns, us[lo:hi], lo, hi, us[lo:hi]))
        if target.held is None:
            info = SeriesInfo(
                series_id, target.asset, target.quote, target.timestep, target.source, 0, 0, 0, ()
            )
            new.append(Entry(info, True))
    # Their places in the catalog are taken at once, so that the next batch gets other ids.
    catalog.add_all(cur, new)
    return out


def _fields(part: Part, held: Entry | None, rows: pa.Table, lo: int, hi: int) -> tuple[Field, ...]:
    """The columns that came; a plain whole number goes where whole numbers are, whatever it is spelled as."""
    if held is None or not any(column.dtype.startswith("int") for column in held.info.columns):
        return part.fields
    dtypes = {column.name: column.dtype for column in held.info.columns}
    out = []
    for field in part.fields:
        dtype = dtypes.get(field.name, field.dtype)
        if part.unit is None and field.kind == "float" and dtype.startswith("int"):
            values = rows.column(field.name).slice(lo, hi - lo)
            if pc.all(pc.equal(values, pc.floor(values))).as_py() is not False:
                field = replace(field, dtype=dtype)
        out.append(field)
    return tuple(out)


# ----------------------------------------------------------------------- bars


def _put(
    cur: duckdb.DuckDBPyConnection, batch: Batch, members: list[_Series], columns: dict[str, str]
) -> None:
    """Insert the new bars of series with the same physical columns, and replace those that changed."""
    at = np.concatenate([np.arange(one.lo, one.hi) for one in members])
    ids = np.repeat([one.series_id for one in members], [one.hi - one.lo for one in members])
    names = [name for name in batch.rows.column_names if name in columns]
    staged = pa.table(
        {
            "n": pa.array(np.arange(len(at))),
            "series_id": pa.array(ids, pa.int32()),
            "ts": pa.array(batch.us[at]).cast(_STAMP),
            **{columns[name]: batch.rows.column(name).take(pa.array(at)) for name in names},
        }
    )
    given = [identifier(columns[name]) for name in names]
    known = _known(cur, staged, members, columns, given)
    _insert(cur, staged, given, np.setdiff1d(np.arange(len(at)), [n for n, _ in known]))
    _revise(cur, staged, columns, given, np.array([n for n, same in known if not same], np.int64))
    first = 0
    for one in members:
        inside = range(first, first := first + one.hi - one.lo)
        there = {n: same for n, same in known if n in inside}
        one.fresh = one.us[[n - inside.start for n in inside if n not in there]]
        one.revised = sum(not same for same in there.values())


def _known(
    cur: duckdb.DuckDBPyConnection,
    staged: pa.Table,
    members: list[_Series],
    columns: dict[str, str],
    given: list[str],
) -> list[tuple[int, bool]]:
    """(row of ``staged``, whether it says the same) of the bars that are there already."""
    # Most bars come after all that there are: only those of the other series are looked for.
    late = [one for one in members if one.held is not None and one.us[0] <= one.held.info.last_ns // 1000]
    if not late:
        return []
    same = [f"b.{name} IS NOT DISTINCT FROM s.{name}" for name in given]
    same += [f"b.{name} IS NULL" for name in map(identifier, columns.values()) if name not in given]
    with registered(cur, "staged_bars", staged):
        return cur.execute(
            f"SELECT s.n, {' AND '.join(same)} FROM bars b JOIN staged_bars s "
            "ON b.series_id = s.series_id AND b.ts = s.ts WHERE b.series_id BETWEEN ? AND ? "
            "AND b.ts BETWEEN make_timestamptz(?::BIGINT) AND make_timestamptz(?::BIGINT)",
            [
                min(one.series_id for one in late),
                max(one.series_id for one in late),
                min(int(one.us[0]) for one in late),
                max(int(one.us[-1]) for one in late),
            ],
        ).fetchall()


def _insert(cur: duckdb.DuckDBPyConnection, staged: pa.Table, given: list[str], which: Int64s) -> None:
    if not len(which):
        return
    names = ", ".join(["series_id", "ts", *given])
    with registered(cur, "staged_bars", staged.take(pa.array(which))):
        cur.execute(f"INSERT INTO bars ({names}) SELECT {names} FROM staged_bars ORDER BY series_id, ts")


def _revise(
    cur: duckdb.DuckDBPyConnection,
    staged: pa.Table,
    columns: dict[str, str],
    given: list[str],
    which: Int64s,
) -> None:
    """Replace bars where they lie, and log what they were."""
    if not len(which):
        return
    extras = [(name, physical) for name, physical in columns.items() if name not in BAR_FIELDS]
    before = ", ".join(f"{literal(name)}, b.{identifier(physical)}" for name, physical in extras)
    others = [identifier(physical) for physical in columns.values() if identifier(physical) not in given]
    changes = [f"{name} = s.{name}" for name in given] + [f"{name} = NULL" for name in others]
    same = "b.series_id = s.series_id AND b.ts = s.ts"
    with registered(cur, "staged_bars", staged.take(pa.array(which))):
        cur.execute(
            "INSERT INTO bar_revisions SELECT b.series_id, b.ts, now(), b.open, b.high, b.low, b.close, "
            f"b.volume, {f'json_object({before})' if extras else 'NULL'} FROM bars b JOIN staged_bars s "
            f"ON {same} WHERE b.ts BETWEEN (SELECT min(ts) FROM staged_bars) AND "
            "(SELECT max(ts) FROM staged_bars) ORDER BY b.series_id, b.ts"
        )
        cur.execute(f"UPDATE bars AS b SET {', '.join(changes)} FROM staged_bars s WHERE {same}")


# ---------------------------------------------------------------- bookkeeping


def _put_days(cur: duckdb.DuckDBPyConnection, series: list[_Series]) -> None:
    days: dict[tuple[int, dt.date], list[int]] = {}
    for one in series:
        for us in one.fresh.tolist():
            day = dt.datetime.fromtimestamp(us / 1e6, _NEW_YORK).date()
            days.setdefault((one.series_id, day), []).append(us)
    if not days:
        return
    changes = pa.table(
        {
            "series_id": pa.array([series_id for series_id, _ in days], pa.int32()),
            "day": pa.array([day for _, day in days], pa.date32()),
            "first_ts": pa.array([us[0] for us in days.values()], pa.int64()).cast(_STAMP),
            "last_ts": pa.array([us[-1] for us in days.values()], pa.int64()).cast(_STAMP),
            "rows": pa.array([len(us) for us in days.values()], pa.int64()),
        }
    )
    with registered(cur, "day_changes", changes):
        cur.execute(
            "MERGE INTO session_days AS d USING day_changes AS c "
            "ON d.series_id = c.series_id AND d.day = c.day "
            "WHEN MATCHED THEN UPDATE SET first_ts = least(d.first_ts, c.first_ts), "
            "last_ts = greatest(d.last_ts, c.last_ts), rows = d.rows + c.rows "
            "WHEN NOT MATCHED THEN INSERT (series_id, day, first_ts, last_ts, rows) "
            "VALUES (c.series_id, c.day, c.first_ts, c.last_ts, c.rows)"
        )


def _put_catalog(
    engine: Engine, cur: duckdb.DuckDBPyConnection, batch: Batch, series: list[_Series]
) -> dict[int, WriteSummary]:
    entries, summaries = [], {}
    for one in series:
        held, part = one.held, one.part
        in_order = True
        rows, first_ns, last_ns = len(one.us), int(one.us[0]) * 1000, int(one.us[-1]) * 1000
        unit = part.unit or "ns"
        if held is not None:
            before = held.info
            rows = before.rows + len(one.fresh)
            in_order = held.in_order and (not len(one.fresh) or one.fresh[0] * 1000 > before.last_ns)
            first_ns, last_ns = min(before.first_ns, first_ns), max(before.last_ns, last_ns)
            unit = max(part.unit or before.index_unit, before.index_unit, key=UNITS.index)
        info = SeriesInfo(
            one.series_id,
            one.target.asset if one.target.held is None else one.target.held.info.asset,
            one.target.quote,
            one.target.timestep,
            one.target.source,
            rows,
            first_ns,
            last_ns,
            _settled(engine, cur, batch.rows, one),
            unit,
        )
        entries.append(Entry(info, in_order))
        dropped = part.rows_read - len(one.us)
        summaries[part.place] = WriteSummary(
            info,
            part.rows_read,
            len(one.fresh) + one.revised,
            one.revised,
            0,
            {"duplicate timestamps": dropped} if dropped else {},
        )
    catalog.save_all(cur, entries)
    return summaries


def _settled(
    engine: Engine, cur: duckdb.DuckDBPyConnection, rows: pa.Table, one: _Series
) -> tuple[Column, ...]:
    """The columns of a series with whether each has a NULL now, exactly."""
    held = one.held
    flags = {}
    for column in one.columns:
        came = column.name in rows.column_names
        null = not came or rows.column(column.name).slice(one.lo, one.hi - one.lo).null_count > 0
        old = held is not None and next(
            (c.has_null for c in held.info.columns if c.name == column.name), True
        )
        flags[column.name] = null or old
    if one.revised:
        # The bar that held the only NULL may just have been replaced.
        flags |= count_nulls(engine, cur, one.series_id, [c for c in one.columns if flags[c.name]])
    return tuple(
        replace(column, dtype=settle(column.dtype, flags[column.name]), has_null=flags[column.name])
        for column in one.columns
    )


def _put_ranges(cur: duckdb.DuckDBPyConnection, series: list[_Series]) -> None:
    """Extend what is known by what came; most often one range of each series grows."""
    near = min(int(one.us[0]) - coverage.reach_us(one.target.timestep) for one in series)
    found = cur.execute(
        "SELECT id, series_id, epoch_us(start_ts), epoch_us(end_ts), known_empty FROM known_ranges "
        "WHERE end_ts >= make_timestamptz(?::BIGINT) ORDER BY start_ts",
        [near],
    ).fetchall()
    by_series: dict[tuple[int, bool], list[tuple[uuid.UUID, ranges.Range]]] = {}
    for id_, series_id, start, end, empty in found:
        by_series.setdefault((series_id, empty), []).append((id_, (start, end)))
    gone: list[uuid.UUID] = []
    new: list[tuple[int, int, int, bool]] = []
    for one in series:
        span = (int(one.us[0]), int(one.us[-1]))
        for empty in (False, True):
            before = by_series.get((one.series_id, empty), [])
            spans = [span_ for _, span_ in before]
            joins = coverage.joining(one.target.timestep, span, span)
            after = ranges.without(spans, span) if empty else ranges.added(spans, span, joins)
            gone += [id_ for id_, span_ in before if span_ not in after]
            new += [(one.series_id, *span_, empty) for span_ in after if span_ not in spans]
    if gone:
        cur.execute("DELETE FROM known_ranges WHERE id IN (SELECT unnest(?::UUID[]))", [gone])
    if new:
        columns = list(zip(*new, strict=True))
        table = pa.table(
            {
                "series_id": pa.array(columns[0], pa.int32()),
                "start_ts": pa.array(columns[1], pa.int64()).cast(_STAMP),
                "end_ts": pa.array(columns[2], pa.int64()).cast(_STAMP),
                "known_empty": pa.array(columns[3], pa.bool_()),
            }
        )
        with registered(cur, "new_ranges", table):
            cur.execute(
                "INSERT INTO known_ranges SELECT uuid(), series_id, start_ts, end_ts, known_empty, now() "
                "FROM new_ranges"
            )
