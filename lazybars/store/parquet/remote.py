"""Where the files of a Parquet store lie on an object store: read from there, kept on the local disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

from lazybars.errors import ConfigError, StoreDamaged, StoreMissing, StoreReadOnly
from lazybars.model import Traffic
from lazybars.store.parquet.cache import DiskCache
from lazybars.store.parquet.manifest import NAME, BarFile, Book, Manifest
from lazybars.store.parquet.metered import PROTOCOL, Metered

__all__ = ["ObjectStore"]

# What DuckDB's own extension reads.
_HTTPFS = ("s3", "s3a", "s3n", "gcs", "gs", "r2", "http", "https")


class ObjectStore:
    """A folder at a URL, which is read and never written.

    A partition is fetched whole, for a request costs as much as some megabytes, and kept in a cache on the
    local disk. What would not fit in there is read in pieces from where it is: by DuckDB's own extension
    httpfs where that is installed, else through fsspec.
    """

    pause_s = 2.0

    def __init__(self, url: str, cache: DiskCache) -> None:
        parts = urlsplit(url)
        if parts.password is not None or parts.query:
            raise ConfigError(
                f"{parts.scheme}://...: an address with a password or a signature in it is not taken: put "
                "the credentials in the environment"
            )
        self.where = url.rstrip("/")
        self._scheme = parts.scheme
        self._cache = cache
        self._files: Metered | None = None
        self._by_httpfs = False

    @property
    def most_bytes(self) -> int:
        return self._cache.limit_bytes // 4

    @property
    def traffic(self) -> Traffic:
        files, cache = self._files, self._cache
        if files is None:
            return Traffic()
        return Traffic(
            files.requests, files.requested_bytes, cache.hits, cache.misses, cache.evictions, cache.held_bytes
        )

    def open(self, read_only: bool) -> None:
        if not read_only:
            raise StoreReadOnly(
                f"{self.where}: a store at a URL is only read: open it with read_only=True; write it in a "
                "directory of this machine and copy that there, manifest.json last"
            )
        if self._files is None:
            self._files = Metered(self.where)
        self._cache.open()

    def close(self) -> None:
        self._cache.close()

    def prepare(self, root: duckdb.DuckDBPyConnection) -> None:
        self._by_httpfs = self._scheme in _HTTPFS and _has_httpfs(root)
        if not self._by_httpfs:
            root.register_filesystem(self._open_files)

    @property
    def _open_files(self) -> Metered:
        assert self._files is not None, "the place is open"
        return self._files

    def manifest(self) -> Manifest | None:
        files = self._open_files
        try:
            text = files.read(NAME)
        except StoreMissing:
            return None
        manifest = Manifest.of_json(text, self.where)
        files.sizes = {**files.sizes, **{one.path: one.size_bytes for one in manifest.named}}
        return manifest

    @contextmanager
    def holding(self, files: Sequence[BarFile | Book]) -> Iterator[list[str]]:
        with self._cache.holding(files, self._fetch) as paths:
            yield [self.url(file) for file in files] if paths is None else paths

    def _fetch(self, wanted: Sequence[tuple[BarFile | Book, Path]]) -> None:
        try:
            self._open_files.fetch([(file.path, file.size_bytes, local) for file, local in wanted])
        except StoreMissing as error:
            raise StoreDamaged(
                f"{error}, though the manifest names it: copy the store there anew, manifest.json last"
            ) from error

    def url(self, file: BarFile | Book) -> str:
        return f"{self.where if self._by_httpfs else f'{PROTOCOL}:/'}/{file.path}"


def _has_httpfs(root: duckdb.DuckDBPyConnection) -> bool:
    """Whether DuckDB's extension is installed; none is ever fetched."""
    try:
        root.execute("LOAD httpfs")
    except duckdb.Error:
        return False
    return True
