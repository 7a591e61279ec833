"""Rows of a store where a source keeps a DataFrame of its own: sliced and searched, never held."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lazybars.adapters.frames import LabelMaker, frame_maker
from lazybars.feed import Feed
from lazybars.rows import ROW_TIMES, PlainRows

__all__ = ["PlainFrame"]


class PlainFrame:
    """The stored rows of one series; made by ``GrowingRun.frame``, which moves it where it grows.

    What it gives are frames of their own: the columns, dtypes, index unit and order that were stored.
    Safe from several threads, each of which sees the rows as they were when it asked.
    """

    def __init__(self) -> None:
        self._at: tuple[Feed, PlainRows, LabelMaker] | None = None
        self._name: str | None = None
        # How often it was moved: what was found out about its rows before may have changed.
        self.moves = 0

    def _attach(self, feed: Feed, series: PlainRows, labels: LabelMaker, name: str | None) -> None:
        self._at = feed, series, labels
        self._name = name
        self.moves += 1

    def _where(self) -> tuple[Feed, PlainRows, LabelMaker]:
        assert self._at is not None, "placed as it is made"
        return self._at

    def __len__(self) -> int:
        return self._where()[1].rows

    @property
    def columns(self) -> list[str]:
        """Names in the order of the frames."""
        return [column.name for column in self._where()[1].info.columns]

    def count_until(self, ns: int, *, inclusive: bool = True) -> int:
        """How many rows lie at or before (or, not inclusive, before) an instant in ns.

        ``df.index.searchsorted(when, side="right")``, or ``side="left"``.
        """
        grid = self._where()[1].rows_grid
        return grid.at_or_before(ns) + 1 if inclusive else grid.at_or_after(ns)

    def rows(self, start: int, end: int, *, passing: bool = False) -> pd.DataFrame:
        """``df.iloc[start:end]``, negative and out of range numbers as there.

        Parameters
        ----------
        passing
            The rows are read once: they do not tell of a lookback.
        """
        feed, series, labels = self._where()
        start, end, _ = slice(start, end).indices(len(self))
        end = max(start, end)
        if start == end or series.others:
            columns, index = self.arrays(start, end, passing=passing)
            self.pin(next(iter(columns.values())))
            return pd.DataFrame(columns, index=index)
        floats = tuple(column.name for column in series.info.columns)
        maker = frame_maker(floats, floats, tuple((name, "float64") for name in floats))
        block = feed.window(series, start, end, passing=passing)
        feed.handed_out.pin(block)
        times_ns = series.rows_grid.times_ns(start, end)
        return maker.frame(block, labels.labels(times_ns, None).rename(self._name))

    def pin(self, values: npt.NDArray[Any]) -> None:
        """Remember an array that is handed out, to count it for as long as it lives."""
        self._where()[0].handed_out.pin(values)

    def value(self, row: int, name: str) -> Any:
        """One number of a row that exists: ``df[name].iloc[row]``."""
        feed, series, _ = self._where()
        series.reach_rows = max(series.reach_rows, 1)
        part = series.part_of(row)
        past = row - series.span(part)[0]
        _, segment = feed.page(series, part)
        if name in series.others:
            return segment.extras[name][past]
        return segment.block[series.floats.index(name), past]

    def arrays(
        self, start: int, end: int, *, passing: bool = False
    ) -> tuple[dict[str, npt.NDArray[Any]], pd.DatetimeIndex]:
        """The columns of the rows [start, end), which exist, as arrays of the caller's; and their index."""
        feed, series, labels = self._where()
        names = [column.name for column in series.info.columns]
        if start >= end:
            none = {name: np.empty(0, dtype=series.others.get(name, "float64")) for name in names}
            return none, labels.labels(np.empty(0, dtype=np.int64), None).rename(self._name)
        if not passing:
            series.reach_rows = max(series.reach_rows, end - start)
        pieces: dict[str, list[Any]] = {name: [] for name in [*names, ROW_TIMES]}
        for part in range(series.part_of(start), series.part_of(end - 1) + 1):
            lo, hi = series.span(part)
            if lo == hi:
                continue
            _, segment = feed.page(series, part, passing=passing)
            a, b = max(start - lo, 0), min(end, hi) - lo
            for row, name in enumerate(series.floats):
                pieces[name].append(segment.block[row, a:b])
            for name in [*series.others, ROW_TIMES]:
                pieces[name].append(segment.extras[name][a:b])
        columns = {name: np.concatenate(values) for name, values in pieces.items()}
        index = labels.labels(columns.pop(ROW_TIMES), None).rename(self._name)
        return columns, index

    def tail_until(self, ns: int, rows: int, *, inclusive: bool = True) -> pd.DataFrame:
        """``df[df.index <= when].tail(rows)``, or ``<`` where not inclusive."""
        end = self.count_until(ns, inclusive=inclusive)
        return self.rows(max(end - rows, 0), end)
