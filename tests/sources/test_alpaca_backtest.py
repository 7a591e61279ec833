"""Strategies written for Alpaca's source, run on it and on the wrapped one: one line changes."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
from differential import exact
from differential.backtests import _QUIET, _record, differences
from differential.strategies import Crypto, Daily, Recorded
from lumibot.backtesting import AlpacaBacktesting
from lumibot.entities import Asset

from lazybars import LazyBars

from .alpaca import CONFIG, Market, pointed_at
from .test_polygon_backtest import Crossing
from .vendor import Vendor, real_bars

STOCKS = [Asset("AAPL"), Asset("GME")]
CALL = Asset("AAPL", "option", expiration=dt.date(2022, 4, 14), strike=170.0, right="CALL")


class Printing(Recorded):
    """Trades an option that trades now and then; its orders wait for a trade."""

    def setup(self) -> None:
        self.sleeptime = "10M"

    def trade(self) -> None:
        (option,) = self.assets
        self.history(option, 5, "minute")
        last, held = self.price(option), self.get_position(option)
        if last is not None and not self.get_orders():
            self.submit_order(self.create_order(option, 1, "sell" if held else "buy"))


@dataclass(frozen=True)
class Case:
    """A strategy, what it trades, from when to when, and how the source is made."""

    strategy: type
    assets: list[Asset]
    first: str
    last: str
    more: dict[str, Any] = field(default_factory=dict)


CASES = {
    "minutes": Case(Crossing, STOCKS, "2022-03-29", "2022-03-30", {"timestep": "minute"}),
    "days": Case(
        Daily, STOCKS, "2022-04-01", "2022-04-19", {"timestep": "day", "benchmark_asset": Asset("AAPL")}
    ),
    "crypto": Case(
        Crypto,
        [Asset("BTC", "crypto")],
        "2026-03-10 00:00",
        "2026-03-10 08:00",
        {"timestep": "minute", "market": "24/7"},
    ),
    "an option": Case(Printing, [CALL], "2022-03-28", "2022-03-30", {"timestep": "minute"}),
}


@pytest.fixture
def alpaca(tmp_path: Path, quiet: None) -> Iterator[Vendor]:
    aapl = real_bars("alvinmoore__AAPL__1min")
    market = Market(
        {
            "AAPL": aapl,
            "GME": real_bars("alvinmoore__GME__1min"),
            "BTC/USD": real_bars("aiquant__BTCUSDT__1min")["2026-03-01":"2026-03-25"],
            "AAPL220414C00170000": aapl[aapl["volume"] > 400_000],
        }
    )
    with Vendor(market).serving() as vendor, pointed_at(vendor, tmp_path / "cache"):
        yield vendor


def backtest(source: type, folder: Path, case: Case) -> Any:
    """What it did, the benchmark's returns, and what a wrapped source held whole."""
    folder.mkdir()
    before = os.getcwd()
    start, end = (
        pd.Timestamp(text, tz="America/New_York").to_pydatetime() for text in (case.first, case.last)
    )
    told = {
        "config": CONFIG,
        "full_window": True,
        "history_before_start": True,
        "parameters": {"assets": case.assets},
        "benchmark_asset": None,
        "risk_free_rate": 0.0,
        "analyze_backtest": False,
        "show_plot": False,
        "show_tearsheet": False,
        "save_tearsheet": False,
        "show_indicators": False,
        "show_progress_bar": False,
        "quiet_logs": True,
        "stats_file": str(folder / "stats.csv"),
        "name": "same",
    }
    with mock.patch.dict(os.environ, _QUIET):
        os.environ.pop("BACKTESTING_SHOW_PROGRESS_BAR", None)
        os.chdir(folder)
        try:
            result, strategy = case.strategy.run_backtest(source, start, end, **(told | case.more))
        finally:
            os.chdir(before)
    lazy = getattr(strategy.broker.data_source, "lazy", None)
    eager = {} if lazy is None else lazy.stats().eager
    return _record(result, strategy), strategy._benchmark_returns_df, eager


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_backtest_is_the_bare_sources(name: str, alpaca: Vendor, tmp_path: Path) -> None:
    case = CASES[name]
    expected, their_benchmark, _ = backtest(AlpacaBacktesting, tmp_path / "bare", case)
    assert "fill" in str([order["status"] for order in expected.orders]), "it never traded"
    theirs = len(alpaca.requests)
    wrapped = LazyBars(AlpacaBacktesting, memory="128MB", store=tmp_path / "bars.duckdb")
    got, our_benchmark, eager = backtest(wrapped, tmp_path / "wrapped", case)
    assert differences(expected, got) == []
    assert exact.differences(their_benchmark, our_benchmark, "benchmark") == []
    assert (our_benchmark is not None) == ("benchmark_asset" in case.more)
    assert eager == {}
    asked = len(alpaca.requests)
    assert asked - theirs <= theirs
    again, _, _ = backtest(wrapped, tmp_path / "again", case)
    assert differences(got, again) == []
    assert len(alpaca.requests) == asked
