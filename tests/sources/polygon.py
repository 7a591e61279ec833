"""Polygon on this machine: its documented answers over given bars, and Lumibot pointed at them.

https://polygon.io/docs/rest/stocks/aggregates/custom-bars: ``results`` of ``v vw o c h l t n``, prices
and volumes as JSON numbers, ``t`` in milliseconds at the start of the bar; no ``results`` where there are
none. Days of stocks are New York's, of crypto UTC's.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pandas as pd
from lumibot.backtesting import polygon_backtesting
from lumibot.tools import polygon_helper

from .vendor import Reply, Request, Vendor

__all__ = ["KEY", "Market", "pointed_at"]

KEY = "secret-key-of-the-caller"
_AGGS = re.compile(
    r"/v2/aggs/ticker/(?P<ticker>[^/]+)/range/1/(?P<span>\w+)/(?P<first>[^/]+)/(?P<last>[^/]+)"
)
_FREQ = {"hour": "1h", "day": "1D"}


class Market:
    """What Polygon knows, and how it fails.

    bars : ticker -> minute bars, indexed by UTC. splits : ticker -> execution dates.
    failing : decides for a request whether it fails, and how; None where it does not.
    """

    def __init__(self, bars: Mapping[str, pd.DataFrame]) -> None:
        self.bars = dict(bars)
        self.splits: dict[str, list[str]] = {}
        self.failing: Callable[[Request], Reply | None] = lambda request: None
        self._coarse: dict[tuple[str, str], pd.DataFrame] = {}

    def __call__(self, request: Request) -> Reply:
        failed = self.failing(request)
        if failed is not None:
            return failed
        aggs = _AGGS.fullmatch(request.path)
        if aggs is not None:
            return self._aggregates(**aggs.groupdict())
        if request.path == "/v3/reference/splits":
            dates = self.splits.get(request.params["ticker"], [])
            ticker = request.params["ticker"]
            found = [
                {"execution_date": date, "split_from": 1, "split_to": 2, "ticker": ticker} for date in dates
            ]
            return Reply({"status": "OK", "results": found})
        return Reply({"status": "NOT_FOUND", "message": f"no such path: {request.path}"}, 404)

    def _aggregates(self, ticker: str, span: str, first: str, last: str) -> Reply:
        bars = self._bars(ticker, span)
        zone = "UTC" if ticker.startswith("X:") else "America/New_York"
        start = pd.Timestamp(first, tz=zone)
        end = pd.Timestamp(last, tz=zone) + pd.DateOffset(days=1)
        bars = bars[(bars.index >= start) & (bars.index < end)]
        head = {"ticker": ticker, "queryCount": len(bars), "resultsCount": len(bars), "adjusted": True}
        body: dict[str, Any] = {**head, "status": "OK", "request_id": "0", "count": len(bars)}
        if len(bars):
            body["results"] = [
                {"v": v, "vw": vw, "o": o, "c": c, "h": h, "l": lo, "t": t, "n": n}
                for v, vw, o, c, h, lo, t, n in zip(
                    bars["volume"].tolist(),
                    ((bars["high"] + bars["low"] + bars["close"]) / 3).round(4).tolist(),
                    bars["open"].tolist(),
                    bars["close"].tolist(),
                    bars["high"].tolist(),
                    bars["low"].tolist(),
                    (bars.index.as_unit("ms").asi8).tolist(),
                    (bars["volume"] // 100 + 1).astype(int).tolist(),
                    strict=True,
                )
            ]
        return Reply(body)

    def _bars(self, ticker: str, span: str) -> pd.DataFrame:
        bars = self.bars.get(ticker)
        if bars is None:
            return pd.DataFrame(columns=["open"], index=pd.DatetimeIndex([], tz="UTC"))
        if span == "minute":
            return bars
        if (ticker, span) not in self._coarse:
            zone = "UTC" if ticker.startswith("X:") else "America/New_York"
            how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
            self._coarse[ticker, span] = (
                bars.tz_convert(zone).resample(_FREQ[span]).agg(how).dropna().tz_convert("UTC")
            )
        return self._coarse[ticker, span]


@contextmanager
def pointed_at(vendor: Vendor, cache: Any) -> Iterator[None]:
    """Lumibot's Polygon client asks this vendor, and caches in a folder of its own."""

    class Here(polygon_helper.PolygonClient):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "base": vendor.url})

    with (
        mock.patch.object(polygon_helper, "PolygonClient", Here),
        mock.patch.object(polygon_backtesting, "PolygonClient", Here),
        mock.patch.object(polygon_helper, "LUMIBOT_CACHE_FOLDER", str(cache)),
        mock.patch.object(polygon_helper, "tqdm", _NoBar),
    ):
        yield


class _NoBar:
    """A progress bar that draws nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def update(self, *args: Any) -> None:
        pass

    def close(self) -> None:
        pass


def day(text: str) -> dt.datetime:
    """Midnight of a date, without a zone, as backtests are given theirs."""
    return dt.datetime.fromisoformat(text)
