"""Strategies written for DataBento's source, run on it and on the wrapped one: one line changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
from differential.backtests import _QUIET, _record, differences
from differential.strategies import Recorded
from lumibot.backtesting import DataBentoDataBacktesting
from lumibot.entities import Asset

from lazybars import LazyBars

from .databento import KEY, Exchange, forgetting, pointed_at
from .test_databento import contracts
from .vendor import Vendor


class Turning(Recorded):
    """Long above the average of an hour, out below it, with a limit or a stop in turn."""

    def setup(self) -> None:
        self.sleeptime = "20M"
        self.set_market("24/7" if self.assets[0].asset_type == "cont_future" else "NYSE")

    def trade(self) -> None:
        for asset in self.assets:
            bars = self.history(asset, 60, "minute")
            last = self.price(asset)
            self._note("quote", self.get_quote(asset).price)
            if bars is None or last is None:
                continue
            held, above = self.get_position(asset), last > bars["close"].mean()
            if above and held is None:
                limit = {"limit_price": last * 1.001} if self.turn % 2 else {}
                self.submit_order(self.create_order(asset, 1, "buy", **limit))
            elif held is not None and not above:
                self.submit_order(self.create_order(asset, 1, "sell"))


@dataclass(frozen=True)
class Case:
    """What is traded, from when to when. assets : made anew, because Lumibot writes into a future."""

    assets: Callable[[], list[Asset]]
    first: str
    last: str


CASES = {
    "a stock": Case(lambda: [Asset("AAPL")], "2022-03-29", "2022-03-31"),
    # At 01:06 on the tenth the next contract takes over.
    "a continuous future": Case(lambda: [Asset("ES", "cont_future")], "2026-03-09 18:00", "2026-03-10 15:00"),
}


@pytest.fixture
def databento(tmp_path: Path, quiet: None) -> Iterator[Vendor]:
    terms = {"ESH6": (50.0, "2026-03-20 13:30"), "ESM6": (50.0, "2026-06-18 13:30")}
    exchange = Exchange(contracts(), terms)
    exchange.ends = "2026-05-01T00:00:00.000000000Z"
    with Vendor(exchange).serving() as vendor, pointed_at(vendor, tmp_path / "cache"):
        yield vendor


def backtest(source: type, folder: Path, case: Case) -> Any:
    """What it did, and what a wrapped source held whole."""
    folder.mkdir()
    forgetting()
    before = os.getcwd()
    start, end = (
        pd.Timestamp(text, tz="America/New_York").to_pydatetime() for text in (case.first, case.last)
    )
    told = {
        "api_key": KEY,
        "budget": 10_000_000,
        "parameters": {"assets": case.assets()},
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
            result, strategy = Turning.run_backtest(source, start, end, **told)
        finally:
            os.chdir(before)
    lazy = getattr(strategy.broker.data_source, "lazy", None)
    return _record(result, strategy), {} if lazy is None else lazy.stats().eager


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_backtest_is_the_bare_sources(name: str, databento: Vendor, tmp_path: Path) -> None:
    case = CASES[name]
    expected, _ = backtest(DataBentoDataBacktesting, tmp_path / "bare", case)
    assert "fill" in str([order["status"] for order in expected.orders]), "it never traded"
    theirs = len(databento.requests)
    wrapped = LazyBars(DataBentoDataBacktesting, memory="128MB", store=tmp_path / "bars.duckdb")
    got, eager = backtest(wrapped, tmp_path / "wrapped", case)
    assert differences(expected, got) == []
    assert eager == {}
    asked = len(databento.requests)
    assert 0 < asked - theirs <= theirs
    again, _ = backtest(wrapped, tmp_path / "again", case)
    assert differences(got, again) == []
    assert len(databento.requests) == asked
