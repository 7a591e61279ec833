"""Every error of lazybars, as one tree.

LazyBarsError
├── ConfigError          a knob has a value that cannot be meant
├── CapTooSmall          the memory cap cannot hold the work asked for
├── BadInput             input rows cannot be stored; carries their numbers and reasons
│   └── AmbiguousInput   a file can be read in two ways, and does not say which
├── UnknownSeries        no series in the store answers to that asset and timestep
├── PrefetchFailed       a background read failed; its cause is the original
├── SweepFailed          a sweep's strategy cannot be loaded, or a single trial has no result
└── StoreError
    ├── StoreMissing     nothing there
    ├── StoreLocked      another process holds it
    ├── StoreBusy        this process still reads what should be replaced
    ├── StoreDamaged     checksum, header or length is wrong
    ├── StoreForeign     something else lies there, that lazybars did not write
    ├── StoreNewer       written by a newer schema
    ├── StoreFull        no space left on the device
    ├── StoreReadOnly    a write to a store opened read-only
    ├── StoreInterrupted interrupt() or close() stopped the query
    └── StoreClosed      used after close()

None of them is a ``ValueError``: Lumibot answers ``None`` where a data source
raises one, which would turn a fault into a wrong answer.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AmbiguousInput",
    "BadInput",
    "CapTooSmall",
    "ConfigError",
    "LazyBarsError",
    "PrefetchFailed",
    "StoreBusy",
    "StoreClosed",
    "StoreDamaged",
    "StoreError",
    "StoreForeign",
    "StoreFull",
    "StoreInterrupted",
    "StoreLocked",
    "StoreMissing",
    "StoreNewer",
    "StoreReadOnly",
    "SweepFailed",
    "UnknownSeries",
]


class LazyBarsError(Exception):
    """Base of every error that lazybars raises on purpose."""


class ConfigError(LazyBarsError):
    """A knob has a value that cannot be meant."""


class CapTooSmall(LazyBarsError):
    """The memory cap cannot hold the work asked for.

    Attributes
    ----------
    needed_bytes : int
        The smallest cap with which the same request works.
    """

    def __init__(self, message: str, needed_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes


class BadInput(LazyBarsError):
    """Input that cannot be stored.

    Attributes
    ----------
    rows : tuple of (int, str)
        The first rejected rows (zero-based, in the order of the input) with the reason.
    """

    def __init__(self, message: str, rows: Sequence[tuple[int, str]] = ()) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


class AmbiguousInput(BadInput):
    """A file can be read in two ways, and nothing in it says which is meant."""


class UnknownSeries(LazyBarsError):
    """No series in the store answers to that asset and timestep."""


class PrefetchFailed(LazyBarsError):
    """A background read failed; raised by the call that needed its bars, with the cause."""


class SweepFailed(LazyBarsError):
    """A sweep cannot go on: its strategy cannot be loaded, or a trial that is needed has no result."""


class StoreError(LazyBarsError):
    """Base of the faults of a store on disk."""


class StoreMissing(StoreError):
    """Nothing there."""


class StoreLocked(StoreError):
    """Another process holds the file."""


class StoreBusy(StoreError):
    """This process still reads what should be replaced."""


class StoreDamaged(StoreError):
    """A checksum, the header or the length of a file is wrong, or one is gone."""


class StoreForeign(StoreError):
    """A DuckDB file, or a directory, but not one that lazybars wrote."""


class StoreNewer(StoreError):
    """The file was written by a newer schema than this lazybars knows."""


class StoreFull(StoreError):
    """No space left on the device."""


class StoreReadOnly(StoreError):
    """A write to a store that was opened read-only."""


class StoreInterrupted(StoreError):
    """The query was stopped from another thread, by ``interrupt()`` or ``close()``."""


class StoreClosed(StoreError):
    """The store was used after ``close()``."""
