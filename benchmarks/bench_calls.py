"""CPU time of single calls and of start-up, eager and lazy by turns in one process.

The clock walks forward through many sessions, so that misses, roll-overs from one partition to the
next and the prefetch thread's work are in the figures. Moving the clock is in them too, on both sides.
"""

from __future__ import annotations

import datetime as dt
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Asset
from pytest_benchmark.fixture import BenchmarkFixture

from lazybars import LazyBars

from .market import MEMORY, MinuteMarket
from .measure import in_turns, settle
from .results import Result

Ask = Callable[[Any, Asset], Any]
_ROUNDS = 10


@dataclass(frozen=True)
class Call:
    """A question that is asked of every asset at every tick.

    every_minutes, sessions : how the clock walks; through all sessions where none are given.
    one_in : the eager side answers at one tick in so many: it has no memory, and takes long.
    """

    what: str
    ask: Ask
    target: float | None
    every_minutes: int = 5
    sessions: int | None = None
    one_in: int = 4


def _history(length: int, timestep: str) -> Ask:
    return lambda source, asset: source.get_historical_prices(asset, length, timestep)


_CALLS = (
    Call("60 minute bars, each minute", _history(60, "minute"), 0.5, every_minutes=1, sessions=32, one_in=5),
    Call("60 minute bars, each 5 minutes", _history(60, "minute"), 0.5),
    Call("60 minute bars, each 30 minutes", _history(60, "minute"), 0.5, every_minutes=30, one_in=1),
    Call("20 bars of 15 minutes", _history(20, "15 minutes"), 0.02, one_in=100),
    Call("20 hourly bars", _history(20, "hour"), 0.02, one_in=100),
    Call("20 daily bars", _history(20, "day"), 0.02, one_in=100),
    Call("get_last_price", lambda source, asset: source.get_last_price(asset), 0.6),
    Call("get_quote", lambda source, asset: source.get_quote(asset), None),
)


def make_eager(market: MinuteMarket, data: list[Any]) -> Any:
    source = PandasDataBacktesting(*market.span, pandas_data=data, show_progress_bar=False)
    source.load_data()
    return source


def make_lazy(market: MinuteMarket) -> Any:
    wrapped = LazyBars(PandasDataBacktesting, store=market.write(), memory=MEMORY)
    source = wrapped(*market.span, show_progress_bar=False)
    source.load_data()
    return source


@pytest.fixture(scope="module")
def eager(minutes: MinuteMarket) -> Any:
    return make_eager(minutes, minutes.data())


@pytest.fixture
def lazy(minutes: MinuteMarket) -> Iterator[Any]:
    """A new one for each benchmark, so that its clock begins at the beginning and the ring is empty."""
    source = make_lazy(minutes)
    settle(source)
    yield source
    source.shutdown()


def walk(source: Any, ticks: Sequence[dt.datetime], assets: Sequence[Asset], ask: Ask) -> int:
    """Ask of every asset at every tick; gives the number of calls."""
    for when in ticks:
        source._update_datetime(when)
        for asset in assets:
            ask(source, asset)
    return len(ticks) * len(assets)


@pytest.mark.benchmark(group="calls", min_rounds=1)
@pytest.mark.parametrize("call", _CALLS, ids=lambda call: call.what)
def test_call(
    benchmark: BenchmarkFixture,
    call: Call,
    minutes: MinuteMarket,
    eager: Any,
    lazy: Any,
    record: Callable[[Result], None],
) -> None:
    assets = [Asset(symbol) for symbol in minutes.bars.symbols]
    ticks = minutes.ticks(call.every_minutes, call.sessions)
    _require_equal(eager, lazy, call, assets[0], ticks[len(ticks) // 2])
    rounds = min(_ROUNDS, len(ticks))
    chunks = [ticks[len(ticks) * at // rounds : len(ticks) * (at + 1) // rounds] for at in range(rounds)]

    def lazy_side(chunk: Sequence[dt.datetime]) -> int:
        calls = walk(lazy, chunk, assets, call.ask)
        settle(lazy)
        return calls

    gc.collect()
    record(
        in_turns(
            benchmark,
            call.what,
            (
                (
                    lambda chunk=chunk: walk(eager, chunk[:: call.one_in], assets, call.ask),  # type: ignore[misc]
                    lambda chunk=chunk: lazy_side(chunk),  # type: ignore[misc]
                )
                for chunk in chunks
            ),
            rounds,
            unit="us a call",
            target=call.target,
        )
    )


def _require_equal(eager: Any, lazy: Any, call: Call, asset: Asset, when: dt.datetime) -> None:
    """A benchmark of two different answers is none."""
    before = lazy.get_datetime()
    answers = []
    for source in (eager, lazy):
        source._update_datetime(when)
        answers.append(call.ask(source, asset))
    lazy._update_datetime(before)
    one, other = answers
    if hasattr(one, "df"):
        pd.testing.assert_frame_equal(one.df, other.df, check_exact=True)
    else:
        assert repr(vars(one) if hasattr(one, "__dict__") else one) == repr(
            vars(other) if hasattr(other, "__dict__") else other
        )


@pytest.mark.benchmark(group="start-up")
def test_start_up(
    benchmark: BenchmarkFixture, minutes: MinuteMarket, record: Callable[[Result], None]
) -> None:
    """The constructor and ``load_data``; the store is there, and so are the frames."""
    minutes.write()
    made: list[Any] = []

    def eager_side(data: list[Any]) -> int:
        make_eager(minutes, data)
        return 1

    def lazy_side() -> int:
        made.append(make_lazy(minutes))
        return 1

    def pairs() -> Iterator[tuple[Callable[[], int], Callable[[], int]]]:
        while True:
            data = minutes.data()
            yield lambda data=data: eager_side(data), lazy_side  # type: ignore[misc]

    try:
        make_lazy(minutes).shutdown()  # imports are not start-up
        record(in_turns(benchmark, "start-up", pairs(), 3, unit="ms", target=0.01, note="CPU"))
    finally:
        for source in made:
            source.shutdown()
