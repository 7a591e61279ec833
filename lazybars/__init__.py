"""lazybars: a lazy streaming bar iterator for backtest loops.

Bars stay in DuckDB on disk, stream ahead of the backtest clock into a bounded ring, and answer
Lumibot's questions with the same bits at a fraction of the RAM and the time.
"""

from lazybars.errors import (
    AmbiguousInput,
    BadInput,
    CapTooSmall,
    ConfigError,
    LazyBarsError,
    PrefetchFailed,
    StoreBusy,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreInterrupted,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreReadOnly,
    SweepFailed,
    UnknownSeries,
)
from lazybars.eviction import Fifo, Lru, NextUse, Policy, SegmentFacts
from lazybars.iterate import BarIterator, Tick, Window, iterate
from lazybars.model import AssetKey, Column, SeriesInfo, WriteSummary
from lazybars.planning import Plan
from lazybars.stats import Stats
from lazybars.store import Finding, Storage, Store, open_store
from lazybars.sweep import sweep, walk_forward
from lazybars.wrap import LazyBars

__version__ = "0.1.0"

__all__ = [
    "AmbiguousInput",
    "AssetKey",
    "BadInput",
    "BarIterator",
    "CapTooSmall",
    "Column",
    "ConfigError",
    "Fifo",
    "Finding",
    "LazyBars",
    "LazyBarsError",
    "Lru",
    "NextUse",
    "Plan",
    "Policy",
    "PrefetchFailed",
    "SegmentFacts",
    "SeriesInfo",
    "Stats",
    "Storage",
    "Store",
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
    "Tick",
    "UnknownSeries",
    "Window",
    "WriteSummary",
    "iterate",
    "open_store",
    "sweep",
    "walk_forward",
]
