"""Resampled bars, computed once a partition instead of from all rows at every call.

Lumibot answers a request for 15-minute, hourly or daily bars by resampling ``length`` times 15, 60
or 1440 rows. The bins that lie wholly inside such a window do not depend on it, so a `BinTable`
keeps them, and only the first and the last bin of a window, which it cuts, are computed from rows.

Bins are cut as ``DataFrame.resample`` cuts them: at multiples of the step from the local midnight of
the window's first row (``origin="start_day"``), days at local midnights. Tables are therefore kept
per *phase* of that midnight. Values come from pandas' own kernels or from operations that have only
one result: first, last, largest, smallest.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lazybars.grid import Grid, Int64s
from lazybars.model import NOMINAL_NS
from lazybars.partition import NEW_YORK

__all__ = ["BinTable", "Rule", "kahan_sums", "phase_of"]

Float64s = npt.NDArray[np.float64]
_DAY_NS = NOMINAL_NS["day"]
_EXACT = 2.0**53
_EPOCH_ORDINAL = dt.date(1970, 1, 1).toordinal()
_ONE_BIN = np.zeros(1, dtype=np.intp)
# A deep history is looked through in pieces, so that its rows are never in RAM at once.
_CHUNK_ROWS = 4096
# Bins of more rows are cut anew each time: what is kept of one takes as much as its rows.
_HEAD_ROWS = 256


def kahan_sums(values: Float64s, starts: npt.NDArray[np.intp]) -> Float64s:
    """The sum of each run of values, as pandas' groupby sums them; NaN counts as nothing.

    pandas adds with Kahan's compensation (``group_sum`` in pandas/_libs/groupby.pyx). Whole numbers
    below 2**53 have one sum in any order; anything else goes through pandas itself.

    Parameters
    ----------
    values
        Shape (rows,).
    starts
        Where each run begins, ascending from 0; shape (runs,).
    """
    if _sums_exactly(values):
        exact: Float64s = np.add.reduceat(values, starts)
        return exact
    runs = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(values))))
    sums: Float64s = _group_sums(values, runs, len(starts))
    return sums


def _sums_exactly(values: Float64s) -> bool:
    """Whether the sum of some values is the same in any order."""
    return bool(np.all(values == np.trunc(values))) and float(np.abs(values).sum()) < _EXACT


def _public_sums(values: Float64s, runs: npt.NDArray[np.intp], count: int) -> Float64s:
    sums: Float64s = pd.Series(values).groupby(runs, sort=False).sum().to_numpy()
    return sums


def _kernel_sums(values: Float64s, runs: npt.NDArray[np.intp], count: int) -> Float64s:
    out = np.zeros((count, 1))
    group_sum(out, np.zeros(count, dtype=np.int64), values.reshape(-1, 1), runs, None)
    return out[:, 0]


def _chosen_sums() -> Callable[[Float64s, npt.NDArray[np.intp], int], Float64s]:
    """The kernel behind ``groupby().sum()`` called directly, where this pandas has it in that form."""
    rng = np.random.default_rng(0)
    values, runs = rng.random(64) * 1e3, np.repeat(np.arange(4), 16)
    try:
        if np.array_equal(_kernel_sums(values, runs, 4), _public_sums(values, runs, 4)):
            return _kernel_sums
    except (NameError, TypeError, ValueError):
        pass
    return _public_sums


with suppress(ImportError):  # a pandas whose internals have moved: the public way serves
    from pandas._libs.groupby import group_sum
_group_sums = _chosen_sums()


def _extremes(values: Float64s, starts: npt.NDArray[np.intp], how: str) -> Float64s:
    """The largest or smallest of each run, as pandas' groupby has it: of 0.0 and -0.0 the first."""
    found: Float64s = (np.maximum if how == "max" else np.minimum).reduceat(values, starts)
    if not found.all() and np.signbit(values).any():
        runs = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(values))))
        found = getattr(pd.Series(values).groupby(runs, sort=False), how)().to_numpy()
    return found


@dataclass(frozen=True, slots=True)
class Rule:
    """A step to resample to: ``quantity`` minutes or hours, or one local day.

    columns : rows of a segment's block, in the order open, high, low, close, volume and then
        dividend and stock_splits where the series has them; how each is put together is `how`.
    exact : the column holds integers, whose sum is the same in any order.
    """

    quantity: int
    unit: str
    columns: tuple[int, ...]
    how: tuple[str, ...]
    exact: tuple[bool, ...]

    @property
    def is_day(self) -> bool:
        return self.unit == "day"

    @property
    def step_ns(self) -> int:
        return self.quantity * NOMINAL_NS[self.unit]


def _midnight_ns(ns: int) -> int:
    """The local midnight at or before an instant."""
    local = dt.datetime.fromtimestamp(ns // 1_000_000_000, NEW_YORK)
    return int(local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()) * 1_000_000_000


def _day_numbers(times_ns: Int64s) -> Int64s:
    local = pd.DatetimeIndex(times_ns.view("M8[ns]"), tz="UTC").tz_convert(NEW_YORK).tz_localize(None)
    days: Int64s = local.asi8 // _DAY_NS
    return days


class _Head:
    """A bin that windows begin in, cut at each of its rows: they move on through it row by row.

    values : what the rows from each one to the bin's end come to; shape (columns of the rule, rows).
    """

    __slots__ = ("begin", "stop", "values")

    def __init__(self, rule: Rule, begin: int, stop: int, block: Float64s) -> None:
        self.begin = begin
        self.stop = stop
        self.values = np.empty((len(rule.columns), stop - begin))
        for out, row, how, exact in zip(self.values, rule.columns, rule.how, rule.exact, strict=True):
            rows = block[row]
            if how == "first":
                out[:] = rows
            elif how == "last":
                out[:] = rows[-1]
            elif how == "sum":
                if exact or _sums_exactly(rows):
                    np.add.accumulate(rows[::-1], out=out[::-1])
                else:
                    out[:] = [kahan_sums(rows[at:], _ONE_BIN)[0] for at in range(len(rows))]
            else:
                (np.maximum if how == "max" else np.minimum).accumulate(rows[::-1], out=out[::-1])
                if not out.all() and np.signbit(rows).any():  # of 0.0 and -0.0 the first, not the last
                    out[:] = [_extremes(rows[at:], _ONE_BIN, how)[0] for at in range(len(rows))]


class BinTable:
    """The bins of a stretch of rows of one series, for one rule and phase.

    Rows [first, until) have been looked through. ``edges`` are the rows among them (and ``until``
    itself, should it be one) at which a bin begins; between two edges lies a whole bin, whose values
    are kept. The table grows forward as windows move on, and drops bins behind them.

    Parameters
    ----------
    rows
        Gives the block of rows [start, end), to read from only.
    changed
        Set whenever `nbytes` may have become another; whoever books it unsets it.
    anchor_ns
        A local midnight: bins begin at whole steps from it.
    """

    def __init__(
        self,
        rule: Rule,
        grid: Grid,
        offset: int,
        total: int,
        anchor_ns: int,
        rows: Callable[[int, int], Float64s],
    ) -> None:
        self.rule = rule
        self._grid = grid
        self._offset = offset
        self._total = total
        self._anchor_ns = anchor_ns
        self._rows = rows
        self._begin_at(0)

    def _begin_at(self, row: int) -> None:
        self._first = self._until = row
        self._number = None if row == 0 else self._bin_of(row - 1)
        # Lists, for bisect: label k is that of the bin that begins at edge k.
        self._edges: list[int] = []
        self._labels: list[int] = []
        self._values: Float64s = np.empty((len(self.rule.columns), 0))
        self._head: _Head | None = None
        self._head_bytes = 0
        self.changed = True

    @property
    def nbytes(self) -> int:
        return self._values.nbytes + self._head_bytes + 2 * 40 * len(self._edges)

    def values(self, start: int, end: int, ahead: int, until_ns: int, count: int) -> Float64s:
        """The last bins of rows [start, end), end > start, as that window cuts the first and the last.

        Parameters
        ----------
        ahead
            Rows up to here are at hand: their bins are worth computing now.
        until_ns
            Bins with a later label are not wanted.
        count
            So many bins are wanted at most.

        Returns
        -------
        The caller's own array of shape (columns of the rule, at most ``count``).
        """
        self._look_through(start, end, min(max(ahead, end), self._total))
        edges = self._edges
        first = bisect_left(edges, start)
        last = bisect_right(edges, end) - 1
        if last < first:  # all in one bin
            label = self._label(self._bin_of(start))
            return self._cut(start, end)[:, None] if label <= until_ns else self._values[:, :0].copy()
        labels = self._labels
        kept = bisect_right(labels, until_ns, first, last)
        ends_cut = edges[last] < end and labels[last] <= until_ns
        whole = max(kept - count + ends_cut, first)
        begins_cut = start < edges[first] and kept - whole + ends_cut < count
        if begins_cut and kept == first:
            begins_cut = self._label(self._bin_of(start)) <= until_ns
        out = np.empty((len(self._values), begins_cut + kept - whole + ends_cut))
        out[:, begins_cut : begins_cut + kept - whole] = self._values[:, whole:kept]
        if begins_cut:
            out[:, 0] = self._cut_head(start, edges[first])
        if ends_cut:
            out[:, -1] = self._cut(edges[last], end)
        return out

    def labels_ns(self, start: int, end: int) -> Int64s:
        """The start of every bin that has rows in [start, end), which `values` has looked through."""
        edges = self._edges
        first = bisect_left(edges, start)
        last = bisect_right(edges, end) - 1
        if last < first:
            return np.array([self._label(self._bin_of(start))], dtype=np.int64)
        labels = self._labels[first:last]
        if start < edges[first]:
            labels.insert(0, self._label(self._bin_of(start)))
        if edges[last] < end:
            labels.append(self._label(self._bin_of(edges[last])))
        return np.array(labels, dtype=np.int64)

    def forget_before(self, row: int) -> None:
        """Drop bins that end at or before a row, now and then."""
        gone = bisect_right(self._edges, row) - 1
        if gone > 64 and gone > len(self._edges) // 2:
            del self._edges[:gone], self._labels[:gone]
            self._first = self._edges[0]
            self._values = self._values[:, gone:].copy()
            self.changed = True

    def _look_through(self, start: int, end: int, ahead: int) -> None:
        if not self._first <= start <= self._until:
            self._begin_at(start)
        if end <= self._until:
            return
        if ahead == end and self._number == self._bin_of(end - 1):
            self._until = end
            return
        pieces = [self._values]
        while self._until < ahead:
            stop = min(self._until + _CHUNK_ROWS, ahead)
            pieces.append(self._next_bins(stop))
        self._values = np.concatenate(pieces, axis=1)
        self.changed = True

    def _next_bins(self, stop: int) -> Float64s:
        """Look through rows [until, stop); returns the values of the bins that end there."""
        begin = self._until
        numbers = self._numbers(self._grid.times_ns(self._offset + begin, self._offset + stop))
        before = numbers[0] - 1 if self._number is None else self._number
        found = np.flatnonzero(np.diff(numbers, prepend=before))
        self._until, self._number = stop, int(numbers[-1])
        if len(found) == 0:
            return self._values[:, :0]
        edges = (found + begin).tolist()
        if self._edges:
            edges.insert(0, self._edges[-1])
        values = self._values[:, :0]
        if len(edges) > 1:
            block = self._rows(edges[0], edges[-1])
            values = self._aggregate(block, np.array(edges[:-1]) - edges[0])
        self._edges.extend((found + begin).tolist())
        self._labels.extend(self._label(int(number)) for number in numbers[found])
        return values

    def _cut_head(self, start: int, stop: int) -> Float64s:
        """The values of rows [start, stop), the end of a bin; shape (columns,)."""
        if stop - start > _HEAD_ROWS:
            return self._cut(start, stop)
        head = self._head
        if head is None or head.stop != stop or start < head.begin:
            self._head = head = _Head(self.rule, start, stop, self._rows(start, stop))
            if head.values.nbytes > self._head_bytes:
                self._head_bytes = head.values.nbytes
                self.changed = True
        return head.values[:, start - head.begin]

    def _cut(self, start: int, end: int) -> Float64s:
        """The values of rows [start, end) of one bin; shape (columns,)."""
        block = self._rows(start, end)
        out = np.empty(len(self.rule.columns))
        for at, (row, how, exact) in enumerate(
            zip(self.rule.columns, self.rule.how, self.rule.exact, strict=True)
        ):
            values = block[row]
            if how == "first":
                out[at] = values[0]
            elif how == "last":
                out[at] = values[-1]
            elif how == "sum":
                out[at] = values.sum() if exact else kahan_sums(values, _ONE_BIN)[0]
            else:
                found = values.max() if how == "max" else values.min()
                out[at] = found if found else _extremes(values, _ONE_BIN, how)[0]
        return out

    def _aggregate(self, block: Float64s, heads: npt.NDArray[np.intp]) -> Float64s:
        out = np.empty((len(self.rule.columns), len(heads)))
        tails = np.append(heads[1:], block.shape[1]) - 1
        for at, (row, how) in enumerate(zip(self.rule.columns, self.rule.how, strict=True)):
            values = block[row]
            if how == "first":
                out[at] = values[heads]
            elif how == "last":
                out[at] = values[tails]
            elif how in ("max", "min"):
                out[at] = _extremes(values, heads, how)
            else:
                out[at] = kahan_sums(values, heads)
        return out

    def _numbers(self, times_ns: Int64s) -> Int64s:
        if self.rule.is_day:
            return _day_numbers(times_ns)
        return (times_ns - self._anchor_ns) // self.rule.step_ns

    def _bin_of(self, row: int) -> int:
        ns = self._grid.time_ns(self._offset + row)
        if self.rule.is_day:
            return dt.datetime.fromtimestamp(ns // 1_000_000_000, NEW_YORK).toordinal() - _EPOCH_ORDINAL
        return (ns - self._anchor_ns) // self.rule.step_ns

    def _label(self, number: int) -> int:
        if not self.rule.is_day:
            return self._anchor_ns + number * self.rule.step_ns
        day = dt.date.fromordinal(number + _EPOCH_ORDINAL)
        return int(dt.datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).timestamp()) * 1_000_000_000


def phase_of(rule: Rule, first_row_ns: int) -> tuple[int, int]:
    """Which table serves a window: its phase, and the midnight to anchor a new table at."""
    if rule.is_day:
        return 0, 0
    anchor_ns = _midnight_ns(first_row_ns)
    return anchor_ns % rule.step_ns, anchor_ns
