"""Which source goes first, and what is said of sources and assets beside their bars."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lazybars.errors import ConfigError, UnknownSeries
from lazybars.model import asset_key
from lazybars.store.base import StoreBase
from lazybars.store.catalog import identity

__all__ = ["Describing"]


class Describing(StoreBase):
    """The part of a store that orders its sources and keeps metadata, as JSON."""

    def prefer(self, sources: Sequence[str] | str) -> None:
        """State the order in which sources are preferred, the best first; it replaces the one before.

        Where an asset has bars from several, ``find()``, ``read()``, ``series()`` and LazyBars take the
        first of these; sources that are not named come after them, in the order in which they were
        first written. ``prefer([])`` goes back to that order alone.
        """
        names = [sources] if isinstance(sources, str) else list(sources)
        engine = self._writable("state a preference")
        if len(set(names)) < len(names):
            raise ConfigError(f"prefer({names!r}): a source is named twice")
        with engine.transaction() as cur:
            known = [
                row[0] for row in cur.execute("SELECT source_name FROM sources ORDER BY rowid").fetchall()
            ]
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ConfigError(
                    f"prefer(): no bars from {', '.join(map(repr, unknown))}; the sources are "
                    f"{', '.join(map(repr, known)) or 'none: the store is empty'}"
                )
            cur.execute("UPDATE sources SET priority = 0")
            # Below zero, so that a source which comes later, with 0, does not go before them.
            for place, name in enumerate(names):
                cur.execute(
                    "UPDATE sources SET priority = ? WHERE source_name = ?", [place - len(names), name]
                )

    def sources(self) -> list[str]:
        """Every source, in the order of preference."""
        with self._engine.cursor() as cur:
            rows = cur.execute("SELECT source_name FROM sources ORDER BY priority, rowid").fetchall()
        return [row[0] for row in rows]

    def describe_source(self, source: str, config: Mapping[str, Any]) -> None:
        """Keep a JSON object with a source, in ``data_sources.config``; it replaces the one before.

        Meant for what a download needs to know again (a feed, an adjustment). Not for secrets: whoever
        reads the file reads them.
        """
        text = _json_object("config", config)
        engine = self._writable("describe a source")
        with engine.transaction() as cur:
            row = cur.execute(
                "UPDATE sources SET config = ? WHERE source_name = ? RETURNING 1", [text, source]
            ).fetchall()
            if not row:
                raise ConfigError(f"no bars from {source!r}: write some first")

    def describe_asset(
        self,
        asset: Any,
        *,
        exchange: str | None = None,
        currency: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep exchange, currency and a JSON object with an asset, for the view ``assets``.

        They replace what was said before. ``metadata`` is laid over what the store itself tells there
        (series, rows, timesteps, sources). As in the view, symbol and type make an asset.
        """
        key = asset_key(asset)
        text = None if metadata is None else _json_object("metadata", metadata)
        engine = self._writable("describe an asset")
        # A bare symbol is whichever asset the store has under it.
        found = [info for e in self._entries() if (info := e.info).asset.symbol == key.symbol]
        types = {info.asset.asset_type for info in found}
        same = [info for info in found if identity(info.asset) == identity(key)]
        if isinstance(asset, str) and not same and len(types) == 1:
            kind = types.pop()
        elif key.asset_type in types:
            kind = key.asset_type
        else:
            raise UnknownSeries(f"no series of {key} ({key.asset_type}): write its bars first")
        with engine.transaction() as cur:
            cur.execute("DELETE FROM asset_details WHERE symbol = ? AND asset_type = ?", [key.symbol, kind])
            cur.execute(
                "INSERT INTO asset_details VALUES (?, ?, ?, ?, ?)",
                [key.symbol, kind, exchange, currency, text],
            )


def _json_object(name: str, value: Mapping[str, Any]) -> str:
    try:
        if not isinstance(value, Mapping):
            raise TypeError(f"it is a {type(value).__name__}")
        return json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}={value!r} is no JSON object: {error}") from error
