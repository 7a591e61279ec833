"""The two strategies that are timed from end to end. Neither does more than ask and trade a little."""

from __future__ import annotations

from typing import Any

from lumibot.entities import Asset
from lumibot.strategies import Strategy

__all__ = ["QUIET", "Minutes", "Rebalancing", "backtest"]

# For ``run_backtest``: no network, plots or files but Lumibot's log.
QUIET: dict[str, Any] = {
    "benchmark_asset": None,
    "risk_free_rate": 0.0,
    "analyze_backtest": False,
    "save_stats_file": False,
    "show_plot": False,
    "show_tearsheet": False,
    "save_tearsheet": False,
    "show_indicators": False,
    "show_progress_bar": False,
    "quiet_logs": True,
}


class Minutes(Strategy):  # type: ignore[misc]
    """Every few minutes looks at 60 minutes, 15-minute bars and days of every asset."""

    def initialize(self) -> None:
        self.sleeptime = self.parameters["sleeptime"]
        self.assets = [Asset(symbol) for symbol in self.parameters["symbols"]]
        self.turn = 0

    def on_trading_iteration(self) -> None:
        self.turn += 1
        for number, asset in enumerate(self.assets):
            minutes = self.get_historical_prices(asset, 60, "minute")
            quarters = self.get_historical_prices(asset, 20, "15 minutes")
            days = self.get_historical_prices(asset, 2, "day")
            if minutes is None or quarters is None or days is None or (self.turn + number) % 40:
                continue
            held = self.get_position(asset)
            rising = quarters.df["close"].iloc[-1] > minutes.df["close"].mean()
            if held is not None and not rising:
                self.submit_order(self.create_order(asset, held.quantity, "sell"))
            elif held is None and rising:
                self.submit_order(self.create_order(asset, 10, "buy"))


class Rebalancing(Strategy):  # type: ignore[misc]
    """Looks at 60 days of every asset each day; on Mondays holds the third that rose most."""

    def initialize(self) -> None:
        self.sleeptime = "1D"
        self.assets = [Asset(symbol) for symbol in self.parameters["symbols"]]

    def on_trading_iteration(self) -> None:
        rise: dict[Any, tuple[float, float]] = {}
        for asset in self.assets:
            days = self.get_historical_prices(asset, 60, "day")
            price = self.get_last_price(asset)
            if days is not None and price is not None:
                close = days.df["close"]
                rise[asset] = float(close.iloc[-1] / close.iloc[0]), float(price)
        if self.get_datetime().weekday() != 0:
            return
        best = sorted(rise, key=lambda asset: -rise[asset][0])[: max(len(rise) // 3, 1)]
        value = float(self.portfolio_value) * 0.95
        for asset, (_, price) in rise.items():
            held = self.get_position(asset)
            has = float(held.quantity) if held is not None else 0.0
            wants = value / len(best) // price if asset in best else 0.0
            if int(wants - has):
                side = "buy" if wants > has else "sell"
                self.submit_order(self.create_order(asset, abs(int(wants - has)), side))


def backtest(
    strategy: type[Strategy], source: type, start: Any, end: Any, **options: Any
) -> tuple[float, int]:
    """Run one without network, plots or files but Lumibot's log; gives (final value, fills)."""
    _, ran = strategy.run_backtest(source, start, end, **QUIET, **options)
    fills = sum(order.is_filled() for order in ran.broker.get_all_orders())
    value = float(ran.portfolio_value)
    ran.broker.data_source.shutdown()
    return value, fills
