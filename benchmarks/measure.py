"""Two sides timed in turns, so that what else the machine does falls on both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from .results import Result

__all__ = ["in_turns", "settle"]


def settle(source: Any) -> None:
    """Wait until a lazy source has read what it reads ahead, so that its own side pays for it."""
    time.sleep(0.002)
    while source.lazy.stats().in_flight_bytes:
        time.sleep(0.001)


def in_turns(
    benchmark: BenchmarkFixture,
    what: str,
    rounds: Iterator[tuple[Callable[[], int], Callable[[], int]]],
    count: int,
    *,
    unit: str,
    target: float | None = None,
    timer: Callable[[], float] = time.process_time,
    against: str = "eager",
    note: str = "",
) -> Result:
    """Time one pair (other, lazy) of calls a round; each gives the number of units that it did.

    pytest-benchmark times the lazy side; the other one runs in its set-up, just before.

    Parameters
    ----------
    unit
        What a call is counted in: "us a call" for millionths, "s" for seconds.
    timer
        CPU time of the whole process, prefetch thread included, unless told otherwise.
    """
    scale = 1e6 if unit.startswith("us") else 1e3 if unit.startswith("ms") else 1.0
    times: list[tuple[float, int, float, int]] = []
    pending: list[tuple[float, int, Callable[[], int]]] = []

    def other_side() -> None:
        other, lazy = next(rounds)
        began = timer()
        units = other()
        pending.append((timer() - began, units, lazy))

    def lazy_side() -> None:
        other_s, other_units, lazy = pending.pop()
        began = timer()
        units = lazy()
        times.append((other_s, other_units, timer() - began, units))

    benchmark.pedantic(lazy_side, setup=other_side, rounds=count)  # type: ignore[no-untyped-call]
    other_s, other_units, lazy_s, lazy_units = (sum(column) for column in zip(*times, strict=True))
    ratios = [(one[2] / one[3]) / (one[0] / one[1]) for one in times]
    result = Result(
        what,
        unit,
        lazy=lazy_s / lazy_units * scale,
        against=against,
        other=other_s / other_units * scale,
        figure=(lazy_s / lazy_units) / (other_s / other_units),
        target=target,
        low=min(ratios) if len(ratios) > 1 else None,
        high=max(ratios) if len(ratios) > 1 else None,
        note=note,
    )
    benchmark.extra_info.update(ratio=result.figure, target=target, other=result.other, unit=unit)
    return result
