"""A cache on the local disk of files that never change, bounded in bytes.

Files are called by the digest of their bytes, so that a folder may be shared by stores, by their
versions, and by processes: a file in use is locked, and nobody removes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lazybars.errors import StoreDamaged
from lazybars.store.parquet.manifest import BarFile, Book
from lazybars.store.parquet.place import digest_of

try:
    import fcntl
except ImportError:  # Windows: a folder of one's own only
    fcntl = None  # type: ignore[assignment]

__all__ = ["DiskCache"]

_SUFFIX, _PART = ".parquet", ".part"
# What a process that was killed has left of a download is removed when it is so old.
_STALE_S = 3600.0


class DiskCache:
    """Holds files while they are read, and as many as fit after that; the least recently used go first.

    hits, misses, evictions : files found, fetched and removed so far, by this object.
    Any thread; files that two threads want are fetched once.
    """

    def __init__(self, folder: str | None, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.hits = self.misses = self.evictions = 0
        self._given = folder
        self._folder: Path | None = None
        self._pins: dict[str, int] = {}
        self._busy: set[str] = set()
        self._checked: set[str] = set()
        self._changed = threading.Condition()

    def open(self) -> None:
        """Make the folder: the one that was given, or a private one."""
        if self._folder is None:
            if self._given is None:
                self._folder = Path(tempfile.mkdtemp(prefix="lazybars-cache-"))
            else:
                self._folder = Path(self._given)
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def close(self) -> None:
        """Remove a private folder. Repeatable."""
        folder, self._folder = self._folder, None
        if folder is not None and self._given is None:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def folder(self) -> Path:
        assert self._folder is not None, "the cache is open"
        return self._folder

    @property
    def held_bytes(self) -> int:
        """What lies in the folder."""
        return 0 if self._folder is None else sum(size for _, size, _ in self._entries())

    @contextmanager
    def holding(
        self,
        files: Sequence[BarFile | Book],
        fetch: Callable[[Sequence[tuple[BarFile | Book, Path]]], None],
    ) -> Iterator[list[str] | None]:
        """Local paths of these files, until the block ends; None where there is no room for all of them.

        Parameters
        ----------
        fetch
            Writes files to paths.
        """
        with ExitStack() as pins:
            for file in files:
                pins.enter_context(self._pin(file))
            if not self._bring(files, fetch):
                yield None
                return
            with ExitStack() as locks:
                paths = [locks.enter_context(self._locked(file, fetch)) for file in files]
                yield paths

    # ------------------------------------------------------------------ inside

    def _path(self, file: BarFile | Book) -> Path:
        return self.folder / (file.digest + _SUFFIX)

    @contextmanager
    def _pin(self, file: BarFile | Book) -> Iterator[None]:
        with self._changed:
            self._pins[file.digest] = self._pins.get(file.digest, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._pins[file.digest] -= 1
                if not self._pins[file.digest]:
                    del self._pins[file.digest]

    @contextmanager
    def _locked(
        self, file: BarFile | Book, fetch: Callable[[Sequence[tuple[BarFile | Book, Path]]], None]
    ) -> Iterator[str]:
        """The path of a file that other processes leave there."""
        path = self._path(file)
        while True:
            try:
                handle = os.open(path, os.O_RDONLY)
            except FileNotFoundError:  # another process was quicker to remove it
                if not self._bring([file], fetch):
                    raise StoreDamaged(f"{self.folder}: the cache has no room for {file.path}") from None
                continue
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_SH)
            if os.fstat(handle).st_nlink:
                break
            os.close(handle)
        try:
            with suppress(OSError):  # a folder of someone else
                os.utime(path)
            yield str(path)
        finally:
            os.close(handle)

    def _bring(
        self,
        files: Sequence[BarFile | Book],
        fetch: Callable[[Sequence[tuple[BarFile | Book, Path]]], None],
    ) -> bool:
        """Fetch what of these is not there; whether they are all there now."""
        wanted = {file.digest: file for file in files}
        mine: list[BarFile | Book] = []
        with self._changed:
            for digest, file in wanted.items():
                self._changed.wait_for(lambda digest=digest: digest not in self._busy)  # type: ignore[misc]
                if self._is_there(file):
                    self.hits += 1
                else:
                    self._busy.add(digest)
                    mine.append(file)
            room = not mine or self._make_room(sum(file.size_bytes for file in mine))
        parts = [(file, self.folder / f".{file.digest}-{uuid.uuid4().hex}{_PART}") for file in mine]
        try:
            if room and parts:
                fetch(parts)
                for file, part in parts:
                    if part.stat().st_size != file.size_bytes or digest_of(str(part)) != file.digest:
                        raise StoreDamaged(
                            f"{file.path}: what came is not what was written there: restore the store "
                            "from a copy or ingest again"
                        )
                    os.replace(part, self._path(file))
                    self._checked.add(file.digest)
                    self.misses += 1
        finally:
            for _, part in parts:
                with suppress(FileNotFoundError):
                    os.remove(part)
            with self._changed:
                self._busy -= {file.digest for file in mine}
                self._changed.notify_all()
        return room

    def _is_there(self, file: BarFile | Book) -> bool:
        path = self._path(file)
        try:
            if path.stat().st_size == file.size_bytes and (
                file.digest in self._checked or digest_of(str(path)) == file.digest
            ):
                self._checked.add(file.digest)
                return True
            os.remove(path)
        except FileNotFoundError:
            pass
        return False

    def _entries(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, path) of what lies in the folder."""
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith((_SUFFIX, _PART)):
                    with suppress(FileNotFoundError):
                        at = entry.stat()
                        found.append((at.st_mtime, at.st_size, Path(entry.path)))
        return found

    def _make_room(self, nbytes: int) -> bool:
        """Whether so many bytes fit, after what is not in use has gone. The lock is held."""
        entries = sorted(self._entries())
        held = sum(size for _, size, _ in entries)
        for used, size, path in entries:
            if held + nbytes <= self.limit_bytes:
                break
            if path.name.endswith(_PART):
                if time.time() - used < _STALE_S:
                    continue
            elif path.name.removesuffix(_SUFFIX) in self._pins:
                continue
            if _remove_unused(path):
                held -= size
                self.evictions += 1
        return held + nbytes <= self.limit_bytes


def _remove_unused(path: Path) -> bool:
    """Remove a file that no process has locked."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return not path.exists()
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.remove(path)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
