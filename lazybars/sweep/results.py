"""The results of a sweep on disk: one line of JSON a trial, on the disk before the trial counts as done.

A line is appended and synced at once, so that what a killed sweep had done is there. Only the last
line can be torn; it is cut off when the file is used again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from lazybars.errors import ConfigError
from lazybars.sweep.job import STATUSES, Job, TrialResult
from lazybars.sweep.trials import canonical

__all__ = ["Results"]

# How every line begins: what does not is no result, and is left alone.
_HEAD = '{"lazybars_sweep":1,'
_WHAT = ("strategy", "start", "end", "store", "assets", "backtest", "parameters")


class Results:
    """A file of results, held for one sweep. Owner: the thread that iterates over the sweep.

    Parameters
    ----------
    path
        Made where there is none.
    retry
        Take trials that did not end well for not done.

    Raises
    ------
    ConfigError
        It cannot be written, is another sweep's at the moment, or is no file of results.
    """

    def __init__(self, path: str | os.PathLike[str], *, retry: bool = False) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() in (".parquet", ".csv", ".feather"):
            raise ConfigError(
                f"results={str(self.path)!r}: they are kept as JSON lines, so that each is safe as soon as "
                "it is there: give sweep.jsonl, and save frame() as you like"
            )
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND, 0o666)
        except (OSError, ValueError) as error:
            raise ConfigError(f"results={str(self.path)!r} cannot be written: {error}") from error
        try:
            self._lock()
            self.done = self._load(retry)
        except BaseException:
            self.close()
            raise

    def add(self, job: Job, result: TrialResult) -> None:
        """Append a result and have it reach the disk.

        Raises
        ------
        ConfigError
            It cannot be written; the file is as it was.
        """
        line = f"{_HEAD}{canonical({**job.what, **result.figures})[1:]}\n".encode()
        size = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, size)
            raise ConfigError(f"the results cannot be written to {self.path}: {error}") from error

    def close(self) -> None:
        """Let go of the file. Repeatable."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"{self.path} is in use by another sweep: give another file") from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):  # no locks to be had there
                raise ConfigError(f"{self.path} cannot be locked: {error}") from error

    def _load(self, retry: bool) -> dict[str, dict[str, Any]]:
        """The results in the file by identity; of several of one trial the last."""
        try:
            size = os.fstat(self._file).st_size
            content = os.pread(self._file, size, 0)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error}") from error
        whole, torn = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
        done = {}
        for number, line in enumerate(whole.splitlines(), 1):
            row = self._row(line, number)
            if row["status"] == "ok" or not retry:
                done[canonical({name: row[name] for name in _WHAT})] = row
        if torn:
            head = _HEAD.encode()
            if not (torn.startswith(head) or head.startswith(torn)):
                raise self._strange(len(whole.splitlines()) + 1, torn)
            os.ftruncate(self._file, len(whole))
        return done

    def _row(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line) if line.startswith(_HEAD.encode()) else None
        except ValueError:
            row = None
        if not isinstance(row, dict) or row.get("status") not in STATUSES or not set(_WHAT) <= set(row):
            raise self._strange(number, line)
        return row

    def _strange(self, number: int, line: bytes) -> ConfigError:
        return ConfigError(
            f"{self.path}, line {number} is no result of a sweep: {line[:60]!r}. Give another file, or take "
            "the line out."
        )
