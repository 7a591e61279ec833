"""Bars as they arrive, while others read."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from lazybars.errors import ConfigError
from lazybars.model import WriteSummary, asset_key
from lazybars.store import read
from lazybars.store.append import append_batch
from lazybars.store.base import StoreBase, require_source, require_timestep
from lazybars.store.batch import batches
from lazybars.store.ingest import Target

__all__ = ["Appending"]


class Appending(StoreBase):
    """The part of a store that takes single bars and small batches, and remembers what they replaced."""

    def append(
        self,
        bars: Any,
        *,
        asset: Any,
        timestep: str,
        quote: Any = None,
        source: str = "user",
        tz: str | dt.tzinfo | None = None,
    ) -> WriteSummary:
        """Store bars of one series as they arrive, all of them or none; readers of this process see them.

        bars : one bar as a mapping ({"timestamp": ..., "open": ..., ...}), a list of such, or a pandas
            or Polars frame or Arrow table. Held in RAM whole: files and long histories go to
            :meth:`write`.

        A bar that is there with other values is replaced, and what it was is logged: see
        :meth:`revisions`. One that is there with the same values is left alone and counts as read
        only. Of duplicate timestamps in ``bars`` the first stays. Raises BadInput as :meth:`write` does.
        """
        return self.append_all({asset: bars}, timestep=timestep, quote=quote, source=source, tz=tz)[0]

    def append_all(
        self,
        bars: Mapping[Any, Any],
        *,
        timestep: str,
        quote: Any = None,
        source: str = "user",
        tz: str | dt.tzinfo | None = None,
    ) -> list[WriteSummary]:
        """Store the bars of many assets, {asset: bars as for append()}, in one transaction.

        Much faster than one ``append`` each. Gives a summary for each asset, in the order given.
        """
        began = time.perf_counter()
        require_timestep(timestep)
        require_source(source)
        engine = self._writable("append")
        keys = [asset_key(asset) for asset in bars]
        if len(set(keys)) < len(keys):
            twice = sorted({str(key) for key in keys if keys.count(key) > 1})
            raise ConfigError(f"append_all(): {', '.join(twice)} is given twice")
        quote_key = None if quote is None else asset_key(quote)
        if not keys:
            return []
        with engine.write_lock, engine.cursor() as cur:
            labels = [f"{key} {timestep}" for key in keys]
            parts = batches(cur, list(bars.values()), labels, tz, engine.scratch.folder())
            targets = [
                Target(
                    key, quote_key, timestep, source, self._catalog.exact(key, timestep, quote_key, source)
                )
                for key in keys
            ]
            done: dict[int, WriteSummary] = {}
            with engine.transaction() as cur:
                for part in parts:
                    done |= append_batch(engine, cur, part, targets)
        wall_s = time.perf_counter() - began
        return [dataclasses.replace(done[place], wall_s=wall_s) for place in range(len(keys))]

    def revisions(
        self,
        asset: Any = None,
        timestep: str | None = None,
        *,
        quote: Any = None,
        source: str | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """The bars that ``append`` replaced, as they were, in the order in which that happened.

        Columns as in the view ``revisions``: asset_symbol, asset_type, timestamp, timeframe, source,
        revised_at (UTC), open, high, low, close, volume, and extras, a JSON object of the other
        columns. Of one series where ``asset`` and ``timestep`` are given, else of all.
        """
        engine = self._current("the log of revisions")
        where, params = "", []
        if asset is not None:
            if timestep is None:
                raise ConfigError("revisions(): give the timestep with the asset")
            where = "WHERE series_id = ?"
            params = [self._find(asset, timestep, quote, source, empty=True).info.series_id]
        with engine.cursor() as cur:
            return read.revisions(cur, where, params, limit)
