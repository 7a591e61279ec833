"""Rows of a store where a source keeps a DataFrame of its own: sliced and searched, never held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lazybars.adapters.frames import IndexMaker, frame_maker
from lazybars.feed import Feed
from lazybars.rows import PlainRows

__all__ = ["PlainFrame"]


class PlainFrame:
    """The stored rows of one series; made by ``GrowingRun.frame``, which moves it where it grows.

    What it gives are frames of their own: the columns, dtypes, index unit and order that were stored.
    Safe from several threads, each of which sees the rows as they were when it asked.
    """

    def __init__(self) -> None:
        self._at: tuple[Feed, PlainRows, IndexMaker] | None = None
        self._name: str | None = None

    def _attach(self, feed: Feed, series: PlainRows, index: IndexMaker, name: str | None) -> None:
        self._at = feed, series, index
        self._name = name

    def _where(self) -> tuple[Feed, PlainRows, IndexMaker]:
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
        feed, series, index = self._where()
        start, end, _ = slice(start, end).indices(series.rows)
        end = max(start, end)
        names = [column.name for column in series.info.columns]
        if start == end:
            columns: dict[str, Any] = {
                name: np.empty(0, dtype=series.others.get(name, "float64")) for name in names
            }
            return pd.DataFrame(columns, index=index.piece(0, 0).rename(self._name))
        label = index.piece(start, end).rename(self._name)
        if not series.others:
            floats = tuple(names)
            maker = frame_maker(floats, floats, tuple((name, "float64") for name in floats))
            block = feed.window(series, start, end, passing=passing)
            feed.handed_out.pin(block)
            return maker.frame(block, label)
        if not passing:
            series.reach_rows = max(series.reach_rows, end - start)
        pieces: dict[str, list[Any]] = {name: [] for name in names}
        for part in range(series.part_of(start), series.part_of(end - 1) + 1):
            lo, hi = series.span(part)
            if lo == hi:
                continue
            _, segment = feed.page(series, part, passing=passing)
            a, b = max(start - lo, 0), min(end, hi) - lo
            for row, name in enumerate(series.floats):
                pieces[name].append(segment.block[row, a:b])
            for name in series.others:
                pieces[name].append(segment.extras[name][a:b])
        columns = {name: np.concatenate(pieces[name]) for name in names}
        frame = pd.DataFrame(columns, index=label)
        feed.handed_out.pin(columns[names[0]])
        return frame

    def tail_until(self, ns: int, rows: int, *, inclusive: bool = True) -> pd.DataFrame:
        """``df[df.index <= when].tail(rows)``, or ``<`` where not inclusive."""
        end = self.count_until(ns, inclusive=inclusive)
        return self.rows(max(end - rows, 0), end)
