"""The checks of a store's bars, series by series."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from lazybars.errors import ConfigError, UnknownSeries
from lazybars.model import NOMINAL_NS, SeriesInfo
from lazybars.quality.bars import Stale, Tally, split_days, tests_of
from lazybars.quality.calendars import ALWAYS, Sessions, calendar_name, sessions_of
from lazybars.quality.finding import Finding, shown
from lazybars.quality.gaps import Gaps
from lazybars.quality.spans import Span, spans
from lazybars.store import Storage

__all__ = ["CHECKS", "check"]

CHECKS = (
    "books",
    "missing sessions",
    "gaps",
    "closed days",
    "duplicate times",
    "missing prices",
    "zero prices",
    "negative prices",
    "negative volume",
    "price order",
    "spikes",
    "unadjusted splits",
    "stale prices",
)
_STALE_BARS = {"minute": 120, "hour": 24, "day": 5}
_NEW_YORK = ZoneInfo("America/New_York")
_DAY_NS = 86_400_000_000_000


def check(
    store: Storage,
    *,
    assets: Collection[str] | None = None,
    calendar: str = "auto",
    spike: float = 0.5,
    stale_bars: int | None = None,
    gap_bars: int = 1,
    skip: Collection[str] = (),
    done: Callable[[SeriesInfo], None] = lambda info: None,
) -> list[Finding]:
    """What is wrong with the bars of a store, series by series; an empty list where nothing is.

    assets : symbols; None for all. calendar : the exchange's, as "XNYS", or "24/7"; "auto" takes NYSE for
    stocks, options and indexes, CME_FX for forex, CME_Equity for futures and 24/7 for crypto.
    spike : a price that is further than this from both neighbours, as a share of them. stale_bars : bars of
    a run that repeats one close without volume; None: 120 minutes, 24 hours or 5 days. gap_bars : the
    shortest gap that counts. skip : checks to leave out. done : called after each series.

    The work is SQL over spans of at most some 250,000 bars, within the store's memory. Raises UnknownSeries
    for a symbol that is not there, ConfigError for a calendar or a check that there is not.
    """
    for name in skip:
        if name not in CHECKS:
            raise ConfigError(f"skip={name!r}: the checks are {', '.join(CHECKS)}")
    if not spike > 0 or gap_bars < 1 or (stale_bars is not None and stale_bars < 1):
        raise ConfigError(
            f"spike={spike!r}, gap_bars={gap_bars!r}, stale_bars={stale_bars!r}: give positive numbers"
        )
    found: list[Finding] = []
    if "books" not in skip:
        found += [
            Finding("books", one.series, "", 1, None, f"{one.check}: {one.detail}") for one in store.verify()
        ]
    chosen = _chosen(store, assets)
    exchanges = _exchanges(chosen, calendar)
    for info in chosen:
        stale = Stale(stale_bars or _STALE_BARS[info.timestep])
        exchange = exchanges[calendar_name(calendar, info.asset)]
        found += [
            one
            for one in _series(store, info, exchange, spike, stale, gap_bars, frozenset(skip))
            if one.check not in skip
        ]
        done(info)
    return found


def _chosen(store: Storage, assets: Collection[str] | None) -> Sequence[SeriesInfo]:
    series = store.series()
    if assets is None:
        return series
    wanted = {symbol.upper() for symbol in assets}
    unknown = wanted - {info.asset.symbol.upper() for info in series}
    if unknown:
        there = sorted({info.asset.symbol for info in series})
        raise UnknownSeries(
            f"no series of {', '.join(sorted(unknown))}; the store holds {', '.join(there[:20])}"
        )
    return [info for info in series if info.asset.symbol.upper() in wanted]


def _exchanges(series: Sequence[SeriesInfo], calendar: str) -> dict[str, Sessions]:
    """Every calendar that is needed, once for all of its series: making one takes a while."""
    spans_ns: dict[str, tuple[int, int]] = {}
    for info in series:
        name = calendar_name(calendar, info.asset)
        first_ns, last_ns = spans_ns.get(name, (info.first_ns, info.last_ns))
        spans_ns[name] = min(first_ns, info.first_ns), max(last_ns, info.last_ns)
    return {name: sessions_of(name, *span) for name, span in spans_ns.items()}


def _series(
    store: Storage,
    info: SeriesInfo,
    exchange: Sessions,
    spike: float,
    stale: Stale,
    gap_bars: int,
    skip: frozenset[str],
) -> Iterator[Finding]:
    """Everything about one series, in the order of CHECKS."""
    tests = {name: test for name, test in tests_of(info, spike).items() if name not in skip}
    tally = Tally(tests, split_days(store, info) if "unadjusted splits" in tests else [])
    gaps: Gaps | None = None
    for span in spans(store, info):
        if tests:
            tally.add(span)
        if "stale prices" not in skip:
            stale.add(span)
        if info.timestep != "day" and not {"gaps", "missing sessions"} <= skip:
            gaps = gaps or Gaps(exchange, _step_ns(span), gap_bars)
            gaps.add(*_jumps(span, gaps.step_ns))
    stale.done()
    if info.timestep == "day":
        yield from _days(store, info, exchange)
    else:
        if gaps is not None:
            yield from _gaps(info, gaps)
        yield from _closed(store, info, exchange)
    for name, count in sorted(tally.counts.items(), key=lambda item: CHECKS.index(item[0])):
        bar = tally.firsts[name]
        yield _found(name, info, count, bar["us"] * 1000, _words(bar))
    if stale.first is not None:
        us, bars, close = stale.first
        words = f"{bars} bars at {close:g} without volume; the longest run has {stale.longest}"
        yield _found("stale prices", info, stale.runs, us * 1000, words)


def _found(name: str, info: SeriesInfo, count: int, first_ns: int, words: str) -> Finding:
    return Finding(name, info.label, info.source, count, first_ns, words)


def _words(bar: dict[str, Any]) -> str:
    names = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
    values = [
        f"{name} {'none' if bar[key] is None else format(bar[key], 'g')}" for key, name in names.items()
    ]
    if bar["c_before"] is not None:
        values.append(f"close before {bar['c_before']:g}")
    return ", ".join(values)


# ---- against the calendar -------------------------------------------------------------------------


def _step_ns(span: Span) -> int:
    """How far apart bars are: the most common spacing, if that is more than a minute or an hour."""
    found = span.rows(
        "SELECT us - us_before AS gap FROM bar WHERE us > us_before GROUP BY gap "
        "ORDER BY count(*) DESC, gap LIMIT 1"
    )
    return max(NOMINAL_NS[span.info.timestep], found[0]["gap"] * 1000 if found else 0)


def _jumps(span: Span, step_ns: int) -> tuple[Any, Any]:
    """(before, after) of neighbouring bars that are more than a step apart; ns."""
    found = span.rows(
        "SELECT us_before, us FROM bar WHERE inside AND us - us_before > $step ORDER BY us",
        {"step": step_ns // 1000},
    )
    pairs = np.array([(row["us_before"], row["us"]) for row in found], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0] * 1000, pairs[:, 1] * 1000


def _gaps(info: SeriesInfo, gaps: Gaps) -> Iterator[Finding]:
    name = gaps.exchange.name
    if gaps.first_session is not None:
        words = f"the session that opened {shown(gaps.first_session, _NEW_YORK)} has no bar ({name})"
        yield _found("missing sessions", info, gaps.sessions, gaps.first_session, words)
    if gaps.first_gap is not None:
        start_ns, bars = gaps.first_gap
        words = (
            f"{bars} bars from {shown(start_ns, _NEW_YORK)} on; the longest gap has {gaps.longest} ({name})"
        )
        yield _found("gaps", info, gaps.bars, start_ns, words)


def _closed(store: Storage, info: SeriesInfo, exchange: Sessions) -> Iterator[Finding]:
    """Bars on New York days on which the exchange is closed all day."""
    if exchange.name == ALWAYS:
        return
    days, first_ns, _, rows = store.series_days(info.series_id)
    # A New York day begins four or five hours after that of UTC.
    start_ns, end_ns = days * _DAY_NS + _DAY_NS // 6, (days + 1) * _DAY_NS + 5 * _DAY_NS // 24
    opened = np.searchsorted(exchange.opens_ns, end_ns) > np.searchsorted(
        exchange.closes_ns, start_ns, side="right"
    )
    if not opened.all():
        at = int(np.flatnonzero(~opened)[0])
        words = (
            f"{rows[at]} bars on {shown(int(first_ns[at]), _NEW_YORK)[:10]}, when {exchange.name} is closed"
        )
        yield _found("closed days", info, int(rows[~opened].sum()), int(first_ns[at]), words)


def _days(store: Storage, info: SeriesInfo, exchange: Sessions) -> Iterator[Finding]:
    """Daily bars by their dates in the exchange's zone: sessions without one, and bars without a session."""
    there = store.sql(
        "SELECT CAST(timezone(?, ts) AS DATE) - DATE '1970-01-01' AS day, epoch_us(min(ts)) AS us FROM bars "
        "WHERE series_id = ? GROUP BY day ORDER BY day",
        [exchange.zone, info.series_id],
    ).to_pylist()
    first_us = {row["day"]: row["us"] for row in there}
    held = np.array(list(first_us), dtype=np.int64)
    wanted = exchange.days[(exchange.days >= held[0]) & (exchange.days <= held[-1])]
    missing, odd = np.setdiff1d(wanted, held), np.setdiff1d(held, exchange.days)
    if len(missing):
        date = dt.date(1970, 1, 1) + dt.timedelta(days=int(missing[0]))
        midnight = dt.datetime(date.year, date.month, date.day, tzinfo=ZoneInfo(exchange.zone))
        first_ns = int(midnight.timestamp()) * 1_000_000_000
        yield _found("missing sessions", info, len(missing), first_ns, f"{date} has no bar ({exchange.name})")
    if len(odd):
        date = dt.date(1970, 1, 1) + dt.timedelta(days=int(odd[0]))
        words = f"a bar on {date}, when {exchange.name} is closed"
        yield _found("closed days", info, len(odd), first_us[int(odd[0])] * 1000, words)
