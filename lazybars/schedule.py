"""The clock, and what follows from it: when each segment is needed next.

How far back each series is asked, and how often each of its segments is, is learnt from the requests.
Time is counted in ticks (moments of the backtest's clock), so that nights and weekends are no gaps.
"""

from __future__ import annotations

from collections.abc import Iterable

from lazybars.access import Asked, Habit
from lazybars.eviction import NEVER
from lazybars.partition import Partitions
from lazybars.ring import Page
from lazybars.series import Series

__all__ = ["UNLIKELY", "Schedule", "SeriesHabits"]

# Lumibot fills orders on the next bar, so the rows just ahead of the clock count as in use.
_AHEAD_ROWS = 3
# A segment that the next request will not reach, as far as its series' habits tell: the first to go
# where room is needed, and not worth reading ahead. Still before NEVER, which is certain.
UNLIKELY = 2.0**80
# Before two whole ticks it is too early to say that a series is not asked for.
_GRACE_TICKS = 2
_SOON_TICKS = 16
_MINUTE_NS = 60_000_000_000


class SeriesHabits:
    """What was learnt of one series, and counted.

    habit : requests for any of its segments.
    accesses : segments asked for. misses, late, bypasses, stall_s : as in `Stats`.
    """

    __slots__ = ("accesses", "bypasses", "expected", "habit", "late", "misses", "stall_s")

    def __init__(self) -> None:
        self.habit = Habit()
        self.accesses = 0
        self.misses = 0
        self.late = 0
        self.bypasses = 0
        self.stall_s = 0.0
        # What `Schedule.next_use_ns` found last; first, what it was found for.
        self.expected: tuple[int, int, int, bool, int, int, int] | None = None


class Schedule:
    """Where the clock stands in every series, and who is asked for when.

    now_ns : the backtest's clock. tick : counts its moments. Both written by the strategy's thread
        only; habits are touched under the ring's lock.
    """

    def __init__(self, partitions: Partitions, series: Iterable[Series], now_ns: int) -> None:
        self.partitions = partitions
        self.series = {one.info.series_id: one for one in series}
        self.habits = {series_id: SeriesHabits() for series_id in self.series}
        self.now_ns = now_ns
        self.tick = 0
        self._begin_ns, self._begin_tick = now_ns, 0
        self._steps_ns = _MINUTE_NS, _MINUTE_NS
        self._anybody_since = -1
        self._strayed_tick = -1

    @property
    def part(self) -> int:
        return self.partitions.of(self.now_ns)

    def advance(self, now_ns: int, tick: int) -> None:
        """The clock has moved; after a jump back its pace is measured anew."""
        if now_ns < self.now_ns:
            self._begin_ns, self._begin_tick = now_ns, tick
        elif now_ns > self.now_ns:
            # Of two steps one may lead over a night, or to the next session.
            self._steps_ns = self._steps_ns[1], now_ns - self.now_ns
        self.now_ns = now_ns
        self.tick = tick

    def admit(self, one: Series) -> None:
        """A series from now on, or another form of one that there is; the ring's lock is held."""
        series_id = one.info.series_id
        before = self.series.get(series_id)
        if before is not None:
            one.reach_rows = max(one.reach_rows, before.reach_rows)
        self.series[series_id] = one
        self.habits.setdefault(series_id, SeriesHabits()).expected = None

    def holds_three(self) -> bool:
        """Whether to read ahead now would have three partitions resident at once, soon to be two.

        In the first eighth of a partition, where lookbacks still reach into the one before it, or nobody has
        asked for anything yet.
        """
        start_ns, end_ns = self.partitions.bounds_ns(self.part)
        if self.now_ns >= start_ns + (end_ns - start_ns) // 8:
            return False
        now_ns, part = self.now_ns, self.part
        return self._anybody_since < 0 or any(
            one.rows and one.part_of(max(one.row_at(now_ns) + 1 - one.reach_rows, 0)) < part
            for one in self.series.values()
        )

    def asked(self, page: Asked, tick: int, stride: int, times: int) -> None:
        """See `lazybars.access.Listener`."""
        habits = self.habits[page.key[0]]
        habits.accesses += times
        habits.habit.asked(tick, stride, times)
        if self._anybody_since < 0:
            self._anybody_since = tick

    def strayed(self, tick: int) -> None:
        """See `lazybars.access.Listener`."""
        self._strayed_tick = tick

    def _ns_at(self, tick: int) -> int:
        """About the clock at a tick to come.

        Soon it goes on in steps like the last ones; in the long run as fast as it went so far, nights and
        weekends included.
        """
        ahead = tick - self.tick
        if ahead <= _SOON_TICKS:
            return self.now_ns + ahead * min(self._steps_ns)
        ticks = self.tick - self._begin_tick
        return self.now_ns + ahead * ((self.now_ns - self._begin_ns) // max(ticks, 1))

    def _expected(self, one: Series, habits: SeriesHabits) -> tuple[int, int, int]:
        """(clock at the next request of a series, the rows [start, end] that it will be for)."""
        tick, last, reach = self.tick, habits.habit.last, one.reach_rows
        strayed = self._strayed_tick == tick
        known = habits.expected
        if known is not None and known[:4] == (tick, last, reach, strayed):
            return known[4:]
        next_ns = self._ns_at(habits.habit.next_tick(tick, strayed=strayed))
        row = one.row_about(next_ns)
        habits.expected = tick, last, reach, strayed, next_ns, row + 1 - reach, row + _AHEAD_ROWS
        return habits.expected[4:]

    def next_use_ns(self, page: Page) -> float:
        """The clock when a segment is needed next.

        UNLIKELY where the habits of its series do not lead there, NEVER where it lies behind every
        lookback.
        """
        series_id, part = page.key
        one, habits = self.series[series_id], self.habits[series_id]
        if page.hi <= one.row_at(self.now_ns) + 1 - one.reach_rows:
            return NEVER
        if habits.habit.last < 0 and 0 <= self._anybody_since <= self.tick - _GRACE_TICKS:
            return UNLIKELY
        next_ns, start, end = self._expected(one, habits)
        if page.lo > end:
            return max(self.partitions.edges_ns[part], next_ns)
        if page.hi <= start:
            return UNLIKELY
        own = page.habit
        if own.last < 0 or (own.last == habits.habit.last and own.gap <= habits.habit.gap):
            return next_ns
        own_ns = self._ns_at(
            own.next_tick(self.tick, habits.habit.gap or 1, strayed=self._strayed_tick == self.tick)
        )
        if own_ns <= next_ns:
            return next_ns
        return UNLIKELY if page.hi <= one.row_about(own_ns) + 1 - one.reach_rows else own_ns

    def reaches_back_to(self) -> int:
        """The first partition that the next requests of all series will be for; the clock's at the latest."""
        first = self.part
        for series_id, one in self.series.items():
            if one.rows:
                _, start, _ = self._expected(one, self.habits[series_id])
                first = min(first, one.part_of(max(start, 0)))
        return first
