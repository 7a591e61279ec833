"""A run whose series come one after another, and may grow: what a source that downloads needs.

All of them are served through one ring under one cap. Partitions have no end, so that whatever arrives
lies in one; where so much has arrived that the ring would not hold a partition twice over, all series
move to a finer kind (six times a run at most).
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.entities import Data

from lazybars.adapters.binding import Binding
from lazybars.adapters.downloaded import Downloaded, with_columns
from lazybars.adapters.frames import IndexMaker
from lazybars.adapters.instants import Instants
from lazybars.adapters.lumibot_data import LazyData
from lazybars.adapters.making import lazy_data, stored_attributes
from lazybars.adapters.plain_frame import PlainFrame
from lazybars.adapters.running import Running
from lazybars.adapters.shelf import bytes_held
from lazybars.adapters.vault import Vault
from lazybars.adapters.whole_data import WholeData
from lazybars.budget import split
from lazybars.config import Knobs
from lazybars.errors import BadInput, CapTooSmall, LazyBarsError
from lazybars.feed import Feed
from lazybars.filled import FilledRows, Timetable
from lazybars.grid import Int64s
from lazybars.layout import Layout, obstacle
from lazybars.live import LiveLine
from lazybars.model import SeriesInfo
from lazybars.partition import KINDS, Partitions
from lazybars.planning import Demand
from lazybars.rows import ROW_TIMES, PlainRows, RepairedRows, RowGrid, census, times_between

__all__ = ["GrowingRun"]

_log = logging.getLogger("lazybars")

# No minute bars are older; what is (daily bars of a century) lies in the first partition.
_FIRST_NS = int(dt.datetime(1990, 1, 1, tzinfo=dt.timezone.utc).timestamp()) * 1_000_000_000
_EVER_NS = (-(1 << 62), 1 << 62)
Rows = RepairedRows | PlainRows


@dataclass(frozen=True, slots=True)
class _Member:
    """One series of the run.

    rows : makes it, for given partitions. bind : hands it, placed in a feed, to whoever shows it.
    """

    grid: RowGrid
    rows: Callable[[Partitions], Rows]
    bind: Callable[[Feed, Any], None]


class GrowingRun(Running):
    """What a wrapped source that downloads owns beside Lumibot's own state.

    Parameters
    ----------
    source
        The name of its series in the store.
    end_ns
        The end of the backtest.
    download_bytes
        What one answer of the service takes in RAM until it is stored.

    Series are shown by any thread, one at a time.
    """

    loaded = False

    def __init__(self, knobs: Knobs, source: str, end_ns: int, download_bytes: int) -> None:
        super().__init__(knobs, split(knobs.memory_bytes, download_bytes=download_bytes))
        self._download_bytes = download_bytes
        self._end_ns = end_ns
        self._now_ns = end_ns
        self._members: dict[int, _Member] = {}
        self._data: dict[int, Downloaded] = {}
        # Rows stored, and first and last instant shown, when a Data was last made.
        self._spans: dict[int, tuple[int, tuple[int, int]]] = {}
        self._frames: dict[int, PlainFrame] = {}
        self._series: dict[int, Rows] = {}
        self._kind = KINDS[-1] if knobs.partition == "auto" else knobs.partition
        self._demand = self._no_demand()
        self._columns = 0
        self._tables_bytes = 0
        self._lock = threading.RLock()
        self._failed: LazyBarsError | None = None
        self.vault = Vault(knobs, source, self._split.engine_limit_bytes)

    # ---- what is shown --------------------------------------------------------------------------

    def data(
        self,
        info: SeriesInfo,
        asset: Any,
        quote: Any,
        span_ns: tuple[int, int] = _EVER_NS,
        *,
        columns: Callable[[RowGrid], tuple[str, ...]] = lambda grid: (),
    ) -> Data | None:
        """A ``Data`` of the stored bars of a series in ``span_ns``, both ends included; None for none.

        Shown again, with another span or after more was stored, it is the same object with other rows.

        Parameters
        ----------
        columns
            Names of all columns that the source's own frame of these rows has, in its order: those that
            hold nothing cannot be stored. They show where whole frames are asked for.
        """
        with self._lock:
            data = self._data.get(info.series_id)
            if data is not None and self._as_shown(info, span_ns):
                return data
            grid = RowGrid(census(self.vault.store, info, *span_ns))
            if not grid.rows:
                return None
            reason = obstacle(info)
            if reason is not None:
                return self._whole(info, asset, quote, grid, columns(grid), reason)
            layout = Layout.of(info)

            def rows(partitions: Partitions) -> RepairedRows:
                return RepairedRows(info, layout, grid, partitions, span_ns)

            shown = rows(Partitions.covering("25Y", grid.days.first_ns[0], grid.days.last_ns[-1])).info
            attributes = {
                **stored_attributes(shown, asset, quote),
                "_index_freq": None,
                "_repeated_ns": None,
            }
            fresh = lazy_data(shown, attributes, _unbound, self._stored_frame, Downloaded)
            if data is None:
                assert isinstance(fresh, Downloaded)
                data = fresh
            else:
                data.show(vars(fresh))
            data.source_columns = columns(grid)
            one = data

            def bind(feed: Feed, series: RepairedRows) -> None:
                index = IndexMaker(grid, info.index_unit, LUMIBOT_DEFAULT_PYTZ, None)
                one._attach(Binding(feed, series, index, Instants(grid, LUMIBOT_DEFAULT_PYTZ), {}))

            self._place(info.series_id, _Member(grid, rows, bind))
            self._data[info.series_id] = data
            self._spans[info.series_id] = info.rows, span_ns
            return data

    def _as_shown(self, info: SeriesInfo, span_ns: tuple[int, int]) -> bool:
        """Whether a series is shown with just these rows already, as far as can be told without looking."""
        rows, (start_ns, end_ns) = self._spans[info.series_id]
        first_ns = self._members[info.series_id].grid.days.first_ns[0]
        return (rows, end_ns) == (info.rows, span_ns[1]) and start_ns <= span_ns[0] <= first_ns

    def frame(
        self,
        info: SeriesInfo,
        span_ns: tuple[int, int] = _EVER_NS,
        *,
        tz: Any = None,
        name: str | None = "datetime",
        timetable: Timetable | None = None,
    ) -> PlainFrame:
        """The stored bars of a series in ``span_ns`` as they are; for sources that keep DataFrames.

        Shown again, with another span or after more was stored, it is the same object with other rows.

        Parameters
        ----------
        tz, name
            Zone and name of its index; New York where no zone is given.
        timetable
            Has the rows instead of ``span_ns``, where the source shows one for each of its times.

        Raises
        ------
        BadInput
            A column is neither of floats nor of whole numbers nor of booleans.
        """
        for column in info.columns:
            if np.dtype(column.dtype if column.dtype[0].islower() else object).kind not in "fiub":
                raise BadInput(f"{info.label}: its column {column.name!r} is {column.dtype}, no numbers")
        with self._lock:
            grid = timetable or RowGrid(census(self.vault.store, info, *span_ns))
            frame = self._frames.setdefault(info.series_id, PlainFrame())

            def rows(partitions: Partitions) -> PlainRows:
                if timetable is not None:
                    return FilledRows(info, timetable, partitions)
                return PlainRows(info, grid, partitions, span_ns)

            def bind(feed: Feed, series: PlainRows) -> None:
                index = IndexMaker(grid, info.index_unit, tz or LUMIBOT_DEFAULT_PYTZ, None)
                frame._attach(feed, series, index, name)

            self._place(info.series_id, _Member(grid, rows, bind))
            return frame

    def _whole(
        self, info: SeriesInfo, asset: Any, quote: Any, grid: RowGrid, columns: Sequence[str], reason: str
    ) -> Data:
        days = grid.days
        rows = self.vault.store.get_historical_prices(
            info.asset,
            pd.Timestamp(days.first_ns[0], tz="UTC"),
            pd.Timestamp(days.last_ns[-1], tz="UTC"),
            timestep=info.timestep,
            quote=info.quote,
            source=info.source,
        )
        rows = with_columns(rows, columns)
        whole = WholeData.of(Data(asset, rows, timestep=info.timestep, quote=quote))
        self._note_eager(info.label, reason, whole)
        if self._feed is not None:
            self._feed.eager[info.label] = reason
        return whole

    def passes(self, label: str, reason: str) -> None:
        """Take note of a series that the source holds itself; said once."""
        if label not in self._eager:
            _log.warning("%s is held in RAM as Lumibot does: %s", label, reason)
        self._eager[label] = reason
        if self._feed is not None:
            self._feed.eager[label] = reason

    def adopt(self, items: dict[Any, Any]) -> None:
        """Take note of what a source was given: it is not a download, and stays what it is."""
        if items:
            self._held["frames of pandas_data"] = bytes_held(items.values())

    def shows(self, data: Any) -> bool:
        """Whether a ``Data`` is one of this run's."""
        return isinstance(data, Downloaded)

    def whole(self, data: LazyData) -> WholeData:
        """A series as Lumibot keeps it, with the rows that it shows now."""
        whole = WholeData.of_rows(data)
        self._note_eager(data._info.label, "load_data() was called after it had come", whole)
        return whole

    def _stored_frame(self, data: LazyData) -> pd.DataFrame:
        raise AssertionError("downloaded series are bound as they are made")

    # ---- where it is served from -----------------------------------------------------------------

    def _no_demand(self) -> Demand:
        return Demand(Partitions.without_end(self._kind, _FIRST_NS, self._end_ns))

    def _place(self, series_id: int, member: _Member) -> None:
        before, one = self._series.get(series_id), member.rows(self._demand.partitions)
        old = self._members.get(series_id)
        self._members[series_id], self._series[series_id] = member, one
        if before is not None:
            self._demand.remove(before)
        self._demand.add(one)
        table_bytes = 4096 + member.grid.nbytes - (0 if old is None else 4096 + old.grid.nbytes)
        self._tables_bytes += table_bytes
        try:
            finer = self._made_finer()
            self._plan = self._demand.plan(self._split, self._tables_bytes)
        except CapTooSmall:
            del self._members[series_id]
            self._demand.remove(self._series.pop(series_id))
            self._tables_bytes -= 4096 + member.grid.nbytes
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

    # ---- while it runs -----------------------------------------------------------------------------

    def advance(self, now_ns: int) -> None:
        """The backtest's clock has moved."""
        self._now_ns = now_ns
        super().advance(now_ns)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Remember the error of lazybars that is raised inside, where a call of Lumibot's swallows it."""
        try:
            yield
        except LazyBarsError as error:
            self._failed = error
            raise

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Raise an error of lazybars that a call of Lumibot's has swallowed."""
        self._failed = None
        try:
            with super().failures():
                yield
        finally:
            failed, self._failed = self._failed, None
            if failed is not None:
                raise failed

    def whole_index(self) -> None:
        """There is no union index: nothing was known when the run began."""

    def close(self) -> None:
        """End the thread, close the store, remove what is private. Repeatable."""
        super().close()
        self.vault.close()


def _unbound(data: LazyData) -> Binding:
    raise AssertionError("downloaded series are bound as they are made")


def _nothing() -> None:
    """The vault closes the store itself, once for all feeds of a run."""
