"""What stands for the DataFrame that Lumibot's Yahoo source keeps of a symbol: measured, searched and
sliced as one, never held.

Lumibot dates all bars of a day of a US stock 16:00, and of a coin 23:59, minutes as well. Where bars share
a time by that, they are stored at their own, with Lumibot's in a column beside, and shown at Lumibot's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lazybars.adapters.frames import LabelMaker, frame_maker, label_maker
from lazybars.adapters.plain_frame import PlainFrame

__all__ = ["DATED", "YahooFrame"]

# The column with Lumibot's times, in microseconds since the epoch.
DATED = "dated"
# Lumibot's time of a bar is on the bar's own local day; some have 25 hours.
_A_DAY_NS = 26 * 3_600_000_000_000
_CHANGES = ("price_change", "dividend_yield", "return")


class YahooFrame:
    """The rows of a stored series with the manners of a DataFrame that Lumibot's code uses.

    Parameters
    ----------
    rows
        Stored, with the columns that Lumibot downloads.
    columns
        Name and dtype of each of them, in the order of the frame.
    unit, tz, name
        Resolution, zone and name of its index.
    """

    def __init__(self, rows: PlainFrame, columns: dict[str, str], *, unit: str, tz: Any, name: str) -> None:
        self._rows = rows
        self._name = name
        self._labels: LabelMaker | None = label_maker(unit, tz) if DATED in columns else None
        dtypes = {column: dtype for column, dtype in columns.items() if column != DATED}
        dtypes |= dict.fromkeys(_CHANGES, "float64")
        # In the block of a frame the floats come first.
        self._order = tuple(sorted(dtypes, key=lambda column: dtypes[column] != "float64"))
        self._make = frame_maker(tuple(dtypes), self._order, tuple(dtypes.items()))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self._order)

    @property
    def empty(self) -> bool:
        """Whether there is no row."""
        return not len(self)

    @property
    def iloc(self) -> _Slices:
        """Rows by a slice of their numbers."""
        return _Slices(self)

    @property
    def index(self) -> _Index:
        """Its ``values`` can be searched."""
        return _Index(self)

    def __getitem__(self, column: str) -> _Values:
        return _Values(self, column)

    def rows(self, start: int, end: int) -> pd.DataFrame:
        """``df.iloc[start:end]``, with what Lumibot computes from row to row of the whole frame."""
        start, end, _ = slice(start, end).indices(len(self))
        end = max(start, end)
        before = min(start, 1)
        columns, index = self._rows.arrays(start - before, end)
        if self._labels is not None:
            index = self._labels.labels(columns.pop(DATED) * 1000, None).rename(self._name)
        close = columns["close"]
        with np.errstate(all="ignore"):
            shifted = np.concatenate(([np.nan], close[:-1])) if len(close) else close
            columns["price_change"] = close / shifted - 1
            columns["dividend_yield"] = columns["dividend"] / close
            columns["return"] = columns["dividend_yield"] + columns["price_change"]
        block = np.empty((len(self._order), end - start))
        for row, name in enumerate(self._order):
            block[row] = columns[name][before:]
        self._rows.pin(block)
        return self._make.frame(block, index[before:])

    def column(self, name: str, start: int, end: int) -> npt.NDArray[Any]:
        """The values of a stored column in the rows [start, end)."""
        return self._rows.arrays(start, end)[0][name]

    def count_before(self, ns: int) -> int:
        """How many rows are dated before an instant."""
        if self._labels is None:
            return self._rows.count_until(ns, inclusive=False)
        first = self._rows.count_until(ns - _A_DAY_NS, inclusive=False)
        last = self._rows.count_until(ns + _A_DAY_NS)
        dated = self.column(DATED, first, last)
        return first + int(dated.searchsorted(-(-ns // 1000)))


class _Slices:
    """``iloc``."""

    def __init__(self, frame: YahooFrame) -> None:
        self._frame = frame

    def __getitem__(self, rows: slice) -> pd.DataFrame:
        return self._frame.rows(rows.start, rows.stop)


class _Index:
    """``index``, and its ``values``."""

    def __init__(self, frame: YahooFrame) -> None:
        self._frame = frame

    @property
    def values(self) -> _Index:
        return self

    def searchsorted(self, when: np.datetime64, side: str = "left") -> int:
        """The number of rows before ``when``, a time of UTC."""
        assert side == "left", "Lumibot's code asks for nothing else"
        return self._frame.count_before(int(when.astype("M8[ns]").astype(np.int64)))


class _Values:
    """One column, value by value; as an array or by ``iat``."""

    def __init__(self, frame: YahooFrame, column: str) -> None:
        self._frame = frame
        self._column = column

    @property
    def iat(self) -> _Values:
        return self

    def __getitem__(self, row: int) -> Any:
        rows = len(self._frame)
        at = row + rows if row < 0 else row
        if not 0 <= at < rows:
            raise IndexError(f"index {row} is out of bounds for axis 0 with size {rows}")
        return self._frame.column(self._column, at, at + 1)[0]
