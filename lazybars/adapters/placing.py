"""Where the series of a run that grows are served from: one ring under one cap, begun again when it must.

Partitions have no end, so that whatever arrives lies in one; where so much has arrived that the ring would
not hold a partition twice over, all series move to a finer kind (six times a run at most).
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lazybars.adapters.running import Running
from lazybars.adapters.vault import Vault
from lazybars.budget import split
from lazybars.config import Knobs
from lazybars.errors import CapTooSmall
from lazybars.feed import Feed
from lazybars.grid import Int64s
from lazybars.live import LiveLine
from lazybars.partition import KINDS, Partitions
from lazybars.planning import Demand
from lazybars.rows import ROW_TIMES, PlainRows, RepairedRows, RowGrid, times_between

__all__ = ["Member", "Placing"]

# No minute bars are older.
_FIRST_NS = int(dt.datetime(1990, 1, 1, tzinfo=dt.timezone.utc).timestamp()) * 1_000_000_000
# A series beside its rows and its census: what is known of it, and who serves and shows it. Measured at
# 11,200 bytes of Python's objects.
_SERIES_BYTES = 12 << 10
Rows = RepairedRows | PlainRows


@dataclass(frozen=True, slots=True)
class Member:
    """One series of the run.

    rows : makes it, for given partitions. bind : hands it, placed in a feed, to whoever shows it.
    """

    grid: RowGrid
    rows: Callable[[Partitions], Rows]
    bind: Callable[[Feed, Any], None]


class Placing(Running):
    """A run whose series are placed one after another.

    Parameters
    ----------
    source
        The name of its series in the store.
    end_ns
        The end of the backtest.
    download_bytes
        What one answer of the service takes in RAM until it is stored.
    bars_ns
        About from when to when there may be bars, where that is more than from 1990 to the end: what lies
        outside is one partition.

    Series are placed by any thread that holds the lock.
    """

    def __init__(
        self,
        knobs: Knobs,
        source: str,
        end_ns: int,
        download_bytes: int,
        bars_ns: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(knobs, split(knobs.memory_bytes, download_bytes=download_bytes))
        self._download_bytes = download_bytes
        self._end_ns = end_ns
        self._bars_ns = bars_ns or (_FIRST_NS, end_ns)
        self._now_ns = end_ns
        self._members: dict[int, Member] = {}
        self._series: dict[int, Rows] = {}
        self._kind = KINDS[-1] if knobs.partition == "auto" else knobs.partition
        self._demand = self._no_demand()
        self._columns = 0
        self._tables_bytes = 0
        self._lock = threading.RLock()
        self.vault = Vault(knobs, source, self._split.engine_limit_bytes)

    def advance(self, now_ns: int) -> None:
        """The backtest's clock has moved."""
        self._now_ns = now_ns
        super().advance(now_ns)

    def close(self) -> None:
        """End the thread, close the store, remove what is private. Repeatable."""
        super().close()
        self.vault.close()

    def _no_demand(self) -> Demand:
        return Demand(Partitions.without_end(self._kind, *self._bars_ns))

    def _place(self, series_id: int, member: Member) -> None:
        before, one = self._series.get(series_id), member.rows(self._demand.partitions)
        old = self._members.get(series_id)
        self._members[series_id], self._series[series_id] = member, one
        if before is not None:
            self._demand.remove(before)
        self._demand.add(one)
        table_bytes = (
            _SERIES_BYTES + member.grid.nbytes - (0 if old is None else _SERIES_BYTES + old.grid.nbytes)
        )
        self._tables_bytes += table_bytes
        try:
            finer = self._made_finer()
            self._plan = self._demand.plan(self._split, self._tables_bytes)
        except CapTooSmall:
            del self._members[series_id]
            self._demand.remove(self._series.pop(series_id))
            self._tables_bytes -= _SERIES_BYTES + member.grid.nbytes
            raise
        if finer or self._feed is None:
            self._begin_again()
            return
        self._serve(member.grid, one, self._feed)
        self._feed.admit(one, table_bytes, self._plan.spare_bytes)
        member.bind(self._feed, one)

    def _made_finer(self) -> bool:
        """Go over to finer partitions until the ring holds the fullest twice; whether a new ring is due."""
        columns = max(self._columns, self._demand.columns)
        if columns > self._columns:
            self._split = split(self._split.cap_bytes, columns, download_bytes=self._download_bytes)
            self.vault.limit(self._split.engine_limit_bytes)
        finer = self._feed is None or columns > self._columns
        while self._knobs.partition == "auto" and self._kind != KINDS[0]:
            if self._demand.fits(self._split):
                break
            finer = True
            self._kind = KINDS[KINDS.index(self._kind) - 1]
            self._demand = self._no_demand()
            for series_id, member in self._members.items():
                one = self._series[series_id] = member.rows(self._demand.partitions)
                self._demand.add(one)
            self._tables_bytes = sum(_SERIES_BYTES + one.grid.nbytes for one in self._members.values())
        return finer

    def _begin_again(self) -> None:
        """A ring of other partitions, or of another split, for all series that there are."""
        assert self._plan is not None
        self._columns = self._demand.columns
        before = self._feed
        if before is not None:
            before.close()
        feed = Feed(
            self.vault.store,
            list(self._series.values()),
            self._demand.partitions,
            self._split,
            self._knobs.policy,
            now_ns=self._now_ns,
            prefetch=self._knobs.prefetch,
            close=_nothing,
            start_rss_bytes=self._start_rss,
            spare_bytes=self._plan.spare_bytes,
        )
        feed.ledger.table(self._tables_bytes)
        feed.eager.update(self._eager)
        feed.held.update(self._held)
        if before is not None:
            feed.take_over(before)
        elif self._knobs.live:
            self._live = LiveLine(self._now_ns, self._end_ns, self._split.cap_bytes)
        for series_id, one in self._series.items():
            member = self._members[series_id]
            self._serve(member.grid, one, feed)
            member.bind(feed, one)
        self._serve_from(feed)

    @staticmethod
    def _serve(grid: RowGrid, one: Rows, feed: Feed) -> None:
        def read(start: int, end: int) -> Int64s:
            def pieces() -> Any:
                for part in range(one.part_of(start), one.part_of(end - 1) + 1):
                    lo, hi = one.span(part)
                    if hi > lo:
                        _, segment = feed.page(one, part)
                        yield segment.extras[ROW_TIMES][max(start - lo, 0) : min(end, hi) - lo]

            return times_between(pieces())

        grid.read = read


def _nothing() -> None:
    """The vault closes the store itself, once for all feeds of a run."""
