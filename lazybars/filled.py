"""Rows of a timetable: a bar where one stands, the close before it where none does.

Some sources show a row for every time of theirs, whether a bar stands there or not, and keep such frames
whole. Here the times are arithmetic (or, for days, a short array), and a partition is filled from its own
bars and one close from before it: a `Filling` finds those in one pass over the series.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lazybars.blocks import float_block
from lazybars.grid import ArrayGrid, Int64s, SessionGrid
from lazybars.model import SeriesInfo
from lazybars.partition import Partitions
from lazybars.repair import Carry, Columns, Segment
from lazybars.rows import ROW_TIMES, Census, PlainRows, RowGrid, Scanned

__all__ = ["FilledRows", "Filling", "Timetable", "filling_of", "stood_before", "times_of"]

# Bars looked at together: a month of minutes, all days there are.
_LOOKED_AT = {"minute": "1M", "hour": "1Y", "day": "25Y"}
Mask = npt.NDArray[np.bool_]


def _standing(sessions: SessionGrid | None, times_ns: Int64s) -> Mask:
    """Which times are times of the sessions; all of them where there are none to be kept to."""
    if sessions is None:
        return np.ones(len(times_ns), dtype=np.bool_)
    if not len(sessions.first_ns):
        return np.zeros(len(times_ns), dtype=np.bool_)
    at = sessions.first_ns.searchsorted(times_ns, side="right") - 1
    past_ns = times_ns - sessions.first_ns[at]
    within = (at >= 0) & (times_ns <= sessions.last_ns[at])
    standing: Mask = within & (past_ns % sessions.step_ns == 0)
    return standing


def _looked_at(
    store: Scanned, info: SeriesInfo, span_ns: tuple[int, int], columns: list[str]
) -> Iterator[tuple[Int64s, list[npt.NDArray[np.float64]]]]:
    """Times and columns of the stored bars in a span, both ends included, some whole days at a time."""
    first, last = max(info.first_ns, span_ns[0]), min(info.last_ns, span_ns[1])
    if not info.rows or first > last:
        return
    physical = {column.name: column.physical for column in info.columns}
    wanted = [physical[name] for name in columns]
    edges = Partitions.covering(_LOOKED_AT[info.timestep], first, last).edges_ns
    for start, end in pairwise(edges):
        table: Any = store.scan(info.series_id, info.series_id, max(start, first), min(end, last + 1), wanted)
        if not table.num_rows:
            continue
        found = [
            np.concatenate([np.asarray(np.from_dlpack(chunk)) for chunk in table.column(name).chunks])
            for name in ["ts", *wanted]
        ]
        times_ns = found[0].astype(np.int64) * 1000
        order = np.argsort(times_ns, kind="stable")
        yield times_ns[order], [values[order] for values in found[1:]]


def times_of(store: Scanned, info: SeriesInfo, span_ns: tuple[int, int]) -> Int64s:
    """The times of all stored bars in a span, both ends included; for series of few bars."""
    found = [times_ns for times_ns, _ in _looked_at(store, info, span_ns, [])]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def stood_before(
    store: Scanned, info: SeriesInfo, span_ns: tuple[int, int], sessions: SessionGrid | None
) -> Census:
    """The stored bars of a span that stand at a time of the sessions."""
    found = Census()
    for times_ns, _ in _looked_at(store, info, span_ns, []):
        found.add(times_ns[_standing(sessions, times_ns)])
    return found


class Filling:
    """The last close of each day on which a bar stands; 16 bytes a day.

    lead : what fills the rows before the first bar: its open. NaN where no bar stands.
    """

    def __init__(self) -> None:
        self.lead = float("nan")
        self._last_ns = array("q")
        self._closes = array("d")

    @property
    def nbytes(self) -> int:
        return 16 * len(self._closes)

    def add(self, times_ns: Int64s, opens: npt.NDArray[np.float64], closes: npt.NDArray[np.float64]) -> None:
        """Bars of whole days, ascending, after all that were added before."""
        if not len(times_ns):
            return
        if not self._last_ns:
            self.lead = float(opens[0])
        edges = Partitions.covering("1D", int(times_ns[0]), int(times_ns[-1])).edges_ns
        ends = np.unique(times_ns.searchsorted(np.array(edges[1:], dtype=np.int64)))
        for end in ends[ends > 0].tolist():
            self._last_ns.append(int(times_ns[end - 1]))
            self._closes.append(float(closes[end - 1]))

    def close_before(self, ns: int) -> float:
        """What fills the rows of a New York day that begins at ``ns``, until a bar of its own stands."""
        at = bisect_left(self._last_ns, ns) - 1
        return self._closes[at] if at >= 0 else self.lead


def filling_of(
    store: Scanned, info: SeriesInfo, span_ns: tuple[int, int], sessions: SessionGrid | None
) -> Filling:
    """What fills the rows between the bars of a span that stand at a time of the sessions."""
    found = Filling()
    for times_ns, (opens, closes) in _looked_at(store, info, span_ns, ["open", "close"]):
        stand = _standing(sessions, times_ns)
        found.add(times_ns[stand], opens[stand], closes[stand])
    return found


class Timetable(RowGrid):
    """The times of a source: those of stored bars before its window, then all that the window has.

    Parameters
    ----------
    stood
        The bars before the window, which are shown as they are, and nothing filled.
    stood_ns
        First and last instant, both included, of those.
    sessions
        Where they stand; None: all of the span.
    window
        The times that are filled.
    """

    def __init__(
        self,
        stood: Census,
        stood_ns: tuple[int, int],
        sessions: SessionGrid | None,
        window: SessionGrid | ArrayGrid,
        filling: Filling,
    ) -> None:
        super().__init__(stood)
        self.window = window
        self.filling = filling
        self.stood_rows = stood.rows
        self.rows = stood.rows + window.rows
        self._stood_ns = stood_ns
        self._sessions = sessions

    @property
    def nbytes(self) -> int:
        return super().nbytes + self.window.nbytes + self.filling.nbytes

    def stands(self, times_ns: Int64s) -> Mask:
        """Which stored bars are rows before the window."""
        within = (times_ns >= self._stood_ns[0]) & (times_ns <= self._stood_ns[1])
        return within & _standing(self._sessions, times_ns)

    def at_or_before(self, ns: int) -> int:
        found = self.window.at_or_before(ns)
        return self.stood_rows + found if found >= 0 else super().at_or_before(ns)

    def time_ns(self, ordinal: int) -> int:
        if ordinal < self.stood_rows:
            return super().time_ns(ordinal)
        return self.window.time_ns(ordinal - self.stood_rows)

    def times_ns(self, start: int, end: int) -> Int64s:
        if start < self.stood_rows:
            return super().times_ns(start, end)
        return self.window.times_ns(start - self.stood_rows, end - self.stood_rows)

    def _near(self, ns: int, share: int) -> int:
        found = self.window.at_or_before(ns)
        return self.stood_rows + found if found >= 0 else super()._near(ns, share)

    def before(self, ns: int) -> int:
        return super().before(ns) + self.window.at_or_after(ns)

    def day_of(self, row: int) -> int:
        if row < self.stood_rows or not self.window.rows:
            return super().day_of(row)
        return self.window.time_ns(min(row, self.rows - 1) - self.stood_rows)


class FilledRows(PlainRows):
    """The rows of a timetable; float64 columns only, one of them ``close``, and ``volume`` 0 where filled."""

    def __init__(self, info: SeriesInfo, timetable: Timetable, partitions: Partitions) -> None:
        super().__init__(info, timetable, partitions, (0, 0))
        self._timetable = timetable
        rows = timetable.rows
        if rows:
            first_ns, last_ns = timetable.time_ns(0), timetable.time_ns(rows - 1)
            self.info = replace(info, rows=rows, first_ns=first_ns, last_ns=last_ns)

    def build(self, part: int, stored_ns: Int64s, stored: Columns, carry: Carry) -> Segment:
        table = self._timetable
        lo, hi = (max(row - table.stood_rows, 0) for row in self.span(part))
        stood = table.stands(stored_ns)
        shown_ns = table.window.times_ns(lo, hi)
        times_ns = np.concatenate([stored_ns[stood], shown_ns])
        first = len(times_ns) - len(shown_ns)
        at = np.minimum(stored_ns.searchsorted(shown_ns), max(len(stored_ns) - 1, 0))
        found = stored_ns[at] == shown_ns if len(stored_ns) else np.zeros(len(shown_ns), dtype=np.bool_)
        fill = self._filled(shown_ns, found, stored["close"][at] if len(stored_ns) else None)
        block = float_block(len(self.floats), len(times_ns))
        for row, name in enumerate(self.floats):
            block[row, :first] = stored[name][stood]
            if len(stored_ns):
                block[row, first:] = stored[name][at]
            block[row, first:][~found] = 0.0 if name == "volume" else fill[~found]
        block.flags.writeable = False
        times_ns.flags.writeable = False
        return Segment(block, {ROW_TIMES: times_ns})

    def _filled(
        self, shown_ns: Int64s, found: Mask, closes: npt.NDArray[Any] | None
    ) -> npt.NDArray[np.float64]:
        """The last close by each row."""
        if not len(shown_ns):
            return np.empty(0)
        before = self._timetable.filling.close_before(int(shown_ns[0]))
        if closes is None:
            return np.full(len(shown_ns), before)
        last = np.maximum.accumulate(np.where(found, np.arange(len(found)), -1))
        return np.where(last >= 0, closes[last], before)
