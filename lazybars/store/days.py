"""The summary per series and local date, kept up to date by every write."""

from __future__ import annotations

import duckdb

from lazybars.store.schema import floored

__all__ = ["ZONE", "refresh", "totals"]

ZONE = "America/New_York"
_HOUR_US = 3_600_000_000

# Grouping by UTC hour first: whole hours never cross a local midnight, and asking the time zone
# once an hour instead of once a row makes the scan ten times faster.
BY_DAY = f"""
    SELECT series_id, CAST(timezone('{ZONE}', make_timestamptz(hour * {_HOUR_US})) AS DATE) AS day,
        min(first_ts) AS first_ts, max(last_ts) AS last_ts, CAST(sum(rows) AS BIGINT) AS rows
    FROM (SELECT series_id, {floored("epoch_us(ts)", _HOUR_US)} AS hour,
            min(ts) AS first_ts, max(ts) AS last_ts, count(*) AS rows
        FROM {{bars}} WHERE {{where}} GROUP BY ALL)
    GROUP BY ALL ORDER BY day"""


def refresh(cur: duckdb.DuckDBPyConnection, series_id: int, first_us: int, last_us: int) -> None:
    """Recompute the days of a series that [first_us, last_us] touches, from its bars."""
    first_day, last_day, start_us, stop_us = cur.execute(
        f"""SELECT first_day, last_day, epoch_us(timezone('{ZONE}', CAST(first_day AS TIMESTAMP))),
            epoch_us(timezone('{ZONE}', CAST(last_day + 1 AS TIMESTAMP)))
        FROM (SELECT CAST(timezone('{ZONE}', make_timestamptz(?::BIGINT)) AS DATE) AS first_day,
            CAST(timezone('{ZONE}', make_timestamptz(?::BIGINT)) AS DATE) AS last_day)""",
        [first_us, last_us],
    ).fetchall()[0]
    cur.execute(
        "DELETE FROM session_days WHERE series_id = ? AND day BETWEEN ? AND ?",
        [series_id, first_day, last_day],
    )
    where = "series_id = ? AND ts >= make_timestamptz(?::BIGINT) AND ts < make_timestamptz(?::BIGINT)"
    by_day = BY_DAY.format(bars="bars", where=where)
    cur.execute(f"INSERT INTO session_days {by_day}", [series_id, start_us, stop_us])


def totals(cur: duckdb.DuckDBPyConnection, series_id: int) -> tuple[int, int, int]:
    """(rows, first, last) of a series, microseconds since the epoch; (0, 0, 0) where it has none."""
    rows, first_us, last_us = cur.execute(
        "SELECT coalesce(sum(rows), 0), coalesce(epoch_us(min(first_ts)), 0), "
        "coalesce(epoch_us(max(last_ts)), 0) "
        "FROM session_days WHERE series_id = ?",
        [series_id],
    ).fetchall()[0]
    return int(rows), first_us, last_us
