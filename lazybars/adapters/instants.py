"""The clock's position in a universe's grid, found once a tick for all assets.

Lumibot looks an instant up in two ways that differ below a second: by the exact time, and by a
float of seconds times 1e9. Both are kept (``Data.get_iter_count``, ``_intraday_bar_state``).
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd

from lazybars.grid import Grid

__all__ = ["Instant", "Instants", "exact_ns"]

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


class Instant:
    """Where one instant lies in a grid.

    ns : the exact time. ordinal : last row at or before it by Lumibot's float; -1 before the first.
    exact : the row that stands at that very microsecond, or -1. bar_ns : the time of ``ordinal``.
    overtaken : the float fell short, and the row after ``ordinal`` has begun by the exact time.
    """

    __slots__ = ("bar_ns", "exact", "ns", "ordinal", "overtaken", "when")

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
