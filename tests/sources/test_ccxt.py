"""CCXT, bare and wrapped, against the same exchange: answers, requests, failures, a whole backtest."""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import ccxt
import numpy as np
import pandas as pd
import pytest
from differential import exact
from differential.backtests import _QUIET, _record
from lumibot.backtesting import CcxtBacktesting
from lumibot.entities import Asset
from lumibot.strategies import Strategy

from lazybars import LazyBars, open_store

from .asking import Question, answers, ask, compared, moments
from .binance import Exchange, in_place
from .vendor import real_bars

BTC, FLAT, USDT = Asset("BTC", "crypto"), Asset("FLAT", "crypto"), Asset("USDT", "crypto")
START, END = "2026-03-09", "2026-03-13"
CAP = "160MB"


@pytest.fixture
def exchange(tmp_path: Path, quiet: None) -> Iterator[Exchange]:
    """Bitcoin; and a coin of tiny prices, traded now and then, most of whose minutes are alike."""
    bars = real_bars("aiquant__BTCUSDT__1min")["2026-03-01":"2026-03-25"]
    prices = ["open", "high", "low", "close"]
    tiny = bars.assign(**{name: (bars[name] / 9e6).round(5) for name in prices})
    tiny["volume"] = tiny["volume"].where(tiny["volume"] > tiny["volume"].quantile(0.9), 0.0)
    made = Exchange({"BTCUSDT": bars, "FLATUSDT": tiny})
    with in_place(made, tmp_path / "cache"):
        yield made


def bare(first: str = START, last: str = END, **more: Any) -> Any:
    dates = (dt.datetime.fromisoformat(first), dt.datetime.fromisoformat(last))
    return CcxtBacktesting(*dates, show_progress_bar=False, **more)


def wrapped(first: str = START, last: str = END, *, memory: str = CAP, store: Any = None, **more: Any) -> Any:
    dates = (dt.datetime.fromisoformat(first), dt.datetime.fromisoformat(last))
    return LazyBars(CcxtBacktesting, memory=memory, store=store)(*dates, show_progress_bar=False, **more)


def forgetting(tmp_path: Path) -> Callable[[], None]:
    """Before each question bare Lumibot loses its cache: each of its downloads is its first."""
    return lambda: shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def history(coin: Asset) -> list[Question]:
    steps: list[tuple[Any, str]] = [(60, "minute"), (1, "1m"), (5, "hour"), (3, "day"), (None, "hour")]
    found = [ask("get_historical_prices", coin, length, step, quote=USDT) for length, step in steps]
    return [*found, ask("get_last_price", coin, quote=USDT), ask("get_last_price", coin, "day", quote=USDT)]


MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
SHIFTED = [
    ask("get_historical_prices", (BTC, USDT), 2, "minute", timeshift=-MINUTE),
    ask("get_historical_prices", (FLAT, USDT), 40, "minute", timeshift=7 * HOUR),
    ask("get_historical_prices", BTC, 3, "day", timeshift=-24 * HOUR, quote=USDT),
    ask("get_historical_prices", BTC, 9_000, "minute", quote=USDT),
    ask("get_historical_prices", BTC, 0, "minute", quote=USDT),
    ask("get_historical_prices", BTC, -40, "hour", quote=USDT),
    ask("get_historical_prices", BTC, 5, "minute", timeshift=3, quote=USDT),
    ask("get_historical_prices", BTC, 5, "15 minutes", quote=USDT),
    ask("get_historical_prices", Asset("NOSUCH", "crypto"), 5, "hour", quote=USDT),
    ask("get_bars", [BTC, FLAT, Asset("NOSUCH", "crypto")], 5, "hour", quote=USDT),
    ask("get_quote", BTC, quote=USDT),
    ask("get_last_prices", [BTC, FLAT], quote=USDT),
    ask("get_yesterday_dividends", [BTC], quote=USDT),
]
NOW = list(moments("2026-03-10 00:10", "2026-03-10 00:10", "1h"))
LONG = [ask("get_historical_prices", BTC, 20, "minute", quote=USDT)]


def test_answers_are_those_of_the_bare_source(exchange: Exchange) -> None:
    clock = list(moments("2026-03-09 00:00", "2026-03-12 23:00", "7h11min7s"))
    questions = [*history(BTC), *history(FLAT), *SHIFTED]
    theirs, ours = bare(), wrapped()
    expected, asked = answers(theirs, clock, questions), len(exchange.requests)
    got = answers(ours, clock, questions)
    assert compared(expected, got, questions) == []
    assert len(exchange.requests) - asked <= asked
    assert ours.lazy.stats().eager == {}
    assert ours.lazy.stats().hits > 0
    ours.shutdown()


def test_what_lumibot_drops_of_a_download_is_dropped(exchange: Exchange, tmp_path: Path) -> None:
    source = bare()
    (answer,) = answers(source, NOW, [ask("get_historical_prices", FLAT, 99_999, "minute", quote=USDT)])
    assert (answer.df.index[1:] - answer.df.index[:-1]).max() > MINUTE, "no two candles are alike"
    questions = [*history(FLAT), SHIFTED[1]]
    for limit, first in ((1_000, START), (50_000, "2026-03-08")):
        theirs = bare(first, max_data_download_limit=limit)
        ours = wrapped(first, max_data_download_limit=limit)
        shutil.rmtree(tmp_path / "cache")
        expected = answers(theirs, NOW, questions)
        assert compared(expected, answers(ours, NOW, questions), questions) == []
        ours.shutdown()


def test_dates_that_are_asked_for_directly_are_answered_as_by_the_bare_source(
    exchange: Exchange, tmp_path: Path
) -> None:
    def between(coin: Asset, step: str, first: str, last: str) -> Question:
        spans = {"start_date": dt.datetime.fromisoformat(first), "end_date": dt.datetime.fromisoformat(last)}
        return ask("get_historical_prices_between_dates", (coin, USDT), step, **spans)

    questions = [
        between(BTC, "minute", "2026-03-05", "2026-03-06"),
        between(FLAT, "minute", "2026-03-04 07:13", "2026-03-10 20:01:30"),
        between(FLAT, "hour", "2026-03-04", "2026-03-10"),
        between(BTC, "day", "2026-01-04", "2026-01-10"),
    ]
    ours = wrapped()
    got = answers(ours, NOW, [*history(FLAT), *questions, *history(FLAT)])
    expected = answers(bare(), NOW, questions, forgetting(tmp_path))
    assert compared(expected, got[7:11], questions) == []
    assert compared(got[:7], got[11:], history(FLAT)) == []
    ours.shutdown()


@pytest.mark.parametrize(
    "knobs", [{"partition": "1D", "prefetch": False}, {"policy": "lru", "partition": "1W"}]
)
def test_no_knob_changes_an_answer(exchange: Exchange, knobs: dict[str, Any]) -> None:
    clock = list(moments("2026-03-09 09:31", "2026-03-12 16:00", "17h"))
    questions, got = [*history(BTC), *history(FLAT)], []
    for some in ({}, knobs):
        dates = (dt.datetime.fromisoformat(START), dt.datetime.fromisoformat(END))
        source = LazyBars(CcxtBacktesting, memory=CAP, **some)(*dates, show_progress_bar=False)
        got.append(answers(source, clock, questions))
        source.shutdown()
    assert compared(*got, questions) == []


def test_lumibots_own_cache_is_neither_written_nor_read(exchange: Exchange, tmp_path: Path) -> None:
    source = wrapped()
    answers(source, NOW, [*history(BTC), *history(FLAT)])
    source.shutdown()
    assert list(tmp_path.rglob("*_1?.duckdb")) == []


# ---- what is asked for -----------------------------------------------------------------------------------


def test_a_second_run_asks_for_nothing(exchange: Exchange, tmp_path: Path) -> None:
    clock, store = list(moments("2026-03-09 09:31", "2026-03-11 16:00", "13h")), tmp_path / "bars.duckdb"
    questions, got = [*history(BTC), *history(FLAT)], []
    for run in range(2):
        source = wrapped(store=store)
        got.append(answers(source, clock, questions))
        source.shutdown()
        if not run:
            asked = len(exchange.requests)
    assert compared(*got, questions) == []
    assert len(exchange.requests) == asked > 0


def test_a_longer_run_asks_for_what_is_not_known_and_answers_as_if_it_had_asked_for_all(
    exchange: Exchange, tmp_path: Path
) -> None:
    questions, clock = [*history(BTC), *history(FLAT)], list(moments("2026-03-09 10:00", "2026-03-13", "23h"))
    store = tmp_path / "bars.duckdb"
    for first, last in ((START, END), ("2026-03-07", "2026-03-15")):
        asked = len(exchange.requests)
        source = wrapped(first, last, store=store)
        got = answers(source, clock, questions)
        source.shutdown()
    again = [one for one in exchange.requests[asked:] if one["interval"] == "1m"]
    known = (pd.Timestamp("2026-03-09", tz="UTC"), pd.Timestamp("2026-03-13 23:59", tz="UTC"))
    starts = [pd.Timestamp(int(one["startTime"]), unit="ms", tz="UTC") for one in again]
    assert starts
    assert not [start for start in starts if known[0] < start < known[1]]
    assert compared(answers(bare("2026-03-07", "2026-03-15"), clock, questions), got, questions) == []


def test_no_candles_are_an_answer_and_are_not_asked_for_again(exchange: Exchange, tmp_path: Path) -> None:
    clock = list(moments("2027-03-09 10:00", "2027-03-09 14:00", "2h"))
    bars = exchange.bars["BTCUSDT"]
    exchange.bars["NEWUSDT"] = bars[:0]
    question = [ask("get_historical_prices", Asset("NEW", "crypto"), 9, "hour", quote=USDT)]
    for run in range(2):
        source = wrapped(store=tmp_path / "bars.duckdb")
        assert set(answers(source, clock, question)) == {None}
        source.shutdown()
        if not run:
            asked = len(exchange.requests)
    assert len(exchange.requests) == asked > 0


# ---- what fails ------------------------------------------------------------------------------------------


def test_what_came_before_a_failure_is_kept_and_the_next_run_goes_on(
    exchange: Exchange, tmp_path: Path
) -> None:
    def out_of_order(number: int) -> None:
        if number >= 6:
            raise ccxt.RateLimitExceeded("too many requests")

    store, exchange.failing = tmp_path / "bars.duckdb", out_of_order
    source = wrapped(store=store)
    (failed,) = answers(source, NOW, LONG)
    source.shutdown()
    assert (failed.kind, failed.text) == ("ccxt.base.errors.RateLimitExceeded", "too many requests")
    with open_store(store, read_only=True) as opened:
        (info,) = opened.series()
        ((start, end),) = opened.coverage(info.asset, "minute", quote=info.quote, source=info.source)
    assert info.rows == 5 * 300
    assert start == dt.datetime(2026, 3, 8, tzinfo=dt.timezone.utc)
    assert end == start + (5 * 300 - 1) * MINUTE

    exchange.failing = lambda number: None
    asked = len(exchange.requests)
    source = wrapped(store=store)
    got = answers(source, NOW, LONG)
    source.shutdown()
    assert int(exchange.requests[asked]["startTime"]) == int(end.timestamp() * 1000)
    assert compared(answers(bare(), NOW, LONG), got, LONG) == []


def test_a_series_that_cannot_be_stored_is_lumibots_own_and_says_so_once(
    exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    bars = exchange.bars["BTCUSDT"]
    exchange.bars["ODDUSDT"] = bars.assign(high=np.where(np.arange(len(bars)) == 11_000, 1.0, bars["high"]))
    exchange.bars["HUGEUSDT"] = bars.assign(volume=bars["volume"] + 1e15)
    questions = [*history(Asset("ODD", "crypto")), *history(Asset("HUGE", "crypto"))]
    logging.disable(logging.NOTSET)
    ours = wrapped()
    got = answers(ours, NOW, questions)
    logging.disable(logging.CRITICAL)
    assert compared(answers(bare(), NOW, questions), got, questions) == []
    assert any(getattr(answer, "kind", "").endswith("ConversionException") for answer in got)
    eager = ours.lazy.stats().eager
    assert {"ODD/USDT minute", "HUGE/USDT minute"} <= set(eager)
    said = [one.message for one in caplog.records if one.name == "lazybars"]
    assert len([text for text in said if "ODD/USDT minute" in text]) == 1
    ours.shutdown()


def test_an_unknown_exchange_is_refused_as_by_the_bare_source(exchange: Exchange) -> None:
    with pytest.raises(Exception, match="Could not find exchange named 'nosuch'"):
        bare(exchange_id="nosuch")
    with pytest.raises(Exception, match="Could not find exchange named 'nosuch'"):
        wrapped(exchange_id="nosuch")


def test_it_is_ccxts_source_to_lumibot_and_an_instance_can_be_wrapped(exchange: Exchange) -> None:
    theirs, ours = bare(), LazyBars(bare(), memory=CAP)
    assert type(ours) == CcxtBacktesting  # noqa: E721 - as Lumibot compares it
    assert (type(ours).__name__, ours.SOURCE, ours.name) == ("CcxtBacktesting", "CCXT", theirs.name)
    questions = history(BTC)
    assert compared(answers(theirs, NOW, questions), answers(ours, NOW, questions), questions) == []
    assert ours.lazy.stats().calls == len(questions)
    ours.shutdown()


# ---- a backtest ------------------------------------------------------------------------------------------


class Crossing(Strategy):
    """Buys what is above its mean and sells it again; keeps all that it was served."""

    def initialize(self, parameters: Any = None) -> None:
        self.sleeptime = "30M"
        self.set_market("24/7")
        self.served: list[Any] = []
        self.account: list[Any] = []

    def on_trading_iteration(self) -> None:
        for coin in (BTC, FLAT):
            bars = self.get_historical_prices(coin, 60, "minute", quote=USDT)
            self.served += [bars.df, self.get_historical_prices(coin, 3, "day", quote=USDT).df]
            self.served.append(self.get_last_price(coin, quote=USDT))
        close, held = self.served[-6]["close"], self.get_position(BTC)
        if close.iloc[-1] > close.mean() and not held:
            self.submit_order(self.create_order(BTC, 0.1, "buy", quote=USDT))
        elif close.iloc[-1] < close.mean() and held:
            self.submit_order(self.create_order(BTC, held.quantity, "sell", quote=USDT))
        self.account.append((self.get_datetime(), self.get_cash(), self.get_portfolio_value()))


def backtest(source: type, folder: Path) -> Any:
    folder.mkdir()
    before = os.getcwd()
    with mock.patch.dict(os.environ, _QUIET):
        os.environ.pop("BACKTESTING_SHOW_PROGRESS_BAR", None)
        os.chdir(folder)
        try:
            result, strategy = Crossing.run_backtest(
                source,
                dt.datetime(2026, 3, 9),
                dt.datetime(2026, 3, 12),
                quote_asset=USDT,
                benchmark_asset=None,
                risk_free_rate=0.0,
                analyze_backtest=False,
                show_plot=False,
                show_tearsheet=False,
                save_tearsheet=False,
                show_indicators=False,
                show_progress_bar=False,
                quiet_logs=True,
                stats_file=str(folder / "stats.csv"),
                name="same",
            )
        finally:
            os.chdir(before)
    return _record(result, strategy)


@pytest.mark.filterwarnings("ignore")
def test_a_backtest_is_the_bare_sources(exchange: Exchange, tmp_path: Path) -> None:
    expected, asked = backtest(CcxtBacktesting, tmp_path / "bare"), len(exchange.requests)
    lazy = LazyBars(CcxtBacktesting, memory=CAP, store=tmp_path / "bars.duckdb")
    got = backtest(lazy, tmp_path / "wrapped")
    assert expected.orders, "it never traded"
    for name in ("served", "account", "orders", "events", "positions", "stats", "result"):
        assert exact.differences(getattr(expected, name), getattr(got, name), name) == []
    assert 0 < len(exchange.requests) - asked <= asked
    asked = len(exchange.requests)
    again = backtest(lazy, tmp_path / "again")
    assert exact.differences(got.account, again.account, "account") == []
    assert len(exchange.requests) == asked
