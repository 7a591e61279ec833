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

from lazybars.adapters.bins import Bins, BinTable, Rule, phase_of
from lazybars.adapters.frames import FrameMaker
from lazybars.adapters.instants import exact_ns
from lazybars.grid import Int64s
from lazybars.layout import DERIVED, Layout
from lazybars.model import NOMINAL_NS

if TYPE_CHECKING:
    from lazybars.adapters.lumibot_data import LazyData

__all__ = ["Recipe", "Resampler"]

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
_FREQ = {"minute": "min", "hour": "h", "day": "D"}
_FACTOR = {("day", "minute"): 1440, ("day", "hour"): 24, ("hour", "minute"): 60}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one timestep is answered from one series.

    names : columns in the order of the bins' rows; the first ``floats`` of them are float64.
    rows_per_bar : rows that Lumibot looks at for each bar asked for.
    only_whole : the series' own step, where bins that the window's end cuts are dropped; else 0.
    """

    rule: Rule
    names: tuple[str, ...]
    rows_per_bar: int
    only_whole_ns: int
    floats: int
    raw: FrameMaker
    full: FrameMaker
    freq: Any


class Resampler:
    """The tables of one series, and answers from them. Safe from several threads."""

    def __init__(self, data: LazyData) -> None:
        self._data = data
        self._recipes: dict[Any, Recipe | None] = {}
        self._tables: dict[tuple[int, str, int], BinTable] = {}
        self._booked = 0
        self._freqs: dict[int, tuple[tuple[int, int], Any]] = {}
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
            names=tuple(names),
            rows_per_bar=_FACTOR.get((unit, base), 1) * (1 if unit == "day" else quantity),
            only_whole_ns=NOMINAL_NS[base] if unit != "day" and rule.step_ns > NOMINAL_NS[base] else 0,
            raw=FrameMaker(bars, names, shown),
            full=FrameMaker([*bars, *derived], [*names[:floats], *derived, *names[floats:]], shown),
            floats=floats,
            freq=to_offset(f"{quantity}{_FREQ[unit]}"),
        )

    def answer(
        self, recipe: Recipe, when: Any, length: Any, timeshift: Any
    ) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """The frame that ``get_bars`` answers, and the same with the columns that ``Bars`` adds to it."""
        data = self._data
        rows = length * recipe.rows_per_bar
        if not data.in_range(when) or type(length) is not int:
            data._validate_bars_request(when, length=rows, timestep=recipe.rule.unit, timeshift=timeshift)
        start, end, _ = data._get_bars_row_bounds(when, length=rows, timeshift=timeshift)
        if end <= start:
            return None
        count = int(length)
        if recipe.rule.is_day:
            today = when.replace(hour=0, minute=0, second=0, microsecond=0)
            until_ns = exact_ns(today, LUMIBOT_DEFAULT_PYTZ) - 1
        elif recipe.only_whole_ns:
            until_ns = data._time_ns(end - 1) + recipe.only_whole_ns - recipe.rule.step_ns
        else:
            until_ns = data._time_ns(end - 1)
        with self._lock:
            bins = self._bins(recipe, start, end, until_ns, count)
        labels_ns = bins.labels_ns
        kept = int(labels_ns.searchsorted(until_ns, side="right"))
        labels = labels_ns[max(kept - count, 0) : kept]
        return self._frames(recipe, labels, bins.values, self._freq(recipe, labels_ns))

    def _bins(self, recipe: Recipe, start: int, end: int, until_ns: int, count: int) -> Bins:
        data, rule = self._data, recipe.rule
        phase, anchor_ns = phase_of(rule, data._time_ns(start))
        key = (rule.quantity, rule.unit, phase)
        table = self._tables.get(key)
        if table is None:
            if len(self._tables) >= _TABLES:
                del self._tables[next(iter(self._tables))]
            series = data._binding.series
            table = BinTable(rule, series.grid, series.offset, series.rows, anchor_ns, data._passing_block)
            self._tables[key] = table
        # What is at hand decides how far ahead bins are computed.
        data._cell(end - 1)
        bins = table.window(start, end, data._resident_until(end), until_ns, count)
        table.forget_before(start)
        if table.changed:
            table.changed = False
            self._book()
        return bins

    def _freq(self, recipe: Recipe, labels_ns: Int64s) -> Any:
        # What lies between two labels of one series is always the same.
        ends = (int(labels_ns[0]), int(labels_ns[-1]))
        known = self._freqs.get(id(recipe))
        if known is None or known[0] != ends:
            self._freqs[id(recipe)] = known = ends, _freq(recipe, labels_ns)
        return known[1]

    def _book(self) -> None:
        nbytes = sum(table.nbytes for table in self._tables.values())
        if nbytes != self._booked:
            feed = self._data._binding.feed
            with feed.ring.changed:
                feed.ledger.table(nbytes - self._booked)
            self._booked = nbytes

    def _frames(
        self, recipe: Recipe, labels_ns: Int64s, values: Any, freq: Any
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        index = self._data._binding.index.labels(labels_ns, freq)
        close = values[recipe.names.index("close")]
        change = np.full((1, len(close)), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            change[0, 1:] = (close[1:] - close[:-1]) / close[:-1]
            if "dividend" in recipe.names:
                paid = values[recipe.names.index("dividend")] / close
                change = np.vstack((change[0], paid, paid + change[0]))
        block = np.concatenate((values[: recipe.floats], change, values[recipe.floats :]))
        return recipe.raw.frame(values.copy(), index), recipe.full.frame(block, index._view())


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
