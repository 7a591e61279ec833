"""Nothing depends on the knobs: cap, partition, policy, prefetch, the way in, start date, threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from inspect import signature
from typing import Any

import pytest

from .curated import CORNERS, walk_of
from .drawn import FULL, explore
from .exact import differences
from .requests import NEEDLESS, Request, Run, Walk, question
from .rig import Factory, check, eager, lazy_smallest, stream
from .universes import SeriesSpec, UniverseSpec, build

LazyWith = Callable[..., Factory]

KNOBS: dict[str, dict[str, Any]] = {
    "days": {"partition": "1D"},
    "weeks": {"partition": "1W"},
    "months": {"partition": "1M"},
    "lru": {"policy": "lru", "partition": "1D"},
    "fifo": {"policy": "fifo", "partition": "1D"},
    "no prefetch": {"prefetch": False},
    "no prefetch, days, lru": {"prefetch": False, "partition": "1D", "policy": "lru"},
    "a large cap": {"memory": "2GB"},
    "an instance": {"via": "instance"},
    "a store": {"via": "store"},
    "a store, days, no prefetch": {"via": "store", "partition": "1D", "prefetch": False},
}
SOME = (
    "holes",
    "clocks go back",
    "duplicates",
    "quotes with gaps and sizes",
    "days, dividends and splits",
    "integer volume, holes",
    "around the clock, holes, two quotes",
    "hours with holes and quotes",
)


@pytest.mark.parametrize("knob", KNOBS)
def test_no_knob_changes_an_answer(knob: str, lazy_with: LazyWith) -> None:
    factory = lazy_with(**KNOBS[knob])
    fit = _storable if "store" in knob else lambda universe: universe
    for corner in SOME if FULL else SOME[len(knob) % 3 :: 3]:
        universe = fit(CORNERS[corner])
        check(universe, walk_of(universe), factory, name=f"lazybars, {knob}, {corner}")
    explore(
        lambda universe, walk: check(fit(universe), walk, factory, name=f"lazybars, {knob}"),
        answers=40_000 if FULL else 1_000,
    )


def _storable(universe: UniverseSpec) -> UniverseSpec:
    """Without duplicates: a store keeps the first, and eager Lumibot then knows nothing of the others."""
    return replace(universe, series=tuple(replace(spec, duplicates=0) for spec in universe.series))


def test_the_smallest_cap_changes_no_answer() -> None:
    """The cap that ``CapTooSmall`` names, and not a byte more: partitions must come and go."""
    wide = UniverseSpec(
        series=tuple(
            SeriesSpec(s, days=12, calendar="extended", session_rows=960, holes=0.1)
            for s in ("AAA", "BBB", "CCC")
        ),
        end=16 * 1440,
    )
    for corner, universe in {"wide": wide, **{name: CORNERS[name] for name in SOME[:3]}}.items():
        factory = lazy_smallest(universe, partition="1D")
        check(universe, walk_of(universe), factory, name=f"lazybars, smallest cap, {corner}")


def test_the_start_date_changes_no_answer(lazy_with: LazyWith) -> None:
    """What is known at a moment does not depend on when the backtest began."""
    factory = lazy_with(partition="1D")
    for corner in ("holes", "around the clock", "days", "hours"):
        universe = CORNERS[corner]
        # Corporate actions are looked up over the window itself, in Lumibot's own words.
        asked = tuple(r for r in walk_of(universe).requests if r.what not in {"state", "dividends", "splits"})
        walk = Walk((Run(1440 + 640.0, 60.0, 3), Run(2 * 1440 + 600.0, 600.0, 2)), asked)
        first, *others = (
            list(stream(factory, replace(universe, start=start), walk))
            for start in (universe.start, universe.start - 5 * 1440, universe.start + 1440)
        )
        for other in others:
            for one, two in zip(first, other, strict=True):
                assert not differences(one.value, two.value), f"{corner}, {one.request}"


@pytest.mark.parametrize("shared", [False, True], ids=["each its own asset", "all the same assets"])
def test_threads_get_the_answers_of_one_thread(shared: bool, lazy_with: LazyWith) -> None:
    """Lumibot's ``get_bars`` asks from a pool, each thread its assets; here eight ask for everything too."""
    series = tuple(SeriesSpec(name * 3, holes=0.2, days=4, session_rows=200) for name in "ABCDEFGH")
    universe = UniverseSpec(series=series, end=6 * 1440)
    requests = [
        Request(what, about, length, step)
        for about in range(8)
        for what, length, step in (
            ("history", 30, "minute"),
            ("history", 5, "15min"),
            ("history", 2, "day"),
            ("price", 1, None),
            ("quote", 1, None),
        )
    ]
    asked = [question(universe, request) for request in requests]
    theirs, ours = eager(universe, build(universe)), lazy_with(partition="1D")(universe, build(universe))
    theirs.load_data(), ours.load_data()
    for minutes in (600.0, 700.5, 1440 + 599.0, 3 * 1440 + 650.0, 640.0):
        for source in (theirs, ours):
            source._update_datetime(universe.moment(minutes))
        expected = [ask(theirs) for ask in asked]

        def work(thread: int) -> list[tuple[int, Any]]:
            turns = [(turn * 7 + thread * 5) % len(asked) for turn in range(len(asked))]
            return [(n, asked[n](ours)) for n in turns if shared or requests[n].about == thread]

        with ThreadPoolExecutor(8) as pool:
            answers = [answer for part in pool.map(work, range(8)) for answer in part]
        assert len(answers) == len(asked) * (8 if shared else 1)
        for place, answer in answers:
            assert not differences(expected[place], answer), f"{requests[place]} at {minutes}"
    ours.shutdown()


@pytest.mark.parametrize("via", ["class", "instance", "store"])
def test_it_is_seen_as_the_class_it_wraps(via: str, lazy_with: LazyWith) -> None:
    """Lumibot goes by name, SOURCE, type and ``hasattr``: lumibot.md, section 2."""
    universe = CORNERS["plain"]
    theirs, ours = eager(universe, build(universe)), lazy_with(via=via)(universe, build(universe))
    assert type(ours).__name__ == type(theirs).__name__ == "PandasDataBacktesting"
    assert isinstance(ours, type(theirs))
    assert isinstance(ours._data_store, dict)
    assert [hasattr(ours, name) for name in NEEDLESS] == [hasattr(theirs, name) for name in NEEDLESS]
    takes = [
        [
            (p.name, p.kind, p.default)
            for p in signature(type(source).get_historical_prices).parameters.values()
        ]
        for source in (theirs, ours)
    ]
    assert takes[0] == takes[1]  # Lumibot passes what the signature names
    ours.shutdown()
