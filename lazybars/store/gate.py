"""Who is in a store's file at the moment, and how one thread gets it to itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lazybars.errors import StoreBusy

__all__ = ["Gate"]

_WAIT_S = 5.0


class Gate:
    """Counts the calls and the open readers of a file. Any thread.

    ``version`` grows with every change, so that what was read from the catalog can be kept until
    then; it counts for this process alone.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.version = 0
        self._state = threading.Condition()
        self._running = 0
        self._streams = 0
        self._swapping: int | None = None

    def _enter(self) -> None:
        me = threading.get_ident()
        with self._state:
            self._state.wait_for(lambda: self._swapping in (None, me))
            self._running += 1

    def _leave(self) -> None:
        with self._state:
            self._running -= 1
            self._state.notify_all()

    def _stream(self, more: int) -> None:
        with self._state:
            self._streams += more
            self._state.notify_all()

    def changed(self) -> None:
        """What was read of the catalog is out of date; whoever waits for that is woken."""
        with self._state:
            self.version += 1
            self._state.notify_all()

    def wait_change(self, seen: int, timeout_s: float) -> None:
        """Return when ``version`` is another than ``seen``, or time is up."""
        with self._state:
            self._state.wait_for(lambda: self.version != seen, timeout_s)

    def require_idle(self) -> None:
        with self._state:
            if self._streams:
                raise StoreBusy(
                    f"{self.path}: {self._streams} open readers still read the file: drain or drop them first"
                )

    def wait_idle(self, timeout_s: float) -> bool:
        """Whether no reader is open, now or before the time is up."""
        with self._state:
            return self._state.wait_for(lambda: not self._streams, timeout_s)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No call of another thread runs inside; they wait until the block ends.

        Raises StoreBusy where a reader is open or another thread's call does not end within 5 s.
        """
        me = threading.get_ident()
        deadline = time.monotonic() + _WAIT_S
        with self._state:
            self.require_idle()
            self._swapping = me
            while self._running:
                left = deadline - time.monotonic()
                if left <= 0 or not self._state.wait(left):
                    self._swapping = None
                    self._state.notify_all()
                    raise StoreBusy(f"{self.path}: {self._running} calls of other threads are still running")
        try:
            yield
        finally:
            with self._state:
                self.version += 1
                self._swapping = None
                self._state.notify_all()
