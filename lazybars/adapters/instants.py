"""The clock's position in a universe's grid, found once a tick for all assets.

Lumibot looks an instant up in two ways that differ below a second: by the exact time, and by a
float of seconds times 1e9. Both are kept (``Data.get_iter_count``, ``_intraday_bar_state``).
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd

from lazybars.grid import Grid

__all__ = ["Instant", "Instants", "Span", "exact_ns"]

# Requests of one tick that differ in their rows; each keeps the times of its window.
_SPANS = 32
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def exact_ns(when: Any, tz: Any) -> int:
    """Nanoseconds since the epoch; a time without a zone is taken to be in ``tz``."""
    if type(when) is dt.datetime and when.tzinfo is not None:
        since = when - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
    stamp = pd.Timestamp(when)
    if stamp.tzinfo is None:
        stamp = stamp.tz_localize(tz)
    return int(stamp.value)


class Span:
    """The rows of a grid that one request is answered with at one instant, by every series that has them.

    start, end : ordinals [start, end).
    low, high : a series with all of the rows [low, high) is answered so; the window of another one is
        cut short, or the clock stands where it has no row.
    index : the times of the rows as Lumibot shows them, once a series was answered.
    """

    __slots__ = ("end", "high", "index", "low", "start")

    def __init__(self, start: int, end: int, low: int, high: int) -> None:
        self.start = start
        self.end = end
        self.low = low
        self.high = high
        self.index: pd.DatetimeIndex | None = None


class Instant:
    """Where one instant lies in a grid.

    ns : the exact time. ordinal : last row at or before it by Lumibot's float; -1 before the first.
    exact : the row that stands at that very microsecond, or -1. bar_ns : the time of ``ordinal``.
    overtaken : the float fell short, and the row after ``ordinal`` has begun by the exact time.
    """

    __slots__ = ("_spans", "bar_ns", "exact", "ns", "ordinal", "overtaken", "when")

    def __init__(self, when: Any, grid: Grid, tz: Any) -> None:
        self.when = when
        self.ns = exact_ns(when, tz)
        key = when.to_pydatetime(warn=False) if isinstance(when, pd.Timestamp) else when
        self.ordinal = grid.at_or_before(int(key.timestamp() * 1_000_000_000))
        self.bar_ns = grid.time_ns(self.ordinal) if self.ordinal >= 0 else 0
        following = self.ordinal + 1
        self.overtaken = (
            self.ns % 1_000_000_000 != 0 and following < grid.rows and grid.time_ns(following) <= self.ns
        )
        self.exact = -1
        if key.tzinfo is not None:
            key_ns = self.ns // 1000 * 1000
            exact = self.ordinal if self.bar_ns == key_ns else grid.at_or_before(key_ns)
            if exact >= 0 and grid.time_ns(exact) == key_ns:
                self.exact = exact
        self._spans: dict[tuple[int, int, int], Span] = {}

    def closed(self, bar_length_ns: int) -> bool:
        """Whether the bar that begins at ``bar_ns`` is over, for a series that has the next one as well."""
        return not self.overtaken and self.bar_ns + bar_length_ns <= self.ns

    def span(self, length: int, shift: int, bar_length_ns: int) -> Span:
        """Where ``length`` bars end, ``shift`` bars before this instant (``Data._get_bars_row_bounds``).

        Parameters
        ----------
        bar_length_ns
            How long a bar is; 0 where that makes no difference, as with days.
        """
        key = length, shift, bar_length_ns
        span = self._spans.get(key)
        if span is None:
            end = self.ordinal - shift
            if not bar_length_ns or (shift >= 0 and self.closed(bar_length_ns)):
                end += 1
            start, ordinal = end - length, self.ordinal
            # Where the two ways to look the instant up differ, the series decides which one it takes.
            alike = self.exact in (-1, ordinal) and length > 0
            span = Span(start, end, min(start, ordinal) if alike else -1, max(end, ordinal + 2))
            if len(self._spans) >= _SPANS:
                self._spans.clear()
            self._spans[key] = span
        return span


class Instants:
    """Remembers the last instant that was asked for: a tick asks for one, many times."""

    def __init__(self, grid: Grid, tz: Any) -> None:
        self._grid = grid
        self._tz = tz
        self._last: Instant | None = None

    def at(self, when: Any) -> Instant:
        last = self._last
        if last is None or last.when is not when:
            self._last = last = Instant(when, self._grid, self._tz)
        return last
