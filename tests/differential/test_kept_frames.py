"""What a strategy does with a frame stays with that frame.

The two deliberate differences from eager Lumibot, which leaks both ways: a frame that was handed
out never changes later, and what is written into it never shows in a later answer. So lazybars with
a strategy that scribbles is compared with eager Lumibot under one that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pandas as pd
import pytest
from lumibot.entities import Bars

from .curated import CORNERS, walk_of
from .drawn import FULL, explore
from .exact import differences
from .requests import Walk
from .rig import Differs, Factory, eager, stream
from .universes import UniverseSpec

LazyWith = Callable[..., Factory]
SOME = (
    "holes",
    "integer volume",
    "clocks go forward",
    "nan volume",
    "middle nan",
    "duplicates",
    "no volume",
    "quotes",
    "hours",
    "days, dividends and splits",
    "minutes then days",
)


def _frames(answer: Any) -> Iterator[pd.DataFrame]:
    if isinstance(answer, Bars):
        yield answer.df
    elif isinstance(answer, pd.DataFrame):
        yield answer
    elif isinstance(answer, dict):
        for value in answer.values():
            yield from _frames(value)


def _add_columns(frame: pd.DataFrame) -> None:
    frame["sma"] = frame.iloc[:, 0] * 2
    frame.insert(0, "first", 1)


def _write_cells(frame: pd.DataFrame) -> None:
    if len(frame):
        frame.iloc[-1, 0] = 12345.0 if frame.dtypes.iloc[0].kind == "f" else frame.iloc[0, 0]
        frame.loc[frame.index[0], frame.columns[-1]] = frame.iloc[-1, -1]
        frame.loc[:, frame.columns[0]] = frame.iloc[0, 0]


def _write_memory(frame: pd.DataFrame) -> None:
    for name in frame.columns:
        values = frame[name].to_numpy()
        if values.dtype.kind in "fi" and len(values):
            np.multiply(values, 3, out=values, casting="unsafe")


def _drop_and_rename(frame: pd.DataFrame) -> None:
    frame.drop(columns=frame.columns[-1], inplace=True)
    frame.columns = [f"x{number}" for number in range(frame.shape[1])]
    frame.index.name = "mine"
    frame.drop(index=frame.index[:1], inplace=True)


SCRIBBLES: dict[str, Callable[[pd.DataFrame], None]] = {
    "columns added": _add_columns,
    "cells written": _write_cells,
    "memory written": _write_memory,
    "columns dropped, all renamed": _drop_and_rename,
}


def scribbled(
    factory: Factory, universe: UniverseSpec, walk: Walk, scribble: Callable[[pd.DataFrame], None]
) -> int:
    """Compare each answer as it comes, then write into it."""
    walk = Walk(
        walk.runs,
        tuple(r for r in walk.requests if r.what in {"history", "bars", "price", "quote", "between"}),
    )
    count = 0
    for expected, got in zip(stream(eager, universe, walk), stream(factory, universe, walk), strict=True):
        found = differences(expected.value, got.value)
        if found:
            raise Differs(f"a written frame shows at {got.when}: {got.request}\n{found}\n{universe}\n{walk}")
        if got.request is not None:
            with catch_warnings():
                simplefilter("ignore")
                for frame in _frames(got.value):
                    scribble(frame)
        count += 1
    return count


@pytest.mark.parametrize("way", SCRIBBLES)
def test_what_is_written_into_a_frame_shows_in_no_later_answer(way: str, lazy_with: LazyWith) -> None:
    for corner in SOME if FULL else SOME[len(way) % 2 :: 2]:
        scribbled(lazy_with(partition="1D"), CORNERS[corner], walk_of(CORNERS[corner]), SCRIBBLES[way])


def test_random_universes_scribbled_on(lazy_with: LazyWith) -> None:
    factory = lazy_with()
    explore(
        lambda universe, walk: scribbled(factory, universe, walk, _add_columns),
        answers=30_000 if FULL else 1_500,
    )


@pytest.mark.parametrize("corner", SOME)
def test_a_kept_frame_never_changes(corner: str, lazy_with: LazyWith) -> None:
    """Over partitions that come and go behind it."""
    universe = CORNERS[corner]
    kept: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    for answer in stream(lazy_with(partition="1D", policy="fifo"), universe, walk_of(universe)):
        if answer.request is not None and answer.request.what not in {"frame", "index", "days"}:
            kept += [(frame, frame.copy(deep=True)) for frame in _frames(answer.value)]
    assert len(kept) > 50
    for frame, then in kept:
        assert not differences(then, frame)
