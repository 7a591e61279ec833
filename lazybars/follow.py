"""A walk that does not end with the bars: it waits for new ones, and goes on."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from lazybars.errors import StoreClosed, StoreLocked
from lazybars.journal import Regret
from lazybars.planning import Plan
from lazybars.stats import Stats
from lazybars.store import Storage

__all__ = ["Follower", "Stretch", "Timed"]

_WAIT_S = 0.5


class Timed(Protocol):
    """A tick of a clock."""

    now_ns: int


T = TypeVar("T", bound=Timed)
C = TypeVar("C", bound=Timed, covariant=True)


class Stretch(Protocol[C]):
    """What `lazybars.BarIterator` does: a walk over the bars that there are."""

    symbols: tuple[str, ...]

    def __iter__(self) -> Iterator[C]: ...
    def close(self) -> None: ...
    def stats(self) -> Stats: ...
    def plan(self) -> Plan: ...
    def regret(self) -> Regret: ...
    def report(self, path: str | os.PathLike[str], title: str = ...) -> Path: ...


class Follower(Iterator[T]):
    """What ``iterate(..., follow=True)`` gives: a `BarIterator` that goes on where new bars land.

    Each stretch of bars is walked by an iterator of its own, with the whole cap; the figures are
    those of the latest one. Bars that land behind the clock are in its windows from then on, but bring
    no tick. Close it from any thread, or let it be collected.

    Parameters
    ----------
    walk
        Makes the iterator from an instant on.
    end_ns
        Where to stop, or None for never.
    """

    def __init__(
        self,
        store: Storage,
        owned: bool,
        walk: Callable[[int], Stretch[T]],
        start_ns: int,
        end_ns: int | None,
    ) -> None:
        self._store = store
        self._walk = walk
        self._end_ns = end_ns
        self._version = store.version
        self._ticks = walk(start_ns)
        self.symbols = self._ticks.symbols
        self._last_ns = start_ns - 1
        self._closed = False
        self._end_store = weakref.finalize(self, store.close if owned else _nothing)

    def __next__(self) -> T:
        while not self._closed:
            for tick in self._ticks:
                self._last_ns = tick.now_ns
                return tick
            if self._end_ns is not None and self._last_ns >= self._end_ns:
                break
            if self._closed or not self._landed():
                continue
            self._ticks.close()
            self._ticks = self._walk(self._last_ns + 1)
        raise StopIteration

    def _landed(self) -> bool:
        """Whether the store changed within a moment; a writer of another process may have it just now."""
        try:
            version = self._store.wait_for_bars(self._version, _WAIT_S)
        except StoreLocked:
            return False
        except StoreClosed:
            if self._closed:
                return False
            raise
        changed = version > self._version
        self._version = version
        return changed

    def __enter__(self) -> Follower[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the walk and the thread, and close what was opened. Repeatable."""
        self._closed = True
        self._ticks.close()
        self._end_store()

    def stats(self) -> Stats:
        """The figures since bars landed last."""
        return self._ticks.stats()

    def plan(self) -> Plan:
        """What the walk needs since bars landed last."""
        return self._ticks.plan()

    def regret(self) -> Regret:
        """See `BarIterator.regret`; since bars landed last."""
        return self._ticks.regret()

    def report(self, path: str | os.PathLike[str], title: str = "Iteration") -> Path:
        """See `BarIterator.report`; since bars landed last."""
        return self._ticks.report(path, title)


def _nothing() -> None:
    """The caller's own store stays open."""
