"""The stored rows of one series as they are: numbered, without the grid of a universe.

What a source downloads while it runs is not shown on Lumibot's union index but row by row. The rows are
never held whole: a `Census` keeps first, last and number of each day, and what lies between is read from
the segments. A span of a series' bars is enough: a source that was asked for less than a store knows
shows only that.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lazybars.blocks import float_block
from lazybars.grid import Int64s
from lazybars.layout import Layout
from lazybars.model import NOMINAL_NS, SeriesInfo
from lazybars.partition import KINDS, Partitions
from lazybars.repair import Carry, Columns, Segment, repair
from lazybars.series import GridSeries

__all__ = ["ROW_TIMES", "Census", "PlainRows", "RepairedRows", "RowGrid", "census", "counted_by"]

# Where a segment keeps its rows' times; no column of an owner can be called that.
ROW_TIMES = "\0times"
_HOUR_NS = NOMINAL_NS["hour"]
_CHUNK_NS = {
    "minute": 60 * NOMINAL_NS["day"],
    "hour": 4 * 365 * NOMINAL_NS["day"],
    "day": 60 * 365 * NOMINAL_NS["day"],
}


class Scanned(Protocol):
    """What a census needs of a store."""

    def scan(self, first_id: int, last_id: int, start_ns: int, end_ns: int, columns: Sequence[str]) -> Any:
        """Arrow table of series_id and ts (int64, us); ids in a range, ts in [start, end)."""


class Census:
    """First bar, last bar and number of bars of each New York day that has any; 32 bytes a day.

    by : "1D", or a larger kind of partition for series that have a bar a day: then what is called a day
        here is one of these, and neither spacings nor utc_days are counted.
    spacings, spacing_counts : the distinct distances in ns between neighbouring rows of one day, or not
        more than an hour apart, ascending; and how many there are of each.
    utc_days : days since 1970-01-01, of UTC, that have a row.
    """

    def __init__(self, by: str = "1D") -> None:
        self.by = by
        self.first_ns = array("q")
        self.last_ns = array("q")
        self.starts = array("q", [0])
        # The distance of the rows of a day, where all have the same; else 0.
        self.step_ns = array("q")
        self.utc_days: set[int] = set()
        self._spacings: dict[int, int] = {}

    @property
    def rows(self) -> int:
        return self.starts[-1]

    @property
    def nbytes(self) -> int:
        return 32 * len(self.first_ns) + 96 * len(self.utc_days) + 512

    @property
    def spacings(self) -> tuple[Int64s, Int64s]:
        ordered = sorted(self._spacings)
        counts = [self._spacings[one] for one in ordered]
        return np.array(ordered, dtype=np.int64), np.array(counts, dtype=np.int64)

    def add(self, times_ns: Int64s) -> None:
        """Rows of whole days, ascending, after all that were added before."""
        if not len(times_ns):
            return
        before_ns = self.last_ns[-1] if self.last_ns else None
        edges = Partitions.covering(self.by, int(times_ns[0]), int(times_ns[-1])).edges_ns
        at = times_ns.searchsorted(np.array(edges, dtype=np.int64))
        gaps = np.diff(times_ns)
        if self.by == "1D":
            self._count(times_ns, gaps, at, before_ns)
        for lo, hi in zip(at[:-1].tolist(), at[1:].tolist(), strict=True):
            if lo == hi:
                continue
            day = gaps[lo : hi - 1]
            even = len(day) > 0 and bool((day == day[0]).all())
            self.first_ns.append(int(times_ns[lo]))
            self.last_ns.append(int(times_ns[hi - 1]))
            self.starts.append(self.starts[-1] + hi - lo)
            self.step_ns.append(int(day[0]) if even else 0)

    def _count(self, times_ns: Int64s, gaps: Int64s, at: Int64s, before_ns: int | None) -> None:
        """Count the spacings of rows, days of which begin at ``at``, and their days of UTC."""
        same_day = np.ones(len(gaps), dtype=np.bool_)
        inner = at[(at > 0) & (at < len(times_ns))]
        same_day[inner - 1] = False
        counted, counts = np.unique(gaps[same_day | (gaps <= _HOUR_NS)], return_counts=True)
        for gap, count in zip(counted.tolist(), counts.tolist(), strict=True):
            self._spacings[gap] = self._spacings.get(gap, 0) + count
        if before_ns is not None and 0 < times_ns[0] - before_ns <= _HOUR_NS:
            gap = int(times_ns[0]) - before_ns
            self._spacings[gap] = self._spacings.get(gap, 0) + 1
        self.utc_days.update(np.unique(times_ns // NOMINAL_NS["day"]).tolist())


def counted_by(timestep: str, partition: str) -> str:
    """How finely rows that lie in a kind of partition are counted, where nobody asks for their spacings.

    32 bytes a day are little beside minutes, and half as much as a daily bar itself.
    """
    if timestep != "day":
        return "1D"
    return KINDS[min(KINDS.index(partition), KINDS.index("3M"))]


def census(store: Scanned, info: SeriesInfo, start_ns: int, end_ns: int, by: str = "1D") -> Census:
    """Count the rows of a series in [start_ns, end_ns]; reads their times once, a piece at a time."""
    found = Census(by)
    first, last = max(info.first_ns, start_ns), min(info.last_ns, end_ns)
    if not info.rows or first > last:
        return found
    days = Partitions.covering(by, first, last).edges_ns
    begin = 0
    while begin < len(days) - 1:
        stop = max(bisect_right(days, days[begin] + _CHUNK_NS[info.timestep]) - 1, begin + 1)
        lo, hi = max(days[begin], first), min(days[stop], last + 1)
        table = store.scan(info.series_id, info.series_id, lo, hi, [])
        chunks = [np.asarray(np.from_dlpack(chunk)) for chunk in table.column("ts").chunks]
        if chunks:
            times_ns = np.concatenate(chunks).astype(np.int64) * 1000
            times_ns.sort()
            found.add(times_ns)
        begin = stop
    return found


class RowGrid:
    """A `Grid` of stored rows: day by day from a census, within a day from the segments.

    days : the census; may be replaced by a finer one of the same rows.
    read : gives the times of the rows [start, end), ascending, in ns; set by whoever serves the rows.
        Called only by the threads that ask for rows, never under the ring's lock.
    """

    def __init__(self, days: Census) -> None:
        self.days = days
        self.rows = days.rows
        self.read: Callable[[int, int], Int64s] = _nobody

    @property
    def nbytes(self) -> int:
        return self.days.nbytes

    def at_or_before(self, ns: int) -> int:
        days = self.days
        day = bisect_right(days.first_ns, ns) - 1
        if day < 0:
            return -1
        if ns >= days.last_ns[day]:
            return days.starts[day + 1] - 1
        start, step = days.starts[day], days.step_ns[day]
        if step:
            return start + (ns - days.first_ns[day]) // step
        times = self.read(start, days.starts[day + 1])
        return start + int(times.searchsorted(ns, side="right")) - 1

    def at_or_after(self, ns: int) -> int:
        before = self.at_or_before(ns)
        return before if before >= 0 and self.time_ns(before) == ns else before + 1

    def time_ns(self, ordinal: int) -> int:
        days = self.days
        day = bisect_right(days.starts, ordinal) - 1
        step, past = days.step_ns[day], ordinal - days.starts[day]
        if step or not past:
            return days.first_ns[day] + past * step
        if ordinal == days.starts[day + 1] - 1:
            return days.last_ns[day]
        return int(self.read(ordinal, ordinal + 1)[0])

    def times_ns(self, start: int, end: int) -> Int64s:
        if end <= start:
            return np.empty(0, dtype=np.int64)
        return self.read(start, end)

    # ---- without reading: for who may not wait ------------------------------------------------

    def surely_before(self, ns: int) -> int:
        """A row at or before the last one that begins by ``ns``; -1 before the first."""
        return self._near(ns, 0)

    def about(self, ns: int) -> int:
        """About the last row that begins by ``ns``."""
        return self._near(ns, 1)

    def _near(self, ns: int, share: int) -> int:
        days = self.days
        day = bisect_right(days.first_ns, ns) - 1
        if day < 0:
            return -1
        start, end = days.starts[day], days.starts[day + 1]
        first, last, step = days.first_ns[day], days.last_ns[day], days.step_ns[day]
        if ns >= last:
            return end - 1
        if step:
            return start + (ns - first) // step
        return start + share * ((end - 1 - start) * (ns - first) // (last - first))

    def before(self, ns: int) -> int:
        """How many rows lie before a New York midnight."""
        days = self.days
        return days.starts[bisect_left(days.first_ns, ns)]

    def day_of(self, row: int) -> int:
        """The first instant of the day that a row lies in; of the last day, where the row is yet to come."""
        days = self.days
        day = min(bisect_right(days.starts, row), len(days.first_ns))
        return days.first_ns[day - 1]


def _nobody(start: int, end: int) -> Int64s:
    raise AssertionError("the rows of this grid are not served by anyone yet")


class RepairedRows(GridSeries):
    """Stored rows as Lumibot's ``Data`` shows them when it is asked on its own: repaired where they stand.

    Parameters
    ----------
    span_ns
        First and last instant that is shown, both included; the census is of that.
    """

    def __init__(
        self,
        info: SeriesInfo,
        layout: Layout,
        grid: RowGrid,
        partitions: Partitions,
        span_ns: tuple[int, int],
    ) -> None:
        super().__init__(spanned(info, grid), layout, grid, partitions, (), 0, grid.rows)
        self.rows_grid = grid
        self._span_ns = span_ns
        self._row_bytes += 8

    def span(self, part: int) -> tuple[int, int]:
        start_ns, end_ns = self._partitions.bounds_ns(part)
        return self.rows_grid.before(start_ns), self.rows_grid.before(end_ns)

    def part_of(self, row: int) -> int:
        return self._partitions.of(self.rows_grid.day_of(row))

    def row_at(self, ns: int) -> int:
        return self.rows_grid.surely_before(ns)

    def row_about(self, ns: int) -> int:
        return self.rows_grid.about(ns)

    def shown_before_ns(self, row: int, stored_ns: int) -> int:
        return stored_ns

    def build(self, part: int, stored_ns: Int64s, stored: Columns, carry: Carry) -> Segment:
        stored_ns, stored = _within(self._span_ns, stored_ns, stored)
        segment = repair(self.layout, stored_ns, stored, stored_ns, carry, intraday=self._intraday)
        segment.extras[ROW_TIMES] = _frozen(stored_ns)
        return segment

    def carry_after(
        self, segment: Segment, part: int, stored_ns: Int64s, stored: Columns, carry: Carry
    ) -> Carry:
        times_ns = segment.extras[ROW_TIMES]
        if not len(times_ns):
            return carry
        last = {name: values[len(times_ns) - 1] for name, values in self._shown(stored_ns, stored).items()}
        return Carry(last, segment.row(self.layout, -1), int(times_ns[-1]))

    def _shown(self, stored_ns: Int64s, stored: Columns) -> Columns:
        return _within(self._span_ns, stored_ns, stored)[1]


class PlainRows:
    """Stored rows as they are, nothing mended: for sources that keep plain DataFrames.

    The block holds the float64 columns in the owner's order, ``extras`` the others.

    Parameters
    ----------
    span_ns
        First and last instant that is shown, both included; the census is of that.
    """

    needs_carry = False
    needs_history = False

    def __init__(
        self, info: SeriesInfo, grid: RowGrid, partitions: Partitions, span_ns: tuple[int, int]
    ) -> None:
        self.info = spanned(info, grid)
        self.physical = {column.name: column.physical for column in info.columns}
        self.rows = grid.rows
        self.reach_rows = 0
        self.rows_grid = grid
        self.floats = [column.name for column in info.columns if column.dtype == "float64"]
        self.others = {column.name: column.dtype for column in info.columns if column.dtype != "float64"}
        self._partitions = partitions
        self._span_ns = span_ns
        widths = sum(np.dtype(dtype).itemsize for dtype in self.others.values())
        self._row_bytes = 8 * (len(self.floats) + 1) + widths

    def span(self, part: int) -> tuple[int, int]:
        start_ns, end_ns = self._partitions.bounds_ns(part)
        return self.rows_grid.before(start_ns), self.rows_grid.before(end_ns)

    def part_of(self, row: int) -> int:
        return self._partitions.of(self.rows_grid.day_of(row))

    def row_at(self, ns: int) -> int:
        return self.rows_grid.surely_before(ns)

    def row_about(self, ns: int) -> int:
        return self.rows_grid.about(ns)

    def segment_bytes(self, rows: int) -> int:
        return rows * self._row_bytes

    def build(self, part: int, stored_ns: Int64s, stored: Columns, carry: Carry) -> Segment:
        stored_ns, stored = _within(self._span_ns, stored_ns, stored)
        block = float_block(len(self.floats), len(stored_ns))
        for row, name in enumerate(self.floats):
            block[row] = stored[name]
        block.flags.writeable = False
        extras: Columns = {name: _frozen(stored[name].astype(dtype)) for name, dtype in self.others.items()}
        extras[ROW_TIMES] = _frozen(stored_ns)
        return Segment(block, extras)

    def carry_after(
        self, segment: Segment, part: int, stored_ns: Int64s, stored: Columns, carry: Carry
    ) -> Carry:
        return carry


def spanned(info: SeriesInfo, grid: RowGrid) -> SeriesInfo:
    """The series as far as it is shown."""
    days = grid.days
    if not days.rows:
        return replace(info, rows=0)
    return replace(info, rows=days.rows, first_ns=days.first_ns[0], last_ns=days.last_ns[-1])


def _within(span_ns: tuple[int, int], stored_ns: Int64s, stored: Columns) -> tuple[Int64s, Columns]:
    if not len(stored_ns) or (span_ns[0] <= stored_ns[0] and stored_ns[-1] <= span_ns[1]):
        return stored_ns, stored
    lo = int(stored_ns.searchsorted(span_ns[0], side="left"))
    hi = int(stored_ns.searchsorted(span_ns[1], side="right"))
    return stored_ns[lo:hi], {name: values[lo:hi] for name, values in stored.items()}


def _frozen(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    own = values.copy()
    own.flags.writeable = False
    return own


def times_between(pieces: Iterator[npt.NDArray[np.generic]]) -> Int64s:
    """Times of neighbouring segments as one array."""
    found = list(pieces)
    joined = found[0] if len(found) == 1 else np.concatenate(found)
    return joined.astype(np.int64, copy=False)
