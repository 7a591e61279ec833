"""The rows that a series is seen on: a grid of instants shared by a whole universe.

Lumibot reindexes every asset onto one union index. That index is never built here: for minute
bars it follows from the first and last bar of each day (`SessionGrid`), and for hourly and daily
bars it is short enough to hold (`ArrayGrid`). A row's *ordinal* is its position in that index.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lazybars.model import NOMINAL_NS

__all__ = ["ArrayGrid", "Grid", "Int64s", "SessionGrid"]

Int64s = npt.NDArray[np.int64]


class Grid(Protocol):
    """Ascending, distinct instants in ns; ordinals run from 0 to ``rows - 1``."""

    rows: int

    @property
    def nbytes(self) -> int: ...

    def at_or_before(self, ns: int) -> int:
        """Ordinal of the last instant at or before ``ns``; -1 before the first."""

    def at_or_after(self, ns: int) -> int:
        """Ordinal of the first instant at or after ``ns``; ``rows`` after the last."""

    def time_ns(self, ordinal: int) -> int:
        """The instant of one ordinal, 0 <= ordinal < rows."""

    def times_ns(self, start: int, end: int) -> Int64s:
        """The instants of the ordinals [start, end); shape (end - start,), read-only use."""


class ArrayGrid:
    """A grid that is held as an array."""

    def __init__(self, times_ns: Int64s) -> None:
        self._times = np.ascontiguousarray(times_ns, dtype=np.int64)
        self.rows = len(self._times)

    @property
    def nbytes(self) -> int:
        return self._times.nbytes

    def at_or_before(self, ns: int) -> int:
        return int(self._times.searchsorted(ns, side="right")) - 1

    def at_or_after(self, ns: int) -> int:
        return int(self._times.searchsorted(ns, side="left"))

    def time_ns(self, ordinal: int) -> int:
        return int(self._times[ordinal])

    def times_ns(self, start: int, end: int) -> Int64s:
        return self._times[start:end]


class SessionGrid:
    """One row a minute from the first to the last bar of every session.

    Parameters
    ----------
    anchor_ns
        The first bar of the universe: rows lie at whole minutes from it.
    open_ns, close_ns
        First and last bar of each session, ascending; shape (sessions,). Sessions in which no
        whole minute falls are left out.
    """

    step_ns = NOMINAL_NS["minute"]

    def __init__(self, anchor_ns: int, open_ns: Int64s, close_ns: Int64s) -> None:
        step = self.step_ns
        first = anchor_ns - (anchor_ns - open_ns) // step * step
        rows = np.where(first <= close_ns, (close_ns - first) // step + 1, 0)
        keep = rows > 0
        self.first_ns: Int64s = first[keep]
        self.session_rows: Int64s = rows[keep]
        self.starts: Int64s = np.concatenate(([0], np.cumsum(self.session_rows))).astype(np.int64)
        self.rows = int(self.starts[-1])
        # Lists, because bisect on a list is ten times faster than searchsorted for one number.
        self._first: list[int] = self.first_ns.tolist()
        self._starts: list[int] = self.starts.tolist()

    @property
    def nbytes(self) -> int:
        return 3 * self.starts.nbytes + 4 * 36 * len(self._first)

    @property
    def last_ns(self) -> Int64s:
        """The last row of each session; shape (sessions,)."""
        return self.first_ns + (self.session_rows - 1) * self.step_ns

    def at_or_before(self, ns: int) -> int:
        session = bisect_right(self._first, ns) - 1
        if session < 0:
            return -1
        row = self._starts[session] + (ns - self._first[session]) // self.step_ns
        return min(row, self._starts[session + 1] - 1)

    def at_or_after(self, ns: int) -> int:
        before = self.at_or_before(ns)
        return before if before >= 0 and self.time_ns(before) == ns else before + 1

    def time_ns(self, ordinal: int) -> int:
        session = bisect_right(self._starts, ordinal) - 1
        return self._first[session] + (ordinal - self._starts[session]) * self.step_ns

    def times_ns(self, start: int, end: int) -> Int64s:
        if end <= start:
            return np.empty(0, dtype=np.int64)
        first = bisect_right(self._starts, start) - 1
        last = bisect_left(self._starts, end)
        ordinals = np.arange(start, end, dtype=np.int64)
        if last == first + 1:
            return self._first[first] + (ordinals - self._starts[first]) * self.step_ns
        base = self.first_ns[first:last] - self.starts[first:last] * self.step_ns
        counts = np.minimum(self.starts[first + 1 : last + 1], end) - np.maximum(
            self.starts[first:last], start
        )
        return np.repeat(base, counts) + ordinals * self.step_ns
