"""What the engine of lazybars asks of a store: scans, day summaries, DuckDB's memory. Internal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from lazybars.errors import CapTooSmall, ConfigError
from lazybars.store import read
from lazybars.store.base import StoreBase
from lazybars.store.read import Int64s

__all__ = ["Scanning"]

T = TypeVar("T")


class Scanning(StoreBase):
    """The part of a store that the loader, the grids and the budget use."""

    def scan(
        self, first_id: int, last_id: int, start_ns: int, end_ns: int, columns: Sequence[str]
    ) -> pa.Table:
        """Internal. Rows of the series first_id..last_id in [start_ns, end_ns), in PHYSICAL order.

        Gives ``series_id`` (int32), ``ts`` (int64, microseconds UTC), then the physical columns
        asked for, all in one Arrow table that belongs to the caller and lies outside the store's
        memory limit. In a compact store the order is week, series, time.
        """
        engine = self._engine
        return self._fitting(lambda: read.scan(engine, first_id, last_id, start_ns, end_ns, columns))

    def last_before(self, series_id: int, ns: int, columns: Sequence[str]) -> tuple[Any, ...] | None:
        """Internal. (timestamp in ns, *values of the physical columns) of the last row before ``ns``."""
        engine = self._engine

        def ask() -> tuple[Any, ...] | None:
            with engine.cursor() as cur:
                return read.last_before(engine, cur, series_id, ns, columns)

        return self._fitting(ask)

    def _fitting(self, work: Callable[[], T]) -> T:
        """Do it, a second time in a wider limit where it did not fit into the lowered one."""
        found_bytes = self._engine.memory_bytes
        try:
            return work()
        except CapTooSmall:
            if not self._engine.widen(found_bytes):
                raise
            return work()

    def sessions(self, series_ids: Sequence[int]) -> tuple[Int64s, Int64s, Int64s]:
        """Internal. (day, first_ns, last_ns) of those series together, one entry per New York date.

        Ascending, int64; ``day`` counts days since 1970-01-01.
        """
        engine = self._engine

        def ask() -> tuple[Int64s, Int64s, Int64s]:
            with engine.cursor() as cur:
                return read.sessions(cur, series_ids)

        return self._fitting(ask)

    def series_days(self, series_id: int) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """Internal. (day, first_ns, last_ns, rows) of one series, as in ``sessions``."""
        with self._engine.cursor() as cur:
            return read.series_days(cur, series_id)

    def timestamps(self, series_id: int) -> Int64s:
        """Internal. All timestamps of a series, int64 ns, ascending: 8 bytes a bar in RAM."""
        for entry in self._entries():
            if entry.info.series_id == series_id:
                return read.timestamps(self._engine, entry)
        raise ConfigError(f"no series has the id {series_id}")

    def lower_memory(self, memory_bytes: int, reserve_bytes: int = 0) -> int:
        """Internal. Bring DuckDB's ``memory_limit`` down to a cap's share; returns what it was.

        It holds for all users of the file in this process, and changes no answer. It is raised by the
        reserve where a scan does not fit.
        """
        before = self._engine.memory_bytes
        if memory_bytes < before:
            self._engine.limit(memory_bytes, reserve_bytes)
        return before

    def restore_memory(self, memory_bytes: int, reserve_bytes: int = 0) -> None:
        """Internal. Give back what :meth:`lower_memory` took, unless the store is closed."""
        if self._finalizer.alive:
            self._engine.limit(memory_bytes, reserve_bytes)

    def interrupt(self) -> None:
        """Internal. Stop what any thread is running on the store; it raises StoreInterrupted there."""
        self._engine.interrupt()
