"""One column of a lazy series, read where it is indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lazybars.adapters.lumibot_data import LazyData

__all__ = ["LazyColumn"]


class LazyColumn:
    """One column of all rows, read where it is indexed; stands in for an array in a ``Dataline``."""

    def __init__(self, data: LazyData, name: str, dtype: np.dtype[Any] | None) -> None:
        self._data = data
        self._name = name
        self._dtype = dtype

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype or np.dtype(object)

    def __len__(self) -> int:
        return self._data._rows

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            start, end, step = key.indices(len(self))
            if step == 1:
                return self._values(start, max(end, start))
            return self._values(0, len(self))[key]
        row = int(key)
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(f"index {key} is out of bounds for axis 0 with size {len(self)}")
        if self._dtype is None:
            return self._data._index_between(row, row + 1)[0]
        segment, at = self._data._cell(row)
        value = segment.column(self._data._binding.series.layout, self._name)[at]
        return value if value.dtype == self._dtype else self._dtype.type(value)

    def __iter__(self) -> Any:
        return iter(self[:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = np.asarray(self[:], dtype=dtype)
        return values

    def _values(self, start: int, end: int) -> npt.NDArray[Any]:
        if self._dtype is None:
            stamps: npt.NDArray[Any] = self._data._index_between(start, end).to_numpy()
            return stamps
        return self._data._column_between(self._name, start, end).astype(self._dtype, copy=False)
