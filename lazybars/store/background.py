"""Work in the background of a store: one job on a thread of its own, or the same step for many items.

With ``prefetch`` the only module that starts threads, under the same rules: a thread has one owner,
which may stop it any number of times; it holds what it works on, never the store, so that a store
which is forgotten can be collected, and its finaliser stops this; and what fails there is raised in
the foreground.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

import duckdb

from lazybars.errors import StoreInterrupted

__all__ = ["Job", "ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Job:
    """One function on a thread of its own. Its methods may be called from any thread.

    The function is handed the job: it asks :meth:`check` between its steps, and sets
    ``interrupt`` to what stops the query that it is running.
    """

    def __init__(self, name: str, work: Callable[[Job], None]) -> None:
        self.interrupt: Callable[[], None] | None = None
        self.cancelled = False
        self._error: BaseException | None = None
        self._told = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return not self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it ends within the time; None waits for as long as it takes.

        Raises what failed in it, and StoreInterrupted where it was cancelled.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._thread.is_alive():
            left = 0.25 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            self._thread.join(min(left, 0.25))  # in pieces, so that Ctrl-C is heard
        self.tell()
        if self.cancelled:
            raise StoreInterrupted("it was cancelled before it had ended; the store is as it was")
        return True

    def tell(self) -> None:
        """Raise what failed, once more each time that it is asked for by ``wait``."""
        self._told = True
        if self._error is not None:
            raise self._error

    @property
    def untold(self) -> BaseException | None:
        """What failed and was raised to nobody yet."""
        return None if self._told else self._error

    def cancel(self) -> None:
        """Stop it and wait until it has stopped. One that has ended stays as it is."""
        self.stop()

    def stop(self) -> None:
        """As :meth:`cancel`; what its owner calls when the store is closed."""
        self._stopping = True
        if self._thread is threading.current_thread():
            return
        while self._thread.is_alive():
            interrupt = self.interrupt
            if interrupt is not None:
                with suppress(duckdb.Error):  # the query has just ended
                    interrupt()
            self._thread.join(0.05)

    def check(self) -> None:
        """Raise StoreInterrupted where the job is to stop."""
        if self._stopping:
            raise StoreInterrupted("it was cancelled")

    def _run(self, work: Callable[[Job], None]) -> None:
        try:
            work(self)
        except BaseException as error:
            # Whatever it was, it belongs to whoever waits for the job.
            if self._stopping and isinstance(error, StoreInterrupted):
                self.cancelled = True
            else:
                self._error = error
        finally:
            self.interrupt = None


class _Task(Generic[Item, Result]):
    """An item on its way through a worker. ready : outcome is what came of it, or what it raised."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.ready = threading.Event()
        self.outcome: Result | BaseException | None = None


def ahead(
    items: Iterator[Item],
    work: Callable[[Item], Result],
    *,
    workers: int,
    name: str,
    interrupt: Callable[[], None],
    discard: Callable[[Result], None],
) -> Generator[tuple[Item, Result | Exception]]:
    """What ``work`` makes of each item, in their order, made by threads that are a few items ahead.

    ``items`` is asked in the caller's thread. An Exception of ``work`` is given in the result's place;
    what else it raises is raised here. Where the caller stops early, or Ctrl-C does, ``interrupt`` is
    called until the threads have ended, and what nobody took goes to ``discard``.
    """
    queue: SimpleQueue[_Task[Item, Result] | None] = SimpleQueue()
    waiting: deque[_Task[Item, Result]] = deque()
    stopping = threading.Event()

    def run() -> None:
        while (task := queue.get()) is not None:
            if not stopping.is_set():
                try:
                    task.outcome = work(task.item)
                except BaseException as error:  # it belongs to whoever asks for this item
                    task.outcome = error
            task.ready.set()

    threads = [threading.Thread(target=run, name=f"{name}-{n}", daemon=True) for n in range(1, workers + 1)]
    for thread in threads:
        thread.start()
    try:
        while True:
            while len(waiting) <= workers and (item := next(items, None)) is not None:
                waiting.append(_Task(item))
                queue.put(waiting[-1])
            if not waiting:
                return
            while not waiting[0].ready.wait(0.25):  # in pieces, so that Ctrl-C is heard
                pass
            task = waiting.popleft()
            outcome = task.outcome
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
            yield task.item, cast("Result | Exception", outcome)
    finally:
        stopping.set()
        for _ in threads:
            queue.put(None)
        while any(thread.is_alive() for thread in threads):
            interrupt()
            for thread in threads:
                thread.join(0.05)
        for task in waiting:
            if task.outcome is not None and not isinstance(task.outcome, BaseException):
                discard(task.outcome)
