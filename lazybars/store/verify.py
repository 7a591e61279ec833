"""Whether the store's books agree with its bars."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from lazybars.store.catalog import Entry
from lazybars.store.days import BY_DAY
from lazybars.store.engine import Engine
from lazybars.store.schema import identifier

__all__ = ["Finding", "verify"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong. check : which rule. series : whose, or "" for the store. detail : in numbers."""

    check: str
    series: str
    detail: str


def verify(engine: Engine, cur: duckdb.DuckDBPyConnection, entries: tuple[Entry, ...]) -> list[Finding]:
    """Scan every series; gives what is wrong, nothing where all is well. Reads all bars once."""
    out = []
    known = [entry.info.series_id for entry in entries]
    stray = cur.execute(
        "SELECT count(*), count(DISTINCT series_id) FROM bars "
        "WHERE series_id NOT IN (SELECT series_id FROM series_catalog) OR series_id IS NULL OR ts IS NULL"
    ).fetchall()[0]
    if stray[0]:
        out.append(Finding("stray rows", "", f"{stray[0]} rows of {stray[1]} series that the catalog lacks"))
    if len(set(known)) < len(known):
        out.append(Finding("series ids", "", "two series of the catalog have the same id"))
    for entry in entries:
        with engine.bars(entry.info.series_id, entry.info.series_id, None, None) as bars:
            out += _verify_series(cur, entry, bars)
    return out + _verify_ranges(cur)


def _verify_ranges(cur: duckdb.DuckDBPyConnection) -> list[Finding]:
    """Known ranges that overlap, and bars where none are known to be."""
    label = "c.symbol || ' ' || c.timestep"
    overlaps = cur.execute(
        f"SELECT {label}, count(*) FROM (SELECT *, lag(end_ts) OVER "
        "(PARTITION BY series_id, known_empty ORDER BY start_ts) AS before FROM known_ranges) k "
        "LEFT JOIN series_catalog c USING (series_id) WHERE before >= start_ts OR end_ts < start_ts "
        "GROUP BY ALL"
    ).fetchall()
    barred = cur.execute(
        f"SELECT {label}, count(*) FROM known_ranges k JOIN bars b ON b.series_id = k.series_id "
        "AND b.ts BETWEEN k.start_ts AND k.end_ts "
        "JOIN series_catalog c ON c.series_id = k.series_id WHERE k.known_empty GROUP BY ALL"
    ).fetchall()
    return [
        *(Finding("ranges", name or "", f"{n} known ranges overlap another") for name, n in overlaps),
        *(Finding("empty ranges", name, f"{n} bars where none are known to be") for name, n in barred),
    ]


def _verify_series(cur: duckdb.DuckDBPyConnection, entry: Entry, bars: str) -> list[Finding]:
    info = entry.info
    out = []

    def found(check: str, detail: str) -> None:
        out.append(Finding(check, info.label, detail))

    present = "".join(f", count({identifier(column.physical)})" for column in info.columns)
    rows, first_us, last_us, backward, *counts = cur.execute(
        "SELECT count(*), coalesce(epoch_us(min(ts)), 0), coalesce(epoch_us(max(ts)), 0), count_if(ts <= "
        "before) "
        f"{present} FROM (SELECT *, lag(ts) OVER () AS before FROM {bars} WHERE series_id = ?)",
        [info.series_id],
    ).fetchall()[0]
    if rows != info.rows:
        found("rows", f"the catalog says {info.rows}, the bars are {rows}")
    if (first_us, last_us) != (info.first_ns // 1000, info.last_ns // 1000):
        found(
            "range", f"the catalog says {info.first_ns}..{info.last_ns} ns, the bars {first_us}..{last_us} us"
        )
    if backward:
        repeated = cur.execute(
            f"SELECT count(*) - count(DISTINCT ts) FROM {bars} WHERE series_id = ?", [info.series_id]
        ).fetchall()[0][0]
        if repeated:
            found("duplicates", f"{repeated} timestamps more than once")
        if entry.in_order:
            found(
                "order",
                f"{backward} rows are not after the row before, though the series is marked as in order",
            )
    for column, held in zip(info.columns, counts, strict=True):
        if (held < rows) != column.has_null:
            found(
                "nulls",
                f"column {column.name!r} has {rows - held} nulls, the catalog says "
                f"has_null={column.has_null}",
            )
    columns = "day, first_ts, last_ts, rows"
    true_days = BY_DAY.format(bars=bars, where="series_id = $series")
    booked = f"SELECT {columns} FROM session_days WHERE series_id = $series"
    wrong = cur.execute(
        f"SELECT count(*) FROM ((SELECT {columns} FROM ({true_days}) EXCEPT ALL {booked}) UNION ALL "
        f"({booked} EXCEPT ALL SELECT {columns} FROM ({true_days})))",
        {"series": info.series_id},
    ).fetchall()[0][0]
    if wrong:
        found("session days", f"{wrong} days of the summary differ from the bars")
    return out
