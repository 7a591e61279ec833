"""DataFrames from blocks, in a few microseconds.

``pandas.DataFrame(...)`` takes 15 us for a window of 60 bars, four times what all else costs
together. A frame is put together here from the same parts that pandas would arrive at (one block a
dtype, an index that shares its memory with its neighbours); `FrameMaker` compares its first frame
with the public constructor's and uses that one where a newer pandas differs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lazybars.grid import Grid, Int64s
from lazybars.layout import Layout

__all__ = ["FrameMaker", "IndexMaker", "LabelMaker", "frame_maker", "label_maker", "set_freq"]

Float64s = npt.NDArray[np.float64]

_SAMPLE_NS = 1_704_205_800_000_000_000 + 60_000_000_000 * np.arange(2, dtype=np.int64)

try:
    from pandas._libs.internals import BlockPlacement
    from pandas.core.arrays import DatetimeArray
    from pandas.core.internals.blocks import new_block_2d
    from pandas.core.internals.managers import BlockManager
except ImportError:  # a pandas whose internals have moved: the public constructor serves
    BlockManager = None


def set_freq(index: pd.DatetimeIndex, freq: Any) -> None:
    """Give an index the frequency that Lumibot's has.

    pandas keeps a frequency through a change of zone, where it may not fit any more (midnights of
    UTC, days of the week), but would not let anyone set it there.
    """
    try:
        index.freq = freq
    except ValueError:
        index._data._freq = freq


class LabelMaker:
    """DatetimeIndexes of one resolution, zone and frequency, of any instants; keeps none of them.

    Parameters
    ----------
    unit, tz, freq
        Resolution, zone and frequency that Lumibot's index has.
    """

    def __init__(self, unit: str, tz: Any, freq: Any) -> None:
        self._unit = unit
        self._dtype = pd.DatetimeTZDtype(unit, tz)
        self._freq = freq
        self._make = self._assemble if self._trusted() else self._construct

    @property
    def unit(self) -> str:
        return self._unit

    @property
    def dtype(self) -> pd.DatetimeTZDtype:
        return self._dtype

    def like(self, other: LabelMaker) -> bool:
        """Whether another one makes the same index of the same instants."""
        return bool(self._dtype == other._dtype and self._freq == other._freq)

    def labels(self, times_ns: Int64s, freq: Any) -> pd.DatetimeIndex:
        """An index of resampled labels, or of any instants that belong to nobody's grid."""
        return self._make(times_ns, freq)

    def of(self, times_ns: Int64s) -> pd.DatetimeIndex:
        """An index of any instants, without a frequency."""
        values = times_ns.view("M8[ns]").astype(f"M8[{self._unit}]")
        return pd.DatetimeIndex(values, tz="UTC", name="datetime").tz_convert(self._dtype.tz)

    def _construct(self, times_ns: Int64s, freq: Any) -> pd.DatetimeIndex:
        index = self.of(times_ns)
        set_freq(index, freq)
        return index

    def _assemble(self, times_ns: Int64s, freq: Any) -> pd.DatetimeIndex:
        # A copy: a frame that the strategy keeps must not hold on to the grid's array.
        values = times_ns.copy().view("M8[ns]")
        if self._unit != "ns":
            values = values.astype(f"M8[{self._unit}]")
        return pd.DatetimeIndex._simple_new(
            DatetimeArray._simple_new(values, freq=freq, dtype=self._dtype), name="datetime"
        )

    def _trusted(self) -> bool:
        """Try assembly against the public constructor."""
        try:
            made = self._assemble(_SAMPLE_NS, None)
            pd.testing.assert_index_equal(made, self._construct(_SAMPLE_NS, None), exact=True)
            return bool(made.dtype == self._dtype)
        except (AssertionError, AttributeError, TypeError, ValueError):
            return False


@cache
def label_maker(unit: str, tz: Any) -> LabelMaker:
    """One `LabelMaker` without a frequency for all series of a zone: trying one takes milliseconds."""
    return LabelMaker(unit, tz, None)


class IndexMaker(LabelMaker):
    """DatetimeIndex pieces of one grid.

    All assets of a universe ask for the same rows at the same tick, so the pieces of the last few
    ticks are kept; what is handed out is a view object of its own, because pandas lets callers set
    an index's name in place.

    Parameters
    ----------
    unit, tz, freq
        As in `LabelMaker`.
    """

    def __init__(self, grid: Grid, unit: str, tz: Any, freq: Any) -> None:
        super().__init__(unit, tz, freq)
        self._grid = grid
        self._pieces: dict[tuple[int, int], pd.DatetimeIndex] = {}
        self._moment: tuple[int, dt.datetime] | None = None

    def piece(self, start: int, end: int) -> pd.DatetimeIndex:
        """The index of the ordinals [start, end)."""
        piece = self._pieces.get((start, end))
        if piece is None:
            piece = self._make(self._grid.times_ns(start, end), self._freq)
            if len(self._pieces) >= 32:
                self._pieces.clear()
            self._pieces[start, end] = piece
        return piece._view()

    def moment(self, ordinal: int) -> dt.datetime:
        """One instant, as Lumibot hands it out with a quote; all assets of a tick ask for the same."""
        known = self._moment
        if known is None or known[0] != ordinal:
            self._moment = known = ordinal, self.piece(ordinal, ordinal + 1)[0].to_pydatetime()
        return known[1]

    def whole(self) -> pd.DatetimeIndex:
        """The index of all ordinals; not kept."""
        return self._construct(self._grid.times_ns(0, self._grid.rows), self._freq)


class FrameMaker:
    """Frames of some columns from a block.

    Parameters
    ----------
    columns
        Names in the order of the frame.
    order
        The same names in the order of the block's rows: those whose dtype is float64 come first.
    dtypes
        Name -> dtype to show; other dtypes are cast from the block's float64, exactly.
    """

    def __init__(self, columns: Sequence[str], order: Sequence[str], dtypes: Mapping[str, str]) -> None:
        self._floats = sum(dtypes[name] == "float64" for name in order)
        self._casts = [np.dtype(dtypes[name]) for name in order[self._floats :]]
        self._columns = pd.Index(list(columns), dtype=object)
        self._places = [list(columns).index(name) for name in order]
        self._make = self._assemble if self._trusted() else self._construct

    @staticmethod
    def of_layout(layout: Layout) -> FrameMaker:
        """Frames of a segment's history columns."""
        dtypes = dict(layout.frame)
        return frame_maker(
            layout.bars, tuple(layout.rows), tuple((name, dtypes[name]) for name in layout.bars)
        )

    def frame(self, block: Float64s, index: pd.DatetimeIndex) -> pd.DataFrame:
        """A frame that owns ``block``, of shape (columns, rows) in ``order``, and a view of the index."""
        return self._make(block, index._view())

    def _construct(self, block: Float64s, index: pd.DatetimeIndex) -> pd.DataFrame:
        columns: list[Any] = [None] * len(self._places)
        for row, place in enumerate(self._places):
            values = block[row]
            columns[place] = values if row < self._floats else values.astype(self._casts[row - self._floats])
        frame = pd.DataFrame(dict(enumerate(columns)), index=index)
        frame.columns = self._columns
        return frame

    def _assemble(self, block: Float64s, index: pd.DatetimeIndex) -> pd.DataFrame:
        blocks = [self._float_type(block[: self._floats], placement=self._float_place, ndim=2)]
        row = self._floats
        for block_type, place, dtype in self._cast_blocks:
            blocks.append(block_type(block[row : row + 1].astype(dtype), placement=place, ndim=2))
            row += 1
        # Without its __init__, which has nothing to do but to be called.
        manager = BlockManager.__new__(
            BlockManager, tuple(blocks), [self._columns, index], verify_integrity=False
        )
        return pd.DataFrame._from_mgr(manager, axes=manager.axes)

    def _trusted(self) -> bool:
        """Prepare assembly, and try it against the public constructor."""
        single_out_of_order = not self._casts and self._places != sorted(self._places)
        # pandas takes the one block of a frame that has no other to be in the frame's order.
        if BlockManager is None or not self._floats or single_out_of_order:
            return False
        block = np.arange(2.0 * len(self._places)).reshape(len(self._places), 2)
        index = pd.date_range("2024-01-01", periods=2, tz="America/New_York", name="datetime")
        try:
            self._float_place = BlockPlacement(self._places[: self._floats])
            self._float_type = type(new_block_2d(block[: self._floats], placement=self._float_place))
            self._cast_blocks = []
            for place, dtype in zip(self._places[self._floats :], self._casts, strict=True):
                where = BlockPlacement(slice(place, place + 1))
                sample = new_block_2d(block[:1].astype(dtype), placement=where)
                self._cast_blocks.append((type(sample), where, dtype))
            made, plain = self._assemble(block.copy(), index), self._construct(block, index)
            pd.testing.assert_frame_equal(made, plain)
            if not np.array_equal(made.to_numpy(), plain.to_numpy()):
                return False
        except (AssertionError, AttributeError, TypeError, ValueError):
            return False
        return True


@cache
def frame_maker(
    columns: tuple[str, ...], order: tuple[str, ...], dtypes: tuple[tuple[str, str], ...]
) -> FrameMaker:
    """One `FrameMaker` for all series with the same columns: making and trying one takes milliseconds."""
    return FrameMaker(columns, order, dict(dtypes))
