"""A strategy class backtested: on frames that are read from a store, or on a source of Lumibot's by name."""

from __future__ import annotations

import importlib
from datetime import datetime
from typing import Any

import lumibot.backtesting
from lumibot.data_sources import DataSourceBacktesting
from lumibot.entities import Data
from lumibot.strategies import Strategy

from lazybars.adapters.shelf import Shelf, lumibot_asset
from lazybars.comparing.job import Side
from lazybars.config import Knobs
from lazybars.errors import ConfigError
from lazybars.sweep.named import load
from lazybars.wrap import LazyBars

__all__ = ["backtest"]

# What the store may take while its frames are read, and is gone before the backtest begins.
_READ_MEMORY_BYTES = 64_000_000


def backtest(side: Side) -> None:
    """Load the class and backtest it; whatever its module or the run raises comes through."""
    strategy, _ = load(side.strategy, Strategy)
    assert side.start is not None
    assert side.end is not None
    more: dict[str, Any] = {"parameters": side.parameters}
    if side.budget is not None:
        more["budget"] = side.budget
    source: Any = lumibot.backtesting.PandasDataBacktesting if side.source is None else _source(side.source)
    if side.from_store and side.lazy:
        source = LazyBars(source, store=side.store, memory=side.memory_bytes)
    elif side.from_store:
        more["pandas_data"] = _frames(side)
    start, end = datetime.fromisoformat(side.start), datetime.fromisoformat(side.end)
    strategy.backtest(source, start, end, **more)  # type: ignore[attr-defined]


def _frames(side: Side) -> list[Data]:
    """The whole store as a user of Lumibot would hold it, in the order in which the wrapped source has it."""
    knobs = Knobs.of(
        memory=_READ_MEMORY_BYTES,
        store=side.store,
        assets=None,
        partition="auto",
        policy="next-use",
        prefetch=False,
    )
    shelf = Shelf(knobs, _READ_MEMORY_BYTES)
    try:
        return [
            Data(
                lumibot_asset(info.asset),
                shelf.frame(info),
                timestep=info.timestep,
                quote=None if info.quote is None else lumibot_asset(info.quote),
            )
            for info in shelf.universe()
        ]
    finally:
        shelf.close()


def _source(name: str) -> type:
    module, _, attribute = name.rpartition(":")
    where: Any = importlib.import_module(module) if module else lumibot.backtesting
    found = getattr(where, attribute, None)
    if not isinstance(found, type) or not issubclass(found, DataSourceBacktesting):
        known = [one for one in lumibot.backtesting.__all__ if one != "BacktestingBroker"]
        raise ConfigError(f"--source {name}: give one of {', '.join(known)}, or module:Class")
    return found
