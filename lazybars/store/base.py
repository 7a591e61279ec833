"""What every part of a store stands on: the shared engine, the catalog, and the store's end."""

from __future__ import annotations

import datetime as dt
import weakref
from typing import Any

from lazybars.errors import ConfigError, StoreClosed, StoreReadOnly
from lazybars.model import TIMESTEPS
from lazybars.store.catalog import Catalog, Entry
from lazybars.store.engine import Engine
from lazybars.store.read import instant_us
from lazybars.store.tables import SCHEMA_VERSION

__all__ = ["StoreBase", "moment", "require_source", "require_timestep", "span_us"]


class StoreBase:
    """An engine in use, until :meth:`close`. The parts of :class:`lazybars.store.Store` inherit from it."""

    def __init__(self, engine: Engine) -> None:
        self._shared = engine
        self._catalog = Catalog(engine)
        # Also ends a store that was forgotten, so that its file does not stay locked.
        self._finalizer = weakref.finalize(self, engine.release)

    @property
    def _engine(self) -> Engine:
        if not self._finalizer.alive:
            raise StoreClosed(f"{self._shared.path}: the store is closed; open it again")
        return self._shared

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return self._shared.path

    @property
    def read_only(self) -> bool:
        return self._shared.read_only

    def _entries(self) -> tuple[Entry, ...]:
        self._engine  # noqa: B018 - raises where the store is closed
        return self._catalog.entries()

    def _find(
        self, asset: Any, timestep: str, quote: Any, source: str | None, *, empty: bool = False
    ) -> Entry:
        require_timestep(timestep)
        self._engine  # noqa: B018 - raises where the store is closed
        return self._catalog.find(asset, timestep, quote, source, empty=empty)

    def _writable(self, what: str) -> Engine:
        engine = self._engine
        if engine.read_only:
            raise StoreReadOnly(f"{self.path} was opened read-only: open it without read_only=True to {what}")
        return engine

    def _current(self, what: str) -> Engine:
        """The engine, where the file has what this version of the schema added."""
        engine = self._engine
        if engine.schema_version < SCHEMA_VERSION:
            raise StoreReadOnly(
                f"{self.path}: its schema is version {engine.schema_version}, and {what} needs version "
                f"{SCHEMA_VERSION}: open it once without read_only=True, which brings it up to date"
            )
        return engine


def require_timestep(timestep: str) -> None:
    """Raise ConfigError where a store has no series of that timestep."""
    if timestep not in TIMESTEPS:
        raise ConfigError(f"timestep={timestep!r}: give one of {', '.join(TIMESTEPS)}")


def require_source(source: object) -> None:
    """Raise ConfigError where bars cannot be said to be of that source."""
    if not isinstance(source, str):
        raise ConfigError(f"source={source!r}: give the name of where the bars are from, as a text")


def moment(us: int) -> dt.datetime:
    """Microseconds since the epoch as a datetime in UTC."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)


def span_us(name: str, start: Any, end: Any) -> tuple[int, int]:
    """A closed range in microseconds. Raises ConfigError where it is none."""
    start_us, end_us = instant_us(start), instant_us(end, end=True)
    if start_us is None or end_us is None or end_us < start_us:
        raise ConfigError(f"{name} needs start <= end; got {start!r} and {end!r}")
    return start_us, end_us
