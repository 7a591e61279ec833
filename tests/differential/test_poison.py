"""No answer knows the future: poison every value after the clock, and nothing changes.

Timestamps stay as they are: Lumibot's calendar and the spacing of bars come from all of them, so
eager Lumibot itself knows those. Excepted is what asks for the future by its own contract: order
fills (a negative timeshift), a between-dates that ends past the clock, and the whole frame.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Data

from .curated import CORNERS, walk_of
from .drawn import FULL, explore
from .exact import differences
from .requests import Answer, Request, Walk, play
from .rig import Differs, Factory, eager, of_class, stream
from .universes import UniverseSpec, build

LazyWith = Callable[..., Factory]
SOME = (
    "holes",
    "late listing",
    "clocks go back",
    "off the minute",
    "integer volume",
    "quotes with gaps and sizes",
    "middle nan",
    "hours",
    "days, dividends and splits",
    "days at the close",
    "minutes then days",
    "the window ends within the data",
)


def poisoned(data: list[Data], after: pd.Timestamp) -> list[Data]:
    """The same ``Data`` with other finite values in every row stamped after the clock."""
    for item in data:
        later = item.df.index > after
        another_day = item.df.index.normalize() > after.normalize()  # a split counts from its day's midnight
        frame = item.df.copy()
        for name in frame.columns:
            rows = another_day if name in {"dividend", "stock_splits"} else later
            column = frame[name]
            if name != "_split_adjusted" and pd.api.types.is_numeric_dtype(column) and column.dtype != bool:
                frame[name] = column.where(~rows, (column * 3 + 7).astype(column.dtype))
        item.df = frame
    return data


def _asks_the_past(request: Request) -> bool:
    if request.what in {"frame", "index"}:
        return False
    if request.what == "between":
        return max(request.span) <= 0
    return request.shift is None or float(str(request.shift).rstrip("s")) >= 0


def _sight(universe: UniverseSpec, walk: Walk) -> tuple[Walk, pd.Timestamp]:
    """The walk without its look-ahead, and the last moment that it reaches."""
    asked = tuple(request for request in walk.requests if _asks_the_past(request))
    runs = sorted(walk.runs, key=lambda run: run.start)[: max(1, len(walk.runs) * 2 // 3)]
    kept = replace(walk, runs=tuple(runs), requests=asked)
    return kept, pd.Timestamp(max(kept.clock(universe)))


def compare(universe: UniverseSpec, walk: Walk, poisoning: Callable[[pd.Timestamp], Iterator[Answer]]) -> int:
    """Where eager Lumibot does not know the poison, no source may; where it does, by its own contract

    (a between-dates that ends before the first bar gives all bars but one), the answers are alike.
    """
    kept, last = _sight(universe, walk)
    clean, bad = stream(eager, universe, kept), _on(eager, universe, kept, last)
    count = 0
    for expected, known, got in zip(clean, bad, poisoning(last), strict=True):
        leaks = differences(expected.value, known.value)
        assert not leaks or (known.request is not None and known.request.what == "between"), known.request
        found = differences(known.value if leaks else expected.value, got.value)
        if found:
            raise Differs(
                f"at {got.when} knows what comes after {last}: {got.request}\n{found}\n{universe}\n{kept}"
            )
        count += 1
    return count


def _on(factory: Factory, universe: UniverseSpec, walk: Walk, last: pd.Timestamp) -> Iterator[Answer]:
    data = poisoned(build(universe), last)
    return play(lambda: factory(universe, data), universe, walk)


def in_frames(factory: Factory, universe: UniverseSpec, walk: Walk) -> int:
    """The frames that are given are poisoned."""
    return compare(universe, walk, lambda last: _on(factory, universe, _sight(universe, walk)[0], last))


def on_disk(universe: UniverseSpec, walk: Walk) -> int:
    """The bars are stored, then those after the clock are replaced on disk."""
    from lazybars import LazyBars, open_store

    with tempfile.TemporaryDirectory(prefix="lazybars-poison-") as folder:
        path = str(Path(folder) / "bars.duckdb")

        def make(last: pd.Timestamp) -> Any:
            with open_store(path) as store:
                for clean, bad in zip(build(universe), poisoned(build(universe), last), strict=True):
                    where = {"asset": clean.asset, "timestep": clean.timestep, "quote": clean.quote}
                    store.write(clean.df, **where)
                    if len(later := bad.df[bad.df.index.normalize() >= last.normalize()]):
                        store.write(later, **where)
            kind = LazyBars(PandasDataBacktesting, store=path)
            return of_class(kind)(universe, [])

        return compare(
            universe, walk, lambda last: play(lambda: make(last), universe, _sight(universe, walk)[0])
        )


@pytest.mark.parametrize("corner", SOME)
def test_poisoned_frames_change_nothing_before(corner: str, lazy_with: LazyWith) -> None:
    in_frames(lazy_with(partition="1D"), CORNERS[corner], walk_of(CORNERS[corner]))


@pytest.mark.parametrize("corner", SOME)
def test_bars_poisoned_on_disk_change_nothing_before(corner: str) -> None:
    on_disk(CORNERS[corner], walk_of(CORNERS[corner]))


def test_random_universes_poisoned(lazy_with: LazyWith) -> None:
    factory = lazy_with()
    explore(lambda universe, walk: in_frames(factory, universe, walk), answers=50_000 if FULL else 1_500)


def test_eager_itself_does_not_look_ahead() -> None:
    """Or else the tests above would ask for more than identity."""
    for corner in SOME:
        in_frames(eager, CORNERS[corner], walk_of(CORNERS[corner]))
