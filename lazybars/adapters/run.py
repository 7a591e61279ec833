"""One wrapped source's run: the only place where clock, ring and store all meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.entities import Data

from lazybars.adapters.again import RepairedAgain
from lazybars.adapters.binding import Binding
from lazybars.adapters.frames import set_freq
from lazybars.adapters.instants import Instants
from lazybars.adapters.lumibot_data import LazyData
from lazybars.adapters.making import lazy_data, stored_attributes
from lazybars.adapters.resample import Heading
from lazybars.adapters.running import Running
from lazybars.adapters.shelf import Shelf, bytes_held, lumibot_asset
from lazybars.adapters.universe import (
    Days,
    Member,
    Universe,
    days_of,
    session_universe,
    shown_days,
    union_universe,
)
from lazybars.adapters.whole_data import WholeData
from lazybars.budget import split
from lazybars.config import Knobs
from lazybars.feed import Feed
from lazybars.grid import SessionGrid
from lazybars.layout import Layout, obstacle
from lazybars.live import LiveLine
from lazybars.model import AssetKey, SeriesInfo
from lazybars.partition import Partitions
from lazybars.planning import choose
from lazybars.series import GridSeries, edge_rows

__all__ = ["Run"]

_USD = AssetKey("USD", "forex")


class Run(Running):
    """What a wrapped source owns beside Lumibot's own state: a universe, laid out by ``load_data``.

    Threads: made and loaded by the strategy's thread; `stats` and `close` from any.
    """

    def __init__(self, knobs: Knobs) -> None:
        super().__init__(knobs, split(knobs.memory_bytes))
        self._shelf = Shelf(knobs, self._split.engine_limit_bytes)
        self._universe: Universe | None = None
        self._whole: pd.DatetimeIndex | None = None
        self._placed: dict[int, Data] = {}
        # Ids of series that were asked for before load_data; and of those that a second one fills.
        self._asked_alone: set[int] = set()
        self._refilled: set[int] = set()

    @property
    def loaded(self) -> bool:
        """Whether the universe has been laid out."""
        return self._universe is not None

    # ---- what is in the universe --------------------------------------------------------------

    def adopt(self, items: dict[Any, Any]) -> None:
        """Replace each ``Data`` of a source's store in place, or fill the store from the shelf."""
        if items:
            frames = [
                data for data in items.values() if isinstance(data, Data) and not isinstance(data, LazyData)
            ]
            self._held["frames of the caller's Data objects"] = bytes_held(frames)
            with self._shelf.taking():
                for key, data in items.items():
                    if type(data) is Data:
                        items[key] = self._taken(data)
        elif self._knobs.store is not None:
            trimmed = self._shelf.with_late_bars()
            for info in self._shelf.universe():
                asset = lumibot_asset(info.asset)
                quote = None if info.quote is None else lumibot_asset(info.quote)
                key_quote = lumibot_asset(_USD) if quote is None else quote
                items[asset, key_quote] = self._stored(info, asset, quote, trimmed)

    def _taken(self, data: Data) -> Data:
        found = self._shelf.take(data)
        if isinstance(found, SeriesInfo):
            index = data.df.index
            repeated_ns = None if index.is_unique else index.as_unit("ns").asi8
            attributes = {**vars(data), "_index_freq": index.freq, "_repeated_ns": repeated_ns}
            return lazy_data(found, attributes, self._bind_alone, self._stored_frame)
        self._note_eager(f"{data.asset} {data.timestep}", found, data)
        return WholeData.of(data)

    def _stored(self, info: SeriesInfo, asset: Any, quote: Any, trimmed: set[int]) -> Data:
        reason = obstacle(info)
        # Data drops bars of the last minute before midnight; only bars off the minute lie there.
        if reason is None and info.timestep == "minute" and info.series_id in trimmed:
            reason = "it has bars after 23:59:00, which Lumibot trims"
        if reason is None:
            attributes = {
                **stored_attributes(info, asset, quote),
                "_index_freq": None,
                "_repeated_ns": None,
            }
            return lazy_data(info, attributes, self._bind_alone, self._stored_frame)
        whole = WholeData.of(Data(asset, self._shelf.frame(info), timestep=info.timestep, quote=quote))
        self._note_eager(info.label, reason, whole)
        return whole

    def joined(self, items: Sequence[Data]) -> bool:
        """Whether lazy items that have their rows are to be loaded together with others that have none."""
        newcomer = any(id(data) not in self._placed for data in items)
        return newcomer and any(self.has_rows(data) for data in items)

    def has_rows(self, data: Data) -> bool:
        """Whether ``load_data`` has given a lazy item its rows."""
        return isinstance(data, LazyData) and id(data) in self._placed

    def whole(self, data: LazyData) -> WholeData:
        """An item as Lumibot keeps it: its rows of now, to be repaired on rows that they never saw."""
        whole = WholeData.of_rows(data)
        self._note_eager(data._info.label, "it was loaded again, together with other series", whole)
        return whole

    # ---- where its rows are ---------------------------------------------------------------------

    def _member(self, data: Data) -> Member:
        if not isinstance(data, LazyData):
            index = data.df.index
            times_ns = index.as_unit("ns").asi8
            return Member(index.unit, index.freq, lambda: times_ns)
        if self.has_rows(data):  # Lumibot has nothing but the repaired rows any more
            index = data._index_between(0, data._rows)
            return Member(index.unit, index.freq, lambda: index.as_unit("ns").asi8)
        info, store = data._info, self._shelf.store
        return Member(info.index_unit, data._index_freq, lambda: store.timestamps(info.series_id))

    def _days(self, data: Data) -> tuple[str, Days]:
        """The resolution and the local days of an item that is not merely stored."""
        if isinstance(data, LazyData):
            series, index = data._binding.series, data._binding.index
            if isinstance(series.grid, SessionGrid):
                days = shown_days(series.grid, series.offset, series.rows, LUMIBOT_DEFAULT_PYTZ)
                return index.unit, days
        member = self._member(data)
        return member.unit, days_of(member.times_ns(), LUMIBOT_DEFAULT_PYTZ)

    def lay_sessions(self, items: Sequence[Data], end: Any) -> tuple[Universe, pd.DatetimeIndex]:
        """The universe of minute bars, and the first and last bar of each day."""
        units, days, stored = [], [], []
        for data in items:
            if isinstance(data, LazyData) and not self.has_rows(data):
                stored.append(data._info.series_id)
                units.append(data._info.index_unit)
            else:
                unit, own = self._days(data)
                units.append(unit)
                days.append(own)
        if stored:
            days.append(self._shelf.store.sessions(stored))
        return session_universe(units, days, end, LUMIBOT_DEFAULT_PYTZ)

    def lay_union(
        self, items: Sequence[Data], joined: Callable[[Any], tuple[pd.DatetimeIndex, Any]]
    ) -> tuple[Universe, Any]:
        """The universe of hourly or daily bars by Lumibot's own join, and its calendar."""
        calendar: list[Any] = []

        def union(indexes: Sequence[pd.DatetimeIndex]) -> pd.DatetimeIndex:
            index, days = joined(indexes)
            calendar.append(days)
            return index

        members = [self._member(data) for data in items]
        return union_universe(members, LUMIBOT_DEFAULT_PYTZ, union), calendar[0]

    def load(self, items: Sequence[Data], universe: Universe, now_ns: int, end_ns: int) -> None:
        """Place the lazy items in a universe and begin to read ahead, for a run between two instants.

        Nothing, where all is as it was.
        """
        lazies = [data for data in items if isinstance(data, LazyData)]
        again = bool(self._placed)
        if again:
            self._refilled |= self._shelf.with_zero_closes(data._info.series_id for data in lazies)
        same = self._universe is not None and universe.same(self._universe)
        if again and same and not self._refilled and len(self._placed) == len(items):
            return
        self._forget_rows()
        self._universe = universe
        feed = self._place(lazies, universe, now_ns)
        self._placed = {id(data): data for data in items}
        feed.eager.update(self._eager)
        feed.held.update(self._held)
        self._end_ns = end_ns
        self._serve_from(feed)
        if self._knobs.live:
            self._live = LiveLine(now_ns, end_ns, self._split.cap_bytes)

    def _place(
        self, lazies: Sequence[LazyData], universe: Universe, now_ns: int, largest: str = "auto"
    ) -> Feed:
        grid = universe.grid
        first_ns = min(data._info.first_ns for data in lazies)
        last_ns = max(data._info.last_ns for data in lazies)
        layouts = [Layout.of(data._info) for data in lazies]
        self._split = split(self._knobs.memory_bytes, columns=max(len(layout.physical) for layout in layouts))
        limit, beside_bytes = self._split.pool(self._shelf.store.kept_bytes)
        self._shelf.limit(limit, self._split.engine_limit_bytes - limit)

        kind = largest if self._knobs.partition == "auto" else self._knobs.partition

        def series_in(partitions: Partitions) -> list[GridSeries]:
            edges = edge_rows(grid, partitions)
            series: list[GridSeries] = []
            for data, layout in zip(lazies, layouts, strict=True):
                info = data._info
                offset = grid.at_or_after(info.first_ns)
                rows = max(grid.at_or_before(info.last_ns) + 1 - offset, 0)
                place = (info, layout, grid, partitions, edges, offset, rows)
                alone = info.series_id in self._asked_alone
                if alone or info.series_id in self._refilled:
                    series.append(RepairedAgain(*place, alone=alone))
                else:
                    series.append(GridSeries(*place))
            return series

        demand, series = choose(kind, first_ns, last_ns, self._split, series_in)
        partitions = demand.partitions
        table_bytes = beside_bytes + grid.nbytes + 8 * len(partitions) + 2048 * len(series)
        self._plan = demand.plan(self._split, table_bytes)
        store = self._shelf.store
        feed = Feed(
            store,
            series,
            partitions,
            self._split,
            self._knobs.policy,
            now_ns=now_ns,
            prefetch=self._knobs.prefetch,
            close=_nothing,
            start_rss_bytes=self._start_rss,
            spare_bytes=self._plan.spare_bytes,
        )
        feed.ledger.table(table_bytes)
        instants = Instants(grid, LUMIBOT_DEFAULT_PYTZ)
        headings: dict[Any, Heading] = {}
        for data, one in zip(lazies, series, strict=True):
            assert isinstance(one, GridSeries)
            data._attach(Binding(feed, one, universe.index, instants, headings))
        return feed

    def _bind_alone(self, data: LazyData) -> Binding:
        """Asked before ``load_data``: Lumibot repairs such a frame on its own index, repetitions and all."""
        member = self._member(data)
        repeated_ns = data._repeated_ns
        if repeated_ns is not None:
            member = replace(member, times_ns=lambda: repeated_ns)
        universe = union_universe([member], LUMIBOT_DEFAULT_PYTZ, lambda indexes: indexes[0])
        # Every series that is asked for early has a ring of its own: small pages, so that they stay small.
        feed = self._place([data], universe, data._info.first_ns, "1M")
        self._asked_alone.add(data._info.series_id)
        if self._feed is None:
            self._feed = feed
        assert data._bound is not None
        return data._bound

    def _stored_frame(self, data: LazyData) -> pd.DataFrame:
        frame = self._shelf.frame(data._info)
        set_freq(frame.index, data._index_freq)
        return frame

    def _forget_rows(self) -> None:
        feed, self._feed = self._feed, None
        self._whole = None
        self._placed = {}
        if feed is not None:
            feed.close()

    def whole_index(self) -> pd.DatetimeIndex:
        """The union index as Lumibot has it; kept once it was asked for."""
        if self._whole is None:
            assert self._universe is not None
            self._whole = self._universe.index.whole()
            if self._feed is not None:
                with self._feed.ring.changed:
                    self._feed.ledger.table(self._whole.nbytes)
        return self._whole

    def calendar_index(self) -> pd.DatetimeIndex:
        """The first and last row of each local day."""
        assert self._universe is not None
        return self._universe.index.of(self._universe.calendar_ns)

    def close(self) -> None:
        """End the thread, close the store, remove what is private. Repeatable."""
        super().close()
        self._shelf.close()


def _nothing() -> None:
    """The shelf closes the store itself, once for all feeds of a run."""
