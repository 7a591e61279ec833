"""Lumibot's union index, from a store's summary instead of its rows.

``PandasData.load_data`` joins the indexes of all frames, takes the first and last bar of each local
day as its session, and lays one row a minute (minute universes) or the joined index itself (others)
over it. Lumibot's own code is run here on a few instants of each day where it only looks at those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from lazybars.adapters.frames import IndexMaker, set_freq
from lazybars.adapters.instants import exact_ns
from lazybars.grid import ArrayGrid, Grid, Int64s, SessionGrid

# Local day ordinals, and the first and last instant of each.
Days = tuple[Int64s, Int64s, Int64s]

__all__ = ["Days", "Member", "Universe", "days_of", "session_universe", "shown_days", "union_universe"]


@dataclass(frozen=True, slots=True)
class Member:
    """The index of one item of a universe: its resolution, frequency and instants."""

    unit: str
    freq: Any
    times_ns: Callable[[], Int64s]


@dataclass(frozen=True, slots=True)
class Universe:
    """The rows that all items are shown on.

    calendar_ns : the first and last row of each local day, ascending.
    """

    grid: Grid
    index: IndexMaker
    calendar_ns: Int64s

    def same(self, other: Universe) -> bool:
        """Whether another one has the same rows and shows them alike."""
        return self.index.like(other.index) and _same_rows(self.grid, other.grid)


def _same_rows(one: Grid, other: Grid) -> bool:
    if isinstance(one, SessionGrid) and isinstance(other, SessionGrid):
        return np.array_equal(one.first_ns, other.first_ns) and np.array_equal(
            one.session_rows, other.session_rows
        )
    return type(one) is type(other) and np.array_equal(
        one.times_ns(0, one.rows), other.times_ns(0, other.rows)
    )


def shown_days(grid: SessionGrid, offset: int, rows: int, tz: Any) -> Days:
    """The local days of the rows [offset, offset + rows) of a grid, from its sessions alone."""
    if not rows:
        return days_of(np.empty(0, dtype=np.int64), tz)
    first = int(grid.starts.searchsorted(offset, side="right")) - 1
    last = int(grid.starts.searchsorted(offset + rows, side="left"))
    opens, closes = grid.first_ns[first:last].copy(), grid.last_ns[first:last].copy()
    opens[0], closes[-1] = grid.time_ns(offset), grid.time_ns(offset + rows - 1)
    return days_of(np.unique(np.concatenate((opens, closes))), tz)


def days_of(times_ns: Int64s, tz: Any) -> Days:
    """The local days of ascending instants."""
    local = pd.DatetimeIndex(times_ns.view("M8[ns]"), tz="UTC").tz_convert(tz).tz_localize(None)
    days = local.as_unit("s").asi8 // 86_400
    if not len(days):
        return days, days, days
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    ends = np.append(starts[1:], len(days)) - 1
    return days[starts], times_ns[starts], times_ns[ends]


def _merged(per_item: Sequence[Days]) -> tuple[Int64s, Int64s]:
    day, first, last = (np.concatenate([days[i] for days in per_item]) for i in range(3))
    days, where = np.unique(day, return_inverse=True)
    opens = np.full(len(days), np.iinfo(np.int64).max)
    closes = np.full(len(days), np.iinfo(np.int64).min)
    np.minimum.at(opens, where, first)
    np.maximum.at(closes, where, last)
    return opens, closes


def _index(times_ns: Int64s, unit: str, tz: Any) -> pd.DatetimeIndex:
    values = times_ns.view("M8[ns]").astype(f"M8[{unit}]")
    return pd.DatetimeIndex(values, tz="UTC", name="datetime").tz_convert(tz)


def _joined_unit(units: Sequence[str], tz: Any) -> str:
    """The resolution that joining indexes of these, one after the other, ends with."""
    joined = _index(np.zeros(1, dtype=np.int64), units[0], tz)
    for unit in units[1:]:
        if unit != joined.unit:
            joined = joined.join(_index(np.zeros(1, dtype=np.int64), unit, tz), how="outer")
    return str(joined.unit)


def _freq_of(grid: SessionGrid) -> Any:
    """The frequency that pandas leaves when it selects these rows from an index of every minute.

    It keeps one where the rows stand at equal distances, a single row counting as such.
    """
    steps_ns = np.diff(grid.times_ns(0, min(grid.rows, 3)))
    if grid.rows > 3 and (grid.session_rows > 1).any():
        last_ns = int(grid.last_ns[-1])
        steps_ns = np.array([grid.step_ns, (last_ns - grid.time_ns(0)) / (grid.rows - 1)])
    elif grid.rows > 3:
        steps_ns = np.diff(grid.first_ns)
    if len(steps_ns) and (steps_ns != steps_ns[0]).any():
        return None
    return to_offset("1min") * (int(steps_ns[0]) // grid.step_ns if len(steps_ns) else 1)


def session_universe(
    units: Sequence[str], per_item: Sequence[Days], end: Any, tz: Any
) -> tuple[Universe, pd.DatetimeIndex]:
    """The universe of minute bars, and the bars that its calendar is made of, before the repair.

    Parameters
    ----------
    units
        Resolutions of the items' indexes, in order.
    per_item
        The days of each item, or of several together.
    end
        ``datetime_end`` of the source: no row lies behind it.
    """
    opens, closes = _merged(per_item)
    unit = _joined_unit(units, tz)
    end_ns = exact_ns(end, tz) if end is not None else int(closes[-1])
    grid = SessionGrid(int(opens[0]), opens, np.minimum(closes, end_ns))
    index = IndexMaker(grid, unit, tz, _freq_of(SessionGrid(int(opens[0]), opens, closes)))
    calendar = np.unique(np.concatenate((grid.first_ns, grid.last_ns)))
    return Universe(grid, index, calendar), _index(np.unique(np.concatenate((opens, closes))), unit, tz)


def union_universe(
    members: Sequence[Member], tz: Any, joined: Callable[[Sequence[pd.DatetimeIndex]], pd.DatetimeIndex]
) -> Universe:
    """The universe of hourly or daily bars: the joined index itself.

    Parameters
    ----------
    joined
        Lumibot's own joining and cleaning of the members' indexes.
    """
    indexes = []
    for member in members:
        index = _index(member.times_ns(), member.unit, tz)
        set_freq(index, member.freq)
        indexes.append(index)
    union = joined(indexes)
    times_ns = union.as_unit("ns").asi8
    grid = ArrayGrid(times_ns)
    _, first, last = days_of(times_ns, tz)
    return Universe(
        grid, IndexMaker(grid, union.unit, tz, union.freq), np.unique(np.concatenate((first, last)))
    )
