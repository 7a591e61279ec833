"""Bars out of the store, and what is then true of their series."""

from __future__ import annotations

from dataclasses import replace

import duckdb

from lazybars.model import Column, SeriesInfo
from lazybars.store import catalog, coverage, days, ranges
from lazybars.store.catalog import Entry
from lazybars.store.engine import Engine
from lazybars.store.schema import identifier

__all__ = ["DAY_US", "count_nulls", "delete_bars", "delete_span"]

# What a local day may have beyond the time that is written in it, whatever the clock does.
DAY_US = 26 * 3_600_000_000


def delete_span(
    engine: Engine,
    cur: duckdb.DuckDBPyConnection,
    entry: Entry,
    start_us: int | None,
    end_us: int | None,
) -> int:
    """Delete a closed range of a series, and what is known of it; gives the rows.

    The series goes where nothing is left: no bars, and no time that is known to have none.
    """
    info = entry.info
    first, last = info.first_ns // 1000, info.last_ns // 1000
    span = (first if start_us is None else start_us, last if end_us is None else end_us)
    engine.bring(cur, info.series_id, span[0] - DAY_US, span[1] + DAY_US)
    engine.touch(info.series_id, *span)
    gone = delete_bars(cur, info.series_id, span)
    if gone:
        days.refresh(cur, info.series_id, max(span[0], first), min(span[1], last))
    rows, first, last = days.totals(cur, info.series_id)
    cut = (ranges.EVER[0] if start_us is None else start_us, ranges.EVER[1] if end_us is None else end_us)
    if not coverage.cut(cur, info.series_id, cut) and not rows:
        for table in ("series_catalog", "session_days", "bar_revisions"):
            cur.execute(f"DELETE FROM {table} WHERE series_id = ?", [info.series_id])
        return gone
    columns = _recounted(engine, cur, info)
    changed = replace(info, rows=rows, first_ns=first * 1000, last_ns=last * 1000, columns=columns)
    catalog.save(cur, Entry(changed, entry.in_order), new=False)
    return gone


def delete_bars(cur: duckdb.DuckDBPyConnection, series_id: int, span: ranges.Range | None) -> int:
    """Delete the rows of a series in the closed range of microseconds, or all; gives how many."""
    if span is None:
        return int(cur.execute("DELETE FROM bars WHERE series_id = ?", [series_id]).fetchall()[0][0])
    return int(
        cur.execute(
            "DELETE FROM bars WHERE series_id = ? AND ts BETWEEN make_timestamptz(?::BIGINT) "
            "AND make_timestamptz(?::BIGINT)",
            [series_id, *span],
        ).fetchall()[0][0]
    )


def count_nulls(
    engine: Engine, cur: duckdb.DuckDBPyConnection, series_id: int, columns: list[Column]
) -> dict[str, bool]:
    """Whether those columns of the series have a NULL, from the bars."""
    if not columns:
        return {}
    engine.bring(cur, series_id, *ranges.EVER)
    counts = ", ".join(f"count({identifier(column.physical)})" for column in columns)
    rows, *present = cur.execute(
        f"SELECT count(*), {counts} FROM bars WHERE series_id = ?", [series_id]
    ).fetchall()[0]
    return {column.name: n < rows for column, n in zip(columns, present, strict=True)}


def _recounted(engine: Engine, cur: duckdb.DuckDBPyConnection, info: SeriesInfo) -> tuple[Column, ...]:
    """The columns of a series, ``has_null`` as it is after some rows went."""
    nulls = count_nulls(engine, cur, info.series_id, [column for column in info.columns if column.has_null])
    return tuple(replace(column, has_null=nulls.get(column.name, False)) for column in info.columns)
