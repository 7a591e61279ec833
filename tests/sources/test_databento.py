"""DataBento, bare and wrapped, against the same vendor: answers, requests, failures."""

from __future__ import annotations

import base64
import datetime as dt
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from differential.exact import differences
from lumibot.backtesting import DataBentoDataBacktesting
from lumibot.entities import Asset, Bars, Quote
from support import prefetchers

from lazybars import LazyBars, open_store
from lazybars.adapters.stored_polars import StoredRows, StoredTimes
from lazybars.model import AssetKey

from .asking import Question, answers, ask, compared, moments
from .databento import KEY, Exchange, forgetting, pointed_at, refused
from .vendor import Reply, Request, Vendor, real_bars

CAP = "128MB"


def contracts() -> dict[str, pd.DataFrame]:
    """Stocks; two contracts of a future that overlap where one takes over; one of the vendor's own."""
    coin = real_bars("aiquant__BTCUSDT__1min")
    prices = ["open", "high", "low", "close"]
    euro = real_bars("nautilus__6EH4__1min")
    euro.iloc[::7, 3] = np.nan  # DataBento has a value for no price
    front, later = coin[:"2026-03-20 13:29"], coin["2026-03-05":"2026-03-18"]
    return {
        "AAPL": real_bars("alvinmoore__AAPL__1min"),
        "GME": real_bars("alvinmoore__GME__1min"),
        "SNP": real_bars("alvinmoore__SNP__1min"),
        "ESH6": front,
        "ESH26": front,  # as Lumibot spells it once it knows when it expires
        "ESM6": later.assign(**{name: (later[name] * 1.01).round(2) for name in prices}),
        "NQH24": euro,
    }


@pytest.fixture
def exchange() -> Exchange:
    terms = {
        "ESH6": (50.0, "2026-03-20 13:30"),
        "ESM6": (50.0, "2026-06-18 13:30"),
        "NQH24": (20.0, "2024-03-15 13:30"),
    }
    found = Exchange(contracts(), terms)
    found.ends = "2026-05-01T00:00:00.000000000Z"
    return found


@pytest.fixture
def databento(exchange: Exchange, tmp_path: Path, quiet: None) -> Iterator[Vendor]:
    """A DataBento over these bars, asked by its own client; nothing cached."""
    with Vendor(exchange).serving() as vendor, pointed_at(vendor, tmp_path / "cache"):
        yield vendor


def made(cls: type, first: str, last: str, **more: Any) -> Any:
    forgetting()
    start, end = (pd.Timestamp(text, tz="America/New_York") for text in (first, last))
    more = {"api_key": KEY, "show_progress_bar": False, **more}
    return cls(start.to_pydatetime(warn=False), end.to_pydatetime(warn=False), **more)


def bare(first: str, last: str, **more: Any) -> Any:
    """Lumibot's source, which downloads each time."""
    return made(DataBentoDataBacktesting, first, last, **more)


def wrapped(first: str, last: str, *, memory: str = CAP, store: Any = None, **more: Any) -> Any:
    return made(LazyBars(DataBentoDataBacktesting, memory=memory, store=store), first, last, **more)


def history(asset: Asset, *steps: tuple[int, str]) -> list[Question]:
    found = [ask("get_historical_prices", asset, length, step) for length, step in steps]
    return [*found, ask("get_last_price", asset), ask("get_quote", asset)]


def answered(source: Any, clock: Sequence[dt.datetime], questions: Sequence[Question]) -> list[Any]:
    """What a source answers; its quotes carry the time of this machine's clock, which is taken off them."""
    found = answers(source, clock, questions)
    for one in found:
        if isinstance(one, Quote):
            assert one.timestamp is not None
            one.timestamp = None
    return found


SIZES = ((60, "minute"), (1, "minute"), (900, "minute"), (9, "hour"), (3, "day"))


def stock() -> list[Question]:
    one = Asset("AAPL")
    return [
        *history(one, (60, "minute"), (1, "minute"), (2000, "minute")),
        ask("get_historical_prices", one, 10, "minute", timeshift=dt.timedelta(minutes=90)),
        ask("get_historical_prices", one, 3, "minute", timeshift=-2),
        ask("get_historical_prices", one, 9, "minute", return_polars=True),
        ask("get_historical_prices", one, 9, "5minute"),
        ask("get_historical_prices", one, 0, "minute"),
        ask("get_bars", [one, *map(Asset, ("GME", "NOSUCH", "SNP"))], 20, "minute"),
    ]


def contract() -> list[Question]:
    return history(Asset("NQ", "future", expiration=dt.date(2024, 3, 15)), *SIZES)


def continuous() -> list[Question]:
    return history(Asset("ES", "cont_future"), *SIZES)


def unnamed() -> list[Question]:
    return history(Asset("ES", "future"), *SIZES)


CASES: dict[str, tuple[Callable[[], Sequence[Question]], tuple[str, str, str]]] = {
    "a stock": (stock, ("2022-03-29 09:31", "2022-04-05 16:00", "47h17min")),
    "a contract": (contract, ("2024-01-10 09:31", "2024-01-12 16:00", "19h17min")),
    "a continuous future": (continuous, ("2026-03-09 00:00", "2026-03-13 16:00", "25h11min")),
    "a future without its expiry": (unnamed, ("2026-03-09 00:00", "2026-03-12 16:00", "31h11min")),
}


@pytest.mark.parametrize("name", CASES)
def test_answers_are_those_of_the_bare_source(name: str, databento: Vendor) -> None:
    questions, trading = CASES[name]
    clock, span = list(moments(*trading)), (trading[0][:10], trading[1][:10])
    expected = answered(bare(*span), clock, questions())
    ours = wrapped(*span)
    got = answered(ours, clock, questions())
    assert compared(expected, got, questions()) == []
    assert sum(answer is not None for answer in got) > len(got) * 0.8
    assert ours.lazy.stats().eager == {}
    ours.shutdown()


def test_its_cache_gives_the_bare_source_a_column_more_and_nothing_else(
    exchange: Exchange, tmp_path: Path, quiet: None
) -> None:
    clock = list(moments("2024-01-10 09:31", "2024-01-12 16:00", "19h17min"))
    questions = contract()
    with Vendor(exchange).serving() as vendor, pointed_at(vendor, tmp_path / "cache", caching=True):
        expected = answered(bare("2024-01-10", "2024-01-12"), clock, questions)
        asked = len(vendor.requests)
        forgetting()
        source = wrapped("2024-01-10", "2024-01-12")
        got = answered(source, clock, questions)
        source.shutdown()
        assert 0 < len(vendor.requests) - asked <= asked
    frames = [one.df if isinstance(one, Bars) else one for one in expected]
    assert any(isinstance(one, pd.DataFrame) and "index" in one for one in frames), "it was never read"
    theirs = [one.drop(columns="index", errors="ignore") if hasattr(one, "drop") else one for one in frames]
    ours = [one.df if isinstance(one, Bars) else one for one in got]
    assert compared(theirs, ours, questions) == []


# ---- what is asked for -------------------------------------------------------------------------------


def _of_bars(request: Request) -> bool:
    return request.params.get("schema", "").startswith("ohlcv")


def bars_asked(vendor: Vendor, since: int = 0) -> list[tuple[str, str, str]]:
    """Symbol, first and last moment of the requests for bars."""
    asked = [
        one.params for one in vendor.requests[since:] if one.params.get("schema", "").startswith("ohlcv")
    ]
    return [(one["symbols"], one["start"][:16], one["end"][:16]) for one in asked]


@pytest.mark.parametrize("name", CASES)
def test_a_second_run_asks_for_nothing(name: str, databento: Vendor, tmp_path: Path) -> None:
    questions, (first, last, step) = CASES[name]
    clock, span = list(moments(first, last, step)), (first[:10], last[:10])
    got = []
    for _ in range(2):
        asked = len(databento.requests)
        source = wrapped(*span, store=tmp_path / "bars.duckdb")
        got.append(answered(source, clock, questions()))
        source.shutdown()
        again = len(databento.requests) - asked
    assert compared(*got, questions()) == []
    assert asked > 0
    assert again == 0


def test_a_longer_run_asks_for_what_is_not_known(databento: Vendor, tmp_path: Path) -> None:
    store = tmp_path / "bars.duckdb"
    for first, last in (("2022-03-28", "2022-04-01"), ("2022-03-24", "2022-04-08")):
        source = wrapped(first, last, store=store)
        question = [ask("get_historical_prices", Asset("AAPL"), 60, "minute")]
        clock = list(moments(f"{first} 11:00", f"{last} 11:00", "47h"))
        got = answered(source, clock, question)
        source.shutdown()
    assert bars_asked(databento) == [
        ("AAPL", "2022-03-22T23:00", "2022-04-01T23:59"),
        ("AAPL", "2022-03-18T23:00", "2022-03-22T23:00"),
        ("AAPL", "2022-04-01T23:59", "2022-04-08T23:59"),
    ]
    expected = answered(bare("2022-03-24", "2022-04-08"), clock, question)
    assert compared(expected, got, question) == []


# ---- what fails --------------------------------------------------------------------------------------


def test_what_came_before_the_connection_was_lost_is_kept_and_the_next_run_goes_on(
    databento: Vendor, exchange: Exchange, tmp_path: Path
) -> None:
    store, clock = tmp_path / "bars.duckdb", list(moments("2022-03-30 11:00", "2022-03-30 11:00", "1h"))
    question = [ask("get_historical_prices", Asset("AAPL"), 60, "minute")]
    whole: list[Reply] = []

    def breaking(request: Request) -> Reply | None:
        if not _of_bars(request):
            return None
        exchange.failing = lambda request: None
        whole.append(exchange(request))
        exchange.failing = breaking
        return replace(whole[-1], sent=len(whole[-1].body) * 2 // 3)

    exchange.failing = breaking
    expected = answered(bare("2022-03-21", "2022-04-08"), clock, question)
    source = wrapped("2022-03-21", "2022-04-08", store=store)
    got = answered(source, clock, question)
    source.shutdown()
    assert compared(expected, got, question) == []
    with open_store(store, read_only=True) as opened:
        (info,) = opened.series()
        ((_, end),) = opened.coverage(AssetKey("AAPL", "stock"), "minute", source=info.source)
    assert pd.Timestamp(info.last_ns, tz="UTC") == pd.Timestamp(end), "covered as far as it came"

    exchange.failing = lambda request: None
    asked = len(databento.requests)
    source = wrapped("2022-03-21", "2022-04-08", store=store)
    got = answered(source, clock, question)
    source.shutdown()
    ((_, since, _),) = bars_asked(databento, asked)
    assert pd.Timestamp(since, tz="UTC") >= pd.Timestamp(end).floor("min")
    assert compared(answered(bare("2022-03-21", "2022-04-08"), clock, question), got, question) == []


def minutes_of(symbol: str) -> list[Question]:
    return [ask("get_historical_prices", Asset(symbol), 60, "minute"), ask("get_last_price", Asset(symbol))]


@pytest.mark.parametrize(
    "reply",
    [
        refused("auth_authentication_failed", "Authentication failed.", 401),
        refused("rate_limited", "Too many requests.", 429),
        refused("internal_error", "The service is out of order.", 500),
    ],
    ids=["a wrong key", "too many requests", "out of order"],
)
def test_a_refusal_is_told_as_lumibot_does_and_covers_nothing(
    reply: Reply, databento: Vendor, exchange: Exchange, tmp_path: Path
) -> None:
    clock = list(moments("2022-03-30 10:00", "2022-03-30 10:00", "1h"))
    got = []
    for source in (
        bare("2022-03-28", "2022-04-01"),
        wrapped("2022-03-28", "2022-04-01", store=tmp_path / "b"),
    ):
        exchange.failing = lambda request: reply if "schema" in request.params else None
        got.append(answered(source, clock, minutes_of("AAPL")))
        asked = [len(databento.requests)]
        exchange.failing = lambda request: None
        got.append(answered(source, clock, minutes_of("AAPL")))
    source.shutdown()
    theirs, theirs_after, ours, ours_after = got
    assert compared(theirs, ours, minutes_of("AAPL")) == []
    assert compared(theirs_after, ours_after, minutes_of("AAPL")) == []
    assert (reply.status == 401) == ("DataBentoAuthenticationError" in getattr(ours[0], "kind", ""))
    assert len(databento.requests) > asked[0], "it is asked for again"


def test_no_bars_are_an_answer_and_are_not_asked_for_again(databento: Vendor, tmp_path: Path) -> None:
    clock = list(moments("2022-03-28 10:00", "2022-03-29 10:00", "4h"))
    questions = [ask("get_historical_prices", Asset("NOSUCH"), 60, "minute")]
    expected = answered(bare("2022-03-28", "2022-04-01"), clock, questions)
    asked = []
    for _ in range(2):
        before = len(databento.requests)
        source = wrapped("2022-03-28", "2022-04-01", store=tmp_path / "bars.duckdb")
        assert compared(expected, answered(source, clock, questions), questions) == []
        source.shutdown()
        asked.append(len(bars_asked(databento, before)))
    assert asked == [1, 0]


def test_the_key_is_in_no_store_log_or_error(
    databento: Vendor, exchange: Exchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.disable(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    clock = list(moments("2022-03-28 10:00", "2022-03-30 10:00", "23h"))
    source = wrapped("2022-03-28", "2022-04-01", store=tmp_path / "bars.duckdb")
    got = answered(source, clock, stock())
    exchange.failing = lambda request: refused("auth_authentication_failed", "No.", 401)
    got += answered(source, clock, minutes_of("OTHER"))
    source.shutdown()
    assert any("authentication failed" in str(answer) for answer in got)
    # HTTP's basic authentication: what is sent is the key in base 64.
    spelled = [KEY, base64.b64encode(f"{KEY}:".encode()).decode()]
    assert all(spelled[1] in str(request.headers) for request in databento.requests), "it was never sent"
    for secret in spelled:
        assert secret not in caplog.text
        assert secret not in "".join(str(answer) for answer in got)
        assert secret not in str(source.lazy.stats())
        assert all(secret.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_bars_that_the_store_would_not_give_back_are_lumibots_to_hold(
    databento: Vendor, exchange: Exchange, tmp_path: Path
) -> None:
    bars = exchange.bars["AAPL"]
    exchange.bars["AAPL"] = pd.concat([bars[:4000], bars[3999:]])  # one of them twice
    clock = list(moments("2022-03-30 11:00", "2022-03-31 11:00", "7h"))
    bars_at = bars.index[3999]
    first = str((bars_at - pd.Timedelta("2D")).date())
    expected = answered(bare(first, "2022-04-01"), clock, minutes_of("AAPL"))
    source = wrapped(first, "2022-04-01", store=tmp_path / "bars.duckdb")
    assert compared(expected, answered(source, clock, minutes_of("AAPL")), minutes_of("AAPL")) == []
    (reason,) = source.lazy.stats().eager.values()
    assert "the same time twice" in reason
    source.shutdown()


@pytest.mark.parametrize("both", [True, False])
def test_contracts_without_bars_while_they_are_the_front_one_are_shown_as_lumibots(
    both: bool, databento: Vendor, exchange: Exchange
) -> None:
    # The later one takes over on the tenth.
    late, early = exchange.bars["ESH6"]["2026-03-11":], exchange.bars["ESM6"][:"2026-03-08"]
    exchange.bars = {"ESH6": late, "ESM6": early} if both else {"ESM6": early}
    clock = list(moments("2026-03-09 10:00", "2026-03-12 10:00", "31h"))

    def questions() -> list[Question]:
        return history(Asset("ES", "cont_future"), (60, "minute"), (3, "hour"))

    expected = answered(bare("2026-03-09", "2026-03-12"), clock, questions())
    ours = wrapped("2026-03-09", "2026-03-12")
    got = answered(ours, clock, questions())
    assert compared(expected, got, questions()) == []
    assert any(isinstance(answer, Bars) for answer in got)
    told = set(ours.lazy.stats().eager.values())
    assert len(told) == both
    assert all("while it is the front one" in reason for reason in told)
    ours.shutdown()


# ---- what it is ----------------------------------------------------------------------------------------


class OwnDataBento(DataBentoDataBacktesting):
    """A user's DataBento that loads its bars in a way of its own."""

    def _update_pandas_data(self, *args: Any, **kwargs: Any) -> None:
        super()._update_pandas_data(*args, **kwargs)


class Averaging(DataBentoDataBacktesting):
    """A user's DataBento that looks at whole frames at each request."""

    def get_historical_prices(self, asset: Any, *args: Any, **kwargs: Any) -> Any:
        found = super().get_historical_prices(asset, *args, **kwargs)
        (data,) = self.pandas_data.values()
        frame = data.polars_df
        self.seen = frame["close"].mean(), frame.shape, float(data.df["close"].sum()), frame.columns
        return found


def test_a_source_that_loads_in_a_way_of_its_own_is_passed_through() -> None:
    (reason,) = LazyBars(OwnDataBento).lazy.stats().eager.values()
    assert "in a way of its own" in reason


def test_the_pandas_variant_is_passed_through_and_says_why() -> None:
    from lumibot.backtesting import DataBentoDataBacktestingPandas

    (reason,) = LazyBars(DataBentoDataBacktestingPandas).lazy.stats().eager.values()
    assert "masks its whole frames" in reason


def test_a_subclass_sees_the_frames_that_it_sees_without(databento: Vendor) -> None:
    clock, question = list(moments("2022-03-30 11:00", "2022-03-30 13:00", "1h")), minutes_of("AAPL")
    theirs = made(Averaging, "2022-03-28", "2022-04-08")
    ours = made(LazyBars(Averaging, memory=CAP), "2022-03-28", "2022-04-08")
    expected, got = (answered(source, clock, question) for source in (theirs, ours))
    assert compared(expected, got, question) == []
    assert theirs.seen == ours.seen
    ours.shutdown()


def test_stored_rows_are_a_frame_of_polars(databento: Vendor) -> None:
    frames = []
    for source in (bare("2026-03-09", "2026-03-12"), wrapped("2026-03-09", "2026-03-12")):
        answered(source, list(moments("2026-03-09 10:00", "2026-03-09 10:00", "1h")), continuous()[:1])
        (data,) = source.pandas_data.values()
        frames.append((data.polars_df, data))
    (theirs, their_data), (ours, our_data) = frames
    assert type(ours) is StoredRows
    assert isinstance(ours, pl.DataFrame)
    assert (len(ours), ours.columns, ours.schema) == (len(theirs), theirs.columns, theirs.schema)
    size = len(theirs)
    for offset, length in (
        (0, 3),
        (5, None),
        (-4, 2),
        (-9, None),
        (size - 2, 9),
        (size, 1),
        (size + 5, 2),
        (3, 0),
    ):
        assert (
            differences(theirs.slice(offset, length), ours.slice(offset, length), f"{offset}:{length}") == []
        )
    for name in ("datetime", "close", "volume"):
        expected, got = theirs[name], ours[name]
        assert isinstance(got, pl.Series)
        assert (len(got), got.dtype, got.min(), got.max()) == (
            size,
            expected.dtype,
            expected.min(),
            expected.max(),
        )
        assert [got[at] for at in (0, 1, -1, -size)] == [expected[at] for at in (0, 1, -1, -size)]
        for outside in (size, -size - 1):
            with pytest.raises(IndexError):
                got[outside]
    times = theirs["datetime"].dt.timestamp("ns").to_numpy()
    for ns in (times[0] - 1, times[0], times[size // 2], times[size // 2] + 1, times[-1], times[-1] + 1):
        for side in ("left", "right"):
            assert np.searchsorted(StoredTimes(ours), ns, side=side) == np.searchsorted(times, ns, side=side)
    assert ours.row(0, named=True) == theirs.row(0, named=True)
    assert ours.row(7) == theirs.row(7)
    assert ours.filter(pl.col("volume") > 20).equals(theirs.filter(pl.col("volume") > 20))
    assert differences(their_data.df, our_data.df, "df") == []
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        ours["nosuch"]
    assert not hasattr(ours, "nosuch")
    source.shutdown()


def test_what_is_prefetched_is_lumibots_to_hold(databento: Vendor) -> None:
    clock, question = list(moments("2022-03-30 11:00", "2022-03-30 13:00", "1h")), minutes_of("AAPL")
    got = []
    for source in (bare("2022-03-28", "2022-04-08"), wrapped("2022-03-28", "2022-04-08")):
        source.prefetch_data([Asset("AAPL")])
        got.append(answered(source, clock, question))
    assert compared(*got, question) == []
    assert list(source.lazy.stats().eager.values()) == ["prefetch_data() loads it whole"]
    source.shutdown()


def test_no_knob_changes_an_answer(databento: Vendor) -> None:
    clock, got = list(moments("2022-03-29 09:31", "2022-04-05 16:00", "71h17min")), []
    for knobs in ({}, {"partition": "1D", "prefetch": False, "policy": "lru"}):
        source = made(LazyBars(DataBentoDataBacktesting, memory=CAP, **knobs), "2022-03-28", "2022-04-08")
        got.append(answered(source, clock, stock()))
        source.shutdown()
    assert compared(*got, stock()) == []


def test_switched_off_it_is_the_bare_source(databento: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    one = bare("2022-03-28", "2022-04-01")
    monkeypatch.setenv("LAZYBARS", "off")
    for source in (DataBentoDataBacktesting, one):
        assert LazyBars(source, memory=CAP) is source
    monkeypatch.delenv("LAZYBARS")
    for source in (DataBentoDataBacktesting, one):
        assert LazyBars(source, memory=CAP, enabled=False) is source


def test_a_backtest_that_is_over_holds_no_bars_and_still_answers(databento: Vendor) -> None:
    theirs, ours = (make("2022-03-28", "2022-04-08") for make in (bare, wrapped))
    clock, questions = list(moments("2022-03-29 09:31", "2022-04-05 16:00", "62h17min")), minutes_of("AAPL")
    expected, got = (answered(source, clock, questions) for source in (theirs, ours))
    assert prefetchers()
    assert ours.lazy.stats().resident_bytes > 0
    ours._update_datetime(ours.datetime_end)
    assert not prefetchers()
    assert ours.lazy.stats().resident_bytes == 0
    expected += answered(theirs, [theirs.datetime_end], questions)
    got += answered(ours, [ours.datetime_end], questions)
    assert compared(expected, got, questions) == []
    ours.shutdown()


def test_an_instance_is_wrapped_and_closed(databento: Vendor, nothing_left: Path) -> None:
    clock = list(moments("2022-03-30 11:00", "2022-03-30 11:00", "1h"))
    one = bare("2022-03-28", "2022-04-01")
    expected = answered(one, clock, minutes_of("GME"))
    expected += answered(one, clock, minutes_of("AAPL"))
    source = LazyBars(one, memory=CAP)
    assert type(source) == DataBentoDataBacktesting  # noqa: E721 - as Lumibot compares types
    got = answered(source, clock, minutes_of("GME")) + answered(source, clock, minutes_of("AAPL"))
    assert compared(expected, got, minutes_of("AAPL")) == []
    source.shutdown()
