"""Answers at a coarser timestep than the series', from `BinTable`s.

The steps of ``Data.get_bars`` behind its resampling, in its order: how many rows are looked at,
which bins are dropped, how many are left. Where a series or a request is outside what bins can
answer exactly, there is no `Recipe` for it, and Lumibot's own code resamples the rows.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.tools.helpers import parse_timestep_qty_and_unit
from pandas.tseries.frequencies import to_offset

from lazybars.adapters.bins import BinTable, Rule, phase_of
from lazybars.adapters.frames import FrameMaker, frame_maker
from lazybars.adapters.instants import exact_ns
from lazybars.grid import Int64s
from lazybars.layout import DERIVED, Layout
from lazybars.model import NOMINAL_NS

if TYPE_CHECKING:
    from lazybars.adapters.lumibot_data import LazyData

__all__ = ["Heading", "Recipe", "Resampler"]

_HOW = {
    "open": "first",
    "high": "max",
    "low": "min",
    "close": "last",
    "volume": "sum",
    "dividend": "sum",
    "stock_splits": "max",
}
# Tables kept per series: a strategy asks for a few timesteps, a rule for up to two phases (DST).
_TABLES = 12
# A tick asks for a few timesteps, each of assets that were listed or left on a few days.
_HEADINGS = 64
_FREQ = {"minute": "min", "hour": "h", "day": "D"}
_FACTOR = {("day", "minute"): 1440, ("day", "hour"): 24, ("hour", "minute"): 60}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one timestep is answered from one series.

    step : the timestep asked for and the series' own.
    floats : so many of the bins' rows, the first ones, are float64 in the frame.
    close, dividend : which of them these are.
    rows_per_bar : rows that Lumibot looks at for each bar asked for.
    only_whole : the series' own step, where bins that the window's end cuts are dropped; else 0.
    """

    rule: Rule
    step: tuple[int, str, str]
    rows_per_bar: int
    only_whole_ns: int
    floats: int
    close: int
    dividend: int | None
    raw: FrameMaker
    full: FrameMaker
    freq: Any


class Heading:
    """What is the same in the answers from all series of a grid to one request of one tick.

    phase, anchor_ns : which table has the bins. until_ns : bins with a later label are not wanted.
    index : the labels of the bins that are; set by the first series that has them.
    """

    __slots__ = ("anchor_ns", "index", "phase", "until_ns")

    def __init__(self, phase: int, anchor_ns: int, until_ns: int) -> None:
        self.phase = phase
        self.anchor_ns = anchor_ns
        self.until_ns = until_ns
        self.index: pd.DatetimeIndex | None = None


class Resampler:
    """The tables of one series, and answers from them. Safe from several threads."""

    def __init__(self, data: LazyData) -> None:
        self._data = data
        self._recipes: dict[Any, Recipe | None] = {}
        self._tables: dict[tuple[int, str, int], BinTable] = {}
        self._booked = 0
        # A strategy's threads may ask for one asset at once, and a table grows while it answers.
        self._lock = threading.Lock()

    def recipe(self, timestep: Any) -> Recipe | None:
        """How to answer a timestep, or None where Lumibot's own code has to."""
        if timestep not in self._recipes:
            self._recipes[timestep] = self._recipe(str(timestep or ""))
        return self._recipes[timestep]

    def _recipe(self, timestep: str) -> Recipe | None:
        data = self._data
        layout: Layout = data._binding.series.layout
        quantity, unit = parse_timestep_qty_and_unit(timestep)
        base = data.timestep
        native = quantity == 1 and unit == base
        finer = base == "day" or (unit, base) == ("minute", "hour")
        if native or finer or unit not in NOMINAL_NS or quantity < 1 or (unit == "day" and quantity != 1):
            return None
        if (
            not data._index_is_unique
            or data._ohlc_has_nan
            or getattr(data, "_native_timestep_quantity", 1) != 1
        ):
            return None
        names = [name for name in _HOW if name in layout.rows]
        dtypes = dict(layout.frame)
        # Sums of integers stay integers; in anything else an empty bin would make them floats.
        if any(
            dtypes[name] != "float64" and (dtypes[name], _HOW[name]) != ("int64", "sum") for name in names
        ):
            return None
        names.sort(key=lambda name: dtypes[name] != "float64")
        derived = DERIVED if "dividend" in names else ("return",)
        bars = [name for name in _HOW if name in names]
        shown = {**dict.fromkeys(derived, "float64"), **{name: dtypes[name] for name in names}}
        floats = sum(dtypes[name] == "float64" for name in names)
        rule = Rule(
            quantity=quantity,
            unit=unit,
            columns=tuple(layout.rows[name] for name in names),
            how=tuple(_HOW[name] for name in names),
            exact=tuple(dtypes[name] != "float64" for name in names),
        )
        return Recipe(
            rule=rule,
            step=(quantity, unit, base),
            rows_per_bar=_FACTOR.get((unit, base), 1) * (1 if unit == "day" else quantity),
            only_whole_ns=NOMINAL_NS[base] if unit != "day" and rule.step_ns > NOMINAL_NS[base] else 0,
            raw=frame_maker(tuple(bars), tuple(names), tuple(shown.items())),
            full=frame_maker(
                (*bars, *derived), (*names[:floats], *derived, *names[floats:]), tuple(shown.items())
            ),
            floats=floats,
            close=names.index("close"),
            dividend=names.index("dividend") if "dividend" in names else None,
            freq=to_offset(f"{quantity}{_FREQ[unit]}"),
        )

    def answer(
        self, recipe: Recipe, when: Any, length: Any, timeshift: Any
    ) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """The frame that ``get_bars`` answers, and the same with the columns that ``Bars`` adds to it."""
        data = self._data
        rows = length * recipe.rows_per_bar
        if not data.in_range(when):
            data._validate_bars_request(when, length=rows, timestep=recipe.rule.unit, timeshift=timeshift)
        span = data._span(when, rows, timeshift)
        if span is not None:
            start, end = span.start - data._offset, span.end - data._offset
        else:
            start, end, _ = data._get_bars_row_bounds(when, length=rows, timeshift=timeshift)
            if end <= start:
                return None
        heading = self._heading(recipe, when, start, end, length)
        with self._lock:
            table = self._table(recipe.rule, heading, start)
            # What is at hand decides how far ahead bins are computed.
            data._cell(end - 1)
            values = table.values(start, end, data._resident_until(end), heading.until_ns, length)
            if heading.index is None:
                heading.index = self._index(recipe, heading, table.labels_ns(start, end), length)
            table.forget_before(start)
            if table.changed:
                table.changed = False
                self._book()
        return _frames(recipe, heading.index, values)

    def _heading(self, recipe: Recipe, when: Any, start: int, end: int, length: int) -> Heading:
        data, rule = self._data, recipe.rule
        binding = data._binding
        now_ns = binding.instants.at(when).ns if rule.is_day else 0
        offset = data._offset
        key = (recipe.step, offset + start, offset + end, now_ns, length)
        known = binding.headings.get(key)
        if known is not None:
            return known
        if rule.is_day:
            today = when.replace(hour=0, minute=0, second=0, microsecond=0)
            until_ns = exact_ns(today, LUMIBOT_DEFAULT_PYTZ) - 1
        elif recipe.only_whole_ns:
            until_ns = data._time_ns(end - 1) + recipe.only_whole_ns - rule.step_ns
        else:
            until_ns = data._time_ns(end - 1)
        heading = Heading(*phase_of(rule, data._time_ns(start)), until_ns)
        if len(binding.headings) >= _HEADINGS:
            binding.headings.clear()
        binding.headings[key] = heading
        return heading

    def _index(self, recipe: Recipe, heading: Heading, labels_ns: Int64s, count: int) -> pd.DatetimeIndex:
        kept = int(labels_ns.searchsorted(heading.until_ns, side="right"))
        labels = labels_ns[max(kept - count, 0) : kept]
        return self._data._binding.index.labels(labels, _freq(recipe, labels_ns))

    def _table(self, rule: Rule, heading: Heading, start: int) -> BinTable:
        key = (rule.quantity, rule.unit, heading.phase)
        table = self._tables.get(key)
        if table is None:
            if len(self._tables) >= _TABLES:
                del self._tables[next(iter(self._tables))]
            data = self._data
            series = data._binding.series
            table = BinTable(
                rule, series.grid, series.offset, series.rows, heading.anchor_ns, data._passing_block
            )
            self._tables[key] = table
        return table

    def _book(self) -> None:
        nbytes = sum(table.nbytes for table in self._tables.values())
        if nbytes != self._booked:
            feed = self._data._binding.feed
            with feed.ring.changed:
                feed.ledger.table(nbytes - self._booked)
            self._booked = nbytes


def _frames(recipe: Recipe, index: pd.DatetimeIndex, values: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    floats, bins = recipe.floats, values.shape[1]
    derived = 1 if recipe.dividend is None else len(DERIVED)
    block = np.empty((len(values) + derived, bins))
    block[:floats] = values[:floats]
    block[floats + derived :] = values[floats:]
    close, change = values[recipe.close], block[floats]
    change[:1] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        np.subtract(close[1:], close[:-1], out=change[1:])
        change[1:] /= close[:-1]
        if recipe.dividend is not None:
            paid = np.divide(values[recipe.dividend], close, out=block[floats + 1])
            np.add(paid, change, out=block[floats + 2])
    return recipe.raw.frame(values, index), recipe.full.frame(block, index)


def _freq(recipe: Recipe, labels_ns: Int64s) -> Any:
    """The frequency that pandas leaves on the index when the window's empty bins are dropped.

    Dropping rows at regular distances is a slice with a step, and that keeps a multiple of it.
    """
    if len(labels_ns) < 2:
        return recipe.freq
    if not recipe.rule.is_day and labels_ns[-1] - labels_ns[0] == recipe.rule.step_ns * (len(labels_ns) - 1):
        return recipe.freq
    # Local days are 23 to 25 hours long.
    steps = (np.diff(labels_ns) + NOMINAL_NS["hour"] * recipe.rule.is_day) // recipe.rule.step_ns
    step = int(steps[0])
    if not (steps == step).all():
        return None
    return recipe.freq if step == 1 else recipe.freq * step
