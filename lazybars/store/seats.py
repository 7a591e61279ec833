"""What holds a store's file open for a while: a thread's cursor, work in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import duckdb

__all__ = ["Seat", "Stoppable"]


class Stoppable(Protocol):
    """What works in the background on the file, and must end before it is closed."""

    @property
    def done(self) -> bool: ...

    @property
    def untold(self) -> BaseException | None: ...

    def stop(self) -> None: ...


class Seat:
    """A cursor and the lock that its user holds while it runs something on it.

    ``close`` may come from any thread; it waits for the user to finish.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self.cursor = cursor
        self.lock = threading.RLock()
        self.on_close: Callable[[], None] | None = None
        self.closed = False

    def close(self) -> None:
        with self.lock:
            self.closed = True
            if self.on_close is not None:
                self.on_close()
                self.on_close = None
            self.cursor.close()
