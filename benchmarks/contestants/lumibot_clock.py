"""Lumibot's clock: what the eager source and the lazy one are both told."""

from __future__ import annotations

import datetime as dt

from lumibot.constants import LUMIBOT_DEFAULT_PYTZ

from benchmarks.contest.clock import Size, Tick

__all__ = ["now", "span"]


def span(size: Size) -> tuple[dt.datetime, dt.datetime]:
    """A backtest from the second session on, so that every request has a history, to the end of the last."""
    first, last = size.sessions[1], size.sessions[-1]
    return (
        LUMIBOT_DEFAULT_PYTZ.localize(dt.datetime.combine(first, dt.time())),
        LUMIBOT_DEFAULT_PYTZ.localize(dt.datetime.combine(last, dt.time(23, 59))),
    )


def now(tick: Tick) -> dt.datetime:
    return dt.datetime.fromtimestamp(tick.now_ns // 1_000_000_000, LUMIBOT_DEFAULT_PYTZ)
