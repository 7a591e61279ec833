"""Writing to a store, deleting from it, and putting it in order."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from typing import Any, Literal, overload

from lazybars.errors import BadInput, ConfigError
from lazybars.model import WriteSummary, asset_key
from lazybars.store import ingest, read
from lazybars.store.arrivals import open_arrival
from lazybars.store.background import Job
from lazybars.store.base import StoreBase, moment, require_source, require_timestep, span_us
from lazybars.store.checks import inspect
from lazybars.store.compact import compact, start_compaction
from lazybars.store.remove import delete_span

__all__ = ["Writing"]


class Writing(StoreBase):
    """The part of a store that changes its bars in bulk."""

    def write(
        self,
        data: Any,
        *,
        asset: Any,
        timestep: str,
        quote: Any = None,
        source: str = "user",
        mode: str = "upsert",
        tz: str | dt.tzinfo | None = None,
        covers: tuple[Any, Any] | None = None,
    ) -> WriteSummary:
        """Store the bars of one series, all of them or none.

        data : pandas or Polars frame, Arrow table, reader or batches, or the path, pattern or list
            of paths of Parquet, CSV (.csv, .csv.gz) or Feather files. Files and readers are streamed.
            The time is a DatetimeIndex or a column called datetime, timestamp, date, time, ts or
            index; open, high, low and close must be there, volume may be; other columns are kept.
        asset, quote : symbol, AssetKey or Lumibot Asset.
        timestep : "minute", "hour" or "day".
        mode : "upsert" replaces bars of the same timestamp, "append" refuses them, "replace"
            gives up the whole series first.
        tz : the zone of times that have none; New York where it is not given, as Lumibot has it.
        covers : the (start, end) that the source was asked for, both included: all of it is known from
            now on, see :meth:`missing`. None: from the first bar to the last.

        Unsorted rows are sorted and of duplicate timestamps the first stays, both counted in the
        summary. Raises BadInput, with the rows and the reasons, where a row cannot be stored: an
        empty or unreadable time, text or infinity in a price, high below low, a naive time that the
        zone has twice or never, a time finer than a microsecond, a bar outside ``covers``. NaN prices
        are kept. No rows at all are never taken for an answer: see :meth:`mark_empty`.
        """
        began = time.perf_counter()
        require_timestep(timestep)
        require_source(source)
        if mode not in ingest.MODES:
            raise ConfigError(f"mode={mode!r}: give one of {', '.join(ingest.MODES)}")
        covered = None if covers is None else span_us("covers", *_pair(covers))
        engine = self._writable("write")
        key = asset_key(asset)
        quote_key = None if quote is None else asset_key(quote)
        with (
            engine.write_lock,
            engine.cursor() as cur,
            open_arrival(cur, data, tz, engine.scratch.folder()) as arrival,
        ):
            found = inspect(cur, arrival)
            if covered is not None and not covered[0] <= found.first_us <= found.last_us <= covered[1]:
                raise BadInput(
                    f"{arrival.label}: its bars reach from {moment(found.first_us)} to "
                    f"{moment(found.last_us)}, beyond covers, {moment(covered[0])} to {moment(covered[1])}: "
                    "check the zone, or leave covers out. Nothing was written."
                )
            held = self._catalog.exact(key, timestep, quote_key, source)
            target = ingest.Target(key, quote_key, timestep, source, held, covered)
            with engine.transaction() as cur:
                summary = ingest.write_arrival(engine, cur, arrival, found, target, mode)
        return dataclasses.replace(summary, wall_s=time.perf_counter() - began)

    def delete(
        self,
        asset: Any,
        timestep: str,
        start: Any = None,
        end: Any = None,
        *,
        quote: Any = None,
        source: str | None = None,
    ) -> int:
        """Delete the bars of a series in [start, end], and what is known of that time; gives the rows.

        With the last bar the series goes, unless time outside of it is known to be empty.
        """
        entry = self._find(asset, timestep, quote, source, empty=True)
        start_us, end_us = read.instant_us(start), read.instant_us(end, end=True)
        with self._engine.transaction() as cur:
            return delete_span(self._engine, cur, entry, start_us, end_us)

    @overload
    def compact(self) -> None: ...

    @overload
    def compact(self, *, background: Literal[False]) -> None: ...

    @overload
    def compact(self, *, background: Literal[True]) -> Job: ...

    def compact(self, *, background: bool = False) -> Job | None:
        """Rewrite the file in the order (week, series, time), which makes reading many series fast.

        Other threads may read meanwhile and wait for a moment at its end. Needs as much free disk
        as the store is large. Raises StoreBusy where a reader of this process is open.

        With ``background`` a thread does it, and others may write as well; what they touch is copied
        once more at its end. Gives its handle: ``wait(timeout_s)``, ``cancel()``, ``done``. It waits
        for open readers to end, and is cancelled when the store is closed. What fails in it is raised
        by ``wait()``, or by ``close()`` where nobody waited.
        """
        if background:
            return start_compaction(self._engine)
        compact(self._engine)
        return None

    @property
    def is_compact(self) -> bool:
        """Whether nothing was written since the file was made or last compacted."""
        with self._engine.cursor() as cur:
            row = cur.execute("SELECT value FROM meta WHERE key = 'layout'").fetchall()
        return bool(row and row[0][0] == "bucketed")


def _pair(covers: Any) -> tuple[Any, Any]:
    if not isinstance(covers, (tuple, list)) or len(covers) != 2:
        raise ConfigError(f"covers={covers!r}: give (start, end)")
    return covers[0], covers[1]
