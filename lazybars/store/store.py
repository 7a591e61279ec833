"""Opening a store, and the one that a DuckDB file is."""

from __future__ import annotations

import os
import random
import time

from lazybars.errors import ConfigError, StoreLocked
from lazybars.model import is_url, size_bytes
from lazybars.store.engine import Engine
from lazybars.store.parquet.manifest import NAME as MANIFEST
from lazybars.store.parquet.store import ParquetStore
from lazybars.store.sqlstore import Store

__all__ = ["DuckDBStore", "open_store"]

_CACHE_DIR, _CACHE = "LAZYBARS_CACHE_DIR", "LAZYBARS_CACHE"


# DuckDB keeps a record of every block of 256 KiB of the tables that it has looked into, and never lets go of
# it: 5.5 MB were measured for a file of 1.33 GB.
_BLOCKS_KEPT_PART = 256


class DuckDBStore(Store):
    """Bars of many series in one DuckDB file. Made by :func:`open_store`."""

    @property
    def bytes_on_disk(self) -> int:
        """Size of the file and its log."""
        log = self.path + ".wal"
        return os.path.getsize(self.path) + (os.path.getsize(log) if os.path.exists(log) else 0)

    @property
    def kept_bytes(self) -> int:
        """What DuckDB keeps of the file in RAM once all of it was read, outside its memory limit."""
        return self.bytes_on_disk // _BLOCKS_KEPT_PART


def open_store(
    path: str | os.PathLike[str],
    *,
    read_only: bool = False,
    memory: str | int = "256MB",
    threads: int | None = None,
    wait_s: float = 0.0,
    cache_dir: str | os.PathLike[str] | None = None,
    cache: str | int | None = None,
) -> Store:
    """Open the store at ``path``; without ``read_only`` it is made where there is none.

    What it is goes by the path: one that ends with a slash, or is the directory of one, is a Parquet
    store; any other path is a DuckDB file. A URL ("s3://bucket/bars", whatever fsspec knows) is a
    Parquet store that is only read.

    Of a DuckDB file, one process may have it open for writing, or any number read-only. Of a Parquet
    store one may write and any number read at the same time, each the version that it opened.
    ``memory`` is DuckDB's limit ("256MB" or bytes); the process needs some 45 to 85 MB beside it, and
    what ``read`` and ``scan`` hand out. Opened twice in one process the store is shared and the larger
    limit holds. ``wait_s`` is how long to wait for another process to let go of the store.

    ``cache_dir`` and ``cache`` are for a store at a URL: the folder in which partitions are kept, which
    processes may share, and the most bytes that it may hold. None: $LAZYBARS_CACHE_DIR, or a
    private folder that goes with the store; $LAZYBARS_CACHE, or "2GB". Credentials are taken from the
    environment, as the file system of the URL finds them there.

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
            if is_url(name):
                held = os.fspath(cache_dir) if cache_dir is not None else os.environ.get(_CACHE_DIR) or None
                size = size_bytes(cache or os.environ.get(_CACHE) or "2GB", name="cache")
                return ParquetStore.at_url(name, read_only, limit, workers, (held, size))
            if name.endswith("/") or os.path.exists(os.path.join(name, MANIFEST)):
                return ParquetStore.at(name, read_only, limit, workers)
            return DuckDBStore(Engine.acquire(name, read_only, limit, workers))
        except StoreLocked:
            if time.monotonic() >= deadline:
                raise
            # Not in step with a reader that lets go of the file from time to time.
            time.sleep(random.uniform(0.002, 0.02))
