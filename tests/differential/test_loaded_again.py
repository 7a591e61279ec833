"""``load_data`` twice, and questions before it: Lumibot repairs what it has repaired, and so differs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Data

from .curated import CORNERS, walk_of
from .drawn import FULL
from .exact import Raised, differences
from .requests import Request, Run, Walk, question
from .rig import Factory, check, eager
from .universes import SeriesSpec, UniverseSpec, build, key_of

LazyWith = Callable[..., Factory]

SOME = (
    "holes",
    "off the minute",
    "half a minute late",
    "duplicates",
    "middle nan",
    "worthless for a while",
    "no volume",
    "quotes with gaps and sizes",
    "splits on minute bars",
    "hours with holes and quotes",
    "days, nan actions",
    "days in utc that know their frequency",
    "minutes, hours, days",
    "the window ends within the data",
    "bars before and after the window alone",
    "a session that begins with a bar off the minute, before any other is listed",
)
OTHERS = [corner for corner in CORNERS if corner not in SOME]
HOW: dict[str, dict[str, int]] = {
    "loaded twice": {"loads": 2},
    "loaded three times": {"loads": 3},
    "asked before": {"early": 30},
    "asked before, loaded twice": {"early": 30, "loads": 2},
}


@pytest.mark.parametrize("how", HOW if FULL else ["loaded twice", "asked before, loaded twice"])
@pytest.mark.parametrize("corner", [*SOME, *OTHERS] if FULL else SOME)
def test_a_known_corner(corner: str, how: str, lazy_with: LazyWith) -> None:
    universe = CORNERS[corner]
    # The first questions look at the source as it is before; then come those that repair.
    walk = walk_of(universe)
    asked = tuple(r for r in walk.requests if not HOW[how].get("early") or r.what != "state")
    runs = (Run(659.0), Run(600.25, 20.0, 2), Run(1440 + 600.0), Run(9 * 1440 + 1.0))
    walk = replace(walk, requests=asked, runs=(*runs, *walk.runs) if FULL else runs, **HOW[how])
    check(universe, walk, lazy_with(partition="1D"), name=f"lazybars, {how}")


def test_small_partitions_carry_what_the_second_repair_fills(lazy_with: LazyWith) -> None:
    """Returns of worthless days are filled from partitions before, in whatever order those are read."""
    universe = UniverseSpec(
        series=(SeriesSpec(days=12, prices="zeros", holes=0.5, session_rows=40),), end=20 * 1440
    )
    asked = (*(Request("history", length=n) for n in (1, 30, 200)), Request("frame"))
    runs = (Run(9 * 1440 + 600.0), Run(2 * 1440 + 590.0, 60.0, 3), Run(4 * 1440 + 600.0, 86400.0, 5))
    for prefetch in (False, True):
        for early in (0, 1):
            walk = Walk(runs, asked, loads=2, early=early)
            check(universe, walk, lazy_with(partition="1D", prefetch=prefetch), name="lazybars")


QUESTIONS = tuple(
    Request(what, about, length, step, quote="own")
    for about in (0, 1)
    for what, length, step in (
        ("history", 60, "minute"),
        ("history", 5, "15min"),
        ("history", 2, "day"),
        ("price", 1, None),
        ("quote", 1, None),
        ("frame", 1, None),
        ("days", 1, None),
        ("index", 1, None),
    )
)


def _answers(source: Any, universe: UniverseSpec) -> list[Any]:
    found = []
    for minute in (575.0, 600.5, 1440 + 640.0):
        source._update_datetime(universe.moment(minute))
        found += [question(universe, request)(source) for request in QUESTIONS]
    assert not any(isinstance(answer, Raised) for answer in found)
    return found


def test_a_newcomer_among_loaded_series(lazy_with: LazyWith, caplog: pytest.LogCaptureFixture) -> None:
    """Lumibot lays repaired rows out anew, on rows that they never saw: those series are held whole."""
    universe = UniverseSpec(
        series=(
            SeriesSpec("AAA", holes=0.3, session_rows=90, odd_seconds=0.3),
            SeriesSpec("BBB", holes=0.1, calendar="extended", session_rows=400),
        )
    )

    def grown(factory: Factory) -> Any:
        first, second = build(universe)
        source = factory(universe, [first])
        source.load_data()
        source._update_datetime(universe.moment(600.0))
        source.get_historical_prices(first.asset, 5, "minute")
        source.pandas_data[key_of(universe.series[1])] = second
        calendar = source.load_data()
        return source, [calendar, *_answers(source, universe)]

    _, expected = grown(eager)
    logging.disable(logging.NOTSET)
    with caplog.at_level(logging.WARNING, logger="lazybars"):
        source, got = grown(lazy_with())
    assert differences(expected, got) == []
    (label,) = source.lazy.stats().eager
    assert "AAA" in label
    assert [r.message for r in caplog.records if r.name == "lazybars" and "AAA" in r.message]
    source.shutdown()


@pytest.mark.parametrize("before", ["nothing", "a load", "a question"])
def test_an_instance_that_has_been_used_is_wrapped(before: str) -> None:
    from lazybars import LazyBars

    universe = CORNERS["holes"]

    def used() -> Any:
        data: list[Data] = build(universe)
        source = eager(universe, data)
        source._update_datetime(universe.moment(600.0))
        if before == "a load":
            source.load_data()
        if before == "a question":
            source.get_historical_prices(data[0].asset, 5, "minute")
        return source

    plain, wrapped = used(), LazyBars(used())
    if before == "a load":  # which need not be called again
        assert differences(_answers(plain, universe), _answers(wrapped, universe)) == []
    assert differences(plain.load_data(), wrapped.load_data()) == []
    assert differences(_answers(plain, universe), _answers(wrapped, universe)) == []
    assert type(wrapped).__name__ == PandasDataBacktesting.__name__
    wrapped.shutdown()
