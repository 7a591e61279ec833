"""Indicators that remember every bar before: EMA, RSI, MACD, ATR.

Each begins with the plain mean of its first bars, and what is missing, flat or repeated long ago
still shows: an RSI in a spell without trades is nothing but memory. So they are computed from the
first bar of the series on, whatever is asked for, over one read of the few columns that they need
(8 bytes a bar and column); a bounded warm-up would be wrong just there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from lazybars.store.catalog import Entry
from lazybars.store.engine import Engine
from lazybars.store.indicators import Indicator
from lazybars.store.read import Int64s
from lazybars.store.spans import within

__all__ = ["KINDS", "columns"]

KINDS = ("ema", "rsi", "macd", "atr")
Floats = npt.NDArray[np.float64]


def columns(
    engine: Engine,
    cur: duckdb.DuckDBPyConnection,
    entry: Entry,
    start_us: int | None,
    end_us: int | None,
    wanted: Sequence[Indicator],
) -> tuple[Int64s, dict[str, Floats]]:
    """(times in microseconds, values by column) of the bars in [start, end]; NaN where undefined."""
    needed = "high, low, close" if any(indicator.kind == "atr" for indicator in wanted) else "close"
    until, bounds = within(None, end_us)
    order = "" if entry.in_order else "ORDER BY ts"
    series_id = entry.info.series_id
    with engine.bars(series_id, series_id, None, end_us) as bars:
        table = cur.sql(
            f"SELECT epoch_us(ts), {needed} FROM {bars} WHERE series_id = ? AND {until} {order}",
            params=[series_id, *bounds],
        ).to_arrow_table()
    times_us: Int64s = table.column(0).to_numpy()
    held = dict(zip(needed.split(", "), (column.to_numpy() for column in table.columns[1:]), strict=True))
    close = held["close"]
    out: dict[str, Floats] = {}
    for indicator in wanted:
        length = indicator.bars[0]
        if indicator.kind == "macd":
            lines = _macd(close, entry.info.rows, *indicator.bars)
            out.update(zip(indicator.columns, lines, strict=True))
        elif indicator.kind == "atr":
            ranges = _true_range(held["high"], held["low"], close)
            out[indicator.name] = _average(ranges, length, alpha=1 / length)
        elif indicator.kind == "rsi":
            out[indicator.name] = _rsi(close, length)
        else:
            out[indicator.name] = _average(close, length, span=length)
    first = 0 if start_us is None else int(np.searchsorted(times_us, start_us))
    return times_us[first:], {name: values[first:] for name, values in out.items()}


def _average(values: Floats, bars: int, **decay: float) -> Floats:
    """The exponential average, from the plain mean of the ``bars`` rows that begin with the first value.

    What is missing later repeats the average before it and weighs down what was.
    """
    import pandas as pd

    out = np.full(len(values), np.nan)
    there = np.flatnonzero(~np.isnan(values))
    if len(there) and there[0] + bars <= len(values):
        seed = there[0] + bars - 1
        chain = values[seed:].copy()
        chain[0] = np.nanmean(values[there[0] : seed + 1])
        out[seed:] = pd.Series(chain).ewm(adjust=False, **decay).mean().to_numpy()
    return out


def _rsi(close: Floats, bars: int) -> Floats:
    change = np.diff(close, prepend=np.nan)
    up = _average(np.where(change < 0, 0.0, change), bars, alpha=1 / bars)
    down = _average(np.where(change > 0, 0.0, change), bars, alpha=1 / bars)
    with np.errstate(invalid="ignore"):  # no change at all so far: 0 / 0
        return 100 * up / (up + np.abs(down))


def _true_range(high: Floats, low: Floats, close: Floats) -> Floats:
    """The range of each bar with the close before; missing until there is one."""
    if not len(close):
        return close
    before = np.concatenate(([np.nan], close[:-1]))
    own = high - low
    own[own == 0] = sys.float_info.epsilon  # as pandas-ta has it
    out = np.fmax(np.fmax(np.abs(own), np.abs(high - before)), np.abs(before - low))
    whole = ~np.isnan(high) & ~np.isnan(low) & ~np.isnan(close)
    first = int(whole.argmax()) if whole.any() else len(whole)
    out[: first + 1] = np.nan
    return out


def _macd(close: Floats, rows: int, fast: int, slow: int, signal: int) -> tuple[Floats, Floats, Floats]:
    """The line, the histogram and the signal. From the first missing close inside on, there are none.

    rows : of the whole series, also behind what was read: a shorter one than ``slow`` or ``signal`` has none.
    """
    line, mean = np.full((2, len(close)), np.nan)
    there = np.flatnonzero(~np.isnan(close))
    if len(there) and rows - there[0] >= max(slow, signal):
        first = int(there[0])
        gaps = np.flatnonzero(np.isnan(close[first:]))
        stop = first + int(gaps[0]) if len(gaps) else len(close)
        inside: Any = close[first:stop]
        line[first:stop] = _average(inside, fast, span=fast) - _average(inside, slow, span=slow)
        mean[first:stop] = _average(line[first:stop], signal, span=signal)
    return line, line - mean, mean
