"""A ``Data`` of bars that were downloaded: the rows of a store, repaired where they stand."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from lazybars.adapters.lumibot_data import LazyData

__all__ = ["Downloaded", "glimpses", "with_columns"]

_asking = threading.local()


@contextmanager
def glimpses() -> Iterator[None]:
    """Inside, in this thread, ``df`` of what was downloaded shows the first row's index and nothing else.

    For Lumibot's loaders, which look there how far back they have loaded; the frame itself would be
    the whole series.
    """
    before = getattr(_asking, "glimpse", False)
    _asking.glimpse = True
    try:
        yield
    finally:
        _asking.glimpse = before


class Downloaded(LazyData):
    """A ``LazyData`` that stands alone, without a universe.

    source_columns : those of the source's frame, in its order. Where one is not stored it holds None in
        every row, and is shown where whole frames are.
    """

    source_columns: tuple[str, ...] = ()

    def show(self, attributes: Mapping[str, Any]) -> None:
        """Take up the attributes of another, longer or shorter, stretch of the same series."""
        self.__dict__.update(attributes)
        self.__dict__.pop("_first", None)

    @property
    def df(self) -> pd.DataFrame:
        """As in `LazyData`; its first row's index alone for a loader that looks how far back it goes."""
        if not getattr(_asking, "glimpse", False):
            return super().df
        first: pd.DataFrame | None = self.__dict__.get("_first")
        if first is None:
            # As an object: it is looked at in every call, and made a Timestamp once.
            first = self.__dict__["_first"] = pd.DataFrame(index=self._index_between(0, 1).astype(object))
        return first

    def _frame(self, start: int, end: int, *, whole: bool) -> pd.DataFrame:
        frame = super()._frame(start, end, whole=whole)
        return with_columns(frame, self.source_columns) if whole else frame


def with_columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The frame with all of these columns in front, in this order: None where it has none of them."""
    for at, name in enumerate(names):
        if name not in frame.columns:
            frame.insert(at, name, np.full(len(frame), None, dtype=object))
    return frame
