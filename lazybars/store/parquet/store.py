"""The store that a directory of Parquet files is."""

from __future__ import annotations

from typing import Literal, overload

from lazybars.model import Traffic
from lazybars.store.background import Job
from lazybars.store.parquet.compact import compact, start_compaction
from lazybars.store.parquet.engine import ParquetEngine
from lazybars.store.parquet.place import harm_of
from lazybars.store.sqlstore import Store
from lazybars.store.verify import Finding

__all__ = ["ParquetStore"]


class ParquetStore(Store):
    """Bars of many series in a directory of Parquet files. Made by :func:`lazybars.open_store`.

    ``bars/timestep=.../period=.../*.parquet`` hold the bars, a week of minutes, a year of hours or ten
    years of days each, in the order series, time; ``books/*.parquet`` what is said of them, and
    ``manifest.json`` which of these files are the store. What was written since the last compaction
    lies apart, under the period that Hive calls NULL.
    """

    _shared: ParquetEngine

    @classmethod
    def at(cls, path: str, read_only: bool, memory_bytes: int, threads: int) -> ParquetStore:
        """The store in a directory, which is made where there is none."""
        return cls(ParquetEngine.acquire(path, read_only, memory_bytes, threads))

    @classmethod
    def at_url(
        cls, url: str, read_only: bool, memory_bytes: int, threads: int, cache: tuple[str | None, int]
    ) -> ParquetStore:
        """The store at a URL, with the folder and the size of its cache."""
        from lazybars.store.parquet.cache import DiskCache
        from lazybars.store.parquet.remote import ObjectStore  # brings fsspec in

        place = ObjectStore(url, DiskCache(*cache))
        return cls(ParquetEngine.acquire(url, read_only, memory_bytes, threads, place=place))

    @property
    def traffic(self) -> Traffic:
        """What was asked of the object store, and what its cache came to."""
        return self._shared.place.traffic

    @property
    def bytes_on_disk(self) -> int:
        """Size of the files that are the store."""
        self._engine  # noqa: B018 - raises where the store is closed
        return self._shared.index.manifest.size_bytes

    @property
    def kept_bytes(self) -> int:
        """None: a file's metadata is read anew with it."""
        return 0

    @overload
    def compact(self) -> None: ...

    @overload
    def compact(self, *, background: Literal[False]) -> None: ...

    @overload
    def compact(self, *, background: Literal[True]) -> Job: ...

    def compact(self, *, background: bool = False) -> Job | None:
        """Rewrite the partitions that are not in order, which makes reading many series fast.

        Others may read meanwhile, in this process and elsewhere; writers wait. With ``background`` a
        thread does it, and its handle is given: ``wait(timeout_s)``, ``cancel()``, ``done``. What fails
        in it is raised by ``wait()``, or by ``close()`` where nobody waited.
        """
        self._engine  # noqa: B018 - raises where the store is closed
        if background:
            return start_compaction(self._shared)
        compact(self._shared)
        return None

    def verify(self) -> list[Finding]:
        """What of the files, the books and the bars disagrees. Reads everything."""
        engine = self._shared
        self._engine  # noqa: B018 - raises where the store is closed
        manifest, found = engine.index.manifest, []
        for file in manifest.named:
            with engine.place.holding([file]) as (path,):
                harm = harm_of(file, path)
                if harm is not None:
                    found.append(Finding("files", "", harm))
        return found or super().verify()
