"""The two strategies of the demonstration, and what is noted of them: all that they see and do."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from lumibot.entities import Asset
from lumibot.strategies import Strategy

__all__ = ["MonthlyTrend", "Reversion"]

_LENGTH = 60
_TREND_DAYS = 100


class _Noted(Strategy):  # type: ignore[misc]
    """A strategy that hashes every frame it is served and keeps every fill."""

    def initialize(self, symbols: Any = (), timestep: str = "day") -> None:
        self.universe = [Asset(symbol) for symbol in symbols]
        self.timestep = timestep
        self.fills: list[tuple[str, str, str, str, float]] = []
        self.frames = 0
        self.history_s = 0.0
        self.frames_hash = hashlib.blake2b(digest_size=16)
        self.values_hash = hashlib.blake2b(digest_size=16)

    def history(self, asset: Asset, length: int) -> Any:
        """The frame of the last bars, or None; noted with its dtypes and its index."""
        began = time.perf_counter()
        bars = self.get_historical_prices(asset, length, self.timestep)
        self.history_s += time.perf_counter() - began
        self.frames += 1
        note = self.frames_hash.update
        if bars is None:
            note(b"none")
            return None
        frame = bars.df
        note(f"{asset.symbol} {frame.index.dtype} {frame.index.name} {frame.index.freq}".encode())
        note(frame.index.asi8.tobytes())
        for name, column in frame.items():
            note(f"{name} {column.dtype}".encode())
            note(column.to_numpy().tobytes())
        return frame

    def note_value(self) -> None:
        """The time, the cash and the value of the portfolio, at every iteration."""
        self.values_hash.update(repr((self.get_datetime(), self.cash, self.portfolio_value)).encode())

    def on_filled_order(self, position: Any, order: Any, price: Any, quantity: Any, multiplier: Any) -> None:
        when = self.get_datetime().isoformat()
        self.fills.append((when, order.asset.symbol, str(order.side), str(quantity), float(price)))


class MonthlyTrend(_Noted):
    """Looks daily; at the first bar of a month holds what trades above its average of 100 days."""

    def initialize(self, symbols: Any = (), timestep: str = "day") -> None:
        super().initialize(symbols, timestep)
        self.sleeptime = "1D"
        self.month = 0

    def on_trading_iteration(self) -> None:
        self.note_value()
        frames = {asset: self.history(asset, _TREND_DAYS) for asset in self.universe}
        month = self.get_datetime().month
        if month == self.month:
            return
        self.month = month
        known = {
            asset: frame for asset, frame in frames.items() if frame is not None and len(frame) == _TREND_DAYS
        }
        rising = [asset for asset, frame in known.items() if frame["close"].iloc[-1] > frame["close"].mean()]
        share = self.portfolio_value * 0.95 / max(len(rising), 1)
        orders: list[Any] = []
        for asset, frame in known.items():
            position = self.get_position(asset)
            held = 0 if position is None else int(position.quantity)
            wanted = int(share // frame["close"].iloc[-1]) if asset in rising else 0
            if wanted < held:
                orders.insert(0, self.create_order(asset, held - wanted, "sell"))
            elif wanted > held:
                orders.append(self.create_order(asset, wanted - held, "buy"))
        for order in orders:
            self.submit_order(order)


class Reversion(_Noted):
    """Every half hour looks at ten assets in turn; buys what fell below its hour, sells what came back."""

    at_once = 10
    most_held = 12
    below = 0.992

    def initialize(self, symbols: Any = (), timestep: str = "minute") -> None:
        super().initialize(symbols, timestep)
        self.sleeptime = "30M"
        self.turn = 0

    def on_trading_iteration(self) -> None:
        self.note_value()
        count = len(self.universe)
        looked_at = {(self.turn + at) % count for at in range(self.at_once)}
        self.turn += self.at_once
        held = sum(position.asset.symbol != "USD" for position in self.get_positions())
        for number in sorted(looked_at):
            asset = self.universe[number]
            frame = self.history(asset, _LENGTH)
            if frame is None or len(frame) < _LENGTH:
                continue
            last, mean = frame["close"].iloc[-1], frame["close"].mean()
            position = self.get_position(asset)
            if position is not None and last > mean:
                self.submit_order(self.create_order(asset, position.quantity, "sell"))
            elif position is None and last < mean * self.below and held < self.most_held:
                quantity = int(self.portfolio_value / self.most_held * 0.9 // last)
                self.submit_order(self.create_order(asset, quantity, "buy"))
                held += 1
