"""Yahoo on this machine: the answers of its chart API over given bars, and yfinance pointed at them.

``/v8/finance/chart/SYMBOL``: lists of ``timestamp`` (s; of a day, when its session opens), ``open high low
close volume`` and ``adjclose``, and ``events`` by their time. What market a symbol belongs to is told by
``/v7/finance/quote``, after ``/v10/finance/quoteSummary/SYMBOL`` has told what it is. Prices are
split-adjusted, which ``adjclose`` is for dividends as well.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pandas as pd
import yfinance.cache
import yfinance.data
from curl_cffi import requests
from lumibot.tools import yahoo_helper

from .vendor import Reply, Request

__all__ = ["Exchange", "Listed", "pointed_at"]

_CHART, _QUOTE, _SUMMARY = "/v8/finance/chart/", "/v7/finance/quote", "/v10/finance/quoteSummary/"
_SERIES = "/ws/fundamentals-timeseries/v1/finance/timeseries/"
_RANGES = ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"]


@dataclass
class Listed:
    """A symbol.

    bars : interval -> bars indexed by UTC, with ``dividend`` and ``stock_splits`` where there are any.
    opens : when a session begins, in the exchange's zone. kind : Yahoo's instrumentType.
    """

    bars: dict[str, pd.DataFrame]
    zone: str = "America/New_York"
    market: str = "us_market"
    kind: str = "EQUITY"
    opens: str = "09:30:00"
    closes: str = "16:00:00"


@dataclass
class Exchange:
    """What Yahoo knows, and how it fails.

    failing : decides for a request whether it fails, and how; None where it does not.
    """

    listed: Mapping[str, Listed]
    failing: Callable[[Request], Reply | None] = field(default=lambda request: None)

    def __call__(self, request: Request) -> Reply:
        failed = self.failing(request)
        if failed is not None:
            return failed
        if request.path.startswith(_CHART):
            return self._chart(request.path.removeprefix(_CHART), request.params)
        if request.path == _QUOTE:
            one = self.listed.get(request.params["symbols"])
            told = {"market": one.market, "exchangeTimezoneName": one.zone} if one else None
            results = [{"symbol": request.params["symbols"], **told}] if told else []
            return Reply({"quoteResponse": {"result": results, "error": None}})
        if request.path.startswith(_SUMMARY):
            return self._summary(request.path.removeprefix(_SUMMARY))
        if request.path.startswith(_SERIES):
            return Reply({"timeseries": {"result": [], "error": None}})
        return Reply("a crumb")

    def _summary(self, symbol: str) -> Reply:
        one = self.listed.get(symbol)
        if one is None:
            return _not_found("quoteSummary")
        told = {"quoteType": {"symbol": symbol, "quoteType": one.kind, "maxAge": 1}}
        return Reply({"quoteSummary": {"result": [told], "error": None}})

    def _chart(self, symbol: str, asked: Mapping[str, str]) -> Reply:
        one, interval = self.listed.get(symbol), asked["interval"]
        if one is None:
            return _not_found("chart")
        bars = one.bars.get(interval if "period1" in asked else "1d", next(iter(one.bars.values()))[:0])
        starts = bars.index
        if interval == "1d":
            starts = starts.tz_convert(one.zone).normalize() + pd.Timedelta(one.opens)
        seconds = starts.as_unit("s").asi8
        if "period1" in asked:
            inside = (seconds >= int(asked["period1"])) & (seconds < int(asked["period2"]))
            bars, seconds = bars[inside], seconds[inside]
        else:
            bars, seconds = bars[-1:], seconds[-1:]
        return Reply({"chart": {"result": [_result(symbol, one, interval, bars, seconds)], "error": None}})


def _result(symbol: str, one: Listed, interval: str, bars: pd.DataFrame, seconds: Any) -> dict[str, Any]:
    meta = {
        "symbol": symbol,
        "currency": "USD",
        "instrumentType": one.kind,
        "exchangeTimezoneName": one.zone,
        "dataGranularity": interval,
        "validRanges": _RANGES,
        "priceHint": 2,
    }
    result: dict[str, Any] = {"meta": meta, "indicators": {"quote": [{}]}}
    if interval != "1d":
        days = bars.index.tz_convert(one.zone).normalize().unique()
        ends = [(day + pd.Timedelta(one.opens), day + pd.Timedelta(one.closes)) for day in days]
        meta["tradingPeriods"] = [
            [{"timezone": "", "gmtoffset": 0, "start": int(a.timestamp()), "end": int(b.timestamp())}]
            for a, b in ends
        ]
    if not len(bars):
        return result
    adjusted = bars["close"] * (1 - 0.25 * (bars.index[-1] - bars.index) / pd.Timedelta("36500D"))
    result["timestamp"] = seconds.tolist()
    quote = {name: bars[name].tolist() for name in ("open", "high", "low", "close")}
    quote["volume"] = bars["volume"].astype("int64").tolist()
    result["indicators"] = {"quote": [quote], "adjclose": [{"adjclose": adjusted.tolist()}]}
    events: dict[str, dict[str, Any]] = {"dividends": {}, "splits": {}}
    for column, kind in (("dividend", "dividends"), ("stock_splits", "splits")):
        paid = bars.get(column, pd.Series(0.0, index=bars.index)).to_numpy()
        for at, value in zip(seconds[paid != 0].tolist(), paid[paid != 0].tolist(), strict=True):
            told = {"amount": value} if kind == "dividends" else {"numerator": value, "denominator": 1.0}
            events[kind][str(at)] = {"date": at, **told}
    result["events"] = {kind: found for kind, found in events.items() if found}
    return result


def _not_found(what: str) -> Reply:
    error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
    return Reply({what: {"result": None, "error": error}}, 404)


@contextmanager
def pointed_at(vendor: Any, cache: Any, now: str | None = None) -> Iterator[None]:
    """Whatever yfinance asks, this vendor answers, and Lumibot caches in a folder of its own.

    now : the wall clock that Lumibot takes its last minutes from.
    """

    class Here(requests.Session):  # type: ignore[misc,type-arg]
        def request(self, method: Any, url: str, *args: Any, **kwargs: Any) -> Any:
            return super().request(method, vendor.url + urlsplit(url).path, *args, **kwargs)

    cache.mkdir(parents=True, exist_ok=True)
    clock = yahoo_helper.get_lumibot_datetime
    if now is not None:
        then = pd.Timestamp(now, tz="America/New_York").to_pydatetime()

        def clock() -> dt.datetime:
            return then

    helper = yahoo_helper.YahooHelper
    with (
        mock.patch.object(yfinance.data.YfData, "_instances", {}),
        mock.patch.object(yfinance.cache, "get_tz_cache", yfinance.cache._TzCacheDummy),
        mock.patch.object(yfinance.cache, "get_cookie_cache", yfinance.cache._CookieCacheDummy),
        mock.patch.object(helper, "CACHING_ENABLED", True),
        mock.patch.object(helper, "LUMIBOT_YAHOO_CACHE_FOLDER", str(cache)),
        mock.patch.object(helper, "sleep_and_get_proxy", staticmethod(lambda: None)),
        mock.patch.object(yahoo_helper, "time", SimpleNamespace(sleep=lambda seconds: None)),
        mock.patch.object(yahoo_helper, "get_lumibot_datetime", clock),
        Here(impersonate="chrome") as session,
    ):
        yfinance.data.YfData(session=session)
        yield
