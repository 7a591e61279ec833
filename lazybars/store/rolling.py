"""Indicators over the latest bars alone, as SQL windows: SMA, Bollinger bands, VWAP, z-score.

DuckDB's ``stddev`` over a window loses what a price has before the decimals that move: eight of
sixteen digits where it stands at 100,000 and moves by 0.001. So deviations are summed from a price
inside the window: rows are cut into blocks as long as the window, a window then covers the end of
one block and the beginning of the next, and both are summed from the first price of the latter
(van Herk's way with running maxima). All digits stay, for one and a half times the time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt

from lazybars.store.catalog import Entry
from lazybars.store.days import ZONE
from lazybars.store.engine import Engine
from lazybars.store.indicators import Indicator
from lazybars.store.read import Int64s
from lazybars.store.spans import day_of, midnight_us, reach_us, within

__all__ = ["KINDS", "columns"]

KINDS = ("sma", "bbands", "vwap", "zscore")
Floats = npt.NDArray[np.float64]

# What takes the place of a range of zero, as pandas-ta has it.
_EPSILON = f"'{sys.float_info.epsilon!r}'::DOUBLE"


def columns(
    engine: Engine,
    cur: duckdb.DuckDBPyConnection,
    entry: Entry,
    start_us: int | None,
    end_us: int | None,
    wanted: Sequence[Indicator],
) -> tuple[Int64s, dict[str, Floats]]:
    """(times in microseconds, values by column) of the bars in [start, end]; NaN where undefined.

    Read are those bars, the whole days before them that hold the longest window, and for vwap the
    beginning of the day of ``start``.
    """
    asked, start = within(start_us, None)
    out: dict[str, Floats] = {}
    for query, indicators in _queries(wanted):
        bars = max((bars for indicator in indicators for bars in indicator.bars), default=0)
        first_us = _read_from(cur, entry.info.series_id, start_us, bars)
        held, bounds = within(first_us, end_us)
        expressions = [expression for indicator in indicators for expression in _expressions(indicator)]
        series_id = entry.info.series_id
        # A query for each kind of window, and no sorting at the end: both carry every column along.
        with engine.bars(series_id, series_id, first_us, end_us) as bars_sql:
            table = cur.sql(
                f"WITH held AS (SELECT * FROM {bars_sql} WHERE series_id = ? AND {held}) "
                f"SELECT epoch_us(ts), {', '.join(expressions)} FROM ({query}) WHERE {asked}",
                params=[series_id, *bounds, *start],
            ).to_arrow_table()
        times_us, *values = (column.to_numpy() for column in table.columns)
        order = np.argsort(times_us)
        names = [column for indicator in indicators for column in indicator.columns]
        out.update(zip(names, (column[order] for column in values), strict=True))
    return times_us[order], out


def _queries(wanted: Sequence[Indicator]) -> list[tuple[str, list[Indicator]]]:
    """Each query over ``held``, with the indicators that it serves."""
    averages = [indicator for indicator in wanted if indicator.kind == "sma"]
    days = [indicator for indicator in wanted if indicator.kind == "vwap"]
    deviating = [indicator for indicator in wanted if indicator.kind in ("bbands", "zscore")]
    out = [(_averages({indicator.bars[0] for indicator in averages}), averages)] if averages else []
    out += [(_vwap(), days)] if days else []
    for bars in sorted({indicator.bars[0] for indicator in deviating}):
        out.append((_moments(bars), [indicator for indicator in deviating if indicator.bars[0] == bars]))
    return out


def _read_from(cur: duckdb.DuckDBPyConnection, series_id: int, start_us: int | None, bars: int) -> int | None:
    """From where ``bars`` rows up to each asked for are there; of a day's window, that is its midnight."""
    if start_us is None:
        return None
    if not bars:
        return midnight_us(day_of(start_us))
    return reach_us(cur, series_id, start_us, bars - 1) if bars > 1 else start_us


_CLOSES = "SELECT ts, coalesce(close, 'NaN') AS x, row_number() OVER (ORDER BY ts) AS n FROM held"


def _averages(lengths: set[int]) -> str:
    """Means of the latest closes: NaN where one is missing, NULL where there are fewer."""
    means = ", ".join(
        f"CASE WHEN n >= {bars:d} THEN avg(x) OVER (ORDER BY ts ROWS {bars - 1:d} PRECEDING) END "
        f"AS sma_{bars:d}"
        for bars in sorted(lengths)
    )
    return f"SELECT ts, {means} FROM ({_CLOSES})"


def _moments(bars: int) -> str:
    """Of the latest closes the mean, the sum of squared deviations, and how far off the last one is.

    NaN where one is missing, NULL where there are fewer.
    """
    whole = f"place = {bars - 1:d}"  # the window is its block: nothing of the one before
    return f"""
        WITH numbered AS MATERIALIZED (
            SELECT ts, x, (n - 1) // {bars:d} AS block, (n - 1) % {bars:d} AS place FROM ({_CLOSES})),
        origins AS MATERIALIZED (SELECT block, x AS origin FROM numbered WHERE place = 0),
        shifted AS (
            SELECT ts, x, place, n.block, own.origin, x - own.origin AS here, x - next.origin AS ahead
            FROM numbered n JOIN origins own ON own.block = n.block
            LEFT JOIN origins next ON next.block = n.block + 1),
        summed AS (
            SELECT *, sum(here) OVER head AS head_1, sum(here * here) OVER head AS head_2,
                sum(ahead) OVER tail AS tail_1, sum(ahead * ahead) OVER tail AS tail_2
            FROM shifted
            WINDOW head AS (PARTITION BY block ORDER BY place ROWS UNBOUNDED PRECEDING),
                tail AS (PARTITION BY block ORDER BY place ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)),
        joined AS (
            SELECT ts, x, origin, here,
                head_1 + CASE WHEN {whole} THEN 0 ELSE lag(tail_1, {bars - 1:d}) OVER latest END AS sum_1,
                head_2 + CASE WHEN {whole} THEN 0 ELSE lag(tail_2, {bars - 1:d}) OVER latest END AS sum_2
            FROM summed WINDOW latest AS (ORDER BY ts))
        SELECT ts, x, origin + sum_1 / {bars:d} AS mean, here - sum_1 / {bars:d} AS off,
            CASE WHEN sum_1 IS NOT NULL THEN greatest(sum_2 - sum_1 * sum_1 / {bars:d}, 0) END AS squares
        FROM joined"""


def _vwap() -> str:
    """The typical price since New York's midnight, weighted by volume; what misses a number is left out."""
    return f"""
        SELECT ts, CASE WHEN paid IS NOT NULL THEN sum(paid) OVER day / sum(volume) OVER day END AS vwap
        FROM (SELECT ts, volume, (high + low + close) / 3.0 * volume AS paid,
            CAST(timezone('{ZONE}', ts) AS DATE) AS day FROM held)
        WINDOW day AS (PARTITION BY day ORDER BY ts ROWS UNBOUNDED PRECEDING)"""


def _expressions(indicator: Indicator) -> tuple[str, ...]:
    """One SQL expression for each column of the indicator."""
    if indicator.kind == "vwap":
        return ("vwap",)
    (bars,) = indicator.bars
    if indicator.kind == "sma":
        return (f"sma_{bars:d}",)
    if indicator.kind == "zscore":
        return (f"off / sqrt(squares / {bars - 1:d})",)
    width = f"{indicator.deviations!r} * sqrt(squares / {bars:d})"
    lower, upper = f"(mean - {width})", f"(mean + {width})"
    whole = _not_zero(f"{upper} - {lower}")
    return lower, "mean", upper, f"100 * {whole} / mean", f"{_not_zero(f'x - {lower}')} / {whole}"


def _not_zero(difference: str) -> str:
    return f"CASE WHEN {difference} = 0 THEN {_EPSILON} ELSE {difference} END"
