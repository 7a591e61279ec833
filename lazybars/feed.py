"""The feed: windows of rows out of the ring, reading what is not there.

One feed serves one run: a clock, a set of series, one store, one cap. The strategy's threads ask
it for windows; the prefetch thread fills the ring ahead of the clock.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lazybars.access import AccessLog
from lazybars.budget import Ledger, Split
from lazybars.diary import Diary
from lazybars.errors import LazyBarsError, PrefetchFailed
from lazybars.eviction import Policy
from lazybars.handed_out import HandedOut
from lazybars.journal import Sample
from lazybars.loader import Loader, Source
from lazybars.model import Traffic
from lazybars.partition import Partitions
from lazybars.prefetch import Prefetcher
from lazybars.repair import Segment
from lazybars.ring import PAGE_OVERHEAD_BYTES, Page, Ring, State
from lazybars.schedule import Schedule
from lazybars.series import Series
from lazybars.stats import Stats, peak_rss_bytes, rss_bytes

__all__ = ["Feed"]

_log = logging.getLogger("lazybars")
# A signal does not always end a wait without a timeout (polars installs its handler that way).
_HEARS_CTRL_C_S = 0.25


class Feed:
    """Serves windows of rows under a cap.

    Parameters
    ----------
    source
        A store, open for reading.
    series
        The universe.
    now_ns
        Where the clock starts.
    start_rss_bytes
        RSS before anything was opened, to report the peak against.
    spare_bytes
        Room of the ring that is kept for one segment that is served and not kept.
    close
        Called once when the engine is closed: lets go of the store.

    Owned by whoever made it; `close` may be called from any thread, and is at collection.
    """

    def __init__(
        self,
        source: Source,
        series: Sequence[Series],
        partitions: Partitions,
        split: Split,
        policy: Policy,
        *,
        now_ns: int,
        prefetch: bool,
        close: Callable[[], None],
        start_rss_bytes: int,
        spare_bytes: int,
    ) -> None:
        self.calls = 0
        self.misses = 0
        self.late = 0
        self.bypasses = 0
        self.stall_s = 0.0
        self.eager: dict[str, str] = {}
        self.held: dict[str, int] = {}
        self.failure: LazyBarsError | None = None
        self._passing = False
        self.schedule = schedule = Schedule(partitions, series, now_ns)
        self.ledger = Ledger(split, spare_bytes)
        self.log = AccessLog(self.schedule)
        self.touched = self.log.touched
        self.diary = Diary(lambda: schedule.now_ns)
        self.ring = Ring(self.ledger, policy, self.schedule.next_use_ns, self.log, self.diary)
        self._source = source
        self.loader = Loader(source, partitions, split.read_rows)
        self._start_rss_bytes = start_rss_bytes
        self._began_s = time.perf_counter()
        self._wake_from_ns = self._wake_until_ns = now_ns
        self.handed_out = HandedOut()
        self._prefetcher: Prefetcher | None = None
        if prefetch:
            self._prefetcher = Prefetcher(
                self.ring, self.loader, self.schedule, max(split.ring_bytes // 8, 1 << 16)
            )
        self.close = weakref.finalize(self, _close, self._prefetcher, self.ring, close)

    def start(self) -> None:
        """Begin to read ahead."""
        if self._prefetcher is not None:
            self._prefetcher.start()

    def stop_reading_ahead(self) -> None:
        """End the thread; what is asked for is still served. Repeatable."""
        if self._prefetcher is not None:
            self._prefetcher.stop()

    def rest(self) -> None:
        """Keep no bars and read none ahead until `start`; what is asked for is still served."""
        self.stop_reading_ahead()
        with self.ring.changed:
            self.ring.clear()

    def admit(self, one: Series, table_bytes: int, spare_bytes: int) -> None:
        """Serve a series from now on that was not there before, or that has other rows now.

        What is resident of its old form is let go of; whoever is copying from it has its own reference.

        Parameters
        ----------
        table_bytes
            What is kept for the series beside its segments, more than before.
        spare_bytes
            As in `Feed`, with this series.
        """
        ring, series_id = self.ring, one.info.series_id
        with ring.changed:
            while stale := [page for key, page in ring.pages.items() if key[0] == series_id]:
                for page in stale:
                    if page.state is State.READY:
                        ring.evict(page)
                    elif page.state is State.FAILED:
                        ring.forget(page)
                if any(page.state is State.LOADING for page in stale):
                    ring.changed.wait(_HEARS_CTRL_C_S)
            self.loader.forget(series_id)
            self.schedule.admit(one)
            self.ledger.spare_bytes = max(self.ledger.spare_bytes, spare_bytes)
            self.ledger.table(table_bytes)
            ring.make_room(0)

    def take_over(self, other: Feed) -> None:
        """Go on counting where another feed of the same run ended."""
        self.calls, self.misses, self.late = other.calls, other.misses, other.late
        self.bypasses, self.stall_s = other.bypasses, other.stall_s
        self.log.accesses = other.log.accesses
        self.ring.evictions = other.ring.evictions
        self.eager, self.held, self.failure = other.eager, other.held, other.failure
        self.ledger.peak_bytes = max(self.ledger.peak_bytes, other.ledger.peak_bytes)
        if self._prefetcher is not None and other._prefetcher is not None:
            self._prefetcher.prefetched = other._prefetcher.prefetched
        self._began_s = other._began_s

    def advance(self, now_ns: int) -> None:
        """Move the clock; the strategy's thread only. Backwards is allowed, and only slower."""
        with self.ring.changed:
            self.log.advance()
            self.schedule.advance(now_ns, self.log.tick)
            if self.log.tick >= self.diary.due:
                self.diary.note(self.log.tick, self.sample())
        if self._prefetcher is not None and not self._wake_from_ns <= now_ns < self._wake_until_ns:
            start_ns, end_ns = self.schedule.partitions.bounds_ns(self.schedule.part)
            # A full ring frees up while the clock crosses a partition: look again a few times, and more often
            # where lookbacks are about to leave the one before it.
            long_ns = end_ns - start_ns
            step_ns = long_ns // (16 if now_ns >= start_ns + long_ns // 8 else 128)
            self._wake_from_ns, self._wake_until_ns = now_ns, max(min(now_ns + step_ns, end_ns), now_ns + 1)
            self._prefetcher.wake()

    def window(self, one: Series, start: int, end: int, *, passing: bool = False) -> npt.NDArray[np.float64]:
        """A copy of the block of rows [start, end) of a series; shape (columns, end - start).

        Parameters
        ----------
        passing
            The rows are read once, to compute something from: they do not tell of a lookback.
        """
        if not passing:
            one.reach_rows = max(one.reach_rows, end - start)
        out: npt.NDArray[np.float64] | None = None
        for part in range(one.part_of(start), one.part_of(end - 1) + 1):
            lo, hi = one.span(part)
            if lo == hi:
                continue
            _, segment = self.page(one, part, passing=passing)
            if out is None:
                out = np.empty((len(segment.block), end - start))
            begin, stop = max(start, lo), min(end, hi)
            out[:, begin - start : stop - start] = segment.block[:, begin - lo : stop - lo]
        assert out is not None, "a window holds at least one row"
        return out

    def page(self, one: Series, part: int, *, passing: bool = False) -> tuple[Page, Segment]:
        """A segment of a series, resident or read now; with its neighbours, unless it is read in passing.

        Raises
        ------
        PrefetchFailed
            Its background read failed; the cause is the original. The next request reads anew.
        """
        key = (one.info.series_id, part)
        ring = self.ring
        known = ring.pages.get(key)
        if known is not None and (segment := known.segment) is not None:
            self.touched.append(known)
            return known, segment
        while True:
            with ring.changed:
                page = self._settled(one, ring.pages.get(key))
                if page is not None and page.segment is not None:
                    self.touched.append(page)
                    return page, page.segment
                lo, hi = one.span(part)
                page = Page(key, lo, hi, one.segment_bytes(hi - lo) + PAGE_OVERHEAD_BYTES)
            read = self._missed(one, part, page, passing)
            if read is not None:
                return page, read

    def _settled(self, one: Series, page: Page | None) -> Page | None:
        """Wait for a page that is loading; raise what reading ahead failed with. The lock is held."""
        ring = self.ring
        if page is not None and page.state is State.LOADING:
            self.late += 1
            self.schedule.habits[one.info.series_id].late += 1
            waited = time.perf_counter()
            while page.state is State.LOADING:
                ring.changed.wait(_HEARS_CTRL_C_S)
            stall_s = self._stalled(one, waited)
            if self._prefetcher is not None:
                self._prefetcher.came_late(page.key[1], stall_s)
        if page is not None and page.state is State.FAILED:
            ring.forget(page)
            raise self._failed(one, page.error)
        if self._prefetcher is not None and self._prefetcher.error is not None:
            error, self._prefetcher.error = self._prefetcher.error, None
            raise self._failed(one, error)
        return page

    def _missed(self, one: Series, part: int, page: Page, passing: bool) -> Segment | None:
        """Read what was missed; None where another thread has come first."""
        began = time.perf_counter()
        try:
            return self._read(one, part, page, passing)
        except LazyBarsError as error:
            self.failure = error
            raise
        finally:
            self._stalled(one, began)

    def _stalled(self, one: Series, since_s: float) -> float:
        stall_s = time.perf_counter() - since_s
        self.stall_s += stall_s
        self.schedule.habits[one.info.series_id].stall_s += stall_s
        return stall_s

    def _read(self, one: Series, part: int, page: Page, passing: bool) -> Segment | None:
        ring = self.ring
        with ring.changed:
            if page.key in ring.pages:
                return None
            habits = self.schedule.habits[one.info.series_id]
            self.misses += 1
            habits.misses += 1
            # First, so that its rank is that of a segment which has just been asked for.
            self.touched.append(page)
            if not ring.begin(page, spare_nearer=True):
                self.bypasses += 1
                habits.bypasses += 1
                return self._pass_by(one, part, page)
        pages = {one.info.series_id: page}
        try:
            if self._prefetcher is not None and not passing:
                # One scan for many series costs little more than for one, and its neighbours are
                # asked for next.
                with ring.changed:
                    self._prefetcher.book_neighbours(pages, part, one.info.series_id)
            return self._fill(part, pages, page)
        except BaseException as error:
            with ring.changed:
                ring.abandon(pages.values(), error)
            if len(pages) == 1 or not isinstance(error, Exception):
                raise
            # It may have been a neighbour's fault: once more, for what was asked alone.
            return self._read_alone(one, part)

    def _fill(self, part: int, pages: dict[int, Page], asked: Page) -> Segment:
        """Read booked pages; returns the segment asked for, which may be evicted by now."""
        series = [self.schedule.series[series_id] for series_id in pages]
        mine: Segment | None = None
        for one, segment in self.loader.load(part, series):
            page = pages[one.info.series_id]
            mine = segment if page is asked else mine
            with self.ring.changed:
                self.ring.finish(page, segment)
        assert mine is not None, "the loader gives a segment for every series asked for"
        return mine

    def _read_alone(self, one: Series, part: int) -> Segment:
        ((_, segment),) = self.loader.load(part, [one])
        return segment

    def _pass_by(self, one: Series, part: int, page: Page) -> Segment:
        """Read without keeping, in the room that the plan spares for one segment. The lock is held."""
        ring = self.ring
        while self._passing:
            ring.changed.wait(_HEARS_CTRL_C_S)
        self._passing = True
        self.ledger.book(page.nbytes)
        ring.changed.release()
        try:
            return self._read_alone(one, part)
        finally:
            ring.changed.acquire()
            self.ledger.cancel(page.nbytes)
            self._passing = False
            ring.changed.notify_all()

    def _failed(self, one: Series, cause: BaseException | None) -> PrefetchFailed:
        error = PrefetchFailed(f"reading ahead the bars of {one.info.label} failed: {cause}")
        error.__cause__ = cause
        # Lumibot swallows exceptions of some calls; the adapter looks here after those.
        self.failure = error
        return error

    def note_eager(self, label: str, reason: str, nbytes: int) -> None:
        """A series is held whole from now on, outside the cap: said once, and in `stats`."""
        if label not in self.eager:
            _log.warning("%s is held in RAM as Lumibot does (%.1f MB): %s", label, nbytes / 1e6, reason)
        self.eager[label] = reason

    def stats(self) -> Stats:
        """A consistent snapshot; any thread."""
        traffic = getattr(self._source, "traffic", None) or Traffic()
        with self.ring.changed:
            self.ring.settle()
            return Stats(
                cap_bytes=self.ledger.split.cap_bytes,
                resident_bytes=self.ledger.resident_bytes,
                in_flight_bytes=self.ledger.in_flight_bytes,
                table_bytes=self.ledger.table_bytes,
                pinned_bytes=self.handed_out.nbytes,
                peak_bytes=self.ledger.peak_bytes,
                peak_rss_bytes=max(peak_rss_bytes() - self._start_rss_bytes, 0),
                calls=self.calls,
                hits=self.hits(),
                misses=self.misses,
                late=self.late,
                prefetched=0 if self._prefetcher is None else self._prefetcher.prefetched,
                evictions=self.ring.evictions,
                bypasses=self.bypasses,
                stall_s=self.stall_s,
                eager=dict(self.eager),
                held=dict(self.held),
                requests=traffic.requests,
                requested_bytes=traffic.requested_bytes,
            )

    def hits(self) -> int:
        """Segments that requests found in the ring. The lock is held."""
        return self.log.accesses - self.misses - self.late

    def sample(self) -> Sample:
        """How the run stands. The lock is held."""
        ledger = self.ledger
        return Sample(
            now_ns=self.schedule.now_ns,
            wall_s=time.perf_counter() - self._began_s,
            booked_bytes=ledger.split.reserved_bytes + ledger.booked_bytes,
            resident_bytes=ledger.resident_bytes,
            in_flight_bytes=ledger.in_flight_bytes,
            table_bytes=ledger.table_bytes,
            rss_bytes=max(rss_bytes() - self._start_rss_bytes, 0),
            hits=self.hits(),
            misses=self.misses,
            late=self.late,
            stall_s=self.stall_s,
        )


def _close(prefetcher: Prefetcher | None, ring: Ring, close: Callable[[], None]) -> None:
    if prefetcher is not None:
        prefetcher.stop()
    with ring.changed:
        ring.clear()
    close()
