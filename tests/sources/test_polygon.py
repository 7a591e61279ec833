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

from lazybars import CapTooSmall, LazyBars, open_store

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
        ask("get_historical_prices", asset, length, step, quote=quote)
        for asset in assets
        for length, step in steps
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


def test_answers_to_days_that_begin_before_the_bars_are_those_of_the_bare_source(
    polygon: Vendor, tmp_path: Path
) -> None:
    # More is asked for than there is, so that Lumibot's loader asks again at every call.
    clock = list(moments("2022-04-04 09:40", "2022-04-11 16:00", "53h"))
    questions = [
        *history([AAPL, GME], (30, "day"), (4, "day"), (200, "hour")),
        ask("get_historical_prices", AAPL, 3000, "minute"),
        *history([AAPL], (2, "day"), (90, "minute")),
    ]
    theirs, ours = bare("2022-04-01", "2022-04-15"), wrapped("2022-04-01", "2022-04-15")
    expected = answers(theirs, clock, questions, forgetting(tmp_path))
    got = answers(ours, clock, questions)
    assert compared(expected, got, questions) == []
    ours.shutdown()


def test_answers_of_crypto_are_those_of_the_bare_source(polygon: Vendor, tmp_path: Path) -> None:
    clock = list(moments("2026-03-09 00:07", "2026-03-12 23:00", "5h11min"))
    questions = history([BTC], (100, "minute"), (12, "5 minutes"), (30, "hour"), (2, "day"))
    theirs, ours = bare("2026-03-09", "2026-03-13"), wrapped("2026-03-09", "2026-03-13", memory="256MB")
    expected = answers(theirs, clock, questions, forgetting(tmp_path))
    assert compared(expected, answers(ours, clock, questions), questions) == []
    ours.shutdown()


@pytest.mark.parametrize("partition", ["1D", "1M"])
@pytest.mark.parametrize("prefetch", [True, False])
def test_no_knob_changes_an_answer(polygon: Vendor, partition: str, prefetch: bool) -> None:
    clock = list(moments("2022-03-28 09:31", "2022-04-01 16:00", "17h"))
    got = []
    for knobs in ({}, {"partition": partition, "prefetch": prefetch, "policy": "lru"}):
        cls = LazyBars(PolygonDataBacktesting, memory=CAP, **knobs)
        source = cls(day("2022-03-28"), day("2022-04-15"), api_key=KEY, show_progress_bar=False)
        got.append(answers(source, clock, STOCKS))
        source.shutdown()
    assert compared(*got, STOCKS) == []


def test_a_second_run_asks_for_nothing(polygon: Vendor, tmp_path: Path) -> None:
    clock, store = list(moments("2022-03-28 09:31", "2022-03-30 16:00", "3h")), tmp_path / "bars.duckdb"
    first = wrapped("2022-03-28", "2022-04-01", store=store)
    before = answers(first, clock, STOCKS)
    first.shutdown()
    asked = len(polygon.requests)
    assert asked == len(set(polygon.asked_since(0))) == 2, "one for each stock: no month is crossed"
    second = wrapped("2022-03-28", "2022-04-01", store=store)
    assert compared(before, answers(second, clock, STOCKS), STOCKS) == []
    second.shutdown()
    assert polygon.asked_since(asked) == []


def test_a_longer_run_asks_for_what_is_not_known(polygon: Vendor, tmp_path: Path) -> None:
    store, question = tmp_path / "bars.duckdb", [ask("get_historical_prices", AAPL, 60, "minute")]
    for first, last in (("2022-03-28", "2022-04-01"), ("2022-03-24", "2022-04-08")):
        source = wrapped(first, last, store=store)
        got = answers(source, list(moments(f"{first} 10:00", f"{last} 10:00", "23h")), question)
        source.shutdown()
    bars = [path for path in polygon.asked_since(0) if "/aggs/" in path]
    spans = [path.rsplit("/", 2)[1:] for path in bars]
    assert spans == [
        ["2022-03-23", "2022-03-31"],  # from five days before the start on
        ["2022-03-21", "2022-03-22"],
        ["2022-04-01", "2022-04-07"],
    ]
    theirs = bare("2022-03-24", "2022-04-08")
    clock = list(moments("2022-03-24 10:00", "2022-04-08 10:00", "23h"))
    assert compared(answers(theirs, clock, question, forgetting(tmp_path)), got, question) == []


def test_a_stock_that_was_split_since_is_asked_for_anew(
    polygon: Vendor, market: Market, tmp_path: Path
) -> None:
    store, question = tmp_path / "bars.duckdb", [ask("get_historical_prices", AAPL, 60, "minute")]
    source = wrapped("2022-03-28", "2022-04-01", store=store)
    answers(source, list(moments("2022-03-30 10:00", "2022-03-30 10:00", "1h")), question)
    source.shutdown()
    market.splits["AAPL"] = [dt.date.today().isoformat()]
    prices = ["open", "high", "low", "close"]
    market.bars["AAPL"] = market.bars["AAPL"].assign(**{p: market.bars["AAPL"][p] / 2 for p in prices})
    theirs, ours = bare("2022-03-28", "2022-04-08"), wrapped("2022-03-28", "2022-04-08", store=store)
    clock = list(moments("2022-03-30 10:00", "2022-04-05 10:00", "47h"))
    expected = answers(theirs, clock, question, forgetting(tmp_path))
    assert compared(expected, answers(ours, clock, question), question) == []
    ours.shutdown()


# ---- what fails --------------------------------------------------------------------------------------


def from_request(number: int, reply: Reply) -> Callable[[Any], Reply | None]:
    """Requests for bars fail from the given one on, the first being number 1."""
    seen: list[str] = []

    def failing(request: Any) -> Reply | None:
        if "/aggs/" not in request.path:
            return None
        seen.append(request.path)
        return reply if len(seen) >= number else None

    return failing


LONG = [ask("get_historical_prices", BTC, 20, "minute", quote=USD)]
OUT_OF_ORDER = Reply({"status": "ERROR", "error": "the service is out of order"}, 400)


def test_what_came_before_a_failure_is_kept_and_the_next_run_goes_on(
    polygon: Vendor, market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lumibot.tools import polygon_helper

    monkeypatch.setattr(polygon_helper, "MAX_POLYGON_DAYS", 3)  # several answers in a short time
    store, clock = tmp_path / "bars.duckdb", list(moments("2026-03-10 00:10", "2026-03-10 00:10", "1h"))
    market.failing = from_request(3, OUT_OF_ORDER)
    source = wrapped("2026-03-10", "2026-03-20", store=store, memory="256MB")
    (failed,) = answers(source, clock, LONG)
    source.shutdown()
    assert failed.kind == "polygon.exceptions.BadResponse"
    assert "out of order" in failed.text
    with open_store(store, read_only=True) as opened:
        ((start, end),) = opened.coverage(BTC, "minute", quote=USD)
        info = opened.find(BTC, "minute", USD)
    assert start == dt.datetime(2026, 3, 4, tzinfo=dt.timezone.utc)
    assert end == dt.datetime(2026, 3, 12, tzinfo=dt.timezone.utc) - dt.timedelta(microseconds=1)
    assert info.rows == 8 * 1440

    market.failing = lambda request: None
    asked = len(polygon.requests)
    source = wrapped("2026-03-10", "2026-03-20", store=store, memory="256MB")
    got = answers(source, clock, LONG)
    source.shutdown()
    assert polygon.asked_since(asked)[0].endswith("/minute/2026-03-12/2026-03-15")
    theirs = bare("2026-03-10", "2026-03-20")
    assert compared(answers(theirs, clock, LONG, forgetting(tmp_path)), got, LONG) == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply({"status": "ERROR", "error": "Unknown API Key"}, 401), "builtins.Exception"),
        (
            Reply({"status": "ERROR", "error": "You've exceeded the maximum requests"}, 429),
            "builtins.Exception",
        ),
    ],
    ids=["a wrong key", "too many requests"],
)
def test_a_refusal_is_raised_as_lumibots_own_and_covers_nothing(
    reply: Reply,
    kind: str,
    polygon: Vendor,
    market: Market,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYGON_MAX_RETRY_ATTEMPTS", "1")
    monkeypatch.setenv("POLYGON_WAIT_SECONDS_RETRY", "1")
    monkeypatch.setenv("POLYGON_MAX_RETRY_SLEEP_SECONDS", "1")
    market.failing = from_request(1, reply)
    source = wrapped("2022-03-28", "2022-04-01", store=tmp_path / "bars.duckdb")
    clock = list(moments("2022-03-28 10:00", "2022-03-28 10:00", "1h"))
    (failed,) = answers(source, clock, [ask("get_historical_prices", AAPL, 60, "minute")])
    source.shutdown()
    assert failed.kind == kind
    with open_store(tmp_path / "bars.duckdb", read_only=True) as store:
        assert store.series() == []
        whole = (dt.datetime(2022, 3, 1), dt.datetime(2022, 4, 1))
        assert len(store.missing(AAPL, "minute", *whole, quote=USD)) == 1


def test_a_range_that_the_plan_leaves_out_stays_unknown(
    polygon: Vendor, market: Market, tmp_path: Path
) -> None:
    left_out = {"status": "NOT_AUTHORIZED", "message": "Your plan doesn't include this data timeframe."}
    market.failing = from_request(1, Reply(left_out, 403))
    store, clock = tmp_path / "bars.duckdb", list(moments("2022-03-28 10:00", "2022-03-28 10:00", "1h"))
    question = [ask("get_historical_prices", AAPL, 60, "minute")]
    source = wrapped("2022-03-28", "2022-04-01", store=store)
    assert answers(source, clock, question) == [None]
    source.shutdown()
    market.failing = lambda request: None
    source = wrapped("2022-03-28", "2022-04-01", store=store)
    assert len(answers(source, clock, question)[0].df) == 60
    source.shutdown()


def test_no_bars_are_an_answer_and_are_not_asked_for_again(polygon: Vendor, tmp_path: Path) -> None:
    clock, unknown = list(moments("2022-03-28 10:00", "2022-03-29 10:00", "4h")), Asset("NOSUCH")
    question = [ask("get_historical_prices", unknown, 60, "minute"), ask("get_last_price", unknown)]
    for run in range(2):
        source = wrapped("2022-03-28", "2022-04-01", store=tmp_path / "bars.duckdb")
        assert set(answers(source, clock, question)) == {None}
        source.shutdown()
        assert len(polygon.requests) == 1, run


def test_the_key_is_in_no_store_log_or_error(
    polygon: Vendor, market: Market, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    logging.disable(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    clock = list(moments("2022-03-28 10:00", "2022-03-30 10:00", "23h"))
    source = wrapped("2022-03-28", "2022-04-01", store=tmp_path / "bars.duckdb")
    got = answers(source, clock, STOCKS)
    market.failing = from_request(1, OUT_OF_ORDER)
    got += answers(source, clock, [ask("get_historical_prices", Asset("OTHER"), 9, "minute")])
    source.shutdown()
    assert any(KEY in str(request.headers) for request in polygon.requests), "it was never sent"
    assert any("out of order" in str(answer) for answer in got)
    assert KEY not in caplog.text
    assert KEY not in "".join(str(answer) for answer in got)
    assert KEY not in str(source.lazy.stats())
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


# ---- the cap ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [150_000_000, "150000000"])
def test_lumibots_own_limit_is_the_cap_where_it_is_smaller(polygon: Vendor, limit: Any) -> None:
    clock = list(moments("2022-03-28 10:00", "2022-03-28 10:00", "1h"))
    question = [ask("get_historical_prices", AAPL, 60, "minute")]
    with pytest.raises(TypeError, match="positional argument"):
        bare("2022-03-28", "2022-04-01", max_memory=limit)._update_pandas_data(
            AAPL, USD, 60, "minute", clock[0]
        )
    for memory, cap in (("1GB", 150_000_000), ("140MB", 140_000_000)):
        source = wrapped("2022-03-28", "2022-04-01", memory=memory, max_memory=limit)
        assert len(answers(source, clock, question)[0].df) == 60
        assert source.lazy.stats().cap_bytes == cap
        source.shutdown()


def test_a_cap_that_leaves_no_room_is_refused_when_the_source_is_made(polygon: Vendor) -> None:
    with pytest.raises(CapTooSmall, match=r"memory=64 MB leaves 0.0 MB for bars") as refused:
        wrapped("2022-03-28", "2022-04-01", memory="1GB", max_memory=64_000_000)
    wrapped("2022-03-28", "2022-04-01", memory="1GB", max_memory=refused.value.needed_bytes).shutdown()


@pytest.mark.parametrize("method", ["get_historical_prices", "get_last_price"])
def test_a_cap_too_small_for_what_came_is_raised_also_where_lumibot_swallows(
    polygon: Vendor, method: str
) -> None:
    cls = LazyBars(PolygonDataBacktesting, memory="133MB", partition="1Y")
    source = cls(day("2026-03-08"), day("2026-03-22"), api_key=KEY, show_progress_bar=False)
    args = (60, "minute") if method == "get_historical_prices" else ()
    source._update_datetime(next(moments("2026-03-09 10:00", "2026-03-09 10:00", "1h")))
    for _ in range(2):
        with pytest.raises(CapTooSmall, match="choose a smaller partition"):
            getattr(source, method)(BTC, *args, quote=USD)
    source.shutdown()


def test_it_is_polygons_source_to_lumibot(polygon: Vendor) -> None:
    source = wrapped("2022-03-28", "2022-04-01")
    theirs = bare("2022-03-28", "2022-04-01")
    assert type(source) == PolygonDataBacktesting  # noqa: E721 - as Lumibot compares it
    assert {type(source): 1}[PolygonDataBacktesting] == 1
    assert (type(source).__name__, type(source).__module__) == (
        PolygonDataBacktesting.__name__,
        PolygonDataBacktesting.__module__,
    )
    assert (source.datetime_start, source.datetime_end) == (theirs.datetime_start, theirs.datetime_end)
    assert compared([theirs.load_data()], [source.load_data()], [ask("load_data")]) == []
    source.shutdown()
