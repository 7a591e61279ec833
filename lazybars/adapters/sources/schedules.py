"""Lumibot's trading calendars as times: the minutes and the days of a market, without a row for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lazybars.grid import ArrayGrid, Int64s, SessionGrid

__all__ = ["days_shown", "minutes_of", "within"]

_MINUTE_NS = 60_000_000_000


def minutes_of(calendar: pd.DataFrame) -> SessionGrid:
    """The minutes of ``get_trading_times(calendar, "minute")``: the closing one only around the clock."""
    opens = pd.DatetimeIndex(calendar["market_open"]).as_unit("ns")
    closes = pd.DatetimeIndex(calendar["market_close"]).as_unit("ns")
    open_ns, close_ns = opens.asi8, closes.asi8
    around_the_clock = (closes.hour == 23) & (closes.minute == 59)
    last_ns = open_ns + (close_ns - open_ns) // _MINUTE_NS * _MINUTE_NS
    last_ns = np.where(around_the_clock, last_ns, last_ns - _MINUTE_NS)
    return SessionGrid(int(open_ns[0]) if len(open_ns) else 0, open_ns, last_ns)


def within(minutes: SessionGrid, start_ns: int, end_ns: int) -> SessionGrid:
    """Those of the minutes that lie in [start_ns, end_ns]."""
    anchor = int(minutes.first_ns[0]) if len(minutes.first_ns) else 0
    return SessionGrid(anchor, np.maximum(minutes.first_ns, start_ns), np.minimum(minutes.last_ns, end_ns))


def days_shown(times_ns: Int64s, dates: pd.DatetimeIndex, tz: Any, start_ns: int, end_ns: int) -> ArrayGrid:
    """Daily bars, and a midnight for each date of the calendar that has none, in [start_ns, end_ns]."""
    stamps = pd.DatetimeIndex(times_ns).tz_localize("UTC").tz_convert(tz)
    missing = set(dates.date) - set(stamps.date)
    midnights = [int(pd.Timestamp(date).tz_localize(tz).value) for date in missing]
    rows = np.sort(np.concatenate([times_ns, np.array(midnights, dtype=np.int64)]))
    return ArrayGrid(rows[(rows >= start_ns) & (rows <= end_ns)])
