"""Lumibot's ``Data`` with its storage replaced: rows come from the ring, not from a frame.

Everything that ``Data`` answers, it answers by its own code. What is replaced is where that code
finds its rows: the frame, the datalines, the row of an instant, a window of rows. The two methods
that a backtest calls at every bar have a shorter way to the same answer.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.entities.data import _DATA_QUOTE_FIELDS
from lumibot.entities.dataline import Dataline
from lumibot.tools.lumibot_logger import get_logger

from lazybars.adapters.binding import Binding
from lazybars.adapters.events import WithEvents
from lazybars.adapters.instants import Instant, Span, exact_ns
from lazybars.adapters.lazy_column import LazyColumn
from lazybars.adapters.resample import Resampler
from lazybars.adapters.spacing import bar_length_ns
from lazybars.adapters.whole_data import OwnFrames
from lazybars.layout import QUOTES, Layout
from lazybars.model import SeriesInfo
from lazybars.repair import Segment
from lazybars.ring import Page

__all__ = ["LazyData"]

logger = get_logger(__name__)

# Up to so many rows Lumibot also finds an instant by its exact time (data.py, _ITER_INDEX_DICT_MAX_ROWS).
_EXACT_ROWS = 50_000


class LazyData(WithEvents, OwnFrames):
    """A ``Data`` whose rows come from a store through a bounded ring.

    Made by :func:`lazy_data`; bound to its rows by the source's ``load_data``. Frames that it hands
    out are the caller's own: they never change later, and writing into one changes no other.
    """

    _info: SeriesInfo
    _bind: Callable[[LazyData], Binding]
    _stored: Callable[[LazyData], pd.DataFrame]
    _bound: Binding | None = None
    _index_freq: Any
    _repeated_ns: npt.NDArray[np.int64] | None
    _rows: int
    _page: Page | None = None
    strict_end_check = False  # a class attribute, because Lumibot asks every Data whether it has one
    plain: bool
    """Whether a window of rows is an answer as it stands, with nothing to drop or fill."""

    def __init__(self) -> None:
        raise TypeError("LazyData is made by lazy_data(), not from a frame")

    @property
    def _binding(self) -> Binding:
        bound = self._bound
        return self._bind(self) if bound is None else bound

    def _attach(self, binding: Binding) -> None:
        """Take up a place in a grid; what ``repair_times_and_fill`` sets up is set up here."""
        series = binding.series
        self._bound = binding
        self._page = None
        for cached in ("_whole", "_events", "_event_dates"):
            self.__dict__.pop(cached, None)
        self._rows = self._data_len = series.rows
        self._offset = series.offset
        self._until = series.offset + series.rows
        self._exact = series.rows <= _EXACT_ROWS
        self._last_ns = series.grid.time_ns(series.offset + series.rows - 1) if series.rows else 0
        layout: Layout = series.layout
        self._bars_cols = list(layout.bars)
        self._length_ns = 0
        if self.timestep in ("minute", "hour"):
            self._length_ns = bar_length_ns(
                series.grid, series.offset, series.offset + series.rows, self.timestep, LUMIBOT_DEFAULT_PYTZ
            )
        self._open_row, self._close_row = layout.rows["open"], layout.rows["close"]
        self._start_ns = exact_ns(self.datetime_start, LUMIBOT_DEFAULT_PYTZ)
        self._end_ns = exact_ns(self.datetime_end, LUMIBOT_DEFAULT_PYTZ)
        self._resampler = Resampler(self)
        self._float_prices = max(self._open_row, self._close_row) < layout.float_rows
        self.iter_index_dict: dict[Any, int] = {}
        self.datalines = {
            "datetime": Dataline(
                self.asset, "datetime", LazyColumn(self, "datetime", None), binding.index.dtype
            )
        }
        for name, dtype in layout.frame:
            column = LazyColumn(self, name, np.dtype(dtype))
            self.datalines[name] = Dataline(self.asset, name, column, np.dtype(dtype))
        self._quote_required_cols_present = True
        known = self.datalines
        conditions = ("bid_condition", "ask_condition", "bid_exchange", "ask_exchange")
        self._quote_missing_cols = [name for name in (*QUOTES, *conditions) if name not in known]
        self._quote_presence_logged = False
        self._no_quote: dict[str, Any] = dict.fromkeys(_DATA_QUOTE_FIELDS)
        self._quoted = [
            (name, column, digits, known[column].dtype)
            for name, (column, digits) in _DATA_QUOTE_FIELDS.items()
            if column in known
        ]

    def __getattr__(self, name: str) -> Any:
        if name == "iter_index_dict" and "_bind" in self.__dict__:
            # Here Lumibot repairs a frame on its own index, where load_data was not called yet.
            self._bind(self)
            return self.__dict__[name]
        # Lumibot sets an attribute for every column (data.close); here they are made when asked for.
        datalines = self.__dict__.get("datalines")
        if datalines is not None and name in datalines:
            return datalines[name].dataline
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # ---- rows ------------------------------------------------------------------------------

    def _cell(self, row: int) -> tuple[Segment, int]:
        """The segment that holds a row, and the row's place in it."""
        page = self._page
        if page is not None and page.lo <= row < page.hi:
            segment = page.segment
            if segment is not None:
                self._bound.feed.touched.append(page)  # type: ignore[union-attr]
                return segment, row - page.lo
        binding = self._binding
        page, segment = binding.feed.page(binding.series, binding.series.part_of(row))
        self._page = page
        return segment, row - page.lo

    def _block(self, start: int, end: int) -> npt.NDArray[np.float64]:
        """A copy of the history columns of rows [start, end), end > start."""
        page = self._page
        if page is not None and page.lo <= start and end <= page.hi:
            segment = page.segment
            if segment is not None:
                bound = self._bound
                bound.feed.touched.append(page)  # type: ignore[union-attr]
                series = bound.series  # type: ignore[union-attr]
                if end - start > series.reach_rows:
                    series.reach_rows = end - start
                return segment.block[:, start - page.lo : end - page.lo].copy()
        binding = self._binding
        block = binding.feed.window(binding.series, start, end)
        self._cell(end - 1)
        return block

    def _passing_block(self, start: int, end: int) -> npt.NDArray[np.float64]:
        """Rows [start, end) for a computation that will not come back to them; not to be written to."""
        page = self._page
        if page is not None and page.lo <= start and end <= page.hi and (segment := page.segment) is not None:
            return segment.block[:, start - page.lo : end - page.lo]
        binding = self._binding
        return binding.feed.window(binding.series, start, end, passing=True)

    def _resident_until(self, row: int) -> int:
        """The end of the segment that holds the row before ``row``, if it is at hand."""
        page = self._page
        return page.hi if page is not None and page.lo < row <= page.hi and page.segment is not None else row

    def _time_ns(self, row: int) -> int:
        return self._binding.series.grid.time_ns(self._offset + row)

    def _column_between(self, name: str, start: int, end: int) -> npt.NDArray[Any]:
        series = self._binding.series
        pieces = []
        while start < end:
            segment, at = self._cell(start)
            piece = segment.column(series.layout, name)[at : at + end - start]
            pieces.append(piece)
            start += len(piece)
        return np.concatenate(pieces) if pieces else np.empty(0)

    def _index_between(self, start: int, end: int) -> pd.DatetimeIndex:
        binding = self._binding
        return binding.index.piece(self._offset + start, self._offset + end)

    @property
    def df(self) -> pd.DataFrame:
        """The whole repaired frame, as Lumibot keeps it. Outside the cap: see ``stats().eager``."""
        if self._bound is None:  # nothing has repaired it yet
            return self._stored(self)
        frame = self.__dict__.get("_whole")
        if frame is None:
            frame = self.__dict__["_whole"] = self._frame(0, self._binding.series.rows, whole=True)
            self._bound.feed.note_eager(
                self._info.label, "its whole frame was asked for", int(frame.memory_usage().sum())
            )
        return frame

    def _frame(self, start: int, end: int, *, whole: bool) -> pd.DataFrame:
        """Rows [start, end) with the history columns, or with all of them."""
        binding = self._binding
        index = self._index_between(start, end)
        if not whole:
            block = self._block(start, end) if end > start else np.empty((len(binding.series.layout.bars), 0))
            return binding.frames.frame(block, index)
        columns = {
            name: self._column_between(name, start, end).astype(dtype, copy=False)
            for name, dtype in binding.series.layout.frame
        }
        return pd.DataFrame(columns, index=index)

    # ---- what Data's own code asks its storage -----------------------------------------------

    def repair_times_and_fill(self, idx: Any) -> None:
        """Rows are repaired as they are read; there is nothing to do beforehand."""

    def get_iter_count(self, dt: Any) -> int:
        binding = self._binding
        return self._row(binding.instants.at(dt))

    def _row(self, instant: Instant) -> int:
        row = instant.exact - self._offset if self._exact else -1
        if 0 <= row < self._rows:
            return row
        return max(min(instant.ordinal - self._offset, self._rows - 1), -1)

    def _intraday_state_at(self, iter_count: Any, dt: Any) -> str | None:
        binding = self._binding
        return self._state(int(iter_count), binding.instants.at(dt))

    def _state(self, row: int, instant: Instant) -> str | None:
        if not self._length_ns or not 0 <= row < self._rows:
            return None
        ordinal = row + self._offset
        if ordinal == instant.ordinal:
            bar_ns = instant.bar_ns
            overtaken = instant.overtaken and row + 1 < self._rows
        else:
            grid = self._binding.series.grid
            bar_ns = grid.time_ns(ordinal)
            overtaken = row + 1 < self._rows and grid.time_ns(ordinal + 1) <= instant.ns
        if bar_ns > instant.ns or overtaken:
            return None
        return "closed" if bar_ns + self._length_ns <= instant.ns else "forming"

    def _get_bars_row_bounds(self, dt: Any, length: Any = 1, timeshift: Any = 0) -> tuple[int, int, int]:
        shift = timeshift if type(timeshift) is int else self._normalize_timeshift_to_rows(timeshift)
        instant = self._binding.instants.at(dt)
        row = self._row(instant)
        if not self._length_ns:
            end = row + 1 - shift
        else:
            end = row - shift
            if shift >= 0 and self._state(row, instant) == "closed":
                end += 1
        end = max(0, min(end, self._rows))
        start = max(0, end - int(length))
        if start >= end:
            start = max(0, end - 1)
        return start, end, shift

    def _span(self, when: Any, length: Any, timeshift: Any) -> Span | None:
        """The rows of a window, where they are those of every series that has them."""
        if type(length) is int and type(timeshift) is int:
            span = self._binding.instants.at(when).span(length, timeshift, self._length_ns)
            if self._offset <= span.low and span.high <= self._until:
                return span
        return None

    def _get_bars_frame_window(
        self, dt: Any, length: Any = 1, timeshift: Any = 0
    ) -> tuple[pd.DataFrame | None, int, int, int]:
        start, end, shift = self._get_bars_row_bounds(dt, length=length, timeshift=timeshift)
        return (self._frame(start, end, whole=False) if end > start else None), start, end, shift

    def _get_frame_between_dates(
        self, start_date: Any = None, end_date: Any = None, bars_only: bool = False
    ) -> pd.DataFrame:
        end = self.get_iter_count(end_date)
        start = max(self.get_iter_count(start_date), 0)
        # As a slice would: -1, before the first row, counts from the end.
        start, end, _ = slice(start, end).indices(self._rows)
        return self._frame(start, max(end, start), whole=not bars_only)

    def _validate_bars_request(
        self, dt: Any, length: Any = 1, timestep: Any = None, timeshift: Any = 0, **strict: Any
    ) -> bool:
        if self._bound is not None and type(length) in (int, float) and dt.tzinfo is not None:
            # For a request that reaches behind the first row Lumibot logs, at every call, a warning
            # with the bounds of the whole frame. The answer does not depend on it.
            known = self.get_iter_count(dt) + 1 - self._normalize_timeshift_to_rows(timeshift)
            length = max(min(length, known), 0)
        return bool(
            super()._validate_bars_request(
                dt, length=length, timestep=timestep, timeshift=timeshift, **strict
            )
        )

    # ---- the two calls of every bar --------------------------------------------------------------

    def native_frame(self, dt: Any, length: Any, timeshift: Any) -> pd.DataFrame | None:
        """What ``get_bars`` answers at the series' own timestep where no row needs mending."""
        span = self._span(dt, length, timeshift)
        bound, offset = self._binding, self._offset
        if span is not None:
            start, end, index = span.start - offset, span.end - offset, span.index
            if index is None:
                index = span.index = bound.index.piece(span.start, span.end)
        else:
            start, end, _ = self._get_bars_row_bounds(dt, length, timeshift)
            if end <= start:
                return None
            index = bound.index.piece(start + offset, end + offset)
        block = self._block(start, end)
        bound.feed.handed_out.pin(block)
        return bound.frames.frame(block, index)

    def resampled(self, dt: Any, length: Any, timestep: Any, timeshift: Any) -> Any:
        """(raw frame, frame with what ``Bars`` adds) of a coarser timestep; None for no bars.

        Returns NotImplemented where Lumibot's own code has to resample the rows.
        """
        recipe = self._resampler.recipe(timestep)
        if recipe is None or type(length) is not int or length < 1 or dt.tzinfo is None:
            return NotImplemented
        if type(timeshift) is not int and not isinstance(timeshift, datetime.timedelta):
            return NotImplemented
        return self._resampler.answer(recipe, dt, length, timeshift)

    def get_bars(self, dt: Any, length: Any = 1, timestep: Any = "minute", timeshift: Any = 0) -> Any:
        # Before it has its rows, where Lumibot's own code repairs it depends on the request.
        known = self._bound is not None
        answer = self.resampled(dt, length, timestep, timeshift) if known else NotImplemented
        if answer is NotImplemented:
            return super().get_bars(dt, length=length, timestep=timestep, timeshift=timeshift)
        # A slice, as Lumibot's is: ``Bars`` adds its columns to a copy of one, and keeps it as raw.
        return None if answer is None else answer[0].tail(len(answer[0]))

    def in_range(self, when: Any) -> bool:
        """Whether ``check_data`` has nothing to say of an instant: it lies within the series."""
        if self.strict_end_check or when.tzinfo is None:
            return False
        return self._start_ns <= self._bound.instants.at(when).ns <= self._end_ns  # type: ignore[union-attr]

    def price_at(self, when: Any) -> Any:
        """``get_last_price`` where nothing speaks against the short way; None where it has to be asked."""
        bound = self._bound
        if bound is None or not self._float_prices or self.strict_end_check:
            return None
        instant = bound.instants.at(when)
        if not self._start_ns <= instant.ns <= self._end_ns:
            return None
        row = self._row(instant)
        if row < 0:
            return None
        column = self._close_row
        if self._length_ns:
            state = self._state(row, instant)
            if state is None:
                return None
            if state == "forming":
                column = self._open_row
        segment, at = self._cell(row)
        return segment.block[column, at]

    def get_quote(self, dt: Any, length: Any = 1, timeshift: Any = 0) -> Any:
        bound = self._bound
        if (
            bound is None
            or not self._quote_presence_logged
            or length != 1
            or timeshift
            or not self.in_range(dt)
        ):
            # Also the way of the first quote, at which Lumibot logs which columns are not there.
            return super().get_quote(dt, length=length, timeshift=timeshift)
        instant = bound.instants.at(dt)
        row = self._row(instant)
        if row < 0:
            return super().get_quote(dt)
        segment, at = self._cell(row)
        layout = bound.series.layout
        quote = self._no_quote.copy()
        for name, column, digits, dtype in self._quoted:
            value = segment.column(layout, column)[at]
            if value.dtype != dtype:
                value = dtype.type(value)
            quote[name] = value if digits is None else round(value, digits)
        if self.timestep != "day" and self._state(row, instant) == "forming":
            now = quote["open"]
            if now == now:  # not NaN
                if quote["bid"] == quote["close"] and quote["ask"] == quote["close"]:
                    quote["bid"] = quote["ask"] = now
                quote["close"] = now
        quote["bar_timestamp"] = bound.index.moment(self._offset + row)
        quote["bar_timestep"] = self.timestep
        return quote
