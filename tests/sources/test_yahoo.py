"""Yahoo, bare and wrapped, against the same service: answers, requests, failures, whole backtests."""

from __future__ import annotations

import datetime as dt
import logging
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from differential import exact
from differential.backtests import _QUIET, _record
from lumibot.backtesting import YahooDataBacktesting
from lumibot.entities import Asset
from lumibot.strategies import Strategy

from lazybars import CapTooSmall, LazyBars, open_store

from .asking import Question, answers, ask, compared, moments
from .vendor import Reply, Request, Vendor, real_bars
from .yahoo import Exchange, Listed, pointed_at

AAPL, KO, TSLA = Asset("AAPL"), Asset("KO"), Asset("TSLA")
BTC, MINI, INDEX = Asset("BTC-USD", "crypto"), Asset("ES", "future"), Asset("GSPC", "index")
TODAY = "2026-02-20 12:00"
START, END = "2025-01-06", "2025-06-30"
CAP = "160MB"
CHART = "/v8/finance/chart/"


def _valid(name: str) -> pd.DataFrame:
    """Real days; where a low or a high is off by an ulp, as some are, it is the bar's own extreme."""
    bars = real_bars(f"traderewind__{name}__1day")
    prices = bars[["open", "high", "low", "close"]]
    return bars.assign(high=prices.max(axis=1), low=prices.min(axis=1))


@pytest.fixture
def exchange() -> Exchange:
    """Three stocks with dividends and splits, minutes of one; a coin; a future, an index; London."""
    stocks = {name: Listed({"1d": _valid(name)}) for name in ("AAPL", "KO", "TSLA")}
    minutes = real_bars("alvinmoore__GME__1min").between_time("14:30", "20:59")[-2000:]
    minutes.index = minutes.index + (pd.Timestamp("2026-02-19 20:59", tz="UTC") - minutes.index[-1])
    minutes = minutes.tz_convert("America/New_York").between_time("09:30", "15:59").tz_convert("UTC")
    quarters = minutes[["open", "high", "low", "close", "volume"]].resample("15min")
    stocks["AAPL"].bars["1m"] = minutes
    stocks["AAPL"].bars["15m"] = quarters.agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    ).dropna()
    days = stocks["KO"].bars["1d"]
    plain = days.drop(columns=["dividend", "stock_splits"])
    coin = Listed({"1d": plain}, "UTC", "ccc_market", "CRYPTOCURRENCY", "00:00:00", "23:59:00")
    london = Listed({"1d": days}, "Europe/London", "gb_market", opens="08:00:00", closes="16:30:00")
    return Exchange(
        {
            **stocks,
            "BTC-USD": coin,
            "ES=F": Listed({"1d": plain}, kind="FUTURE"),
            "^GSPC": Listed({"1d": plain.assign(volume=0.0)}, kind="INDEX"),
            "VOD.L": london,
        }
    )


@pytest.fixture
def yahoo(exchange: Exchange, tmp_path: Path, quiet: None) -> Iterator[Vendor]:
    with Vendor(exchange).serving() as vendor, pointed_at(vendor, tmp_path / "cache", TODAY):
        yield vendor


def _dates(first: str, last: str) -> tuple[dt.datetime, dt.datetime]:
    return dt.datetime.fromisoformat(first), dt.datetime.fromisoformat(last)


def bare(first: str = START, last: str = END, **more: Any) -> Any:
    return YahooDataBacktesting(*_dates(first, last), show_progress_bar=False, **more)


def wrapped(first: str = START, last: str = END, *, memory: Any = CAP, store: Any = None, **more: Any) -> Any:
    lazy = LazyBars(YahooDataBacktesting, memory=memory, store=store)
    return lazy(*_dates(first, last), show_progress_bar=False, **more)


def forgetting(tmp_path: Path) -> Callable[[], None]:
    """Bare Lumibot loses its pickles."""

    def forget() -> None:
        shutil.rmtree(tmp_path / "cache")
        (tmp_path / "cache").mkdir()

    return forget


def charts(vendor: Vendor, before: int = 0) -> list[str]:
    """The symbols whose bars were asked for."""
    return [
        request.path.removeprefix(CHART)
        for request in vendor.requests[before:]
        if request.path.startswith(CHART)
    ]


def history(*assets: Asset) -> list[Question]:
    found = [ask("get_historical_prices", one, length, "day") for one in assets for length in (1, 60, 9999)]
    return [
        *found,
        *(ask("get_last_price", one) for one in assets),
        ask("get_bars", list(assets), 5, "day"),
        ask("get_yesterday_dividends", list(assets)),
        ask("get_yesterday_stock_splits", list(assets)),
    ]


DAY = dt.timedelta(days=1)
ODD = [
    ask("get_historical_prices", "KO", 3, "day"),
    ask("get_historical_prices", KO, 3),
    ask("get_historical_prices", KO, 3, "day", timeshift=-DAY),
    ask("get_historical_prices", KO, 3, "day", timeshift=400),
    ask("get_historical_prices", KO, 3, "day", timeshift=99_999),
    ask("get_historical_prices", KO, 0, "day"),
    ask("get_historical_prices", KO, -3, "day"),
    ask("get_historical_prices", KO, None, "day"),
    ask("get_historical_prices", KO, 3, "hour"),
    ask("get_historical_prices", KO, 3, "minute"),
    ask("get_historical_prices", Asset("NOSUCH"), 3, "day"),
    ask("get_historical_prices", Asset("VOD.L"), 30, "day"),
    ask("get_last_price", Asset("NOSUCH")),
    ask("get_last_price", KO, "minute"),
    ask("get_quote", KO),
    ask("get_chains", KO),
    ask("get_yesterday_dividends", [Asset("NOSUCH"), KO]),
]
CLOCK = list(moments("2025-01-06 09:30", "2025-06-30 09:30", "17D7h"))
NOW = CLOCK[:1]


def test_answers_are_those_of_the_bare_source(yahoo: Vendor) -> None:
    questions = [*history(AAPL, KO, TSLA), *history(BTC, MINI, INDEX), *ODD]
    theirs, ours = bare(), wrapped()
    expected, asked = answers(theirs, CLOCK, questions), len(yahoo.requests)
    got = answers(ours, CLOCK, questions)
    assert compared(expected, got, questions) == []
    assert {1, 60} < {len(one.df) for one in expected if hasattr(one, "df")}, "nothing was answered"
    assert str(expected[0].df.index[-1]) == "2025-01-03 16:00:00-05:00"
    assert expected[questions.index(history(BTC)[0])].df.index[-1].minute == 59
    assert len(yahoo.requests) - asked <= asked
    assert ours.lazy.stats().eager == {}
    assert ours.lazy.stats().hits > 0
    ours.shutdown()


def test_days_of_dividends_and_splits_are_seen(yahoo: Vendor, exchange: Exchange) -> None:
    paid = exchange.listed["AAPL"].bars["1d"]
    days = paid.index[(paid["dividend"] != 0) | (paid["stock_splits"] != 0)].tz_convert("America/New_York")
    morning = dt.timedelta(hours=9, minutes=30)
    # Lumibot takes note of them when it is first asked, of those that were over by then.
    clock = [days[-1] + 5 * DAY, *(day + morning for day in days[4:])]
    questions = [ask("get_yesterday_dividends", [AAPL]), ask("get_yesterday_stock_splits", [AAPL])]
    questions.append(ask("get_yesterday_dividend", AAPL))
    ours = wrapped("2012-01-03", "2026-01-30")
    expected = answers(bare("2012-01-03", "2026-01-30"), clock, questions)
    assert compared(expected, answers(ours, clock, questions), questions) == []
    assert {bool(sum(one.values())) for one in expected[1::3]} == {False, True}
    assert any(sum(one.values()) for one in expected[::3])
    ours.shutdown()


@pytest.mark.parametrize("market", ["told", "not told"])
@pytest.mark.parametrize("step", ["minute", "15 minutes"])
def test_bars_within_a_day_are_dated_as_by_the_bare_source(
    yahoo: Vendor, exchange: Exchange, step: str, market: str
) -> None:
    """Where Yahoo tells the market, all minutes of a day are dated 16:00; where not, they keep theirs."""
    if market == "not told":
        exchange.failing = lambda request: Reply({}, 404) if "quote" in request.path else None
    questions = [ask("get_historical_prices", AAPL, length, step) for length in (1, 7, 500, 5000)]
    questions += [ask("get_last_price", AAPL, step), ask("get_historical_prices", AAPL, 20, "day")]
    questions.append(ask("get_historical_prices", AAPL, 30, step, timeshift=dt.timedelta(hours=3)))
    clock = list(moments("2026-02-16 09:30", "2026-02-19 16:01", "5h3min"))
    ours = wrapped("2026-02-16", "2026-02-19")
    expected = answers(bare("2026-02-16", "2026-02-19"), clock, questions)
    assert compared(expected, answers(ours, clock, questions), questions) == []
    times = {stamp.hour for stamp in expected[-4].df.index}
    assert (len(times) > 1) == (market == "not told")
    assert ours.lazy.stats().eager == {}
    ours.shutdown()


def test_where_yahoo_does_not_tell_the_market_days_keep_their_times(
    yahoo: Vendor, exchange: Exchange
) -> None:
    exchange.failing = lambda request: Reply({}, 404) if "quote" in request.path else None
    questions, ours = history(AAPL, BTC), wrapped()
    expected = answers(bare(), CLOCK, questions)
    assert compared(expected, answers(ours, CLOCK, questions), questions) == []
    assert expected[0].df.index[-1].hour == 0
    ours.shutdown()


def test_days_that_were_dated_otherwise_are_asked_for_again(
    yahoo: Vendor, exchange: Exchange, tmp_path: Path
) -> None:
    store, questions = tmp_path / "bars.duckdb", history(AAPL)
    exchange.failing = lambda request: Reply({}, 404) if "quote" in request.path else None
    source = wrapped(store=store)
    answers(source, NOW, questions)
    source.shutdown()
    exchange.failing = lambda request: None
    source = wrapped(store=store)
    got = answers(source, NOW, questions)
    source.shutdown()
    assert compared(answers(bare(), NOW, questions), got, questions) == []


@pytest.mark.parametrize("adjust", [True, False])
def test_auto_adjust_is_the_bare_sources(yahoo: Vendor, adjust: bool) -> None:
    """Lumibot's own frames have no open where it is on: a first question fails, others do not."""
    questions = history(AAPL, KO)
    ours = wrapped(auto_adjust=adjust)
    expected = answers(bare(auto_adjust=adjust), CLOCK[:3], questions)
    assert compared(expected, answers(ours, CLOCK[:3], questions), questions) == []
    assert bool(ours.lazy.stats().eager) == adjust
    ours.shutdown()


def test_an_instance_can_be_wrapped(yahoo: Vendor) -> None:
    loaded = bare()
    answers(loaded, NOW, history(AAPL))
    theirs, ours = bare(), LazyBars(loaded, memory=CAP)
    assert type(ours) == YahooDataBacktesting  # noqa: E721 - as Lumibot compares it
    assert (type(ours).__name__, ours.SOURCE, ours.name) == ("YahooDataBacktesting", "YAHOO", theirs.name)
    questions = history(AAPL, KO)
    assert compared(answers(theirs, CLOCK, questions), answers(ours, CLOCK, questions), questions) == []
    assert not [one for one in ours._data_store.values() if isinstance(one, pd.DataFrame)]
    ours.shutdown()


@pytest.mark.parametrize("knobs", [{"partition": "1Y", "prefetch": False}, {"policy": "lru"}])
def test_no_knob_changes_an_answer(yahoo: Vendor, knobs: dict[str, Any]) -> None:
    questions, got = history(AAPL, KO), []
    for some in ({}, knobs):
        source = LazyBars(YahooDataBacktesting, memory=CAP, **some)(*_dates(START, END))
        got.append(answers(source, CLOCK[:4], questions))
        source.shutdown()
    assert compared(*got, questions) == []


def test_what_is_written_into_an_answer_is_in_no_other(yahoo: Vendor) -> None:
    ours = wrapped()
    (first,) = answers(ours, NOW, [ask("get_historical_prices", KO, 5, "day")])
    before = first.df.copy()
    first.df.loc[:, "close"] = 0.0
    (again,) = answers(ours, NOW, [ask("get_historical_prices", KO, 5, "day")])
    assert exact.differences(before, again.df, "df") == []
    ours.shutdown()


# ---- what is asked for -----------------------------------------------------------------------------------


def test_a_second_run_asks_for_nothing(yahoo: Vendor, tmp_path: Path) -> None:
    store, questions, got = tmp_path / "bars.duckdb", history(AAPL, KO, MINI), []
    for run in range(2):
        source = wrapped(store=store)
        got.append(answers(source, CLOCK, questions))
        source.shutdown()
        if not run:
            asked = len(yahoo.requests)
    assert compared(*got, questions) == []
    assert len(yahoo.requests) == asked > 0
    assert compared(answers(bare(), CLOCK, questions), got[1], questions) == []


def test_a_run_past_what_was_over_asks_anew_and_shows_what_yahoo_says_now(
    exchange: Exchange, tmp_path: Path, quiet: None
) -> None:
    """A split comes between two runs: all earlier prices are others."""
    store, questions = tmp_path / "bars.duckdb", history(AAPL)
    whole = exchange.listed["AAPL"].bars["1d"]
    prices = ["open", "high", "low", "close"]
    with Vendor(exchange).serving() as vendor:
        exchange.listed["AAPL"].bars["1d"] = whole[:"2025-06-30"]
        with pointed_at(vendor, tmp_path / "cache", "2025-06-30 18:00"):
            source = wrapped(store=store)
            answers(source, NOW, questions)
            source.shutdown()
        after = whole.copy()
        after[prices] /= 4
        exchange.listed["AAPL"].bars["1d"] = after
        forgetting(tmp_path)()
        with pointed_at(vendor, tmp_path / "cache", TODAY):
            clock = list(moments("2025-06-20 09:30", "2025-09-01", "9D"))
            source = wrapped("2025-06-20", "2025-09-01", store=store)
            got = answers(source, clock, questions)
            source.shutdown()
            expected = answers(bare("2025-06-20", "2025-09-01"), clock, questions)
    assert compared(expected, got, questions) == []


def test_todays_bar_is_asked_for_again(yahoo: Vendor, tmp_path: Path) -> None:
    store, question = tmp_path / "bars.duckdb", [ask("get_historical_prices", KO, 3, "day")]
    for _ in range(2):
        asked = len(yahoo.requests)
        source = wrapped("2026-02-02", "2026-02-21", store=store)
        answers(source, list(moments("2026-02-19 09:30", "2026-02-19 09:30", "1D")), question)
        source.shutdown()
    assert charts(yahoo, asked).count("KO") > 0


def test_threads_that_ask_at_once_ask_yahoo_once(yahoo: Vendor) -> None:
    ours = wrapped()
    answers(ours, NOW, [ask("get_bars", [KO] * 4 + [AAPL] * 4, 5, "day"), *history(KO, AAPL)])
    spans = [one for one in yahoo.requests if one.path.startswith(CHART) and "period1" in one.params]
    assert sorted(one.path.removeprefix(CHART) for one in spans) == ["AAPL", "KO"]
    ours.shutdown()


class _Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["LAZYBARS_BOMB"],)


def test_lumibots_pickles_are_neither_read_nor_written(
    yahoo: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever loads this one makes a folder."""
    monkeypatch.setenv("LAZYBARS_BOMB", str(tmp_path / "gone off"))
    cache = tmp_path / "cache"
    for name in ("KO_1d", "KO_info", "AAPL_1d", "AAPL_info"):
        (cache / f"{name}.pickle").write_bytes(pickle.dumps(_Bomb()))
    before = {path: path.read_bytes() for path in cache.iterdir()}
    source = wrapped()
    answers(source, NOW, [*history(KO, AAPL), *ODD])
    source.shutdown()
    assert not (tmp_path / "gone off").exists()
    assert {path: path.read_bytes() for path in cache.iterdir()} == before


# ---- what fails ------------------------------------------------------------------------------------------


def test_what_came_before_a_failure_is_kept_and_the_next_run_goes_on(
    yahoo: Vendor, exchange: Exchange, tmp_path: Path
) -> None:
    """Lumibot logs what fails, and answers with nothing: so does the wrapped source."""

    def limited(request: Request) -> Reply | None:
        if request.path.startswith(CHART) and not request.path.endswith("AAPL"):
            return Reply({"finance": {"error": {"code": "Too Many Requests"}}}, 429)
        return None

    store, questions = tmp_path / "bars.duckdb", history(AAPL, KO)
    exchange.failing = limited
    source = wrapped(store=store)
    got = answers(source, NOW, questions)
    source.shutdown()
    assert compared(answers(bare(), NOW, questions), got, questions) == []
    assert got[3] is None, "it did not fail"
    with open_store(store, read_only=True) as opened:
        assert [info.asset.symbol for info in opened.series()] == ["AAPL"]

    exchange.failing = lambda request: None
    asked = len(yahoo.requests)
    source = wrapped(store=store)
    got = answers(source, NOW, questions)
    source.shutdown()
    assert set(charts(yahoo, asked)) == {"KO"}
    assert compared(answers(bare(), NOW, questions), got, questions) == []


def test_a_series_that_cannot_be_stored_is_lumibots_own_and_says_so_once(
    yahoo: Vendor, exchange: Exchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A high below its low; a coin with two bars of one time."""
    days = exchange.listed["KO"].bars["1d"]
    exchange.listed["KO"].bars["1d"] = days.assign(
        high=np.where(np.arange(len(days)) == 3_000, 1.0, days["high"])
    )
    coin = exchange.listed["BTC-USD"]
    coin.bars["1d"] = pd.concat([coin.bars["1d"], coin.bars["1d"][-3:-2]]).sort_index()
    questions = history(KO, BTC)
    logging.disable(logging.NOTSET)
    for _ in range(2):
        caplog.clear()
        ours = wrapped(store=tmp_path / "bars.duckdb")
        got = answers(ours, CLOCK, questions)
        assert compared(answers(bare(), CLOCK, questions), got, questions) == []
        assert "KO 1d" in ours.lazy.stats().eager
        assert len([one for one in caplog.records if one.name == "lazybars" and "KO 1d" in one.message]) == 1
        ours.shutdown()
    logging.disable(logging.CRITICAL)


def test_a_cap_that_is_too_small_is_raised_and_says_what_works(yahoo: Vendor) -> None:
    with pytest.raises(CapTooSmall, match="Give at least"):
        wrapped(memory="20MB")


# ---- backtests -------------------------------------------------------------------------------------------


class Rotating(Strategy):
    """Holds the stock that rose most; keeps all that it was served."""

    def initialize(self, parameters: Any = None) -> None:
        self.sleeptime = "1D"
        self.served: list[Any] = []
        self.account: list[Any] = []

    def on_trading_iteration(self) -> None:
        rises = {}
        for stock in (AAPL, KO, TSLA):
            bars = self.get_historical_prices(stock, 20, "day")
            self.served += [bars.df, self.get_last_price(stock), self.get_yesterday_dividend(stock)]
            rises[stock.symbol] = bars.df["return"].sum()
        best = max(rises, key=lambda symbol: rises[symbol])
        for position in self.get_positions():
            if position.symbol not in (best, "USD"):
                self.submit_order(self.create_order(position.asset, position.quantity, "sell"))
        if not self.get_position(Asset(best)):
            self.submit_order(self.create_order(Asset(best), 20, "buy"))
        self.account.append((self.get_datetime(), self.get_cash(), self.get_portfolio_value()))


def backtest(source: type, folder: Path, **more: Any) -> Any:
    folder.mkdir()
    before = os.getcwd()
    with mock.patch.dict(os.environ, _QUIET):
        os.environ.pop("BACKTESTING_SHOW_PROGRESS_BAR", None)
        os.chdir(folder)
        try:
            result, strategy = Rotating.run_backtest(
                source,
                *_dates("2025-01-06", "2025-03-14"),
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
                **more,
            )
        finally:
            os.chdir(before)
    return _record(result, strategy), strategy.broker.data_source


@pytest.mark.filterwarnings("ignore")
def test_a_backtest_is_the_bare_sources(yahoo: Vendor, tmp_path: Path) -> None:
    expected, _ = backtest(YahooDataBacktesting, tmp_path / "bare")
    asked = len(yahoo.requests)
    lazy = LazyBars(YahooDataBacktesting, memory=CAP, store=tmp_path / "bars.duckdb")
    got, source = backtest(lazy, tmp_path / "wrapped")
    assert expected.orders, "it never traded"
    for name in ("served", "account", "orders", "events", "positions", "stats", "result"):
        assert exact.differences(getattr(expected, name), getattr(got, name), name) == []
    assert 0 < len(yahoo.requests) - asked <= asked
    assert source.lazy.stats().eager == {}
    assert source.lazy.stats().resident_bytes == 0, "its bars outlive the backtest"
    asked = len(yahoo.requests)
    again, _ = backtest(lazy, tmp_path / "again")
    assert exact.differences(got.account, again.account, "account") == []
    assert len(yahoo.requests) == asked
