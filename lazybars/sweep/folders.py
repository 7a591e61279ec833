"""Where trials leave their files: a private folder, gone with its owner, or with the next one's making."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from lazybars.sweep.process import starting

__all__ = ["Folders"]

_PREFIX = "lazybars-sweep-"
_LOCK = "lock"


class Folders:
    """Folders for the processes of one sweep, in one of its own. Owner: one thread.

    The outer folder holds a locked file for as long as its process lives. What a process left that was
    killed is known by its lock, which nobody holds, and is removed when the next one makes its own.

    Raises
    ------
    SweepFailed
        It cannot be made.
    """

    def __init__(self) -> None:
        _drop_stale(Path(tempfile.gettempdir()))
        with starting():
            self._root = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = self._locked()

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def new(self) -> Path:
        """An empty folder for one process; SweepFailed where it cannot be made."""
        with starting():
            return Path(tempfile.mkdtemp(dir=self._root))

    def close(self) -> None:
        """Remove all that is in it. Repeatable."""
        shutil.rmtree(self._root, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _locked(self) -> int:
        try:
            # Locked before it goes by its name: without that name, a folder is not taken for left behind.
            made = self._root / f"{_LOCK}.part"
            lock = os.open(made, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            shutil.rmtree(self._root, ignore_errors=True)
            raise
        with suppress(OSError):  # no locks to be had there: then nobody takes it for left behind either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            made.rename(self._root / _LOCK)
        return lock


def _drop_stale(parent: Path) -> None:
    """Remove the folders of this user's whose process is gone."""
    for found in parent.glob(f"{_PREFIX}*"):
        # Another user's cannot be opened, another sweep's is locked, and one may just have gone.
        with suppress(OSError):
            lock = os.open(found / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(found, ignore_errors=True)
            finally:
                os.close(lock)
