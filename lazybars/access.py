"""What was asked for, tick by tick: who asks how often, in what order, and the trace of it all.

Asking costs one ``deque.append``. Backtests repeat themselves, so ticks that ask for the same
segments in the same order are kept as one run of them, and looked at one by one only when somebody
has to know: when room is needed, or when the run ends.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["AccessLog", "Asked", "Habit", "Listener", "Sweep", "Trace"]

_TRACE_BYTES = 1 << 19
# What is kept of a run of ticks; and of each different tick, beside its keys.
_RUN_BYTES = 100
_TICK_BYTES = 250


class Habit:
    """How often something is asked for, in ticks.

    last : the tick of the latest request, -1 before the first. gap, before : ticks between the latest
        two, and between the two before; 0 where there were none.
    """

    __slots__ = ("before", "gap", "last")

    def __init__(self) -> None:
        self.last = -1
        self.gap = 0
        self.before = 0

    def asked(self, tick: int, stride: int, times: int) -> None:
        """So many requests, ``stride`` ticks apart, the latest at ``tick``."""
        if times > 1:
            self.gap = self.before = stride
        elif self.last >= 0 and tick > self.last:
            self.before, self.gap = self.gap, tick - self.last
        self.last = max(self.last, tick)

    def next_tick(self, tick: int, gap: int = 1, *, strayed: bool = False) -> int:
        """When it is to be expected next, this tick at the earliest; ``gap`` where it has none yet.

        The shorter of the last two gaps after the last request. What is overdue by that is expected to
        take as long again as it is late, as all that is known of it is that it has not come (J. R.
        Gott's rule, Nature 363, 1993), and in any case later than what is asked for now.

        Parameters
        ----------
        strayed
            This tick does not do what the last one did, so what would have its turn now is overdue.
        """
        if self.last < 0:
            return tick
        expected = self.last + (min(self.gap, self.before or self.gap) or gap)
        if expected > tick or (expected == tick and not strayed):
            return expected
        return tick + (tick - expected) + 2


class Asked(Protocol):
    """What the log needs of a page: ``key`` is (series id, partition), ``used`` a serial number."""

    key: tuple[int, int]
    used: int
    habit: Habit


class Listener(Protocol):
    """Is told who was asked for when."""

    def asked(self, page: Asked, tick: int, stride: int, times: int) -> None:
        """A page was asked for ``times`` times, ``stride`` ticks apart, lately at ``tick``."""

    def strayed(self, tick: int) -> None:
        """A tick asks for other series than the one before, or in another order."""


@dataclass(slots=True)
class Sweep:
    """Ticks that asked for the same pages in the same order: ``times`` of them, ``stride`` apart."""

    pages: Sequence[Asked]
    keys: list[tuple[int, int]]
    last: int
    stride: int = 1
    times: int = 1
    told: int = 0


class Trace:
    """The keys of all ticks in order, each different tick once; bounded, and then cut off.

    ticks : the keys of each different tick, as (series id, partition) pairs in one flat array of int32.
    runs : (which of them, how many times in a row).
    accesses : how many keys the runs stand for.
    """

    def __init__(self, limit_bytes: int = _TRACE_BYTES) -> None:
        self.ticks: list[array[int]] = []
        self.runs: list[tuple[int, int]] = []
        self.accesses = 0
        self._known: dict[bytes, int] = {}
        self._left_bytes = limit_bytes

    def add(self, keys: Sequence[tuple[int, int]], times: int) -> None:
        """So many ticks in a row asked for these keys."""
        if self._left_bytes <= 0:
            return
        flat = array("i", [number for key in keys for number in key])
        name = hashlib.blake2b(flat, digest_size=16).digest()
        which = self._known.get(name)
        if which is None:
            which = self._known[name] = len(self.ticks)
            self.ticks.append(flat)
            self._left_bytes -= flat.itemsize * len(flat) + _TICK_BYTES
        self._left_bytes -= _RUN_BYTES
        self.runs.append((which, times))
        self.accesses += len(keys) * times


class AccessLog:
    """The order of all requests.

    touched : a page is appended by whoever reads from it; by any thread, without the lock. All else
        is done under the ring's lock.
    tick : counts the moments of the backtest's clock.
    serial : numbers the requests that were looked at, so that policies know their order.
    accesses : requests so far.
    epoch : changes with every tick, and where one strays from what the ticks before it did.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self.touched: deque[Asked] = deque()
        self.tick = 0
        self.serial = 0
        self.accesses = 0
        self.epoch = 0
        self.trace = Trace()
        self._listener = listener
        self._sweep: Sweep | None = None
        self._now: list[Asked] = []
        self._told = 0
        # The series of this tick as far as they were told of, and those of the sweep, in order.
        self._turns: list[int] = []
        self._usual: list[int] = []
        self._usual_of: Sweep | None = None
        self._strayed = False

    def advance(self) -> None:
        """The tick is over."""
        self._drain()
        pages = self._now
        if pages:
            if not self._again(pages):
                self._begin_sweep(pages)
            self._now, self._told = [], 0
        self._turns, self._strayed = [], False
        self.tick += 1
        self.epoch += 1

    def settle(self) -> list[Any]:
        """Tell of all that was asked so far, within the tick as well; returns this tick's news."""
        self._drain()
        self._tell_sweep()
        news = self._now[self._told :]
        for page in news:
            self._tell(page, self.tick, 1, 1)
            if not self._strayed:
                self._compare(page.key[0])
        self._told = len(self._now)
        return news

    def whole_trace(self) -> Trace:
        """The trace up to the last tick that is over."""
        self._end_sweep()
        return self.trace

    def _drain(self) -> None:
        pop, now = self.touched.popleft, self._now
        for _ in range(len(self.touched)):
            now.append(pop())
            self.accesses += 1

    def _again(self, pages: list[Asked]) -> bool:
        """Whether the tick did what the ticks before it did; it is counted to them then."""
        sweep = self._sweep
        if sweep is None:
            return False
        stride = self.tick - sweep.last
        if sweep.times > 1 and stride != sweep.stride:
            return False
        if sweep.pages != pages:
            if len(sweep.keys) != len(pages) or sweep.keys != [page.key for page in pages]:
                return False
            self._tell_sweep()
            sweep.pages = pages
        if self._told:
            self.settle()
            sweep.told += 1
        sweep.stride, sweep.last, sweep.times = stride, self.tick, sweep.times + 1
        return True

    def _begin_sweep(self, pages: list[Asked]) -> None:
        self._end_sweep()
        if self._told:
            self.settle()
        self._sweep = Sweep(pages, [page.key for page in pages], self.tick, told=1 if self._told else 0)

    def _end_sweep(self) -> None:
        self._tell_sweep()
        sweep, self._sweep = self._sweep, None
        if sweep is not None:
            self.trace.add(sweep.keys, sweep.times)

    def _tell_sweep(self) -> None:
        sweep = self._sweep
        if sweep is None or sweep.told == sweep.times:
            return
        times = sweep.times - sweep.told
        sweep.told = sweep.times
        for page in sweep.pages:
            self._tell(page, sweep.last, sweep.stride, times)

    def _compare(self, series_id: int) -> None:
        """Whether this tick still takes the series in the order of the sweep before it."""
        turns, sweep = self._turns, self._sweep
        if turns and turns[-1] == series_id:
            return
        turns.append(series_id)
        if self._usual_of is not sweep:
            ids = [key[0] for key in sweep.keys] if sweep is not None else []
            self._usual = [one for at, one in enumerate(ids) if not at or ids[at - 1] != one]
            self._usual_of = sweep
        at = len(turns) - 1
        if at >= len(self._usual) or self._usual[at] != series_id:
            self._strayed = True
            self.epoch += 1
            if self._listener is not None:
                self._listener.strayed(self.tick)

    def _tell(self, page: Asked, tick: int, stride: int, times: int) -> None:
        self.serial += 1
        page.used = self.serial
        page.habit.asked(tick, stride, times)
        if self._listener is not None:
            self._listener.asked(page, tick, stride, times)
