"""The front door: `LazyBars` around a Lumibot data source."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from lazybars.config import Knobs
from lazybars.errors import ConfigError
from lazybars.eviction import Policy

__all__ = ["LazyBars"]

_log = logging.getLogger("lazybars")


def LazyBars(
    source: Any,
    *,
    memory: str | int = "512MB",
    store: Any = None,
    assets: Sequence[Any] | None = None,
    partition: str = "auto",
    policy: str | Policy = "next-use",
    prefetch: bool = True,
    live: bool = False,
    enabled: bool = True,
) -> Any:
    """Serve a Lumibot data source from DuckDB through a bounded ring. The answers stay the same.

    Parameters
    ----------
    source
        A backtesting data source class: gives a subclass of the same name, to hand to
        ``Strategy.backtest``. An instance of one: gives that instance, wrapped. An open store or the
        path or URL of one: the same as ``LazyBars(PandasDataBacktesting, store=source)``.
    memory
        The most that lazybars may add to the process, in bytes or as "256MB".
    store
        Path or URL of a store, or an open one. None: a private temporary one, removed at the end.
    assets
        The universe, when it is not the whole store: symbols, assets or (asset, quote) pairs. It
        decides which bars Lumibot's union index is made of.
    partition
        "1D", "1W", "1M", "3M", "1Y", "5Y", "25Y", or "auto": chosen from the cap and the universe.
    policy
        "next-use", "lru", "fifo", or an object with ``rank``; see `lazybars.eviction`.
    prefetch
        Whether a thread reads ahead of the clock.
    live
        Whether a line on the terminal follows the run: its date, RAM against the cap, hit rate, stall.
    enabled
        False, or ``LAZYBARS=off`` in the environment: gives ``source`` back, the very same object.

    A source that downloads (Polygon, CCXT) writes what comes to the store and asks for nothing twice. One
    that cannot be bounded is passed through as it is, with a warning that says why.

    Raises
    ------
    ConfigError
        A knob, or the source, cannot be meant.
    CapTooSmall
        When the source is made, or by ``load_data``: the cap cannot hold the work, with the
        arithmetic and the smallest cap that works.
    """
    is_store = isinstance(source, (str, os.PathLike)) or hasattr(source, "scan")
    if not _enabled(enabled):
        if is_store:
            raise ConfigError(
                f"LazyBars({source!r}) is off (LAZYBARS=off, or enabled=False), and there is no other "
                "source behind a store: switch it on, or give the source that the bars came from"
            )
        return source
    import lumibot.data_sources

    from lazybars.adapters.sources import alike, mixin_of, passed_through, why_not

    if is_store:
        if store is not None:
            raise ConfigError("give the store once: as the source, or as store=")
        import lumibot.backtesting

        source, store = lumibot.backtesting.PandasDataBacktesting, source
    knobs = Knobs.of(
        memory=memory,
        store=store,
        assets=assets,
        partition=partition,
        policy=policy,
        prefetch=prefetch,
        live=live,
    )
    _warn_of_override()
    cls = source if isinstance(source, type) else type(source)
    if not issubclass(cls, lumibot.data_sources.DataSourceBacktesting):
        raise ConfigError(f"LazyBars cannot wrap {cls.__name__}: it is no data source of a backtest")
    if hasattr(cls, "_lazy_knobs"):
        raise ConfigError(f"this {cls.__name__} is wrapped already")
    reason = why_not(cls)
    if reason is not None:
        return passed_through(source, reason, knobs.memory_bytes)
    lazy = alike(cls, (mixin_of(cls),), {"_lazy_knobs": knobs})
    if isinstance(source, type):
        return lazy
    source.__class__ = lazy
    source._lazy_adopt()
    return source


def _enabled(wanted: bool) -> bool:
    """What the caller said, unless the environment switches lazybars off."""
    said = os.environ.get("LAZYBARS", "").strip().lower()
    if said not in ("", "on", "off"):
        raise ConfigError(f"LAZYBARS={said!r} in the environment: set it to off or on, or unset it")
    if not isinstance(wanted, bool):
        raise ConfigError(f"enabled={wanted!r}: give True or False")
    return wanted and said != "off"


def _warn_of_override() -> None:
    """Lumibot's environment variable silently replaces any source, a wrapped one too."""
    override = os.environ.get("BACKTESTING_DATA_SOURCE", "").strip()
    if override and override.lower() != "none":
        _log.warning(
            "BACKTESTING_DATA_SOURCE=%s is set: Strategy.backtest will use that source instead of this one. "
            "Unset it, or set it to none.",
            override,
        )
