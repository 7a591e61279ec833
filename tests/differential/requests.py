"""Clocks and questions as plain data, and playing them to a data source.

A walk is a few runs of the clock (a start, a stride, a count) and a few questions; every question
is asked at every stop of the clock. That crosses few drawn numbers into many answers, and a walk
that fails shrinks to one stop and one question.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from lumibot.entities import Asset

from .exact import Raised
from .universes import UniverseSpec, asset_of, key_of, quote_of

__all__ = ["NEEDLESS", "Answer", "Request", "Run", "Walk", "play", "question", "say"]

# Answers that hardly depend on the clock, or cost Lumibot much: asked at the first stop of a run.
SELDOM = frozenset({"days", "index", "keys", "frame", "lines", "state", "chains", "apply_splits", "find"})

PROBED = (
    "SOURCE",
    "name",
    "_timestep",
    "datetime_start",
    "datetime_end",
    "auto_adjust",
    "tzinfo",
    "option_quote_fallback_allowed",
    "IS_BACKTESTING_DATA_SOURCE",
    "MIN_TIMESTEP",
    "_datetime",
)
# Lumibot asks ``hasattr`` for these; a wrapper that defined one would change a backtest.
NEEDLESS = (
    "resolve_order_asset",
    "validate_order",
    "record_missing_valuation",
    "get_quotes",
    "get_price_snapshot",
    "get_historical_prices_between_dates",
    "record_history_requirement",
    "record_indicator_input",
    "get_data_provenance",
    "_timestep_explicit",
    "_effective_day_mode",
    "_chain_constraints",
)


@dataclass(frozen=True)
class Request:
    """One question. ``about`` counts series of the universe; below zero it is a wrong asset.

    -1 an unknown symbol, -2 the first symbol as text, -3 the first (asset, quote) tuple,
    -4 the first symbol as another kind of asset.
    """

    what: str
    about: int = 0
    length: float = 1
    timestep: str | None = None
    shift: int | str | None = None  # "90s": a timedelta
    quote: str | None = None  # own, usd, wrong
    after_hours: bool = True
    span: tuple[float, float] = (0.0, 0.0)  # minutes from the clock, for between-dates


@dataclass(frozen=True)
class Run:
    """Stops of the clock: minutes after the first day's midnight, seconds of stride, how many."""

    start: float
    stride_s: float = 60.0
    count: int = 1


@dataclass(frozen=True)
class Walk:
    runs: tuple[Run, ...] = (Run(600.0),)
    requests: tuple[Request, ...] = (Request("history"),)
    hook: bool = True  # move the clock as the broker does; otherwise set it
    stamps: bool = False  # the clock as pd.Timestamp
    loads: int = 1  # how often load_data() is called before the walk
    early: int = 0  # so many of the questions are asked, at the first stop, before that

    def clock(self, universe: UniverseSpec) -> list[dt.datetime]:
        return [
            universe.moment(run.start + step * run.stride_s / 60)
            for run in self.runs
            for step in range(run.count)
        ]


@dataclass(frozen=True)
class Answer:
    when: dt.datetime | None
    request: Request | None  # None: constructing or loading
    value: Any


def _asset(universe: UniverseSpec, about: int) -> Any:
    first = universe.series[0]
    if about >= 0:
        return asset_of(universe.series[about % len(universe.series)])
    wrong = {-1: Asset("NOSUCH"), -2: first.symbol, -3: key_of(first), -4: Asset(first.symbol, "index")}
    return wrong[about]


def _quote(universe: UniverseSpec, request: Request) -> Asset | None:
    if request.quote == "own":
        return quote_of(universe.series[max(0, request.about) % len(universe.series)])
    return {"usd": Asset("USD", "forex"), "wrong": Asset("XXX", "crypto"), None: None}[request.quote]


def _shift(shift: int | str | None) -> int | dt.timedelta | None:
    return dt.timedelta(seconds=float(shift[:-1])) if isinstance(shift, str) else shift


def say(universe: UniverseSpec, request: Request) -> str:
    """The question as Python, over ``source``, ``now`` and Lumibot's names: for the script."""
    asset, quote, shift = _asset(universe, request.about), _quote(universe, request), _shift(request.shift)
    a, q = _spell(asset), _spell(quote)
    length = int(request.length) if request.length == int(request.length) else request.length
    history = f"length={length}, timestep={request.timestep!r}, timeshift={shift!r}, quote={q}"
    begin, end = (f"now + datetime.timedelta(minutes={m})" for m in request.span)
    return {
        "history": f"source.get_historical_prices({a}, {history}, include_after_hours={request.after_hours})",
        "price": f"source.get_last_price({a}, quote={q})",
        "prices": f"source.get_last_prices({_spell([*_all(universe), asset])}, quote={q})",
        "quote": f"source.get_quote({a}, quote={q})",
        "bars": f"source.get_bars({_spell([*_all(universe), asset])}, {history})",
        "dividends": f"source.get_yesterday_dividends({_spell([*_all(universe), asset])}, quote={q})",
        "dividend": f"source.get_yesterday_dividend({a}, quote={q})",
        "splits": f"source.get_yesterday_stock_splits({_spell([*_all(universe), asset])}, quote={q})",
        "apply_splits": f"source.should_apply_stock_splits_to_positions({a}, quote={q})",
        "chains": f"source.get_chains({a})",
        "between": f"source._pull_source_symbol_bars_between_dates({a}, timestep={request.timestep!r}, "
        f"quote={q}, "
        f"start_date={begin}, end_date={end})",
        "days": "source.get_trading_days_pandas()",
        "index": "source._date_index",
        "find": f"source.find_asset_in_data_store({a}, {q}, {request.timestep!r})",
        "lines": f"{{name: (str(line.dtype), len(line.dataline)) for name, line in getattr("
        f"source._data_store[source.find_asset_in_data_store({a}, {q})], 'datalines', {{}}).items()}}",
        "spread": f"(source.get_spread({a}, quote={q}), source.get_midpoint({a}, quote={q}))",
        "frame": f"source._data_store[source.find_asset_in_data_store({a}, {q})].df",
        "state": f"[getattr(source, n, None) for n in {PROBED}] + [hasattr(source, n) for n in {NEEDLESS}]",
        "keys": "list(source._data_store)",
    }[request.what]


def _all(universe: UniverseSpec) -> list[Asset]:
    return [asset_of(spec) for spec in universe.series]


def _spell(value: Any) -> str:
    """An asset, a tuple or a list of them, or None, as Python."""
    if isinstance(value, list | tuple):
        inner = ", ".join(_spell(v) for v in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if not isinstance(value, Asset):
        return repr(value)
    more = ""
    if value.asset_type == "option":
        more = f", expiration={value.expiration!r}, strike={value.strike!r}, right={str(value.right)!r}"
    if value.asset_type == "future":
        more = f", expiration={value.expiration!r}, multiplier={value.multiplier!r}"
    return f"Asset({value.symbol!r}, {str(value.asset_type)!r}{more})"


def question(universe: UniverseSpec, request: Request) -> Callable[[Any], Any]:
    """What asks a source; an exception becomes an answer.

    It evaluates the very text that the printed script has: the two cannot drift apart.
    """
    code = compile(say(universe, request), "<question>", "eval")

    def ask(source: Any) -> Any:
        try:
            return eval(
                code, {"Asset": Asset, "datetime": dt, "source": source, "now": source.get_datetime()}
            )
        except Exception as error:
            return Raised.of(error)

    return ask


def _set(source: Any, walk: Walk, now: dt.datetime) -> None:
    moment = pd.Timestamp(now) if walk.stamps else now
    if walk.hook:
        source._update_datetime(moment)
    else:
        source._datetime = moment


def play(make: Callable[[], Any], universe: UniverseSpec, walk: Walk) -> Iterator[Answer]:
    """Construct, load, walk the clock and ask. Answers are live objects, in order."""
    try:
        source = make()
    except Exception as error:
        yield Answer(None, None, Raised.of(error))
        return
    asked = [(request, question(universe, request)) for request in walk.requests]
    try:
        if walk.early:
            now = walk.clock(universe)[0]
            _set(source, walk, now)
            repeated = any(spec.duplicates for spec in universe.series)
            for request, ask in asked[: walk.early]:
                # Before load_data Lumibot's own frame has the duplicates that no store keeps.
                if request.what != "frame" or not repeated:
                    yield Answer(now, request, ask(source))
            for data in source._data_store.values():
                # Lumibot would hand the last slice out again, as it was before load_data.
                data._get_bars_slice_cache_key = None
        for _ in range(walk.loads):
            try:
                yield Answer(None, None, source.load_data())
            except Exception as error:
                yield Answer(None, None, Raised.of(error))
                return
        starts = {sum(run.count for run in walk.runs[:n]) for n in range(len(walk.runs))}
        for number, now in enumerate(walk.clock(universe)):
            _set(source, walk, now)
            for request, ask in asked:
                if request.what not in SELDOM or number in starts:
                    yield Answer(now, request, ask(source))
    finally:
        source.shutdown()
