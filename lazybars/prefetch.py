"""The prefetch thread: reads partitions into the ring ahead of the clock.

The thread holds the ring, the loader and the schedule, never the data source, so that a source that is
forgotten can be collected, and its finaliser stops this.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable

from lazybars.loader import Loader
from lazybars.ring import PAGE_OVERHEAD_BYTES, Page, Ring, State
from lazybars.schedule import UNLIKELY, Schedule
from lazybars.series import Series

__all__ = ["Prefetcher"]

# Partitions read ahead at most; the ring refuses sooner what it has no room for.
_DEEPEST = 8
# Waiting for less is not worth the RAM of another partition; nor is waiting once, which a machine that was
# busy for a moment does to any run: a slow disk is late again before so many partitions are over.
_LATE_S = 0.1
_AGAIN_PARTS = 8
# Python's threads take turns so often while partitions are read. Each time this one comes back from DuckDB
# or from a long enough operation of NumPy it waits for the strategy's to give up the interpreter: 5 ms by
# default, and some ten times a segment. A strategy that computes for 20 ms twice a day over 100 assets
# stalled for 17 to 21 % of its time on two free cores, with turns of 0.5 ms for 11 %, of 0.1 ms for 1 to 3 %,
# and with these for 0 to 0.1 %, with no more CPU time and no less computed.
_TURN_S = 0.00002


class _ShortTurns:
    """`_TURN_S` while any prefetcher of the process reads; what was set before, when the last is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._before_s = _TURN_S

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._before_s = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before_s, _TURN_S))
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                sys.setswitchinterval(self._before_s)


_SHORT_TURNS = _ShortTurns()


class Prefetcher:
    """One thread that keeps the next partitions resident.

    started by the feed; stopped by :meth:`stop`, which may be called from any thread and any
    number of times.

    Parameters
    ----------
    batch_bytes
        Segments of about so many bytes are booked and read at a time.

    depth : partitions with bars that are read ahead of the clock's. prefetched : segments, so far.
    """

    def __init__(self, ring: Ring, loader: Loader, schedule: Schedule, batch_bytes: int) -> None:
        self.depth = 1
        self.prefetched = 0
        self.error: Exception | None = None
        self._ring = ring
        self._loader = loader
        self._schedule = schedule
        self._batch_bytes = batch_bytes
        self._first_late = -1
        self._late_part = -1
        self._late_s = 0.0
        self._long_part: int | None = None
        # Whether there was nothing left to read as far ahead as `depth`, since a partition was last late.
        self._rested = False
        self._wanted = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, also once more after `stop`, and have it read what the clock needs first."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="lazybars-prefetch", daemon=True)
        self._wanted = True
        self._thread.start()

    def wake(self) -> None:
        """The clock has moved on: look again."""
        with self._ring.changed:
            self._wanted = True
            self._ring.changed.notify_all()

    def stop(self) -> None:
        """End the thread and wait for it: at most for the batch that it is reading."""
        with self._ring.changed:
            self._stopping = True
            self._ring.changed.notify_all()
        thread, self._thread = self._thread, None
        if thread is None or thread is threading.current_thread():
            return
        while thread.is_alive():
            thread.join(0.25)  # in pieces, so that Ctrl-C is heard

    def _run(self) -> None:
        while True:
            with self._ring.changed:
                while not self._wanted and not self._stopping:
                    self._ring.changed.wait()
                if self._stopping:
                    return
                self._wanted = False
            while not self._stopping:
                pages: dict[int, Page] = {}
                try:
                    with self._ring.changed:
                        part = self._book(pages)
                except Exception as error:
                    # A policy of the caller's own raised: the next call that has to wait is told.
                    with self._ring.changed:
                        self._ring.abandon(pages.values(), error)
                        self.error = error
                    break
                if not pages:
                    break
                with _SHORT_TURNS:
                    self._read(part, pages)

    def _book(self, pages: dict[int, Page]) -> int:
        """Choose the next batch and book it into ``pages``; returns its partition. The lock is held."""
        schedule, ring = self._schedule, self._ring
        ring.drop_dead()
        ahead = 0
        last = schedule.part + 1 if schedule.holds_three() else len(schedule.partitions)
        for part in range(schedule.reaches_back_to(), last):
            if self._book_part(pages, part, schedule.series.values()) or pages:
                return part
            if part < schedule.part:
                continue
            # Weekends and holidays do not count: what matters is what the clock comes to next.
            ahead += any(hi > lo for lo, hi in (one.span(part) for one in schedule.series.values()))
            if ahead > self.depth:
                self._rested = True
                break
        return schedule.part

    def came_late(self, part: int, waited_s: float) -> None:
        """A partition was waited for: where one was for long, again, one more is read ahead from now on.

        The lock is held. A partition counts once, and the run's first one, which nobody could have read
        before, does not. Nor does any where reading has not rested since the one before: a strategy that
        overtakes the reads would overtake them at any depth, and all that more of it brings is RAM.
        """
        if self._first_late < 0:
            self._first_late = part
        if part == self._first_late:
            return
        if part != self._late_part:
            self._late_part, self._late_s = part, 0.0
        before_s, self._late_s = self._late_s, self._late_s + waited_s
        if before_s < _LATE_S <= self._late_s:
            again = self._long_part is not None and abs(part - self._long_part) <= _AGAIN_PARTS
            if again and self._rested:
                self.depth = min(self.depth + 1, _DEEPEST)
            self._long_part, self._rested = part, False

    def book_neighbours(self, pages: dict[int, Page], part: int, series_id: int) -> None:
        """Book what may be read along with a series that was missed. The lock is held."""
        series = self._schedule.series.values()
        self._book_part(pages, part, [one for one in series if one.info.series_id > series_id])

    def _book_part(self, pages: dict[int, Page], part: int, series: Iterable[Series]) -> bool:
        """Book a batch of one partition; True where the ring is full of what is needed sooner."""
        ring, schedule = self._ring, self._schedule
        # Whoever is not asked for before the partition is over has time until then.
        until_ns = schedule.partitions.bounds_ns(max(part, schedule.part))[1]
        wanted: list[tuple[float, int, Page]] = []
        for one in series:
            series_id = one.info.series_id
            lo, hi = one.span(part)
            if lo == hi or (series_id, part) in ring.pages:
                continue
            page = Page((series_id, part), lo, hi, one.segment_bytes(hi - lo) + PAGE_OVERHEAD_BYTES)
            page.prefetched = True
            use_ns = schedule.next_use_ns(page)
            if use_ns < min(UNLIKELY, until_ns):
                wanted.append((use_ns, series_id, page))
        booked = 0
        for _, series_id, page in sorted(wanted, key=lambda want: want[:2]):
            if not ring.begin(page, spare_nearer=True):
                return True
            self.prefetched += 1
            pages[series_id] = page
            booked += page.nbytes
            if booked >= self._batch_bytes:
                break
        return False

    def _read(self, part: int, pages: dict[int, Page]) -> None:
        ring = self._ring
        series: list[Series] = [self._schedule.series[series_id] for series_id in pages]
        try:
            for one, segment in self._loader.load(part, series):
                with ring.changed:
                    ring.finish(pages[one.info.series_id], segment)
        except BaseException as error:
            # Whatever it was, it belongs to whoever asks for these bars: see Feed.page.
            with ring.changed:
                for page in pages.values():
                    if page.state is State.LOADING:
                        ring.fail(page, error)
