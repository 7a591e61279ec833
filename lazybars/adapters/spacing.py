"""How long a bar of a series is, by Lumibot's rule.

``_intraday_bar_state`` takes the most common spacing between the rows of the repaired index within
a local day or within an hour, ties to the smallest, and at least the nominal minute or hour. On a
session grid the spacings are known without the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lazybars.grid import Grid, Int64s, SessionGrid
from lazybars.model import NOMINAL_NS
from lazybars.rows import RowGrid

__all__ = ["bar_length_ns"]

_HOUR_NS = NOMINAL_NS["hour"]


def bar_length_ns(grid: Grid, start: int, end: int, timestep: str, tz: Any) -> int:
    """The length of a bar of the rows [start, end) of a grid."""
    spacings, counts = _spacings(grid, start, end, tz)
    common = int(spacings[int(np.argmax(counts))]) if len(spacings) else 0
    return max(NOMINAL_NS[timestep], common)


def _spacings(grid: Grid, start: int, end: int, tz: Any) -> tuple[Int64s, Int64s]:
    """Distinct spacings within a day or an hour, ascending, and how often each occurs."""
    if isinstance(grid, RowGrid):  # a series of its own, of all rows
        return grid.days.spacings
    if isinstance(grid, SessionGrid):
        first = int(grid.starts.searchsorted(start, side="right")) - 1
        last = int(grid.starts.searchsorted(end, side="left"))
        between = grid.first_ns[first + 1 : last] - grid.last_ns[first : last - 1]
        # Sessions are local days: rows of different ones only count where they are near.
        near = between[between <= _HOUR_NS]
        values, counts = np.unique(np.append(near, grid.step_ns), return_counts=True)
        counts[values.searchsorted(grid.step_ns)] += max(end - start - (last - first), 0) - 1
        return values[counts > 0], counts[counts > 0]
    times_ns = grid.times_ns(start, end)
    between = np.diff(times_ns)
    days = pd.DatetimeIndex(times_ns.view("M8[ns]"), tz="UTC").tz_convert(tz).normalize().asi8
    counted = (between > 0) & ((days[1:] == days[:-1]) | (between <= _HOUR_NS))
    return np.unique(between[counted], return_counts=True)
