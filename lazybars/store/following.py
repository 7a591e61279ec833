"""How a reader learns that bars have come in."""

from __future__ import annotations

import time

from lazybars.errors import ConfigError, StoreLocked
from lazybars.model import SeriesInfo
from lazybars.store.base import StoreBase

__all__ = ["Following"]

# How long a read-only store lets go of its file, so that a writer gets in.
_PAUSE_S = 0.05
_SLICE_S = 0.5


class Following(StoreBase):
    """The part of a store that says what changed."""

    @property
    def version(self) -> int:
        """How many writes the store has seen since it was made; it is kept in the file."""
        with self._current("its version").cursor() as cur:
            return int(cur.execute("SELECT value FROM meta WHERE key = 'version'").fetchall()[0][0])

    def changed_since(self, version: int) -> list[SeriesInfo]:
        """The series that have bars and changed after the store had that version."""
        with self._current("what changed").cursor() as cur:
            rows = cur.execute("SELECT series_id FROM series_catalog WHERE version > ?", [version]).fetchall()
        changed = {row[0] for row in rows}
        return [entry.info for entry in self._catalog.held() if entry.info.series_id in changed]

    def wait_for_bars(self, after_version: int, timeout_s: float | None = None) -> int:
        """Wait until the store's version is beyond ``after_version``; gives the version there is then.

        It is the old one where the time ran out; None waits for as long as it takes. Ctrl-C and
        ``close()`` end it. A store open for writing hears of this process's own writes at once.

        One open read-only keeps writers of other processes out, so to wait it lets go of the file
        again and again, for 0.05 s; a writer gets in that opens it with ``wait_s``, and closes it when
        it is done. Other threads' calls are held up meanwhile. Raises StoreBusy where a reader is
        open, StoreLocked where a writer still has the file when the time is up: the next call tries
        again.
        """
        if timeout_s is not None and not timeout_s >= 0:
            raise ConfigError(f"timeout_s={timeout_s!r}: give seconds, at least 0, or None")
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        locked: StoreLocked | None = None
        while True:
            engine = self._current("waiting for bars")
            seen = engine.version
            try:
                version = self.version
                locked = None
            except StoreLocked as error:
                version, locked = after_version, error
            left = _SLICE_S if deadline is None else deadline - time.monotonic()
            if version > after_version:
                return version
            if left <= 0:
                if locked is not None:
                    raise locked
                return version
            if not engine.read_only:
                engine.wait_change(seen, min(left, _SLICE_S))
            elif locked is not None:
                time.sleep(min(left, _PAUSE_S))
            else:
                try:
                    engine.step_aside(min(left, _PAUSE_S))
                except StoreLocked as error:
                    locked = error
