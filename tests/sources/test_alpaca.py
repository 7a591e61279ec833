"""Alpaca, bare and wrapped, against the same vendor: answers, requests, failures."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytz
from lumibot.backtesting import AlpacaBacktesting
from lumibot.entities import Asset
from lumibot.tools.helpers import get_trading_days, get_trading_times
from support import prefetchers

from lazybars import LazyBars, open_store
from lazybars.adapters.sources.schedules import minutes_of

from .alpaca import CONFIG, SECRETS, Market, pointed_at
from .asking import Question, answers, ask, compared, moments
from .vendor import Reply, Vendor, real_bars

AAPL, GME, USD = Asset("AAPL"), Asset("GME"), Asset("USD", "forex")
BTC = Asset("BTC", "crypto")
CALL = Asset("AAPL", "option", expiration=dt.date(2022, 4, 14), strike=170.0, right="CALL")
CAP = "128MB"
ZONE = pytz.timezone("America/Los_Angeles")


@pytest.fixture
def market() -> Market:
    """Two stocks of March and April 2022 with extended hours, one of them with holes; bitcoin; an option."""
    aapl = real_bars("alvinmoore__AAPL__1min")
    trades = aapl[aapl["volume"] > 400_000]  # an option trades now and then
    return Market(
        {
            "AAPL": aapl,
            "GME": real_bars("alvinmoore__GME__1min"),
            "BTC/USD": real_bars("aiquant__BTCUSDT__1min")["2026-03-01":"2026-03-25"],
            "AAPL220414C00170000": trades,
        }
    )


@pytest.fixture
def alpaca(market: Market, tmp_path: Path, quiet: None) -> Iterator[Vendor]:
    """An Alpaca over that market, asked by its own client; nothing cached."""
    with Vendor(market).serving() as vendor, pointed_at(vendor, tmp_path / "cache"):
        yield vendor


def made(cls: type, first: str, last: str, **more: Any) -> Any:
    start, end = (pd.Timestamp(text, tz="America/New_York") for text in (first, last))
    more = {"config": CONFIG, "timestep": "minute", "show_progress_bar": False, **more}
    return cls(start.to_pydatetime(warn=False), end.to_pydatetime(warn=False), **more)


def bare(first: str, last: str, **more: Any) -> Any:
    """A fresh Lumibot source: its cache is empty, so its answers are those of a first run."""
    return made(AlpacaBacktesting, first, last, **more)


def wrapped(first: str, last: str, *, memory: str = CAP, store: Any = None, **more: Any) -> Any:
    return made(LazyBars(AlpacaBacktesting, memory=memory, store=store), first, last, **more)


def history(assets: Sequence[Asset], *steps: tuple[int, str]) -> list[Question]:
    found = [ask("get_historical_prices", asset, length, step) for asset in assets for length, step in steps]
    return found + [ask(method, asset) for asset in assets for method in ("get_last_price", "get_quote")]


SIZES = ((60, "minute"), (1, "minute"), (400, "minute"), (5, "5minute"), (4, "hour"), (3, "day"))
STOCKS = [
    *history([AAPL, GME], *SIZES),
    ask("get_historical_prices", GME, 10, "minute", timeshift=dt.timedelta(minutes=90)),
    ask("get_historical_prices", AAPL, 2, "day", timeshift=dt.timedelta(days=1)),
    ask("get_historical_prices", AAPL, 9, "minute", remove_incomplete_current_bar=False),
    ask("get_historical_prices", AAPL, 0, "minute"),
    ask("get_historical_prices", AAPL, 100_000, "minute"),
    ask("get_bars", [AAPL, GME], 20, "minute"),
]
TRADING = ("2022-03-28 09:31", "2022-04-05 16:00", "62h17min")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"timestep": "day", "warm_up_trading_days": 5},
        {"history_before_start": True},
        {"remove_incomplete_current_bar": False, "auto_adjust": False, "market": "24/7"},
    ],
    ids=["minutes", "days after a warm-up", "reaching back", "bars that are forming, around the clock"],
)
def test_answers_are_those_of_the_bare_source(more: dict[str, Any], alpaca: Vendor) -> None:
    clock = list(moments(*TRADING))
    expected = answers(bare("2022-03-28", "2022-04-08", **more), clock, STOCKS)
    ours = wrapped("2022-03-28", "2022-04-08", **more)
    got = answers(ours, clock, STOCKS)
    assert compared(expected, got, STOCKS) == []
    assert sum(answer is not None for answer in got) > len(got) * 0.8
    assert ours.lazy.stats().eager == {}
    ours.shutdown()


def test_answers_of_crypto_are_those_of_the_bare_source(alpaca: Vendor) -> None:
    clock = list(moments("2026-03-07 00:07", "2026-03-10 23:00", "11h11min"))
    questions = history([BTC], (100, "minute"), (12, "15minute"), (30, "2hour"), (2, "day"))
    more = {"market": "24/7", "history_before_start": True}
    expected = answers(bare("2026-03-07", "2026-03-14", **more), clock, questions)
    ours = wrapped("2026-03-07", "2026-03-14", **more)
    assert compared(expected, answers(ours, clock, questions), questions) == []
    ours.shutdown()


@pytest.mark.parametrize("back", [False, True])
def test_trades_of_options_are_those_of_the_bare_source(back: bool, alpaca: Vendor) -> None:
    clock = list(moments("2022-03-28 09:31", "2022-04-08 16:00", "19h13min"))
    never = Asset("AAPL", "option", expiration=dt.date(2022, 4, 14), strike=999.0, right="PUT")
    questions = history([CALL, never], (5, "minute"), (40, "minute"), (3, "day"), (3, "hour"))
    more = {"history_before_start": back}
    expected = answers(bare("2022-03-28", "2022-04-08", **more), clock, questions)
    ours = wrapped("2022-03-28", "2022-04-08", **more)
    assert compared(expected, answers(ours, clock, questions), questions) == []
    ours.shutdown()


def test_sizes_that_alpaca_has_none_of_are_the_same_held_and_said_so(alpaca: Vendor) -> None:
    clock = list(moments("2022-03-30 09:31", "2022-04-08 16:00", "43h13min"))
    questions = [ask("get_historical_prices", AAPL, *size) for size in ((7, "90 minutes"), (2, "2 days"))]
    expected = answers(bare("2022-03-28", "2022-04-08"), clock, questions)
    ours = wrapped("2022-03-28", "2022-04-08")
    assert compared(expected, answers(ours, clock, questions), questions) == []
    eager = ours.lazy.stats().eager
    assert sorted(label.rsplit(" ", 1)[1] for label in eager) == ["2D", "90min"]
    ours.shutdown()


def test_whole_frames_are_those_of_the_bare_source(alpaca: Vendor) -> None:
    clock = list(moments("2022-03-30 09:31", "2022-03-30 09:31", "1h"))
    questions = [
        ask("get_historical_prices_between_dates", base_asset=asset, quote_asset=USD, timestep=step)
        for asset in (AAPL, GME)
        for step in ("minute", "day", "30minute")
    ]
    expected = answers(bare("2022-03-28", "2022-04-08"), clock, questions)
    ours = wrapped("2022-03-28", "2022-04-08")
    assert compared(expected, answers(ours, clock, questions), questions) == []
    ours.shutdown()


def test_trades_of_an_option_that_were_before_the_window_alone_are_the_bare_sources(
    alpaca: Vendor, market: Market
) -> None:
    market.bars["AAPL220414C00170000"] = market.bars["AAPL220414C00170000"][:"2022-03-25"]
    clock = list(moments("2022-03-28 09:31", "2022-03-30 16:00", "19h13min"))
    questions = history([CALL], (5, "minute"), (40, "minute"))
    expected = answers(bare("2022-03-28", "2022-04-08", history_before_start=True), clock, questions)
    ours = wrapped("2022-03-28", "2022-04-08", history_before_start=True)
    got = answers(ours, clock, questions)
    assert compared(expected, got, questions) == []
    assert any(answer is not None for answer in got)
    ours.shutdown()


@pytest.mark.parametrize("timestep", ["minute", "day"])
def test_answers_in_another_zone_are_those_of_the_bare_source(timestep: str, alpaca: Vendor) -> None:
    clock = [when.astimezone(ZONE) for when in moments("2022-03-29 09:31", "2022-04-05 16:00", "62h17min")]
    questions = history([AAPL, GME], (60, "minute"), (4, "hour"), (3, "day"))
    got = []
    for cls in (AlpacaBacktesting, LazyBars(AlpacaBacktesting, memory=CAP)):
        first, last = (ZONE.localize(dt.datetime(2022, *day)) for day in ((3, 28), (4, 8)))
        source = cls(first, last, config=CONFIG, timestep=timestep, show_progress_bar=False)
        got.append(answers(source, clock, questions))
    source.shutdown()
    assert compared(*got, questions) == []


def until(now: pd.Timestamp, market: Market) -> None:
    """Bitcoin has a bar at each whole hour before."""
    hours = pd.date_range(now.normalize() - pd.Timedelta("20D"), now, freq="h")
    closes = 100.0 + 0.1 * np.arange(len(hours))
    market.bars["BTC/USD"] = pd.DataFrame(
        {"open": closes, "high": closes + 1, "low": closes - 1, "close": closes, "volume": 1.0},
        index=hours.tz_convert("UTC"),
    )


def test_a_window_that_is_not_over_is_asked_for_from_its_last_bar_on(
    alpaca: Vendor, market: Market, tmp_path: Path
) -> None:
    now = pd.Timestamp.now("America/New_York")
    until(now - pd.Timedelta("3h"), market)
    first, last = (str(now - pd.Timedelta(days=days))[:10] for days in (3, 0))
    clock = [(now - pd.Timedelta(hours=hours)).floor("min").to_pydatetime() for hours in (30, 2, -1)]
    questions = history([BTC], (90, "minute"), (3, "hour"))
    more = {"market": "24/7", "full_window": True}
    expected = answers(bare(first, last, **more), clock, questions)
    asked = []
    for _ in range(2):
        before = len(alpaca.requests)
        ours = wrapped(first, last, store=tmp_path / "bars.duckdb", **more)
        assert compared(expected, answers(ours, clock, questions), questions) == []
        assert ours.lazy.stats().eager == {}
        ours.shutdown()
        asked.append([pd.Timestamp(one.params["start"]) for one in alpaca.requests[before:]])
    assert asked[0] == [pd.Timestamp(first, tz="America/New_York")] * 2
    # By UTC, days before today are over: where that is later, they are not asked for again.
    last, today = market.bars["BTC/USD"].index[-1], now.tz_convert("UTC").normalize()
    assert len(asked[1]) == 2
    assert all(last <= start <= max(last, today) for start in asked[1])


def test_a_bar_that_is_not_over_is_lumibots_to_hold_and_is_not_stored(
    alpaca: Vendor, market: Market, tmp_path: Path
) -> None:
    today = pd.Timestamp.now("America/New_York").normalize()
    if pd.Timestamp.now("America/New_York") - today < pd.Timedelta("20min"):
        pytest.skip("its bar of today is not given yet")
    until(today + pd.Timedelta("23h"), market)
    question = [ask("get_historical_prices", BTC, 5, "day"), ask("get_last_price", BTC)]
    clock = list(moments(str(today)[:10], str(today)[:10], "1h"))
    first, now, past = (str(today - pd.Timedelta(days=days))[:10] for days in (9, 0, 4))
    store, more = tmp_path / "bars.duckdb", {"market": "24/7", "timestep": "day", "full_window": True}
    expected = answers(bare(first, now, **more), clock, question)
    ours = wrapped(first, now, store=store, **more)
    assert compared(expected, answers(ours, clock, question), question) == []
    assert list(ours.lazy.stats().eager.values()) == [
        "its last bar is not over yet, and will be another one later"
    ]
    ours.shutdown()
    with open_store(store, read_only=True) as opened:
        (info,) = opened.series()
    assert pd.Timestamp(info.last_ns, tz="UTC") < today
    clock = list(moments(past, past, "1h"))
    expected = answers(bare(first, past, **more), clock, question)
    asked = len(alpaca.requests)
    ours = wrapped(first, past, store=store, **more)
    assert compared(expected, answers(ours, clock, question), question) == []
    assert ours.lazy.stats().eager == {}
    assert len(alpaca.requests) == asked, "it is known"
    ours.shutdown()


@pytest.mark.parametrize("timestep", ["minute", "day"])
def test_a_window_without_a_session_fails_as_lumibots(timestep: str, alpaca: Vendor) -> None:
    clock = list(moments("2022-04-02 11:00", "2022-04-02 11:00", "1h"))
    questions = history([AAPL], (3, "minute"), (2, "day"), (3, "hour"))
    more = {"timestep": timestep, "full_window": True}
    expected = answers(bare("2022-04-02", "2022-04-02", **more), clock, questions)
    ours = wrapped("2022-04-02", "2022-04-02", **more)
    assert compared(expected, answers(ours, clock, questions), questions) == []
    ours.shutdown()


def test_a_frame_of_other_dates_is_lumibots(alpaca: Vendor) -> None:
    other = dt.datetime(2022, 3, 30, tzinfo=dt.timezone.utc)
    span = {"base_asset": AAPL, "quote_asset": USD, "timestep": "minute", "data_datetime_start": other}
    questions = [
        ask("get_historical_prices_between_dates", **span),
        ask("get_historical_prices", AAPL, 60, "minute"),
    ]
    clock = list(moments("2022-03-31 11:00", "2022-03-31 11:00", "1h"))
    expected = answers(bare("2022-03-28", "2022-04-08"), clock, questions)
    ours = wrapped("2022-03-28", "2022-04-08")
    assert compared(expected, answers(ours, clock, questions), questions) == []
    assert len(ours.lazy.stats().eager) == 1
    ours.shutdown()


def test_no_knob_changes_an_answer(alpaca: Vendor) -> None:
    clock, questions, got = list(moments(*TRADING)), history([GME], *SIZES), []
    for knobs in ({}, {"partition": "1D", "prefetch": False, "policy": "lru"}):
        cls = LazyBars(AlpacaBacktesting, memory=CAP, **knobs)
        source = made(cls, "2022-03-28", "2022-04-08", history_before_start=True)
        got.append(answers(source, clock, questions))
        source.shutdown()
    assert compared(*got, questions) == []


@pytest.mark.parametrize("market", ["NASDAQ", "24/7"])
def test_the_minutes_of_a_calendar_are_lumibots(market: str) -> None:
    zone = pytz.timezone("America/New_York")
    calendar = get_trading_days(market, "2024-11-01", "2024-12-28", tzinfo=zone)
    minutes = minutes_of(calendar)
    theirs = get_trading_times(calendar, "minute").as_unit("ns").asi8
    assert (minutes.times_ns(0, minutes.rows) == theirs).all()
    assert minutes.rows == len(theirs)


# ---- what is asked for -------------------------------------------------------------------------------


def ranges(vendor: Vendor, since: int = 0) -> list[tuple[str, str, str]]:
    """Symbol, first and last date of the requests, pages of one request once."""
    asked = [request.params for request in vendor.requests[since:] if "page_token" not in request.params]
    return [(one["symbols"], one["start"][:10], one["end"][:10]) for one in asked]


def test_a_second_run_asks_for_nothing(alpaca: Vendor, tmp_path: Path) -> None:
    clock, store = list(moments(*TRADING)), tmp_path / "bars.duckdb"
    more = {"store": store, "history_before_start": True}
    first = wrapped("2022-03-28", "2022-04-08", **more)
    before = answers(first, clock, STOCKS)
    first.shutdown()
    asked = len(alpaca.requests)
    assert asked
    second = wrapped("2022-03-28", "2022-04-08", **more)
    assert compared(before, answers(second, clock, STOCKS), STOCKS) == []
    second.shutdown()
    assert len(alpaca.requests) == asked


def test_a_longer_run_asks_for_what_is_not_known(alpaca: Vendor, tmp_path: Path) -> None:
    store, question = tmp_path / "bars.duckdb", [ask("get_historical_prices", AAPL, 60, "minute")]
    for first, last in (("2022-03-28", "2022-04-01"), ("2022-03-24", "2022-04-08")):
        source = wrapped(first, last, store=store, auto_adjust=True)
        clock = list(moments(f"{first} 11:00", f"{last} 11:00", "23h"))
        got = answers(source, clock, question)
        source.shutdown()
    assert ranges(alpaca) == [
        ("AAPL", "2022-03-28", "2022-04-03"),  # to the end of the day after, as Lumibot asks
        ("AAPL", "2022-03-24", "2022-03-28"),  # to the first bar that is known
        ("AAPL", "2022-04-01", "2022-04-10"),  # from the last bar that is known: Friday's
    ]
    theirs = bare("2022-03-24", "2022-04-08")
    assert compared(answers(theirs, clock, question), got, question) == []


def test_a_stock_whose_prices_are_adjusted_anew_is_asked_for_anew(
    alpaca: Vendor, market: Market, tmp_path: Path
) -> None:
    store, question = tmp_path / "bars.duckdb", [ask("get_historical_prices", AAPL, 60, "minute")]
    source = wrapped("2022-03-28", "2022-04-01", store=store)
    answers(source, list(moments("2022-03-30 11:00", "2022-03-30 11:00", "1h")), question)
    source.shutdown()
    prices = ["open", "high", "low", "close"]
    market.bars["AAPL"] = market.bars["AAPL"].assign(**{p: market.bars["AAPL"][p] * 0.99 for p in prices})
    clock = list(moments("2022-03-30 11:00", "2022-04-06 11:00", "47h"))
    expected = answers(bare("2022-03-28", "2022-04-08"), clock, question)
    ours = wrapped("2022-03-28", "2022-04-08", store=store)
    assert compared(expected, answers(ours, clock, question), question) == []
    ours.shutdown()


def test_what_is_adjusted_anew_while_a_run_reaches_back_is_shown_so_too(
    alpaca: Vendor, market: Market
) -> None:
    few, many = (ask("get_historical_prices", AAPL, n, "minute") for n in (20, 500))
    ours = wrapped("2022-03-28", "2022-04-08", history_before_start=True)
    clock = list(moments("2022-03-28 11:00", "2022-03-28 11:00", "1h"))
    answers(ours, clock, [few])
    prices = ["open", "high", "low", "close"]
    market.bars["AAPL"] = market.bars["AAPL"].assign(**{p: market.bars["AAPL"][p] * 0.99 for p in prices})
    got = answers(ours, clock, [many, few])
    ours.shutdown()
    expected = answers(bare("2022-03-28", "2022-04-08", history_before_start=True), clock, [many, few])
    assert compared(expected, got, [many, few]) == []


def test_a_cache_that_is_to_be_refreshed_is_asked_for_once_more(alpaca: Vendor, tmp_path: Path) -> None:
    store, question = tmp_path / "bars.duckdb", [ask("get_historical_prices", AAPL, 60, "minute")]
    clock = list(moments("2022-03-30 11:00", "2022-03-30 13:00", "1h"))
    asked = []
    for refresh in (False, False, True):
        before = len(alpaca.requests)
        source = wrapped("2022-03-28", "2022-04-01", store=store, refresh_cache=refresh)
        answers(source, clock, question)
        source.shutdown()
        asked.append(len(alpaca.requests) - before)
    assert asked == [1, 0, 1]


def test_where_no_bars_were_is_asked_for_again_too(alpaca: Vendor, market: Market, tmp_path: Path) -> None:
    question = [ask("get_historical_prices", Asset("NOSUCH"), 60, "minute")]
    clock, store = list(moments("2022-03-30 11:00", "2022-03-30 11:00", "1h")), tmp_path / "bars.duckdb"
    got = []
    for refresh in (False, False, True):
        source = wrapped("2022-03-28", "2022-04-01", store=store, refresh_cache=refresh)
        got += answers(source, clock, question)
        source.shutdown()
        market.bars["NOSUCH"] = market.bars["AAPL"]
    assert "No data fetched" in got[0].text
    assert "No data fetched" in got[1].text
    expected = answers(bare("2022-03-28", "2022-04-01"), clock, question)
    assert compared(expected, got[2:], question) == []


# ---- what fails --------------------------------------------------------------------------------------


def from_request(number: int, reply: Reply) -> Callable[[Any], Reply | None]:
    """Requests fail from the given one on, the first being number 1."""
    seen: list[str] = []

    def failing(request: Any) -> Reply | None:
        seen.append(request.path)
        return reply if len(seen) >= number else None

    return failing


LONG = [ask("get_historical_prices", BTC, 20, "minute")]
OUT_OF_ORDER = Reply({"message": "the service is out of order"}, 500)
CRYPTO = {"market": "24/7"}


def test_what_came_before_a_failure_is_kept_and_the_next_run_goes_on(
    alpaca: Vendor, market: Market, tmp_path: Path
) -> None:
    store, clock = tmp_path / "bars.duckdb", list(moments("2026-03-10 00:10", "2026-03-10 00:10", "1h"))
    market.failing = from_request(3, OUT_OF_ORDER)
    expected = answers(bare("2026-03-03", "2026-03-20", **CRYPTO), clock, LONG)
    market.failing = from_request(3, OUT_OF_ORDER)
    source = wrapped("2026-03-03", "2026-03-20", store=store, **CRYPTO)
    got = answers(source, clock, LONG)
    source.shutdown()
    assert compared(expected, got, LONG) == []
    assert "out of order" in got[0].text
    with open_store(store, read_only=True) as opened:
        (info,) = opened.series()
        ((start, end),) = opened.coverage(BTC, "minute", quote=USD, source=info.source)
    assert info.rows == 20_000
    assert start == dt.datetime(2026, 3, 3, 5, tzinfo=dt.timezone.utc)
    assert end == start + dt.timedelta(minutes=19_999), "the last bar that came"

    market.failing = lambda request: None
    asked = len(alpaca.requests)
    source = wrapped("2026-03-03", "2026-03-20", store=store, **CRYPTO)
    got = answers(source, clock, LONG)
    source.shutdown()
    assert pd.Timestamp(alpaca.requests[asked].params["start"]) >= pd.Timestamp(end)
    assert len(alpaca.requests) == asked + 1, "what is left is a page"
    theirs = bare("2026-03-03", "2026-03-20", **CRYPTO)
    assert compared(answers(theirs, clock, LONG), got, LONG) == []


@pytest.mark.parametrize(
    "reply",
    [Reply({"message": "forbidden."}, 403), Reply({"message": "too many requests."}, 429)],
    ids=["a wrong key", "too many requests"],
)
def test_a_refusal_is_raised_as_lumibots_own_and_covers_nothing(
    reply: Reply, alpaca: Vendor, market: Market, tmp_path: Path
) -> None:
    clock = list(moments("2022-03-28 10:00", "2022-03-28 10:00", "1h"))
    question = [ask("get_historical_prices", AAPL, 60, "minute")]
    got = []
    for source in (
        bare("2022-03-28", "2022-04-01"),
        wrapped("2022-03-28", "2022-04-01", store=tmp_path / "b"),
    ):
        source._sleep = lambda seconds: None
        market.failing = from_request(1, reply)
        got.append(answers(source, clock, question))
    source.shutdown()
    assert compared(*got, question) == []
    assert got[1][0].kind == "builtins.RuntimeError"
    with open_store(tmp_path / "b", read_only=True) as store:
        assert store.series() == []


def test_no_bars_are_an_answer_and_are_not_asked_for_again(alpaca: Vendor, tmp_path: Path) -> None:
    clock = list(moments("2022-03-28 10:00", "2022-03-29 10:00", "4h"))
    question = [ask("get_historical_prices", Asset("NOSUCH"), 60, "minute")]
    expected = answers(bare("2022-03-28", "2022-04-01"), clock, question)
    for _ in range(2):
        asked = len(alpaca.requests)
        source = wrapped("2022-03-28", "2022-04-01", store=tmp_path / "bars.duckdb")
        assert compared(expected, answers(source, clock, question), question) == []
        source.shutdown()
    assert len(alpaca.requests) == asked


def test_the_credentials_are_in_no_store_log_or_error(
    alpaca: Vendor, market: Market, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.disable(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    clock = list(moments("2022-03-28 10:00", "2022-03-30 10:00", "23h"))
    source = wrapped("2022-03-28", "2022-04-01", store=tmp_path / "bars.duckdb")
    got = answers(source, clock, STOCKS)
    market.failing = from_request(1, OUT_OF_ORDER)
    got += answers(source, clock, [ask("get_historical_prices", Asset("OTHER"), 9, "minute")])
    source.shutdown()
    assert any("out of order" in str(answer) for answer in got)
    for secret in SECRETS:
        assert any(secret in str(request.headers) for request in alpaca.requests), "it was never sent"
        assert secret not in caplog.text
        assert secret not in "".join(str(answer) for answer in got)
        assert secret not in str(source.lazy.stats())
        assert all(secret.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


# ---- what it is ----------------------------------------------------------------------------------------


class OwnAlpaca(AlpacaBacktesting):
    """A user's Alpaca that keeps its bars in a way of its own."""

    def _load_ohlcv_into_data_store(self, key: str) -> bool:
        return super()._load_ohlcv_into_data_store(key)


class Averaging(AlpacaBacktesting):
    """A user's Alpaca that looks at the whole frame at each request."""

    def get_historical_prices(self, asset: Any, *args: Any, **kwargs: Any) -> Any:
        frame = self.get_historical_prices_between_dates(base_asset=asset, timestep="minute")
        self.mean = float(frame["close"].mean()), frame.shape
        return super().get_historical_prices(asset, *args, **kwargs)


def test_a_source_that_loads_in_a_way_of_its_own_is_passed_through() -> None:
    assert "_load_ohlcv_into_data_store" in LazyBars(OwnAlpaca).lazy.stats().eager["OwnAlpaca"]


def test_a_subclass_sees_the_frames_that_it_sees_without(alpaca: Vendor) -> None:
    clock, question = list(moments(*TRADING))[:2], history([AAPL], (60, "minute"))
    theirs = made(Averaging, "2022-03-28", "2022-04-08")
    ours = made(LazyBars(Averaging, memory=CAP), "2022-03-28", "2022-04-08")
    expected, got = (answers(source, clock, question) for source in (theirs, ours))
    assert compared(expected, got, question) == []
    assert theirs.mean == ours.mean
    ours.shutdown()


def test_switched_off_it_is_the_bare_source(alpaca: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    one = bare("2022-03-28", "2022-04-01")
    monkeypatch.setenv("LAZYBARS", "off")
    for source in (AlpacaBacktesting, one):
        assert LazyBars(source, memory=CAP) is source
    monkeypatch.delenv("LAZYBARS")
    for source in (AlpacaBacktesting, one):
        assert LazyBars(source, memory=CAP, enabled=False) is source


def test_a_backtest_that_is_over_holds_no_bars_and_still_answers(alpaca: Vendor) -> None:
    theirs, ours = (make("2022-03-28", "2022-04-08", full_window=True) for make in (bare, wrapped))
    clock, questions = list(moments(*TRADING)), history([AAPL], (60, "minute"), (3, "day"))
    expected, got = (answers(source, clock, questions) for source in (theirs, ours))
    assert prefetchers()
    assert ours.lazy.stats().resident_bytes > 0
    ours._update_datetime(ours.datetime_end)
    assert not prefetchers()
    assert ours.lazy.stats().resident_bytes == 0
    expected += answers(theirs, [theirs.datetime_end], questions)
    got += answers(ours, [ours.datetime_end], questions)
    assert compared(expected, got, questions) == []
    ours.shutdown()


def test_an_instance_is_wrapped_and_closed(alpaca: Vendor, nothing_left: Path) -> None:
    clock = list(moments("2022-03-30 11:00", "2022-03-30 11:00", "1h"))
    question = [ask("get_historical_prices", AAPL, 900, "minute")]
    one = bare("2022-03-28", "2022-04-01", history_before_start=True)
    expected = answers(one, clock, question)
    source = LazyBars(one, memory=CAP)
    assert type(source) == AlpacaBacktesting  # noqa: E721 - as Lumibot compares types
    assert compared(expected, answers(source, clock, question), question) == []
    source.shutdown()
