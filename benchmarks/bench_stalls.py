"""How long a strategy waits for bars: stall time of a walk, once its first bars are there. Wall time.

The strategy computes in Python between its stops, so that it and the prefetch thread take turns at the
interpreter, which is the worst case. Each walk is held against what was asked: 1 % from a local disk; 5 %
where every read takes 50 ms longer and the strategy takes longer than the reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from lumibot.entities import Asset
from pytest_benchmark.fixture import BenchmarkFixture

from lazybars.store.scanning import Scanning

from .bench_calls import make_lazy
from .market import MinuteMarket
from .results import Result

_MANY_SESSIONS = 20
_SESSION_MINUTES = 390


@dataclass(frozen=True)
class Walk:
    """Stops of the clock, through all sessions or the first so many, and what the strategy computes at each.

    compute_s : in Python. delay_s : what every read takes longer. most : of the walk's time stalled.
    """

    what: str
    every_minutes: int
    compute_s: float
    delay_s: float
    most: float
    sessions: int | None = None


_WALKS = (
    Walk("each minute, 1 ms a stop", 1, 0.001, 0.0, 0.01, sessions=32),
    Walk("each 30 minutes, 20 ms a stop", 30, 0.02, 0.0, 0.01),
    Walk("twice a day, 20 ms a stop", 195, 0.02, 0.0, 0.01),
    Walk("twice a day, 100 ms a stop, reads 50 ms late", 195, 0.1, 0.05, 0.05),
)


@pytest.mark.benchmark(group="stalls")
@pytest.mark.parametrize("walk", _WALKS, ids=lambda walk: walk.what)
def test_stall(
    benchmark: BenchmarkFixture,
    walk: Walk,
    minutes: MinuteMarket,
    monkeypatch: pytest.MonkeyPatch,
    record: Callable[[Result], None],
) -> None:
    assets = [Asset(symbol) for symbol in minutes.bars.symbols]
    ticks = minutes.ticks(walk.every_minutes, walk.sessions)
    scan = Scanning.scan

    def late(*args: Any, **named: Any) -> Any:
        time.sleep(walk.delay_s)
        return scan(*args, **named)

    if walk.delay_s:
        monkeypatch.setattr(Scanning, "scan", late)
    source = make_lazy(minutes)

    def stop(when: Any) -> None:
        source._update_datetime(when)
        for asset in assets:
            source.get_historical_prices(asset, 60, "minute")
        until = time.perf_counter() + walk.compute_s
        while time.perf_counter() < until:
            sum(range(100))

    def rest() -> None:
        for when in ticks[1:]:
            stop(when)

    try:
        stop(ticks[0])
        before = source.lazy.stats()
        began = time.perf_counter()
        benchmark.pedantic(rest, rounds=1)  # type: ignore[no-untyped-call]
        took_s = time.perf_counter() - began
        after = source.lazy.stats()
    finally:
        source.shutdown()
    stall_s = after.stall_s - before.stall_s
    share = 1 - stall_s / took_s
    # A walk of a few days is mostly its first partition.
    sessions = len(ticks) * walk.every_minutes / _SESSION_MINUTES
    target = 1 - walk.most if sessions >= _MANY_SESSIONS else None
    note = f"{after.late - before.late} late, {after.misses - before.misses} missed of {after.calls} calls"
    what = f"not stalled: {walk.what}"
    record(Result(what, "s", took_s - stall_s, "the walk", took_s, share, target, at_least=True, note=note))
    benchmark.extra_info.update(share=share, target=target)
