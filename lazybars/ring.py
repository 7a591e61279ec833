"""The bounded ring: which segments are in RAM, under the one lock.

Pages are keyed (series_id, part). The lock guards bookkeeping only and is never held while a
segment is read; whoever finds a page `LOADING` waits on the lock's condition.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from enum import Enum
from heapq import heappop, heappush

from lazybars.access import AccessLog, Habit
from lazybars.budget import Ledger
from lazybars.diary import Diary
from lazybars.eviction import NEVER, Policy, SegmentFacts
from lazybars.repair import Segment

__all__ = ["Page", "Ring", "State"]

# What CPython and NumPy keep for a page beside its arrays: the objects, their headers, the dict entry.
PAGE_OVERHEAD_BYTES = 720


class State(Enum):
    """What has become of a page's read."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    GONE = "gone"


class Page:
    """One segment's place in the ring.

    lo, hi : rows [lo, hi) of the series.
    segment : the rows, or None while loading and once evicted. A reader takes one reference and
        works on that: an eviction meanwhile frees the page's reference, not the reader's.
    loaded, used : serial numbers of the requests before which it arrived, and that read it last.
    habit : how often it is asked for. place : where it stands in the ring's order of leaving.
    prefetched : read ahead, not because it was missed.
    """

    __slots__ = (
        "error",
        "habit",
        "hi",
        "key",
        "lo",
        "loaded",
        "nbytes",
        "place",
        "prefetched",
        "segment",
        "state",
        "used",
    )

    def __init__(self, key: tuple[int, int], lo: int, hi: int, nbytes: int) -> None:
        self.key = key
        self.lo = lo
        self.hi = hi
        self.nbytes = nbytes
        self.segment: Segment | None = None
        self.state = State.LOADING
        self.error: BaseException | None = None
        self.used = 0
        self.loaded = 0
        self.habit = Habit()
        self.place: _Place | None = None
        self.prefetched = False


# Rank (the smaller, the sooner it leaves), a number of its own, page.
_Place = tuple[tuple[float, ...], int, Page]


class Ring:
    """Segments in RAM, bounded by a ledger.

    next_use_ns : called under the lock with a page; the clock time of its next use.
    log : the order of all requests, which policies rank by.
    diary : is told which pages come and go.
    """

    def __init__(
        self,
        ledger: Ledger,
        policy: Policy,
        next_use_ns: Callable[[Page], float],
        log: AccessLog | None = None,
        diary: Diary | None = None,
    ) -> None:
        self.ledger = ledger
        self.policy = policy
        self.changed = threading.Condition()
        self.pages: dict[tuple[int, int], Page] = {}
        self.evictions = 0
        self.log = AccessLog() if log is None else log
        self._diary = diary
        self._next_use_ns = next_use_ns
        self._order: list[_Place] = []
        self._order_epoch = -1
        self._places = 0
        # Pages whose rank has changed since the order was made.
        self._asked: list[Page] = []

    def rank(self, page: Page) -> tuple[float, ...]:
        return self.policy.rank(
            SegmentFacts(page.key[0], page.key[1], page.loaded, page.used, self._next_use_ns(page))
        )

    def settle(self) -> None:
        """Take note of all requests so far. The lock is held."""
        asked = self.log.settle()
        if self._order_epoch == self.log.epoch:
            self._asked += asked
        else:  # the order will be made anew; what has long been let go of is not to be kept for it
            self._asked.clear()
            self._order.clear()

    def begin(self, page: Page, *, spare_nearer: bool) -> bool:
        """Book a page that is to be read, evicting to make room. The lock is held.

        Returns False, and books nothing, where it would only fit by evicting segments that are
        needed no later than itself; with ``spare_nearer`` unset only dead ends are refused: when
        the page alone exceeds the ring.
        """
        missing = page.nbytes - self.ledger.free_bytes
        if missing > 0:
            self.settle()
            page.loaded = page.used = self.log.serial
            victims = self._victims(missing, self.rank(page) if spare_nearer else None)
            if victims is None:
                return False
            for victim in victims:
                self.evict(victim)
        self.ledger.book(page.nbytes)
        self.pages[page.key] = page
        return True

    def make_room(self, nbytes: int) -> None:
        """Evict until so much is free, or nothing is resident any more. The lock is held."""
        missing = nbytes - self.ledger.free_bytes
        if missing > 0:
            self.settle()
            for victim in self._victims(min(missing, self.ledger.resident_bytes), None) or ():
                self.evict(victim)

    def _victims(self, missing: int, newcomer: tuple[float, ...] | None) -> list[Page] | None:
        if self.ledger.resident_bytes < missing:
            return None
        order = self._in_order()
        victims: list[Page] = []
        taken: list[_Place] = []
        while missing > 0 and order:
            place = heappop(order)
            page = place[2]
            if page.state is not State.READY or page.place is not place:
                continue
            taken.append(place)
            if newcomer is not None and tuple(-part for part in place[0]) <= newcomer:
                break
            victims.append(page)
            missing -= page.nbytes
        if missing > 0:
            for place in taken:
                heappush(order, place)
            return None
        return victims

    def _in_order(self) -> list[_Place]:
        """A heap of the resident pages, the first to leave on top.

        Within an epoch only the rank of what is asked for changes, so the heap is made once; a page that
        was asked for since gets a new place, and the old one is passed over.
        """
        if self._order_epoch == self.log.epoch:
            for page in self._asked:
                self._place(page)
        else:
            self._order_epoch = self.log.epoch
            self._order.clear()
            for page in self.pages.values():
                self._place(page)
        self._asked.clear()
        return self._order

    def _place(self, page: Page) -> None:
        if page.state is State.READY:
            self._places += 1
            page.place = tuple(-part for part in self.rank(page)), self._places, page
            heappush(self._order, page.place)

    def finish(self, page: Page, segment: Segment) -> None:
        """The rows of a booked page have arrived. The lock is held."""
        page.segment = segment
        page.state = State.READY
        page.loaded = page.used = self.log.serial
        self.ledger.settle(page.nbytes)
        if self._order_epoch == self.log.epoch:
            self._asked.append(page)
        if self._diary is not None:
            self._diary.came(page.key[1], page.nbytes, page.prefetched)
        self.changed.notify_all()

    def fail(self, page: Page, error: BaseException) -> None:
        """The read of a booked page failed: whoever asks for it next is told. The lock is held."""
        page.error = error
        page.state = State.FAILED
        self.ledger.cancel(page.nbytes)
        self.changed.notify_all()

    def abandon(self, pages: Iterable[Page], error: BaseException) -> None:
        """Drop those of some booked pages that have not arrived. The lock is held."""
        for page in pages:
            if page.state is State.LOADING:
                self.fail(page, error)
                self.forget(page)

    def forget(self, page: Page) -> None:
        """Drop a failed page, so that the next request reads anew. The lock is held."""
        if self.pages.get(page.key) is page:
            del self.pages[page.key]

    def evict(self, page: Page) -> None:
        """Let a resident page go. The lock is held."""
        del self.pages[page.key]
        page.state = State.GONE
        page.segment = page.place = None
        self.ledger.release(page.nbytes)
        self.evictions += 1
        if self._diary is not None:
            self._diary.left(page.key[1])

    def drop_dead(self) -> None:
        """Let go of what the policy says will never be used again. The lock is held."""
        self.settle()
        for page in [page for page in self.pages.values() if page.state is State.READY]:
            if self.rank(page)[0] == NEVER:
                self.evict(page)

    def clear(self) -> None:
        """Let everything go. The lock is held."""
        for page in [page for page in self.pages.values() if page.state is State.READY]:
            self.evict(page)
