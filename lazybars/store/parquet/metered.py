"""A file system of fsspec's seen from one folder on, read only, every request counted."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs
from fsspec.spec import AbstractBufferedFile

from lazybars.errors import ConfigError, StoreError, StoreMissing

__all__ = ["PROTOCOL", "Metered"]

PROTOCOL = "lazybars"
# Of a file that is read in pieces, what is read ahead; and the most of others that is in RAM at once.
_AHEAD_BYTES = 1 << 20
_CHUNK_BYTES = 8 << 20
_MOST_BYTES = 1 << 30
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASS|CREDENTIAL|SIGNATURE", re.IGNORECASE)


class Metered(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """What of a store lies at a URL. Any thread.

    Credentials are those that the file system finds for itself, in the environment.

    requests, requested_bytes : asked for so far; retries of the file system itself do not show.
    """

    protocol = PROTOCOL
    cachable = False

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url.rstrip("/")
        self.requests = 0
        self.requested_bytes = 0
        self.sizes: Mapping[str, int] = {}
        self._lock = threading.Lock()
        with self._told("it"):
            try:
                self._fs, self._root = url_to_fs(self.url, skip_instance_cache=True)
            except (ImportError, ValueError) as error:
                raise ConfigError(
                    f"{self.url}: {error}; for s3:// install lazybars[s3], for other addresses the package "
                    "that fsspec names"
                ) from error

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Faults inside as those of the store, without what the environment keeps secret."""
        try:
            yield
        except (StoreError, ConfigError):
            raise
        except FileNotFoundError as error:
            raise StoreMissing(f"{self.url}: {what} is not there") from error
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            clean = _without_secrets(said)
            cure = "check the address, the network and the credentials in the environment"
            raise StoreError(f"{self.url}: {what} could not be read: {cure} ({clean})") from (
                error if clean == said else None
            )

    def _count(self, requests: int, nbytes: int) -> None:
        with self._lock:
            self.requests += requests
            self.requested_bytes += nbytes

    def read(self, path: str) -> bytes:
        """A small file as a whole."""
        with self._told(path):
            self._count(1, 0)
            # A range, though all of it: for a whole file some ask for its size first.
            data: bytes = self._fs.cat_file(f"{self._root}/{path}", start=0, end=_MOST_BYTES)
        self._count(0, len(data))
        return data

    def fetch(self, files: Sequence[tuple[str, int, Path]]) -> None:
        """Write files of known sizes to local paths; small ones are asked for together."""
        for _, _, local in files:
            local.touch()
        batch: list[tuple[str, int, int, Path]] = []
        held = 0
        for path, size, local in files:
            for start in range(0, size, _CHUNK_BYTES):
                end = min(start + _CHUNK_BYTES, size)
                if batch and held + end - start > _CHUNK_BYTES:
                    self._fetch(batch)
                    batch, held = [], 0
                batch.append((path, start, end, local))
                held += end - start
        self._fetch(batch)

    def _fetch(self, batch: list[tuple[str, int, int, Path]]) -> None:
        if not batch:
            return
        with self._told(batch[0][0]):
            self._count(len(batch), 0)
            pieces = self._fs.cat_ranges(
                [f"{self._root}/{path}" for path, *_ in batch],
                [start for _, start, _, _ in batch],
                [end for _, _, end, _ in batch],
                on_error="raise",
            )
        self._count(0, sum(map(len, pieces)))
        for (_, _, _, local), piece in zip(batch, pieces, strict=True):
            with local.open("ab") as file:
                file.write(piece)

    # ---- what DuckDB asks of it -----------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        return str(path).removeprefix(f"{PROTOCOL}://").strip("/")

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if name not in self.sizes:
            raise FileNotFoundError(path)
        return {"name": name, "size": self.sizes[name], "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        return self._strip_protocol(path) in self.sizes

    def glob(self, path: str, **_: Any) -> list[str]:
        name = self._strip_protocol(path)
        return [name] if name in self.sizes else []

    def modified(self, path: str) -> Any:
        import datetime as dt

        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC)  # files never change

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        name = self._strip_protocol(path)
        with self._told(name):
            self._count(1, 0)
            data: bytes = self._fs.cat_file(f"{self._root}/{name}", start=start, end=end)
        self._count(0, len(data))
        return data

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode != "rb":
            raise ConfigError(f"{self.url}: it is only read")
        return _Ranges(self, path, "rb", _AHEAD_BYTES, cache_type="readahead", size=self.info(path)["size"])


class _Ranges(AbstractBufferedFile):  # type: ignore[misc]
    """A file that is read in pieces."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.cat_file(self.path, start, end)
        return data


def _without_secrets(text: str) -> str:
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 4:
            text = text.replace(value, f"${name}")
    return text
