"""Binance in this process: CCXT's own class, whose HTTP requests are answered here.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints: klines are lists of
open time in ms, open, high, low, close, volume as texts, close time, and more; from ``startTime`` on, at most
``limit`` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import ccxt
import pandas as pd
from lumibot.tools import ccxt_data_store

__all__ = ["Exchange", "in_place"]

_FREQ = {"1h": "1h", "1d": "1D"}


class Exchange:
    """What Binance knows, what it was asked for, and how it fails.

    bars : "BTCUSDT" -> minute bars, indexed by UTC. requests : of klines, all so far.
    failing : called before a request for klines is answered; may raise.
    """

    def __init__(self, bars: Mapping[str, pd.DataFrame]) -> None:
        self.bars = dict(bars)
        self.requests: list[dict[str, str]] = []
        self.failing: Callable[[int], None] = lambda number: None
        self._told: dict[tuple[str, str], tuple[pd.Index, list[Any]]] = {}

    def answer(self, url: str) -> Any:
        parts = urlsplit(url)
        if parts.path == "/api/v3/exchangeInfo":
            names = [(name.removesuffix("USDT"), "USDT", name) for name in self.bars]
            return {"symbols": [_market(*one) for one in names]}
        if parts.path.endswith("/exchangeInfo"):
            return {"symbols": []}
        assert parts.path == "/api/v3/klines", url
        asked = dict(parse_qsl(parts.query))
        self.requests.append(asked)
        self.failing(len(self.requests))
        return self._page(asked)

    def _page(self, asked: dict[str, str]) -> list[Any]:
        starts, klines = self._klines(asked["symbol"], asked["interval"])
        first = int(starts.searchsorted(int(asked["startTime"])))
        return klines[first : first + int(asked["limit"])]

    def _klines(self, symbol: str, interval: str) -> tuple[pd.Index, list[Any]]:
        if (symbol, interval) not in self._told:
            bars = self.bars[symbol]
            if interval != "1m":
                how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
                bars = bars.resample(_FREQ[interval]).agg(how).dropna()
            starts = bars.index.as_unit("ms").asi8.tolist()
            text = (
                repr(values)
                for values in bars[["open", "high", "low", "close", "volume"]].to_numpy().tolist()
            )
            klines = [
                [at, *row.strip("[]").split(", "), at + 59_999, "0", 1, "0", "0", "0"]
                for at, row in zip(starts, text, strict=True)
            ]
            self._told[symbol, interval] = pd.Index(starts), klines
        return self._told[symbol, interval]


def _market(base: str, quote: str, name: str) -> dict[str, Any]:
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
    ]
    return {
        "symbol": name,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "permissions": ["SPOT"],
        "filters": filters,
    }


@contextmanager
def in_place(exchange: Exchange, cache: Any) -> Iterator[None]:
    """Lumibot's Binance asks this one, caches in a folder of its own, and does not sleep between requests."""

    class Here(ccxt.binance):  # type: ignore[misc]
        def fetch(self, url: str, *args: Any, **kwargs: Any) -> Any:
            return exchange.answer(url)

        def throttle(self, *args: Any) -> None:
            pass

    with (
        mock.patch.object(ccxt, "binance", Here),
        mock.patch.object(ccxt_data_store, "LUMIBOT_CACHE_FOLDER", str(cache)),
        mock.patch.object(ccxt_data_store.time, "sleep", return_value=None),
    ):
        yield
