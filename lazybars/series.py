"""A series as the ring sees it: numbered rows, cut into partitions.

Two kinds. A `GridSeries` shows a row for every instant of its universe's grid (Lumibot's view);
a `StoredSeries` shows the stored rows themselves (the view of `iterate`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lazybars.blocks import float_block
from lazybars.grid import Grid, Int64s
from lazybars.layout import Layout
from lazybars.model import BAR_FIELDS, SeriesInfo
from lazybars.partition import Partitions
from lazybars.repair import Carry, Columns, Segment, repair

__all__ = ["GridSeries", "Series", "StoredSeries", "edge_rows"]


def edge_rows(grid: Grid, partitions: Partitions) -> list[int]:
    """The first ordinal of a grid in each partition, and the end of the last one."""
    return [grid.at_or_after(ns) for ns in partitions.edges_ns]


class Series(Protocol):
    """Rows 0 .. rows - 1 of one series.

    reach_rows : the longest window seen, in rows; learnt while the backtest runs.
    """

    info: SeriesInfo
    physical: dict[str, str]
    rows: int
    reach_rows: int
    needs_carry: bool
    needs_history: bool

    def span(self, part: int) -> tuple[int, int]:
        """Rows [lo, hi) that lie in a partition."""

    def part_of(self, row: int) -> int:
        """The partition of a row."""

    def row_at(self, ns: int) -> int:
        """A row at or before the last one that begins by ``ns``; -1 before the first."""

    def row_about(self, ns: int) -> int:
        """About the last row that begins by ``ns``; exact where the series can tell."""

    def segment_bytes(self, rows: int) -> int:
        """Bytes of a segment of so many rows."""

    def build(self, part: int, stored_ns: Int64s, stored: Columns, carry: Carry) -> Segment:
        """The segment of a partition from its stored rows."""

    def carry_after(
        self, segment: Segment, part: int, stored_ns: Int64s, stored: Columns, carry: Carry
    ) -> Carry:
        """What the next partition must know of this one and all before it."""


class GridSeries:
    """One asset of a Lumibot universe.

    Parameters
    ----------
    edges
        `edge_rows` of the universe.
    offset, rows
        The series shows the ordinals [offset, offset + rows) of the grid.
    """

    needs_carry = True

    def __init__(
        self,
        info: SeriesInfo,
        layout: Layout,
        grid: Grid,
        partitions: Partitions,
        edges: Sequence[int],
        offset: int,
        rows: int,
    ) -> None:
        self.info = info
        self.layout = layout
        self.physical = layout.physical
        self.grid = grid
        self.offset = offset
        self.rows = rows
        self.reach_rows = 0
        self.needs_history = layout.needs_history
        self._edges = edges
        self._partitions = partitions
        self._row_bytes = layout.row_bytes()
        self._intraday = info.timestep != "day"

    def span(self, part: int) -> tuple[int, int]:
        lo = min(max(self._edges[part] - self.offset, 0), self.rows)
        return lo, min(max(self._edges[part + 1] - self.offset, lo), self.rows)

    def part_of(self, row: int) -> int:
        return bisect_right(self._edges, self.offset + row) - 1

    def row_at(self, ns: int) -> int:
        return min(self.grid.at_or_before(ns) - self.offset, self.rows - 1)

    row_about = row_at

    def shown_before_ns(self, row: int, stored_ns: int) -> int:
        """The instant of a row, where ``stored_ns`` is that of the last stored one before the next."""
        return self.grid.time_ns(self.offset + row)

    def segment_bytes(self, rows: int) -> int:
        return rows * self._row_bytes

    def build(self, part: int, stored_ns: Int64s, stored: Columns, carry: Carry) -> Segment:
        lo, hi = self.span(part)
        times_ns = self.grid.times_ns(self.offset + lo, self.offset + hi)
        return repair(self.layout, stored_ns, stored, times_ns, carry, intraday=self._intraday)

    def carry_after(
        self, segment: Segment, part: int, stored_ns: Int64s, stored: Columns, carry: Carry
    ) -> Carry:
        last = {name: values[-1] for name, values in stored.items()} if len(stored_ns) else carry.stored
        lo, hi = self.span(part)
        if hi == lo:
            return Carry(last, carry.shown, carry.shown_ns)
        return Carry(last, segment.row(self.layout, -1), self.grid.time_ns(self.offset + hi - 1))


class StoredSeries:
    """The stored rows of one asset; the block is open, high, low, close, volume.

    Parameters
    ----------
    edges
        Rows of the series before each partition, and in all; shape (partitions + 1,).
    hours
        First and last bar of any series in each partition, in ns; shape (2, partitions). Rows are
        taken to be spread evenly between them.
    """

    needs_carry = False
    needs_history = False

    def __init__(
        self,
        info: SeriesInfo,
        partitions: Partitions,
        edges: Sequence[int],
        hours: tuple[Sequence[int], Sequence[int]] | None = None,
    ) -> None:
        self.info = info
        self.physical = {c.name: c.physical for c in info.columns if c.name in BAR_FIELDS}
        self.rows = edges[-1]
        self.reach_rows = 0
        self._edges = edges
        self._partitions = partitions
        self._hours = hours

    def span(self, part: int) -> tuple[int, int]:
        return self._edges[part], self._edges[part + 1]

    def part_of(self, row: int) -> int:
        return bisect_right(self._edges, row) - 1

    def row_at(self, ns: int) -> int:
        return self._edges[self._partitions.of(ns)]

    def row_about(self, ns: int) -> int:
        part = self._partitions.of(ns)
        lo, hi = self.span(part)
        if self._hours is None:
            return lo
        first_ns, last_ns = self._hours[0][part], self._hours[1][part]
        share = (ns - first_ns) / max(last_ns - first_ns, 1)
        return lo - 1 + int((hi - lo) * min(max(share, 0.0), 1.0))

    def segment_bytes(self, rows: int) -> int:
        return rows * 8 * (len(BAR_FIELDS) + 1)

    def build(self, part: int, stored_ns: Int64s, stored: Columns, carry: Carry) -> Segment:
        block = float_block(len(BAR_FIELDS), len(stored_ns))
        block.fill(np.nan)
        for row, name in enumerate(BAR_FIELDS):
            if name in stored:
                block[row] = stored[name]
        block.flags.writeable = False
        times_ns = stored_ns.copy()
        times_ns.flags.writeable = False
        return Segment(block, {"timestamp": times_ns})

    def carry_after(
        self, segment: Segment, part: int, stored_ns: Int64s, stored: Columns, carry: Carry
    ) -> Carry:
        return carry
