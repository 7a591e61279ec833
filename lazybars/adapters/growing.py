"""A run whose series come one after another, and may grow: what a source that downloads needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.entities import Data

from lazybars.adapters.binding import Binding
from lazybars.adapters.downloaded import Downloaded, with_columns
from lazybars.adapters.frames import IndexMaker, label_maker
from lazybars.adapters.instants import Instants
from lazybars.adapters.lumibot_data import LazyData
from lazybars.adapters.making import lazy_data, stored_attributes
from lazybars.adapters.placing import Member, Placing
from lazybars.adapters.plain_frame import PlainFrame
from lazybars.adapters.shelf import bytes_held
from lazybars.adapters.whole_data import WholeData
from lazybars.errors import BadInput, LazyBarsError
from lazybars.feed import Feed
from lazybars.filled import FilledRows, Timetable
from lazybars.layout import Layout, obstacle
from lazybars.model import SeriesInfo
from lazybars.partition import Partitions
from lazybars.rows import PlainRows, RepairedRows, RowGrid, census, counted_by

__all__ = ["GrowingRun"]

_log = logging.getLogger("lazybars")

_EVER_NS = (-(1 << 62), 1 << 62)


class GrowingRun(Placing):
    """What a wrapped source that downloads owns beside Lumibot's own state.

    Made as a `Placing` is.

    Series are shown by any thread, one at a time.
    """

    loaded = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._data: dict[int, Downloaded] = {}
        # Rows stored, and first and last instant shown, when a Data was last made.
        self._spans: dict[int, tuple[int, tuple[int, int]]] = {}
        self._frames: dict[int, PlainFrame] = {}
        self._failed: LazyBarsError | None = None

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

            self._place(info.series_id, Member(grid, rows, bind))
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
            store = self.vault.store
            grid = timetable or RowGrid(
                census(store, info, *span_ns, by=counted_by(info.timestep, self._kind))
            )
            frame = self._frames.setdefault(info.series_id, PlainFrame())

            def rows(partitions: Partitions) -> PlainRows:
                if timetable is not None:
                    return FilledRows(info, timetable, partitions)
                by = counted_by(info.timestep, partitions.kind)
                if by != grid.days.by:
                    grid.days = census(store, info, *span_ns, by=by)
                return PlainRows(info, grid, partitions, span_ns)

            def bind(feed: Feed, series: PlainRows) -> None:
                frame._attach(feed, series, label_maker(info.index_unit, tz or LUMIBOT_DEFAULT_PYTZ), name)

            self._place(info.series_id, Member(grid, rows, bind))
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

    # ---- while it runs -----------------------------------------------------------------------------

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


def _unbound(data: LazyData) -> Binding:
    raise AssertionError("downloaded series are bound as they are made")
