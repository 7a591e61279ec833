"""Rows that Lumibot repairs a second time.

``load_data`` repairs the frames that it finds, also those that it, or an earlier question, has
repaired before. The rows stay what they are; the derived columns are then columns like any other:
nothing computes them anew, and their gaps are filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lazybars.grid import Grid, Int64s
from lazybars.layout import DERIVED, Layout
from lazybars.model import SeriesInfo
from lazybars.partition import Partitions
from lazybars.repair import Carry, Columns, Segment, repair
from lazybars.series import GridSeries

__all__ = ["RepairedAgain"]


@dataclass(frozen=True, slots=True)
class _Carry(Carry):
    """A carry of the second repair; own : that of the first one."""

    own: Carry = field(default_factory=Carry)


class RepairedAgain(GridSeries):
    """One asset of a universe that is loaded again.

    Parameters
    ----------
    alone
        The first repair was on the stored rows themselves, because the series was asked for before
        ``load_data``: its returns are those between stored rows, and are shown like prices.
    """

    def __init__(
        self,
        info: SeriesInfo,
        layout: Layout,
        grid: Grid,
        partitions: Partitions,
        edges: Sequence[int],
        offset: int,
        rows: int,
        *,
        alone: bool,
    ) -> None:
        super().__init__(info, layout, grid, partitions, edges, offset, rows)
        # A gap is filled from arbitrarily far back.
        self.needs_history = True
        self._alone = alone
        self._derived = [name for name in DERIVED if name in layout.rows]

    def build(self, part: int, stored_ns: Int64s, stored: Columns, carry: Carry) -> Segment:
        if self._alone:
            stored, _ = self._first_repair(stored_ns, stored, carry)
        segment = super().build(part, stored_ns, stored, carry)
        lo, hi = self.span(part)
        at = stored_ns.searchsorted(self.grid.times_ns(self.offset + lo, self.offset + hi), side="right") - 1
        for name in self._derived:
            values = segment.block[self.layout.rows[name]]
            if self._alone:
                if len(stored_ns):
                    values[:] = stored[name][at]
                if carry.stored is not None:
                    values[at < 0] = carry.stored[name]
            filled = pd.Series(values).ffill().to_numpy()
            if carry.shown is not None:
                filled = np.where(np.isnan(filled), carry.shown[name], filled)
            values[:] = filled
        return segment

    def carry_after(
        self, segment: Segment, part: int, stored_ns: Int64s, stored: Columns, carry: Carry
    ) -> Carry:
        own = Carry()
        if self._alone:
            stored, own = self._first_repair(stored_ns, stored, carry)
        after = super().carry_after(segment, part, stored_ns, stored, carry)
        return _Carry(after.stored, after.shown, after.shown_ns, own)

    def _first_repair(self, stored_ns: Int64s, stored: Columns, carry: Carry) -> tuple[Columns, Carry]:
        """The stored rows as they are repaired on their own index, and the carry of that."""
        own = carry.own if isinstance(carry, _Carry) else Carry()
        first = repair(self.layout, stored_ns, stored, stored_ns, own, intraday=self._intraday)
        columns = {name: first.column(self.layout, name) for name, _ in self.layout.frame}
        if not len(stored_ns):
            return columns, own
        last = {name: values[-1] for name, values in stored.items()}
        return columns, Carry(last, first.row(self.layout, -1), int(stored_ns[-1]))
