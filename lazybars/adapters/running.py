"""What every run of a wrapped source does, wherever its series come from: clock, figures, end."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from lumibot.entities import Data

from lazybars.adapters.shelf import bytes_held
from lazybars.budget import Split
from lazybars.config import Knobs
from lazybars.errors import ConfigError, LazyBarsError
from lazybars.feed import Feed
from lazybars.journal import Regret
from lazybars.live import LiveLine
from lazybars.planning import Plan
from lazybars.report import write_report
from lazybars.review import journal_of, regret_of
from lazybars.stats import Stats, rss_bytes

__all__ = ["Running", "no_figures"]

_log = logging.getLogger("lazybars")
_NO_END_NS = 1 << 62
_COUNTS = tuple(
    field.name for field in fields(Stats) if field.name not in ("cap_bytes", "stall_s", "eager", "held")
)


def no_figures(cap_bytes: int, eager: dict[str, str], held: dict[str, int]) -> Stats:
    """The figures of a run that has served nothing from a ring."""
    zeros = dict.fromkeys(_COUNTS, 0)
    return Stats(cap_bytes=cap_bytes, stall_s=0.0, eager=dict(eager), held=dict(held), **zeros)


class Running:
    """A run: its feed, once there is one, and what is said of it.

    The clock is moved by the strategy's thread; `stats` and `close` may be called from any.

    calls : questions that the source was asked.
    """

    def __init__(self, knobs: Knobs, split: Split) -> None:
        self.calls = 0
        self._start_rss = rss_bytes()
        self._knobs = knobs
        self._split = split
        self._eager: dict[str, str] = {}
        self._held: dict[str, int] = {}
        self._feed: Feed | None = None
        self._plan: Plan | None = None
        self._live: LiveLine | None = None
        self._end_ns = _NO_END_NS
        self._resting = False

    def _note_eager(self, label: str, reason: str, data: Data) -> None:
        megabytes = bytes_held([data]) / 1e6
        _log.warning("%s is held in RAM as Lumibot does (%.1f MB): %s", label, megabytes, reason)
        self._eager[label] = reason

    def _serve_from(self, feed: Feed) -> None:
        """From now on; it begins to read ahead, unless the backtest is over."""
        self._feed = feed
        if not self._resting:
            feed.start()

    def advance(self, now_ns: int) -> None:
        """The backtest's clock has moved."""
        feed = self._feed
        if feed is not None:
            feed.advance(now_ns)
            if self._resting != (now_ns >= self._end_ns):
                self._turn(feed)
            if self._live is not None:
                booked = feed.ledger.split.reserved_bytes + feed.ledger.booked_bytes
                asked = feed.log.accesses
                self._live.update(now_ns, booked, feed.hits() / asked if asked else 0.0, feed.stall_s)

    def ends(self, end_ns: int) -> None:
        """The backtest is over when its clock gets there: now, where it is there already."""
        self._end_ns = end_ns
        feed = self._feed
        if feed is not None and self._resting != (feed.schedule.now_ns >= end_ns):
            self._turn(feed)

    def _turn(self, feed: Feed) -> None:
        """To rest at the end: Lumibot keeps the source of a backtest for as long as the process lives."""
        self._resting = not self._resting
        if self._resting:
            feed.rest()
        else:
            feed.start()

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Raise what failed inside a call of Lumibot's that swallows exceptions."""
        feed = self._feed
        if feed is not None:
            feed.failure = None
        yield
        if feed is not None and feed.failure is not None:
            failure: LazyBarsError = feed.failure
            feed.failure = None
            raise failure

    def plan(self) -> Plan:
        """What the run needs; laid out by ``load_data``, or as far as series have come."""
        if self._plan is None:
            raise ConfigError("the plan needs the universe: call load_data() first, or start the backtest")
        return self._plan

    def stats(self) -> Stats:
        """The figures so far; zeros before the first series."""
        if self._feed is None:
            return no_figures(self._split.cap_bytes, self._eager, self._held)
        self._feed.calls = self.calls
        return self._feed.stats()

    def regret(self) -> Regret:
        """How well the run could have gone; laid out by ``load_data``."""
        return regret_of(self._loaded_feed())

    def report(self, path: str | os.PathLike[str], title: str) -> Path:
        """Write the run's page."""
        return write_report(journal_of(self._loaded_feed(), title, str(self.plan())), path)

    def _loaded_feed(self) -> Feed:
        if self._feed is None:
            raise ConfigError("there is nothing to look back at: call load_data() first, or run the backtest")
        self._feed.calls = self.calls
        return self._feed

    def close(self) -> None:
        """End the thread and the line on the terminal. Repeatable."""
        if self._live is not None:
            self._live.close()
        if self._feed is not None:
            self._feed.close()
