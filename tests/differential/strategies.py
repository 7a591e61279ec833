"""The strategies of whole backtests. Each trades on what it reads, so that one wrong bit spreads.

They know nothing of data sources. ``Recorded`` notes every answer that they get, by its bits, and
the account after every iteration.
"""

from __future__ import annotations

from typing import Any

from lumibot.entities import Asset
from lumibot.strategies import Strategy

from .exact import fingerprint

__all__ = ["Crypto", "Daily", "Minute", "Options", "Recorded"]


class Recorded(Strategy):
    """Notes what it is served. ``parameters``: assets, and whatever the strategy takes."""

    def initialize(self) -> None:
        self.turn = 0
        self.served: list[tuple[str, str, str]] = []
        self.account: list[tuple[str, str, str, str]] = []
        self.assets: list[Asset] = self.parameters["assets"]
        self.setup()

    def setup(self) -> None:
        self.sleeptime = "1M"

    def _note(self, what: str, answer: Any) -> Any:
        text = fingerprint(answer) if hasattr(answer, "df") else f"{type(answer).__name__} {answer!r}"
        self.served.append((str(self.get_datetime()), what, text))
        return answer

    def history(self, asset: Any, length: int, timestep: str, **more: Any) -> Any:
        bars = self._note(
            f"{length} {timestep} {asset}", self.get_historical_prices(asset, length, timestep, **more)
        )
        return None if bars is None or len(bars.df) == 0 else bars.df

    def price(self, asset: Any, **more: Any) -> Any:
        return self._note(f"price {asset}", self.get_last_price(asset, **more))

    def on_trading_iteration(self) -> None:
        self.trade()
        self.turn += 1
        held = sorted(f"{p.asset}:{p.quantity!r}" for p in self.get_positions())
        self.account.append(
            (str(self.get_datetime()), repr(self.cash), repr(self.portfolio_value), " ".join(held))
        )

    def trade(self) -> None:
        raise NotImplementedError


class Minute(Recorded):
    """60 minutes, 15-minute and daily bars of every asset; every kind of order in turn."""

    def trade(self) -> None:
        for number, asset in enumerate(self.assets):
            minutes, quarters = self.history(asset, 60, "minute"), self.history(asset, 8, "15 minutes")
            self.history(asset, 2, "day")
            last = self.price(asset)
            if minutes is None or last is None or (self.turn + number) % 7:
                continue
            last = float(last)
            rising = quarters is not None and float(quarters["close"].iloc[-1]) <= last
            side = "buy" if rising else "sell"
            held = self.get_position(asset)
            kind = (self.turn // 7 + number) % 5
            if held is not None and abs(held.quantity) > 30:
                self._note("sold", len(self.get_orders()))
                self.cancel_open_orders()
                self.sell_all()
            elif kind == 0:
                self.submit_order(self.create_order(asset, 10, side))
            elif kind == 1:
                self.submit_order(
                    self.create_order(
                        asset, 10, side, limit_price=round(last * (0.9995 if rising else 1.0005), 2)
                    )
                )
            elif kind == 2:
                self.submit_order(
                    self.create_order(
                        asset, 10, side, stop_price=round(last * (1.0005 if rising else 0.9995), 2)
                    )
                )
            elif kind == 3:
                self.submit_order(
                    self.create_order(
                        asset,
                        10,
                        "buy",
                        order_class="bracket",
                        secondary_limit_price=round(last * 1.001, 2),
                        secondary_stop_price=round(last * 0.999, 2),
                    )
                )
            else:
                self.submit_order(self.create_order(asset, 10, side, trail_percent=0.001))
            if self.turn % 35 == 0:
                many = self.get_historical_prices_for_assets(self.assets, 5, "minute")
                for each in self.assets:
                    self._note(f"many {each}", many.get(each))


class Daily(Recorded):
    """Rebalances by 20-day momentum; dividends are paid and positions split."""

    def setup(self) -> None:
        self.sleeptime = "1D"

    def trade(self) -> None:
        momentum = {}
        for asset in self.assets:
            days = self.history(asset, 20, "day")
            price = self.price(asset)
            self._note(f"dividend {asset}", dict(self.get_yesterday_dividends([asset]).data))
            if days is not None and price is not None:
                momentum[asset] = (float(days["close"].iloc[-1]) / float(days["close"].iloc[0]), float(price))
        if self.turn % 5:
            return
        best = sorted(momentum, key=lambda asset: -momentum[asset][0])[:3]
        value = float(self.portfolio_value)
        for asset, (_, price) in momentum.items():
            held = self.get_position(asset)
            has = float(held.quantity) if held is not None else 0.0
            wants = value * 0.3 // price if asset in best else 0.0
            if int(wants - has):
                self.submit_order(
                    self.create_order(asset, abs(int(wants - has)), "buy" if wants > has else "sell")
                )


class Crypto(Recorded):
    """Around the clock, fractional, against a quote asset that is not the dollar."""

    def setup(self) -> None:
        self.set_market("24/7")
        self.sleeptime = "5M"

    def trade(self) -> None:
        for number, asset in enumerate(self.assets):
            minutes = self.history((asset, self.quote_asset), 30, "minute")
            self.history(asset, 6, "hour", quote=self.quote_asset)
            last = self.price(asset, quote=self.quote_asset)
            if minutes is None or last is None or (self.turn + number) % 5:
                continue
            quantity = round(0.01 + float(minutes["volume"].iloc[-1]) % 0.05, 4)
            held = self.get_position(asset)
            has = float(held.quantity) if held is not None else 0.0
            if has > 0.2:
                self.submit_order(self.create_order(asset, has, "sell", quote=self.quote_asset))
            elif self.turn % 2:
                self.submit_order(self.create_order(asset, quantity, "buy", quote=self.quote_asset))
            else:
                self.submit_order(
                    self.create_order(
                        asset, quantity, "buy", limit_price=float(last) * 0.999, quote=self.quote_asset
                    )
                )


class Options(Recorded):
    """Buys along the chain at its quotes and holds into expiry; sells some before."""

    def setup(self) -> None:
        self.sleeptime = "5M"

    def trade(self) -> None:
        stock, *options = self.assets
        self.history(stock, 10, "minute")
        self.price(stock)
        if self.turn % 10 == 0:
            self._note(
                "chains",
                {
                    k: {r: {str(e): s for e, s in v.items()} for r, v in c.items()}
                    if isinstance(c, dict)
                    else c
                    for k, c in dict(self.get_chains(stock)).items()
                },
            )
        for number, option in enumerate(options):
            quote = self.get_quote(option)
            self._note(f"quote {option}", (quote.price, quote.bid, quote.ask, quote.bid_size, quote.volume))
            last = self.price(option)
            self.history(option, 5, "minute")
            if last is None or (self.turn + number) % 6:
                continue
            held = self.get_position(option)
            if held is None:
                self.submit_order(self.create_order(option, 1, "buy"))
            elif number % 2 == 0 and self.turn % 12 == 0:
                limit = quote.bid if quote.bid is not None and quote.bid == quote.bid else float(last)
                self.submit_order(self.create_order(option, 1, "sell", limit_price=float(limit)))
