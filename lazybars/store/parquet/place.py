"""Where the files of a Parquet store lie: a directory, its locks, and what may be removed from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import duckdb

from lazybars.errors import StoreDamaged, StoreForeign, StoreLocked, StoreMissing
from lazybars.model import Traffic
from lazybars.store.parquet.manifest import NAME, BarFile, Book, Manifest

try:
    import fcntl
except ImportError:  # Windows: readers only
    fcntl = None  # type: ignore[assignment]

__all__ = ["BARS", "BOOKS", "Directory", "Place", "digest_of", "harm_of"]

BARS, BOOKS = "bars", "books"
_WRITER, _READERS = ".writer.lock", ".readers.lock"
_BLOCK_BYTES = 1 << 20


class Place(Protocol):
    """What a store's engine needs of where its files lie. Used from any thread."""

    where: str
    # Between two looks for a new manifest.
    pause_s: float
    # Of files that are held for one query of a series' bars.
    most_bytes: int

    @property
    def traffic(self) -> Traffic:
        """What was asked of another machine."""

    def open(self, read_only: bool) -> None:
        """Take the locks. Raises StoreLocked, StoreMissing, StoreForeign."""

    def close(self) -> None:
        """Let go of the locks. Repeatable."""

    def manifest(self) -> Manifest | None:
        """The latest one; None where there is no store yet."""

    def prepare(self, root: duckdb.DuckDBPyConnection) -> None:
        """Have DuckDB know what :meth:`url` gives."""

    def holding(self, files: Sequence[BarFile | Book]) -> AbstractContextManager[list[str]]:
        """Local paths of these files, which stay there until the block ends."""

    def url(self, file: BarFile) -> str:
        """What DuckDB reads a file by where it is not held."""


class Directory:
    """A directory of this machine.

    One process may write: it holds a lock on one file. Those that read hold a shared lock on another, so
    that a writer sees whether files that are no longer part of the store may go. Nobody waits for
    anybody: a reader goes on with the version that it opened.
    """

    pause_s = 0.05
    most_bytes = 1 << 40

    def __init__(self, where: str) -> None:
        self.where = where
        self._root = Path(where)
        self._writer: int | None = None
        self._reader: int | None = None

    @property
    def traffic(self) -> Traffic:
        return Traffic()

    # ------------------------------------------------------------------ life

    def open(self, read_only: bool) -> None:
        root = self._root
        if not root.exists():
            if read_only:
                raise StoreMissing(f"{root} does not exist: write it first, or check the path")
            if not root.parent.is_dir():
                raise StoreMissing(f"{root}: the directory {root.parent} does not exist: create it first")
            root.mkdir(exist_ok=True)
        elif not root.is_dir():
            raise StoreForeign(
                f"{root} is a file: a Parquet store is a directory; leave out the slash at the end"
            )
        if not (root / NAME).exists():
            names = {name for name in os.listdir(root) if not name.startswith(".")}
            if names - {BARS, BOOKS}:
                raise StoreForeign(f"{root} is a directory of other files, not a store: give another path")
            if read_only:
                raise StoreMissing(f"{root} holds no store yet: write it first, or check the path")
        if read_only:
            self._reader = self._share()
        else:
            self._writer = self._claim()

    def _share(self) -> int | None:
        if fcntl is None:
            return None
        try:
            lock = os.open(self._root / _READERS, os.O_RDONLY)
        except OSError:  # no writer of this kind has been here: nothing will be removed
            return None
        fcntl.flock(lock, fcntl.LOCK_SH)
        return lock

    def _claim(self) -> int:
        if fcntl is None:
            raise StoreLocked(f"{self.where}: a Parquet store is written on Linux or macOS")
        lock = os.open(self._root / _WRITER, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StoreLocked(
                f"{self.where}: another process writes to the store: close it there, open it read_only=True, "
                "or give open_store(wait_s=...) to wait for it"
            ) from error
        os.close(os.open(self._root / _READERS, os.O_RDWR | os.O_CREAT, 0o644))
        return lock

    def close(self) -> None:
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        for lock in (writer, reader):
            if lock is not None:
                os.close(lock)

    # ------------------------------------------------------------------ read

    def manifest(self) -> Manifest | None:
        try:
            text = (self._root / NAME).read_bytes()
        except FileNotFoundError:
            return None
        return Manifest.of_json(text, self.where)

    def prepare(self, root: duckdb.DuckDBPyConnection) -> None:
        pass

    @contextmanager
    def holding(self, files: Sequence[BarFile | Book]) -> Iterator[list[str]]:
        yield [self._path(file) for file in files]

    def url(self, file: BarFile) -> str:
        return self._path(file)

    def _path(self, file: BarFile | Book) -> str:
        # Names come from the manifest, which may come from anywhere: none may lead out of the store.
        if file.path.startswith("/") or ".." in file.path.split("/"):
            raise StoreDamaged(
                f"{self.where}: the manifest names {file.path!r}, which lies outside of the store"
            )
        return os.path.join(self.where, *file.path.split("/"))

    # ----------------------------------------------------------------- write

    def new(self, relative: str) -> str:
        """The path of a file to be written, in a directory that is there."""
        path = self._root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)

    def publish(self, manifest: Manifest, new: Iterable[str]) -> None:
        """Make a manifest the store's: it takes the old one's place at once, its files are on disk before."""
        folders = {self._root}
        for relative in new:
            path = self._root / relative
            _sync(path)
            folders |= {self._root / parent for parent in Path(relative).parents}
        fresh = self._root / f".{NAME}.new"
        fresh.write_text(manifest.to_json())
        _sync(fresh)
        for folder in folders:
            _sync(folder)
        os.replace(fresh, self._root / NAME)
        _sync(self._root)

    def remove(self, paths: Iterable[str]) -> bool:
        """Remove files that are no part of the store any more, unless other processes may read them still."""
        if self._writer is None or fcntl is None:
            return False
        lock = os.open(self._root / _READERS, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            for relative in paths:
                with suppress(FileNotFoundError):
                    os.remove(self._root / relative)
            return True
        finally:
            os.close(lock)

    def strays(self, named: set[str]) -> list[str]:
        """Files of bars and books that are there and not named."""
        found = []
        for top in (BARS, BOOKS):
            for folder, _, names in os.walk(self._root / top):
                at = Path(folder).relative_to(self._root)
                found += [(at / name).as_posix() for name in names]
        return sorted(set(found) - named)

    def drop_empty(self) -> None:
        """Remove the directories of partitions that have no files any more."""
        for folder, _, _ in os.walk(self._root / BARS, topdown=False):
            with suppress(OSError):  # not empty
                os.rmdir(folder)


def harm_of(file: BarFile | Book, path: str) -> str | None:
    """How a file that lies at a path differs from what was written; None where it does not.

    What is not on this machine cannot be told.
    """
    if "://" in path:
        return None
    if not os.path.exists(path):
        return f"{file.path} is gone"
    if os.path.getsize(path) != file.size_bytes or digest_of(path) != file.digest:
        return f"{file.path} is not what was written there"
    return None


def digest_of(path: str) -> str:
    """The digest of a file's bytes, as the manifest has it."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
