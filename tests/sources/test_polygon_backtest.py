"""A strategy file written for Polygon's source, run on it and on the wrapped one: one line changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from differential import exact
from differential.backtests import _QUIET, _record
from lumibot.backtesting import PolygonDataBacktesting
from lumibot.entities import Asset
from lumibot.strategies import Strategy

from lazybars import LazyBars

from .polygon import KEY, day
from .vendor import Vendor


class Crossing(Strategy):
    """Buys what is above its mean and sells it again; keeps all that it was served."""

    def initialize(self, parameters: Any = None) -> None:
        self.sleeptime = "30M"
        self.served: list[Any] = []
        self.account: list[Any] = []

    def on_trading_iteration(self) -> None:
        for asset in self.parameters["assets"]:
            bars = self.get_historical_prices(asset, 60, "minute")
            days = self.get_historical_prices(asset, 3, "day")
            self.served += [bars.df, None if days is None else days.df]
            self.served += [self.get_last_price(asset), self.get_quote(asset)]
            close = bars.df["close"]
            held = self.get_position(asset)
            if close.iloc[-1] > close.mean() and not held:
                price = self.get_last_price(asset)
                self.submit_order(self.create_order(asset, 10, "buy", limit_price=round(price * 1.001, 2)))
            elif close.iloc[-1] < close.mean() and held:
                self.sell_all()
        self.account.append((self.get_datetime(), self.get_cash(), self.get_portfolio_value()))


def backtest(source: type, folder: Path) -> Any:
    folder.mkdir()
    before = os.getcwd()
    with mock.patch.dict(os.environ, _QUIET):
        os.environ.pop("BACKTESTING_SHOW_PROGRESS_BAR", None)
        os.chdir(folder)
        try:
            result, strategy = Crossing.run_backtest(
                source,
                day("2022-03-29"),
                day("2022-04-01"),
                parameters={"assets": [Asset("AAPL"), Asset("GME")]},
                polygon_api_key=KEY,
                benchmark_asset=None,
                risk_free_rate=0.0,
                analyze_backtest=False,
                show_plot=False,
                show_tearsheet=False,
                save_tearsheet=False,
                show_indicators=False,
                show_progress_bar=False,
                quiet_logs=True,
                stats_file=str(folder / "stats.csv"),
                name="same",
            )
        finally:
            os.chdir(before)
    return _record(result, strategy)


def bars_asked_for(polygon: Vendor, start: int, end: int | None = None) -> list[str]:
    return [request.path for request in polygon.requests[start:end] if "/aggs/" in request.path]


@pytest.mark.filterwarnings("ignore")
def test_a_backtest_is_the_bare_sources(polygon: Vendor, tmp_path: Path) -> None:
    expected = backtest(PolygonDataBacktesting, tmp_path / "bare")
    asked = len(polygon.requests)
    wrapped = LazyBars(PolygonDataBacktesting, memory="160MB", store=tmp_path / "bars.duckdb")
    got = backtest(wrapped, tmp_path / "wrapped")
    assert expected.orders, "it never traded"
    for name in ("served", "account", "orders", "events", "positions", "stats", "result"):
        assert exact.differences(getattr(expected, name), getattr(got, name), name) == []
    theirs, ours = bars_asked_for(polygon, 0, asked), bars_asked_for(polygon, asked)
    assert {path.split("/")[4] for path in ours} == {"AAPL", "GME"}
    assert len(ours) == len(set(ours)) <= len(theirs)
    asked = len(polygon.requests)
    again = backtest(wrapped, tmp_path / "again")
    assert exact.differences(got.account, again.account, "account") == []
    assert polygon.asked_since(asked) == []
