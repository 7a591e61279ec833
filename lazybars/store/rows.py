"""Where an engine has its bars: in one table of its file, unless it says otherwise.

What reads bars asks for what to put after FROM, and names the series and the time that it means; what
writes them says beforehand which of those that are there it will look at or replace.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import duckdb

from lazybars.store.gate import Gate

if TYPE_CHECKING:
    from lazybars.store.catalog import Entry

__all__ = ["Rows"]

_TABLE = "bars"


class Rows(Gate):
    """All bars in the table ``bars``; how a file is compacted is its own business."""

    def bars(
        self, first_id: int, last_id: int, start_us: int | None, end_us: int | None
    ) -> AbstractContextManager[str]:
        """SQL for after FROM that has at least the bars of those series in that closed range.

        None is an open end. To be used inside the block, and read to the end there.
        """
        return nullcontext(_TABLE)

    def reading(self) -> AbstractContextManager[object]:
        """Inside, what `stretches` names stays where it is."""
        return nullcontext()

    def stretches(
        self, entry: Entry, start_us: int | None, end_us: int | None
    ) -> Iterable[tuple[AbstractContextManager[str], bool]]:
        """The same for one series, in stretches that follow each other in time, to be read one by one.

        Each with whether its rows come in the order of time.
        """
        return [(nullcontext(_TABLE), entry.in_order)]

    def settled(self, entry: Entry) -> Entry:
        """A series of the catalog, with whether its rows really come in the order of time."""
        return entry

    def bring(self, cur: duckdb.DuckDBPyConnection, series_id: int, first_us: int, last_us: int) -> None:
        """Within a write: its table ``bars`` must have what there is of a series in that closed range."""

    def forget(self, series_id: int) -> None:
        """Within a write: what there is of a series, all of it is replaced."""

    def whole(self, cur: duckdb.DuckDBPyConnection) -> AbstractContextManager[None]:
        """Inside, the name ``bars`` stands for all bars: for queries of unknown extent."""
        return nullcontext()
