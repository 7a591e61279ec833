"""Opening a store, and the one that a DuckDB file is."""

from __future__ import annotations

import os
import random
import time

from lazybars.errors import ConfigError, StoreLocked
from lazybars.model import size_bytes
from lazybars.store.engine import Engine
from lazybars.store.parquet.manifest import NAME as MANIFEST
from lazybars.store.parquet.store import ParquetStore
from lazybars.store.sqlstore import SqlStore

__all__ = ["DuckDBStore", "open_store"]


class DuckDBStore(SqlStore):
    """Bars of many series in one DuckDB file. Made by :func:`open_store`."""

    @property
    def bytes_on_disk(self) -> int:
        """Size of the file and its log."""
        log = self.path + ".wal"
        return os.path.getsize(self.path) + (os.path.getsize(log) if os.path.exists(log) else 0)


def open_store(
    path: str | os.PathLike[str],
    *,
    read_only: bool = False,
    memory: str | int = "256MB",
    threads: int | None = None,
    wait_s: float = 0.0,
) -> SqlStore:
    """Open the store at ``path``; without ``read_only`` it is made where there is none.

    What it is goes by the path: a path that ends with a slash, or is the directory of one, is a Parquet
    store; any other path is a DuckDB file.

    Of a DuckDB file, one process may have it open for writing, or any number read-only. Of a Parquet
    store one may write and any number read at the same time, each the version that it opened.
    ``memory`` is DuckDB's limit ("256MB" or bytes); the process needs some 45 to 85 MB beside it, and
    what ``read`` and ``scan`` hand out. Opened twice in one process the store is shared and the larger
    limit holds. ``wait_s`` is how long to wait for another process to let go of the store.

    Raises StoreMissing, StoreLocked, StoreBusy (open in this process the other way), StoreDamaged,
    StoreForeign, StoreNewer.
    """
    workers = threads if threads is not None else (1 if read_only else 2)
    if workers < 1:
        raise ConfigError(f"threads={threads}: at least one")
    if not wait_s >= 0:
        raise ConfigError(f"wait_s={wait_s!r}: give seconds, at least 0")
    limit = size_bytes(memory)
    name = os.fspath(path)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            if name.endswith("/") or os.path.exists(os.path.join(name, MANIFEST)):
                return ParquetStore.at(name, read_only, limit, workers)
            return DuckDBStore(Engine.acquire(name, read_only, limit, workers))
        except StoreLocked:
            if time.monotonic() >= deadline:
                raise
            # Not in step with a reader that lets go of the file from time to time.
            time.sleep(random.uniform(0.002, 0.02))
