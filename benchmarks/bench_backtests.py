"""Whole backtests, eager and lazy by turns in one process: CPU time from start-up to the last order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lumibot.backtesting import PandasDataBacktesting
from lumibot.backtesting.market_input_evidence import MarketInputEvidence
from pytest_benchmark.fixture import BenchmarkFixture

from lazybars import LazyBars

from .conftest import size
from .market import MEMORY, DailyMarket, MinuteMarket
from .measure import in_turns
from .results import Result
from .strategies import Minutes, Rebalancing, backtest

_SESSIONS = size("BACKTEST_SESSIONS", 3)
_ASSETS, _YEARS = size("DAILY_ASSETS", 20), size("YEARS", 5)


def _measure(
    benchmark: BenchmarkFixture,
    what: str,
    run: Callable[..., tuple[float, int]],
    store: Any,
    data: Callable[[], list[Any]],
    target: float,
    rounds: int,
) -> Result:
    """``run(source, pandas_data=...)`` on both sides; both must come to the same."""
    outcomes: list[tuple[float, int]] = []
    lazy_class = LazyBars(PandasDataBacktesting, store=store, memory=MEMORY)

    def one(source: type, frames: list[Any] | None) -> int:
        outcomes.append(run(source, pandas_data=frames))
        return 1

    def pairs() -> Iterator[tuple[Callable[[], int], Callable[[], int]]]:
        while True:
            frames = data()
            yield (
                lambda frames=frames: one(PandasDataBacktesting, frames),  # type: ignore[misc]
                lambda: one(lazy_class, None),
            )

    result = in_turns(benchmark, what, pairs(), rounds, unit="s", target=target)
    assert len(set(outcomes)) == 1, f"eager and lazy differ: {outcomes}"
    return result


@pytest.mark.benchmark(group="backtests")
def test_minute_backtest(
    benchmark: BenchmarkFixture, minutes: MinuteMarket, record: Callable[[Result], None]
) -> None:
    """60 minutes, 20 bars of 15 minutes and 2 days of every asset, each 5 minutes of the last sessions."""
    ticks = minutes.ticks(1)
    days = sorted({when.date() for when in ticks})[-_SESSIONS:]
    start = next(when for when in ticks if when.date() == days[0]).replace(tzinfo=None)
    end = dt.datetime.combine(days[-1], dt.time(16))

    def run(source: type, pandas_data: list[Any] | None) -> tuple[float, int]:
        parameters = {"symbols": minutes.bars.symbols, "sleeptime": "5M"}
        return backtest(
            Minutes, source, start, end, pandas_data=pandas_data, parameters=parameters, budget=1_000_000
        )

    what = f"minute backtest, {_SESSIONS} sessions"
    record(_measure(benchmark, what, run, minutes.write(), minutes.data, 0.35, rounds=1))


@pytest.mark.benchmark(group="backtests")
@pytest.mark.parametrize(
    ("events", "recorder"),
    [(True, True), (False, True), (False, False)],
    ids=["with events", "without events", "without events, without Lumibot's recorder"],
)
def test_daily_rebalancing(
    benchmark: BenchmarkFixture,
    events: bool,
    recorder: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record: Callable[[Result], None],
) -> None:
    """60 days and the last price of every asset each day; dividends are paid and positions split.

    Lumibot's recorder of inputs hashes the first 4,096 frames, which costs as much on either side as
    the bars do: the last case leaves it out, to show what is the bars'.
    """
    days = DailyMarket(tmp_path, _ASSETS, _YEARS, events)
    if not recorder:
        made = MarketInputEvidence.__init__
        monkeypatch.setattr(
            MarketInputEvidence, "__init__", lambda self: made(self, max_rows=0, max_observations=0)
        )

    def run(source: type, pandas_data: list[Any] | None) -> tuple[float, int]:
        start, end = (when.replace(tzinfo=None) for when in days.span)
        return backtest(
            Rebalancing,
            source,
            start,
            end,
            pandas_data=pandas_data,
            parameters={"symbols": tuple(days.frames())},
            budget=1_000_000,
        )

    what = f"daily rebalancing, {_YEARS} years, dividends and splits" if events else "the same without them"
    if not recorder:
        what += ", nor Lumibot's recorder"
    rounds = 1 if events else 2
    record(_measure(benchmark, what, run, days.write(), days.data, 0.6, rounds))
