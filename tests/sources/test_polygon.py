"""Polygon, bare and wrapped, against the same vendor: answers, requests, failures."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from lumibot.backtesting import PolygonDataBacktesting
from lumibot.entities import Asset

from lazybars import LazyBars, open_store

from .asking import Question, answers, ask, compared, moments
from .polygon import KEY, Market, day
from .vendor import Reply, Vendor

AAPL, GME, USD = Asset("AAPL"), Asset("GME"), Asset("USD", "forex")
BTC = Asset("BTC", "crypto")
CAP = "160MB"


def bare(first: str, last: str, **more: Any) -> Any:
    return PolygonDataBacktesting(day(first), day(last), api_key=KEY, show_progress_bar=False, **more)


def wrapped(first: str, last: str, *, memory: str = CAP, store: Any = None, **more: Any) -> Any:
    cls = LazyBars(PolygonDataBacktesting, memory=memory, store=store)
    return cls(day(first), day(last), api_key=KEY, show_progress_bar=False, **more)


def forgetting(tmp_path: Path) -> Callable[[], None]:
    """Before each question bare Lumibot loses its cache: each of its downloads is its first."""
    return lambda: shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def history(assets: Sequence[Asset], *steps: tuple[int, str], quote: Asset = USD) -> list[Question]:
    found = [
        ask("get_historical_prices", asset, length, step, quote=quote) for asset in assets for length, step in steps
    ]
    return found + [
        ask(method, asset, quote=quote) for asset in assets for method in ("get_last_price", "get_quote")
    ]


STOCKS = history([AAPL, GME], (60, "minute"), (1, "minute"), (10, "15 minutes"), (5, "hour"), (3, "day"))
SHIFTED = [
    ask("get_historical_prices", AAPL, 30, "minute", timeshift=5),
    ask("get_historical_prices", GME, 2, "minute", timeshift=-1),
    ask("get_historical_prices", GME, 400, "minute", timeshift=dt.timedelta(minutes=30)),
    ask("get_historical_prices_between_dates", GME, "minute", start_date=None, end_date=None),
]


def test_answers_are_those_of_the_bare_source(polygon: Vendor, tmp_path: Path) -> None:
    clock = list(moments("2022-03-28 09:31", "2022-04-14 16:00", "7h13min"))
    ask_between = ask(
        "get_historical_prices_between_dates", AAPL, "minute", start_date=clock[0], end_date=clock[1]
    )
    questions = [*STOCKS, *SHIFTED[:3], ask_between]
    theirs, ours = bare("2022-03-28", "2022-04-15"), wrapped("2022-03-28", "2022-04-15")
    expected = answers(theirs, clock, questions, forgetting(tmp_path))
    got = answers(ours, clock, questions)
    assert compared(expected, got, questions) == []
    assert sum(answer is not None for answer in got) > len(got) * 0.9
    assert ours.lazy.stats().eager == {}
    ours.shutdown()
