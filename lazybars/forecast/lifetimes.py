"""When each segment is asked for, from the day summaries alone.

A window of the last so many closed bars slides over each series, so a segment is asked for from the tick
at which its first bar has closed to the last one at which the window still reaches its last bar. Where
the bars of a day lie is not in its summary: they count as evenly spaced from the first to the last, which
is exact where no bar is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lazybars.grid import Int64s
from lazybars.model import NOMINAL_NS, SeriesInfo
from lazybars.partition import Partitions
from lazybars.ring import PAGE_OVERHEAD_BYTES
from lazybars.series import StoredSeries
from lazybars.store import Storage

__all__ = ["Lifetimes", "Universe"]

_DAY_NS = NOMINAL_NS["day"]


@dataclass(frozen=True, slots=True)
class Days:
    """The day summaries of one series.

    day : days since 1970-01-01. first_ns, last_ns : a day's first and last bar. rows : its bars. All
        int64 of shape (days,), ascending. before : bars before each day, and in all; shape (days + 1,).
    """

    info: SeriesInfo
    day: Int64s
    first_ns: Int64s
    last_ns: Int64s
    rows: Int64s
    before: Int64s

    def at_ns(self, row: Int64s) -> Int64s:
        """When the bars of these numbers begin."""
        at = self.before.searchsorted(row, side="right") - 1
        step_ns = (self.last_ns[at] - self.first_ns[at]) // np.maximum(self.rows[at] - 1, 1)
        begun_ns: Int64s = self.first_ns[at] + step_ns * (row - self.before[at])
        return begun_ns


class Universe:
    """The series of a run and the ticks of its clock, from metadata.

    ticks_ns : every moment of the clock, ascending. kept_bytes : see `Storage.kept_bytes`.

    Parameters
    ----------
    cadence_ns
        The clock stops so far apart from a day's first bar to its last, of all series together; None
        for every bar. Where bars are missing, how many moments have one is estimated as if they were
        missing independently of each other.
    """

    def __init__(
        self,
        store: Storage,
        infos: Sequence[SeriesInfo],
        start_ns: int,
        end_ns: int,
        cadence_ns: int | None,
    ) -> None:
        self.infos = tuple(infos)
        self.kept_bytes = store.kept_bytes
        self.first_ns = min(info.first_ns for info in infos)
        self.last_ns = max(info.last_ns for info in infos)
        self.length_ns = NOMINAL_NS[infos[0].timestep]
        self.days: list[Days] = []
        for info in infos:
            day, first_ns, last_ns, rows = store.series_days(info.series_id)
            self.days.append(Days(info, day, first_ns, last_ns, rows, np.append(0, np.cumsum(rows))))
        self.session_ns, ticks_ns = self._clock(store, cadence_ns)
        self.ticks_ns = ticks_ns[(ticks_ns >= start_ns) & (ticks_ns <= end_ns)]

    def _clock(self, store: Storage, cadence_ns: int | None) -> tuple[Int64s, Int64s]:
        """(the first bar of each day, the ticks of all days)."""
        day, first_ns, last_ns = store.sessions([info.series_id for info in self.infos])
        sessions_ns, span_ns = first_ns, last_ns - first_ns
        if cadence_ns is None:
            count = self._moments(day, span_ns // self.length_ns + 1)
            step_ns = span_ns // np.maximum(count - 1, 1)
        else:
            # From a day's cadence on, the first day of each such period.
            _, kept = np.unique((day - day[0]) // max(cadence_ns // _DAY_NS, 1), return_index=True)
            first_ns, span_ns = first_ns[kept], span_ns[kept]
            count = span_ns // cadence_ns + 1
            step_ns = np.full(len(count), cadence_ns)
        nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return sessions_ns, np.repeat(first_ns, count) + np.repeat(step_ns, count) * nth

    def _moments(self, day: Int64s, slots: Int64s) -> Int64s:
        """In how many of a day's slots any series has a bar."""
        nobody = np.zeros(len(day))
        most = np.ones(len(day), np.int64)
        for one in self.days:
            at = day.searchsorted(one.day)
            with np.errstate(divide="ignore"):  # a series with every bar leaves no empty slot
                nobody[at] += np.log1p(-np.minimum(one.rows / slots[at], 1.0))
            most[at] = np.maximum(most[at], one.rows)
        return np.maximum(np.rint(-slots * np.expm1(nobody)).astype(np.int64), most)

    def busiest(self, partitions: Partitions) -> StoredSeries:
        """The series that has the largest segment."""
        edges_ns = np.array(partitions.edges_ns)
        edges = [one.before[one.first_ns.searchsorted(edges_ns)] for one in self.days]
        most = max(range(len(edges)), key=lambda at: int(np.diff(edges[at]).max()))
        return StoredSeries(self.days[most].info, partitions, edges[most].tolist())


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """What is asked for, tick by tick. Ticks in a row that ask for the same are one stretch.

    All but ``held`` are int64 of shape (stretches,).

    part : which of the partitions that have bars the clock is in when the stretch begins.
    ticks : ticks of the stretch.
    asked, asked_bytes : segments that each tick asks for.
    came, came_bytes : those of them that no tick before asked for.
    left : segments that the tick before asked for, and no later one.
    held, held_bytes : segments of the clock's partition, of the next one, and of those that windows reach
        back to from the start of the clock's; shape (partitions with bars that the clock walks through,).
    row_bytes : of one bar of a segment.
    """

    part: Int64s
    ticks: Int64s
    asked: Int64s
    asked_bytes: Int64s
    came: Int64s
    came_bytes: Int64s
    left: Int64s
    held: Int64s
    held_bytes: Int64s
    row_bytes: int

    @classmethod
    def of(cls, universe: Universe, partitions: Partitions, lookback: int) -> Lifetimes:
        """The lifetimes of all segments, for windows of so many bars."""
        edges_ns = np.array(partitions.edges_ns)
        full = np.unique(edges_ns.searchsorted(universe.session_ns, side="right") - 1)
        row_bytes = universe.busiest(partitions).segment_bytes(1)
        size = len(universe.ticks_ns)
        came, left, held = _Steps(size), _Steps(size), _Steps(len(full))
        for one in universe.days:
            edges = one.before[one.first_ns.searchsorted(edges_ns)]
            own = np.flatnonzero(np.diff(edges))
            lo, hi = edges[own], edges[own + 1]
            nbytes = (hi - lo) * row_bytes + PAGE_OVERHEAD_BYTES
            # When this bar has closed, the window has left the segment behind.
            beyond = hi + min(lookback, one.info.rows + 1) - 1
            known = beyond < one.before[-1]
            beyond = np.minimum(beyond, one.before[-1] - 1)
            begins = universe.ticks_ns.searchsorted(one.at_ns(lo) + universe.length_ns)
            ends = np.where(
                known, universe.ticks_ns.searchsorted(one.at_ns(beyond) + universe.length_ns), size
            )
            asked = begins < ends
            came.add(begins[asked], nbytes[asked])
            left.add(ends[asked], nbytes[asked])
            at = full.searchsorted(own)
            until = full.searchsorted(edges.searchsorted(beyond, side="right") - 1)
            held.add(np.maximum(at - 1, 0), nbytes)
            held.add(np.where(known, until, len(full) - 1) + 1, nbytes, -1)
        first = np.flatnonzero((came.pages + left.pages)[:size])
        part = edges_ns[full].searchsorted(universe.ticks_ns, side="right") - 1
        walked = slice(part[0], part[-1] + 1) if size else slice(0)
        asked_pages, asked_bytes = np.cumsum(came.pages - left.pages), np.cumsum(came.nbytes - left.nbytes)
        return cls(
            part=part[first],
            ticks=np.diff(np.append(first, size)),
            asked=asked_pages[first],
            asked_bytes=asked_bytes[first],
            came=came.pages[first],
            came_bytes=came.nbytes[first],
            left=left.pages[first],
            held=np.cumsum(held.pages)[walked],
            held_bytes=np.cumsum(held.nbytes)[walked],
            row_bytes=row_bytes,
        )


class _Steps:
    """Pages and bytes by position; one position beyond the last is for what never happens."""

    def __init__(self, size: int) -> None:
        self.pages = np.zeros(size + 1, np.int64)
        self.nbytes = np.zeros(size + 1, np.int64)

    def add(self, at: npt.NDArray[np.int64], nbytes: Int64s, sign: int = 1) -> None:
        np.add.at(self.pages, at, sign)
        np.add.at(self.nbytes, at, sign * nbytes)
