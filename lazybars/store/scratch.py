"""A private directory for spilled sorts, spooled input and compaction, gone when its store is closed."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lazybars.errors import StoreError

__all__ = ["Scratch", "new_spool"]


@contextmanager
def new_spool(folder: str) -> Iterator[str]:
    """The path of a new Parquet file, kept where the block succeeds: a failure leaves nothing behind."""
    path = os.path.join(folder, f"spool-{uuid.uuid4().hex}.parquet")
    try:
        yield path
    except BaseException:
        if os.path.exists(path):
            os.remove(path)
        raise


class Scratch:
    """The directory of one engine, made when it is first asked for.

    A writer's lies beside the store: that disk has room for bars, and a file made there can take
    the store's place by a rename.
    """

    def __init__(self, path: str, read_only: bool) -> None:
        self._path = path
        self._beside = None if read_only else os.path.dirname(path)
        self._prefix = f".{os.path.basename(path)}.scratch-"
        self._folder: str | None = None

    def folder(self) -> str:
        if self._folder is None:
            try:
                self._folder = tempfile.mkdtemp(prefix=self._prefix, dir=self._beside)
            except OSError as error:
                raise StoreError(
                    f"{self._path}: no directory for temporary files can be made in "
                    f"{self._beside or tempfile.gettempdir()} ({error.strerror}): give a path where you may "
                    "write"
                ) from error
        return self._folder

    def drop_stale(self) -> None:
        """Remove what killed writers left; only the holder of the file's lock may call it."""
        for stale in Path(self._path).parent.glob(glob.escape(self._prefix) + "*"):
            if str(stale) != self._folder:
                shutil.rmtree(stale, ignore_errors=True)

    def drop(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
