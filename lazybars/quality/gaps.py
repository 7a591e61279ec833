"""Which bars the sessions of an exchange should have and a series has not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lazybars.quality.calendars import Int64s, Sessions

__all__ = ["Gaps"]


@dataclass(slots=True)
class Gaps:
    """What is missing between bars, added up as the bars of a series pass by.

    A session without any bar is a missing session; where a session has bars, each bar that should be
    between its open and its close and is not is a missing bar. Only gaps of ``least`` bars and more count.

    step_ns : how far apart bars are.
    bars, sessions : how many are missing. longest : bars of the longest gap. first_gap : when the first
    missing bar should be, and how many bars that gap has. first_session : when it opened.
    """

    exchange: Sessions
    step_ns: int
    least: int = 1
    bars: int = 0
    sessions: int = 0
    longest: int = 0
    first_gap: tuple[int, int] | None = None
    first_session: int | None = None

    def add(self, before_ns: Int64s, after_ns: Int64s) -> None:
        """Neighbouring bars that are more than a step apart, in order of time. Shapes (n,)."""
        opens, closes = self.exchange.opens_ns, self.exchange.closes_ns
        # Of each pair the sessions that lie, in part or whole, between the end of one bar and the other.
        start_ns = before_ns + self.step_ns
        first = np.searchsorted(closes, start_ns, side="right")
        stop = np.searchsorted(opens, after_ns, side="left")
        many = np.maximum(stop - first, 0)
        pair = np.repeat(np.arange(len(many)), many)
        session = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many) + first[pair]
        from_ns = np.maximum(start_ns[pair], opens[session])
        to_ns = np.minimum(after_ns[pair], closes[session])
        whole = (from_ns == opens[session]) & (to_ns == closes[session])
        self._add_sessions(session[whole])
        missing = np.where(whole, 0, (to_ns - from_ns) // self.step_ns)
        self._add_bars(from_ns, np.where(missing >= self.least, missing, 0))

    def _add_sessions(self, missing: Int64s) -> None:
        if len(missing):
            self.sessions += len(missing)
            if self.first_session is None:
                self.first_session = int(self.exchange.opens_ns[missing[0]])

    def _add_bars(self, from_ns: Int64s, missing: Int64s) -> None:
        at = np.flatnonzero(missing)
        if len(at):
            self.bars += int(missing.sum())
            self.longest = max(self.longest, int(missing.max()))
            if self.first_gap is None:
                self.first_gap = (int(from_ns[at[0]]), int(missing[at[0]]))
