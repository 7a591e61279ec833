"""From a failing case to a small one.

Hypothesis can shrink too, but knows nothing of the case and spends minutes on plays of a hundred
milliseconds. Here the walk goes first, to the one question where possible, which makes every
further play cheap; then series, warts, days and rows go, as long as some answer still differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from .requests import Walk
from .universes import SeriesSpec, UniverseSpec

__all__ = ["smallest"]

Fails = Callable[[UniverseSpec, Walk], bool]
_IDENTITY = {"symbol", "kind", "quote", "expiry", "strike", "right", "timestep", "calendar", "file", "window"}
_PLAIN = SeriesSpec()


def smallest(
    universe: UniverseSpec, walk: Walk, fails: Fails, *, seconds: float = 20.0
) -> tuple[UniverseSpec, Walk]:
    """A case that still fails and that none of the steps below makes smaller, or the time is up."""
    until = time.monotonic() + seconds
    better = True
    while better and time.monotonic() < until:
        better = False
        for other in _steps(universe, walk):
            if time.monotonic() < until and other != (universe, walk) and _holds(fails, *other):
                universe, walk = other
                better = True
                break
    return universe, walk


def _holds(fails: Fails, universe: UniverseSpec, walk: Walk) -> bool:
    try:
        return fails(universe, walk)
    except Exception:  # a case that cannot be built is no smaller case
        return False


def _steps(universe: UniverseSpec, walk: Walk) -> Iterator[tuple[UniverseSpec, Walk]]:
    for part in (walk.runs[: len(walk.runs) // 2], walk.runs[len(walk.runs) // 2 :]):
        if 0 < len(part) < len(walk.runs):
            yield universe, replace(walk, runs=part)
    for asks in (walk.requests[: len(walk.requests) // 2], walk.requests[len(walk.requests) // 2 :]):
        if 0 < len(asks) < len(walk.requests):
            yield universe, replace(walk, requests=asks)
    for run in range(len(walk.runs)):
        if len(walk.runs) > 1:
            yield universe, replace(walk, runs=_without(walk.runs, run))
        one = walk.runs[run]
        if one.count > 1:
            first = replace(one, count=one.count // 2)
            rest = replace(
                one, start=one.start + first.count * one.stride_s / 60, count=one.count - first.count
            )
            for half in (first, rest):
                yield universe, replace(walk, runs=(*walk.runs[:run], half, *walk.runs[run + 1 :]))
    for place in range(len(walk.requests)):
        if len(walk.requests) > 1:
            yield universe, replace(walk, requests=_without(walk.requests, place))
    yield universe, replace(walk, hook=True, stamps=False)
    yield universe, replace(walk, loads=1)
    yield universe, replace(walk, early=0)
    for number, spec in enumerate(universe.series):
        if len(universe.series) > 1:
            asked = tuple(replace(r, about=r.about - (r.about > number)) for r in walk.requests)
            yield replace(universe, series=_without(universe.series, number)), replace(walk, requests=asked)
        for lesser in _lesser(spec):
            yield (
                replace(universe, series=(*universe.series[:number], lesser, *universe.series[number + 1 :])),
                walk,
            )


def _without(items: tuple, place: int) -> tuple:  # type: ignore[type-arg]
    return items[:place] + items[place + 1 :]


def _lesser(spec: SeriesSpec) -> Iterator[SeriesSpec]:
    other: dict[str, Any]
    for field in fields(spec):
        plain = getattr(_PLAIN, field.name)
        if field.name not in _IDENTITY | {"days", "session_rows"} and getattr(spec, field.name) != plain:
            other = {field.name: plain}
            yield replace(spec, **other)
    for name in ("days", "session_rows"):
        size = getattr(spec, name)
        for less in (1, size // 2, size - 1):
            if 0 < less < size:
                other = {name: less}
                yield replace(spec, **other)
