"""The strategy that is swept: it does little more than ask, so that what is measured is the asking."""

from __future__ import annotations

import hashlib
from typing import Any

from lumibot.entities import Asset
from lumibot.strategies import Strategy

__all__ = ["Leaders", "Noted"]


class Leaders(Strategy):  # type: ignore[misc]
    """Twice a day holds what rose most over the last ``lookback`` minutes: ``hold`` of ``symbols``."""

    def initialize(self) -> None:
        self.sleeptime = "195M"
        self.assets = [Asset(symbol) for symbol in self.parameters["symbols"]]

    def on_trading_iteration(self) -> None:
        rise: dict[Any, float] = {}
        for asset in self.assets:
            bars = self.get_historical_prices(asset, self.parameters["lookback"], "minute")
            if bars is not None:
                close = bars.df["close"].to_numpy()
                rise[asset] = close[-1] / close[0]
        best = sorted(rise, key=lambda asset: -rise[asset])[: self.parameters["hold"]]
        for asset in self.assets:
            held = self.get_position(asset)
            if held is not None and asset not in best:
                self.submit_order(self.create_order(asset, held.quantity, "sell"))
            elif held is None and asset in best:
                self.submit_order(self.create_order(asset, 10, "buy"))


class Noted(Leaders):
    """The same, taking its own note of its fills: what a sweep says of them is held against that."""

    def initialize(self) -> None:
        super().initialize()
        self.trades = 0
        self.digest = hashlib.blake2b(digest_size=8)

    def on_filled_order(
        self, position: Any, order: Any, price: float, quantity: float, multiplier: float
    ) -> None:
        told = (self.get_datetime().isoformat(), order.asset.symbol, str(order.side))
        self.digest.update(f"{' '.join(told)} {float(quantity)!r} {float(price)!r}\n".encode())
        self.trades += 1
