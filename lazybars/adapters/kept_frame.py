"""What stands in a source's own store for a DataFrame: measured and sliced as one, never held."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd

from lazybars.adapters.instants import exact_ns
from lazybars.adapters.plain_frame import PlainFrame

__all__ = ["KeptFrame"]

# Rows that are resampled together.
_RESAMPLED_ROWS = 20_000
_BARS = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


class _Dates:
    """``index.date``."""

    def __init__(self, frame: PlainFrame, tz: Any) -> None:
        self._frame = frame
        self._tz = tz

    def searchsorted(self, date: dt.date, side: str = "left") -> int:
        """Rows of days before ``date``, or by it (``side="right"``)."""
        day = date + dt.timedelta(days=1) if side == "right" else date
        midnight = pd.Timestamp(day).tz_localize(self._tz, ambiguous=True, nonexistent="shift_forward")
        return self._frame.count_until(exact_ns(midnight, self._tz), inclusive=False)


class _Index:
    """``index``."""

    def __init__(self, frame: PlainFrame, tz: Any) -> None:
        self._frame = frame
        self._tz = tz

    @property
    def date(self) -> _Dates:
        return _Dates(self._frame, self._tz)

    def searchsorted(self, when: dt.datetime, side: str = "left") -> int:
        """Rows before ``when``, or by it (``side="right"``)."""
        return self._frame.count_until(exact_ns(when, self._tz), inclusive=side == "right")


class _Rows:
    """``iloc``."""

    def __init__(self, frame: PlainFrame) -> None:
        self._frame = frame

    def __getitem__(self, rows: slice | list[int]) -> pd.DataFrame:
        if isinstance(rows, slice):
            start, end, _ = rows.indices(len(self._frame))
            return self._frame.rows(start, end)
        (row,) = rows
        return self._frame.rows(row, row + 1)


class KeptFrame:
    """Rows of a store with the manners of a DataFrame that Lumibot's code uses.

    Whatever else is asked of it, as a user's subclass may, is asked of a frame of all rows.

    tz : the zone of its index.
    """

    def __init__(self, tz: Any) -> None:
        self._tz = tz
        self._frame = PlainFrame()
        self._bins: dict[str, pd.DataFrame] = {}

    def show(self, frame: PlainFrame) -> None:
        """Have these rows from now on."""
        self._frame = frame
        self._bins = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.whole(), name)

    def __getitem__(self, key: Any) -> Any:
        return self.whole()[key]

    def __len__(self) -> int:
        return len(self._frame)

    @property
    def empty(self) -> bool:
        """Whether there is no row."""
        return not len(self._frame)

    @property
    def iloc(self) -> _Rows:
        """Rows by number: a slice of them, or a list of one."""
        return _Rows(self._frame)

    @property
    def index(self) -> _Index:
        """To be searched."""
        return _Index(self._frame, self._tz)

    def whole(self) -> pd.DataFrame:
        """All rows, as a frame of the caller's."""
        return self._frame.rows(0, len(self._frame), passing=True)

    def resampled(self, rule: str) -> pd.DataFrame:
        """What ``resample(rule)`` and the bars' own aggregates make of all rows; held until they grow."""
        found = self._bins.get(rule)
        if found is None:
            found = self._bins[rule] = self._resample(rule) if len(self._frame) else self.whole()
        return found

    def _resample(self, rule: str) -> pd.DataFrame:
        """Read piece by piece. Bins without a price are left out."""
        if rule.endswith("D"):
            # Bins of days are counted in local time; so few rows need no pieces.
            return _bars_of(self.whole(), rule, "start_day")
        rows, step = len(self._frame), pd.Timedelta(rule)
        origin = self._frame.rows(0, 1).index[0].normalize()
        pieces, start = [], 0
        while start < rows:
            end = min(start + _RESAMPLED_ROWS, rows)
            last = self._frame.rows(end - 1, end).index[0]
            # Up to the end of the bin that the last row lies in.
            edge = origin + ((last - origin) // step + 1) * step
            end = self._frame.count_until(exact_ns(edge, self._tz), inclusive=False)
            pieces.append(_bars_of(self._frame.rows(start, end, passing=True), rule, origin))
            start = end
        return pd.concat(pieces)


def _bars_of(frame: pd.DataFrame, rule: str, origin: Any) -> pd.DataFrame:
    bins = frame.resample(rule, label="left", closed="left", origin=origin)
    found: pd.DataFrame = bins.agg({name: how for name, how in _BARS.items() if name in frame.columns})
    return found.dropna(subset=[name for name in found.columns if name != "volume"], how="any")
