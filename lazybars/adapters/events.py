"""Corporate actions of a daily series: the few rows that have one, instead of all rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd

from lazybars.layout import EVENTS

__all__ = ["WithEvents"]


class WithEvents:
    """Mixed into ``LazyData``; what it needs of it is declared here."""

    _binding: Any
    _column_between: Any

    def events(self) -> pd.DataFrame:
        """The rows of a daily series that bear a dividend or a split, and the last row."""
        events = self.__dict__.get("_events")
        if events is None:
            events = self.__dict__["_events"] = self._find_events()
        return events

    def event_dates(self) -> frozenset[dt.date]:
        """The dates of :meth:`events`."""
        dates = self.__dict__.get("_event_dates")
        if dates is None:
            dates = self.__dict__["_event_dates"] = frozenset(when.date() for when in self.events().index)
        return dates

    def _find_events(self) -> pd.DataFrame:
        binding = self._binding
        series = binding.series
        names = [name for name, _ in series.layout.frame if name in (*EVENTS, "_split_adjusted")]
        columns = {name: self._column_between(name, 0, series.rows) for name in names}
        bears = np.zeros(series.rows, dtype=np.bool_)
        bears[-1:] = True
        for values in columns.values():
            bears |= values.astype(np.bool_)
        rows = np.flatnonzero(bears)
        dtypes = dict(series.layout.frame)
        index = binding.index.of(series.grid.times_ns(series.offset, series.offset + series.rows)[rows])
        return pd.DataFrame(
            {name: values[rows].astype(dtypes[name]) for name, values in columns.items()}, index=index
        )
