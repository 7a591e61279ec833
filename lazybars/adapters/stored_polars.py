"""A polars DataFrame whose rows lie in the store, and Lumibot's ``DataPolars`` around it.

Lumibot's code for such a source slices and searches the frame that it holds of an asset, and reads its ends.
That is done here from the ring; for all else the frame is made of all its rows, and not kept.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from lumibot.entities.data_polars import DataPolars

from lazybars.adapters.plain_frame import PlainFrame
from lazybars.errors import BadInput

__all__ = ["Piece", "StoredPolars", "StoredRows", "StoredTimes"]


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of one series from ``first_ns`` to ``last_ns``, both included."""

    frame: PlainFrame
    first_ns: int
    last_ns: int


class StoredRows:
    """Rows of some series, one after another, as one ``pl.DataFrame`` with a column "datetime" of UTC.

    For one thread; the series may grow, and be moved, while it stands.

    Parameters
    ----------
    pieces
        At least one, each of them later than the one before; together they have a row.

    Raises
    ------
    BadInput
        They overlap, or have other columns than each other.
    """

    def __init__(self, pieces: list[Piece]) -> None:
        for one, next_one in pairwise(pieces):
            if one.last_ns >= next_one.first_ns:
                raise BadInput("contracts of one frame overlap in time")
            if one.frame.columns != next_one.frame.columns:
                raise BadInput("contracts of one frame have different columns")
        self._pieces = pieces
        self._begins_ns = [piece.first_ns for piece in pieces]
        self._moves = -1
        # By piece: its first row in its series; and how many rows lie before it, then in all.
        self._firsts: list[int] = []
        self._starts: list[int] = [0]
        self.ends = self._made(0, 1)
        if self.height > 1:
            self.ends = pl.concat([self.ends, self._made(self.height - 1, self.height)])

    # ---- where its rows are ------------------------------------------------------------------------

    def _laid_out(self) -> list[int]:
        moves = sum(piece.frame.moves for piece in self._pieces)
        if moves != self._moves:
            self._firsts, self._starts = [], [0]
            for piece in self._pieces:
                first = piece.frame.count_until(piece.first_ns, inclusive=False)
                rows = piece.frame.count_until(piece.last_ns) - first
                self._firsts.append(first)
                self._starts.append(self._starts[-1] + rows)
            self._moves = moves
        return self._starts

    def count_until(self, ns: int, *, inclusive: bool) -> int:
        """How many rows lie at or before (or, not inclusive, before) an instant."""
        starts = self._laid_out()
        at = bisect_right(self._begins_ns, ns) - 1
        if at < 0:
            return 0
        past = self._pieces[at].frame.count_until(ns, inclusive=inclusive) - self._firsts[at]
        return min(starts[at] + past, starts[at + 1])

    def value(self, row: int, name: str) -> Any:
        """One number of a row, as polars gives it."""
        starts = self._laid_out()
        at = bisect_right(starts, row) - 1
        found = self._pieces[at].frame.value(self._firsts[at] + row - starts[at], name).item()
        return None if found != found else found

    def _made(self, start: int, end: int) -> pl.DataFrame:
        """The rows [start, end), which exist."""
        starts = self._laid_out()
        made = []
        for at in range(bisect_right(starts, start) - 1, len(self._pieces)):
            lo, hi = max(start, starts[at]), min(end, starts[at + 1])
            if lo >= end:
                break
            if lo < hi:
                past = self._firsts[at] - starts[at]
                made.append(_polars(self._pieces[at].frame, lo + past, hi + past))
        return made[0] if len(made) == 1 else pl.concat(made, rechunk=True)

    # ---- what Lumibot asks of a pl.DataFrame ----------------------------------------------------------

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return pl.DataFrame

    @property
    def height(self) -> int:
        return self._laid_out()[-1]

    @property
    def columns(self) -> list[str]:
        return self.ends.columns

    @property
    def schema(self) -> Any:
        return self.ends.schema

    def __len__(self) -> int:
        return self.height

    def is_empty(self) -> bool:
        return False

    def slice(self, offset: int, length: int | None = None) -> pl.DataFrame:
        """Rows from a number on, or from that many before the end; as polars has it."""
        height = self.height
        start = max(offset + height, 0) if offset < 0 else min(offset, height)
        end = height if length is None else min(start + length, height)
        return self._made(start, end) if start < end else self.ends.clear()

    def row(self, index: Any = None, *args: Any, **kwargs: Any) -> Any:
        """One row; the first, which stands for all in quotes, without looking."""
        if index == 0:
            return self.ends.row(0, *args, **kwargs)
        return self.whole().row(index, *args, **kwargs)

    def estimated_size(self, unit: Any = "b") -> Any:
        """What the rows would take in RAM: Lumibot lets go of series by it."""
        if unit not in ("b", "bytes"):
            return self.whole().estimated_size(unit)
        return self.ends.head(1).rechunk().estimated_size() * self.height

    def __getitem__(self, key: Any) -> Any:
        return StoredColumn(self, key) if isinstance(key, str) else self.whole()[key]

    def whole(self) -> pl.DataFrame:
        """All rows, in RAM."""
        return self._made(0, self.height)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(pl.DataFrame, name):
            raise AttributeError(f"'DataFrame' object has no attribute {name!r}")
        return getattr(self.whole(), name)


class StoredColumn:
    """One column of `StoredRows`, as a ``pl.Series``."""

    def __init__(self, rows: StoredRows, name: str) -> None:
        self._rows = rows
        self._name = name
        rows.ends[name]  # raises polars' own error where there is no such column

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return pl.Series

    @property
    def dtype(self) -> Any:
        return self._rows.ends.schema[self._name]

    def __len__(self) -> int:
        return self._rows.height

    def __getitem__(self, key: Any) -> Any:
        height = self._rows.height
        if isinstance(key, (int, np.integer)) and -height <= key < height:
            row = int(key) % height
            if self._name == "datetime":
                return self._rows.slice(row, 1)[self._name][0]
            return self._rows.value(row, self._name)
        return self._whole()[key]

    def min(self) -> Any:
        """The smallest value; of times, which ascend, the first."""
        return self._rows.ends[self._name][0] if self._name == "datetime" else self._whole().min()

    def max(self) -> Any:
        """The largest value; of times, which ascend, the last."""
        return self._rows.ends[self._name][-1] if self._name == "datetime" else self._whole().max()

    def _whole(self) -> pl.Series:
        return self._rows.whole()[self._name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(pl.Series, name):
            raise AttributeError(f"'Series' object has no attribute {name!r}")
        return getattr(self._whole(), name)


class StoredTimes:
    """The rows' times in ns as Lumibot searches them: ``np.searchsorted(times, ns, side)``."""

    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows.height

    def searchsorted(self, ns: int, side: str = "left", sorter: None = None) -> int:
        """What NumPy calls."""
        return self._rows.count_until(int(ns), inclusive=side == "right")


class StoredPolars(DataPolars):
    """A ``DataPolars`` of stored rows: all that Lumibot tells of one is told by its first and last row."""

    def __init__(self, asset: Any, rows: StoredRows, timestep: str, quote: Any) -> None:
        super().__init__(asset, df=rows.ends, timestep=timestep, quote=quote)
        self.polars_df = rows

    @property
    def df(self) -> pd.DataFrame:
        """All rows as pandas has them, in RAM; another frame each time."""
        found: pd.DataFrame = super().df
        self._pandas_df = None
        return found


def _polars(frame: PlainFrame, start: int, end: int) -> pl.DataFrame:
    columns, index = frame.arrays(start, end)
    times = pl.Series("datetime", index.as_unit("ns").asi8).cast(pl.Datetime("ns", "UTC"))
    frame.pin(next(iter(columns.values())))
    return pl.DataFrame(
        [times, *(pl.Series(name, values, nan_to_null=True) for name, values in columns.items())]
    )
