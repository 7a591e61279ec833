"""Alpaca on this machine: its documented answers over given bars, and Lumibot's clients pointed at them.

https://docs.alpaca.markets/reference/stockbars: ``bars`` by symbol, each of ``t o h l c v n vw``, ``t`` in
RFC 3339 at the start of the bar; ``start`` and ``end`` are included; at most ``limit`` bars a page, the
next one under ``next_page_token``. No ``bars`` of a symbol where there are none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pandas as pd
from lumibot import constants
from lumibot.backtesting import alpaca_backtesting

from .vendor import Reply, Request, Vendor

__all__ = ["CONFIG", "SECRETS", "Market", "pointed_at"]

SECRETS = ("key-of-the-caller", "secret-of-the-caller")
CONFIG = {"API_KEY": SECRETS[0], "API_SECRET": SECRETS[1], "PAPER": True}
_PATHS = ("/v2/stocks/bars", "/v1beta3/crypto/us/bars", "/v1beta1/options/bars")
_FRAME = re.compile(r"(\d+)(Min|Hour|Day)")
_FREQ = {"Min": "min", "Hour": "h", "Day": "D"}
_HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


class Market:
    """What Alpaca knows, and how it fails.

    bars : symbol -> minute bars, indexed by UTC.
    failing : decides for a request whether it fails, and how; None where it does not.
    """

    def __init__(self, bars: Mapping[str, pd.DataFrame]) -> None:
        self.bars = dict(bars)
        self.failing: Callable[[Request], Reply | None] = lambda request: None
        self._coarse: dict[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]] = {}

    def __call__(self, request: Request) -> Reply:
        failed = self.failing(request)
        if failed is not None:
            return failed
        if request.path not in _PATHS:
            return Reply({"message": f"no such path: {request.path}"}, 404)
        asked = request.params
        bars = self._bars(asked["symbols"], asked["timeframe"])
        bars = bars[
            (bars.index >= pd.Timestamp(asked["start"]).tz_convert("UTC"))
            & (bars.index <= pd.Timestamp(asked["end"]).tz_convert("UTC"))
        ]
        begin, limit = int(asked.get("page_token", 0)), int(asked["limit"])
        more = begin + limit < len(bars)
        page = bars.iloc[begin : begin + limit]
        told = [
            {"t": t, "o": o, "h": h, "l": lo, "c": c, "v": v, "n": int(v // 100) + 1, "vw": round(c, 2)}
            for t, o, h, lo, c, v in zip(
                page.index.strftime("%Y-%m-%dT%H:%M:%SZ"),
                *(page[name].tolist() for name in ("open", "high", "low", "close", "volume")),
                strict=True,
            )
        ]
        return Reply(
            {
                "bars": {asked["symbols"]: told} if told else {},
                "next_page_token": str(begin + limit) if more else None,
            }
        )

    def _bars(self, symbol: str, timeframe: str) -> pd.DataFrame:
        minutes = self.bars.get(symbol)
        if minutes is None:
            return pd.DataFrame(columns=list(_HOW), index=pd.DatetimeIndex([], tz="UTC"))
        if timeframe == "1Min":
            return minutes
        known = self._coarse.get((symbol, timeframe))
        if known is None or known[0] is not minutes:
            found = _FRAME.fullmatch(timeframe)
            assert found is not None, timeframe
            rule = f"{found[1]}{_FREQ[found[2]]}"
            coarse = minutes.tz_convert("America/New_York").resample(rule).agg(_HOW).dropna()
            known = self._coarse[symbol, timeframe] = minutes, coarse.tz_convert("UTC")
        return known[1]


@contextmanager
def pointed_at(vendor: Vendor, cache: Any) -> Iterator[None]:
    """Alpaca's own clients, as Lumibot makes them, ask this vendor; nothing is cached elsewhere."""
    with ExitStack() as stack:
        for name in ("StockHistoricalDataClient", "CryptoHistoricalDataClient", "OptionHistoricalDataClient"):
            client = getattr(alpaca_backtesting, name)

            def make(*args: Any, client: Any = client, **kwargs: Any) -> Any:
                made = client(*args, **kwargs, url_override=vendor.url)
                made._retry_wait = 0  # seconds between its attempts after a 429
                return made

            stack.enter_context(mock.patch.object(alpaca_backtesting, name, make))
        stack.enter_context(mock.patch.object(alpaca_backtesting, "LUMIBOT_CACHE_FOLDER", str(cache)))
        stack.enter_context(mock.patch.object(constants, "LUMIBOT_CACHE_FOLDER", str(cache)))
        yield
