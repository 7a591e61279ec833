"""From the store to segments: one scan for many series, split in NumPy, repaired one by one.

Called from the prefetch thread and, at a miss, from the strategy's. It keeps nothing but carries:
the few numbers that a partition must know of the time before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lazybars.grid import Int64s
from lazybars.partition import Partitions
from lazybars.repair import Carry, Columns, Segment
from lazybars.series import GridSeries, Series

__all__ = ["Loader", "Source"]

# Carries kept per series: the clock moves on, and an old one costs one point query to find again.
_CARRIES = 4
# Series ids apart by more than this are read by two scans: rows between them would be read in vain.
_ID_GAP = 2
# After a jump of the clock most series' last row lies this near to the last one of the grid.
_NEAR_NS = 30 * 60_000_000_000

# A stored row: its timestamp in ns, and its values by column name.
_Row = tuple[int, Mapping[str, Any]]


class Source(Protocol):
    """What the loader needs of a store."""

    def scan(self, first_id: int, last_id: int, start_ns: int, end_ns: int, columns: Sequence[str]) -> Any:
        """Arrow table of series_id, ts (int64, us) and the columns; ids in a range, ts in [start, end)."""

    def last_before(self, series_id: int, ns: int, columns: Sequence[str]) -> tuple[Any, ...] | None:
        """Timestamp in ns, then the values, of the last row before an instant."""


class Loader:
    """Reads partitions of series and repairs them. Safe from several threads.

    Parameters
    ----------
    batch_rows
        About so many stored rows are read at a time.
    """

    def __init__(self, source: Source, partitions: Partitions, batch_rows: int) -> None:
        self._source = source
        self._partitions = partitions
        self._batch_rows = batch_rows
        self._carries: dict[int, dict[int, Carry]] = {}

    def load(self, part: int, series: Sequence[Series]) -> Iterator[tuple[Series, Segment]]:
        """The segments of one partition, in the order of series ids."""
        for batch in self._batches(part, sorted(series, key=lambda s: s.info.series_id)):
            # Walking through a series' past reads, so all carries come before the scan.
            near = self._rows_before(part, batch)
            carries = [self._carry(part, one, near.get(one.info.series_id)) for one in batch]
            rows = self._read(batch, *self._partitions.bounds_ns(part))
            for one, carry in zip(batch, carries, strict=True):
                stored_ns, stored = rows[one.info.series_id]
                yield one, self._build(part, one, stored_ns, stored, carry)

    def forget(self, series_id: int) -> None:
        """Its rows are not what they were: drop what was carried from one partition to the next."""
        self._carries.pop(series_id, None)

    def _batches(self, part: int, series: Sequence[Series]) -> Iterator[list[Series]]:
        batch: list[Series] = []
        rows = 0
        for one in series:
            lo, hi = one.span(part)
            apart = batch and one.info.series_id - batch[-1].info.series_id > _ID_GAP
            if batch and (apart or rows + hi - lo > self._batch_rows):
                yield batch
                batch, rows = [], 0
            batch.append(one)
            rows += hi - lo
        if batch:
            yield batch

    def _read(self, batch: Sequence[Series], start_ns: int, end_ns: int) -> dict[int, tuple[Int64s, Columns]]:
        physical = sorted({column for one in batch for column in one.physical.values()})
        ids = [one.info.series_id for one in batch]
        table = self._source.scan(ids[0], ids[-1], start_ns, end_ns, physical)
        columns = {name: _numpy(table.column(name)) for name in ["series_id", "ts", *physical]}
        del table
        series_id = columns["series_id"]
        times_ns = columns["ts"].astype(np.int64, copy=False) * 1000
        # Physical order is a hint, not a promise: sort where it does not hold.
        next_id, later = np.diff(series_id), np.diff(times_ns) > 0
        if not ((next_id > 0) | ((next_id == 0) & later)).all():
            order = np.lexsort((times_ns, series_id))
            columns = {name: values[order] for name, values in columns.items()}
            series_id, times_ns = columns["series_id"], times_ns[order]
        found: dict[int, tuple[Int64s, Columns]] = {}
        # Keys of the column's own dtype, or the column would be cast for every search.
        keys = np.array([[key, key + 1] for key in ids], dtype=series_id.dtype)
        for one, (lo, hi) in zip(batch, series_id.searchsorted(keys), strict=True):
            stored = {name: columns[physical][lo:hi] for name, physical in one.physical.items()}
            found[one.info.series_id] = times_ns[lo:hi], stored
        return found

    def _build(self, part: int, one: Series, stored_ns: Int64s, stored: Columns, carry: Carry) -> Segment:
        segment = one.build(part, stored_ns, stored, carry)
        if one.needs_carry:
            known = self._carries.setdefault(one.info.series_id, {})
            known[part + 1] = one.carry_after(segment, part, stored_ns, stored, carry)
            if len(known) > _CARRIES and not one.needs_history:
                del known[next(iter(known))]
        return segment

    def _rows_before(self, part: int, batch: Sequence[Series]) -> dict[int, _Row]:
        """The last stored rows before a partition, by series id: of the series that have one shortly before.

        One scan for all, where the partition before was not read and each would take a query of its own.
        """
        start_ns, _ = self._partitions.bounds_ns(part)
        asked = [
            one
            for one in batch
            if isinstance(one, GridSeries)
            and not one.needs_history
            and start_ns > one.info.first_ns
            and part not in self._carries.get(one.info.series_id, {})
        ]
        # Series that each have rows of their own have no last row in common to look near to.
        if len(asked) < 2 or any(one.grid is not asked[0].grid for one in asked):
            return {}
        last = asked[0].grid.at_or_before(start_ns - 1)
        if last < 0:
            return {}
        found = self._read(asked, asked[0].grid.time_ns(last) - _NEAR_NS, start_ns)
        return {
            series_id: (int(stored_ns[-1]), {name: values[-1] for name, values in stored.items()})
            for series_id, (stored_ns, stored) in found.items()
            if len(stored_ns)
        }

    def _carry(self, part: int, one: Series, near: _Row | None = None) -> Carry:
        if not one.needs_carry:
            return Carry()
        known = self._carries.get(one.info.series_id, {}).get(part)
        if known is not None:
            return known
        assert isinstance(one, GridSeries)
        start_ns, _ = self._partitions.bounds_ns(part)
        if start_ns <= one.info.first_ns:
            return Carry()
        if one.needs_history:
            return self._walk(part, one)
        stored = near or self._last_before(one, start_ns)
        lo, _ = one.span(part)
        if lo == 0:
            return Carry(None if stored is None else stored[1])
        assert stored is not None, "a row of the series lies behind its first stored row"
        shown_ns = one.shown_before_ns(lo - 1, stored[0])
        shown = stored if stored[0] <= shown_ns else self._last_before(one, shown_ns + 1)
        assert shown is not None, "a row of the grid lies behind the first stored row"
        return Carry(stored[1], self._as_shown(one, shown[1]), shown_ns)

    def _last_before(self, one: Series, ns: int) -> _Row | None:
        names = list(one.physical)
        found = self._source.last_before(one.info.series_id, ns, [one.physical[name] for name in names])
        if found is None:
            return None
        return found[0], {name: np.nan if v is None else v for name, v in zip(names, found[1:], strict=True)}

    def _as_shown(self, one: GridSeries, stored: Mapping[str, Any]) -> dict[str, Any]:
        # Nothing that is filled can be missing here (needs_history is unset), so the row as it
        # is stored is the row as it is shown, derived columns apart, which no carry is asked for.
        return dict(stored)

    def _walk(self, part: int, one: GridSeries) -> Carry:
        """Carry a series with gaps forward from its start, or from the nearest known partition."""
        known = self._carries.setdefault(one.info.series_id, {})
        first = self._partitions.of(one.info.first_ns)
        begin = max((p for p in known if p < part), default=first)
        carry = known.get(begin, Carry())
        for behind in range(begin, part):
            stored_ns, stored = self._read([one], *self._partitions.bounds_ns(behind))[one.info.series_id]
            self._build(behind, one, stored_ns, stored, carry)
            carry = known[behind + 1]
        return carry


def _numpy(column: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    """A column as NumPy; NULL becomes NaN.

    Through DLPack, because Arrow's own ``to_numpy`` imports pandas: half a second and 50 MB. Chunks
    are joined in NumPy, because Arrow's pool keeps 10 to 16 MB of what it has once held.
    """
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if column.null_count:
        column = pc.fill_null(column.cast(pa.float64()), float("nan"))
    chunks = [np.asarray(np.from_dlpack(chunk)) for chunk in column.chunks]
    if not chunks:
        return np.empty(0, dtype=np.int64 if pa.types.is_integer(column.type) else np.float64)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
