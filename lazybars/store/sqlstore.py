"""A store that DuckDB answers for. The work is done next door; here are the names and the order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lazybars.errors import ConfigError
from lazybars.model import AssetKey, SeriesInfo, Traffic
from lazybars.store import framing, read
from lazybars.store.analytics import Analytics
from lazybars.store.appending import Appending
from lazybars.store.describing import Describing
from lazybars.store.following import Following
from lazybars.store.interface import Storage
from lazybars.store.knowing import Knowing
from lazybars.store.loading import Loading
from lazybars.store.scanning import Scanning
from lazybars.store.verify import Finding, verify
from lazybars.store.writing import Writing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Store"]

_READS = {"SELECT", "EXPLAIN", "PRAGMA", "SET", "CALL"}


class Store(Writing, Loading, Appending, Following, Knowing, Describing, Analytics, Scanning, Storage):
    """The part that all implementations share: each has an engine that its statements run on.

    Every method may be called from any thread: each thread has a cursor of its own. Times given
    without a zone are New York's. Once closed, every method raises StoreClosed.
    """

    def __repr__(self) -> str:
        state = "" if self._finalizer.alive else " (closed)"
        return f"<{type(self).__name__} {self._shared.path}{state}>"

    def close(self) -> None:
        """Let go of the store, all that was written in it. May be called twice.

        Ends a compaction in the background, and raises what failed in one that nobody waited for.
        """
        if self._finalizer.alive:
            self._finalizer()
            job = self._shared.job
            if job is not None and job.done and job.untold is not None:
                raise job.untold

    @property
    def traffic(self) -> Traffic:
        """What was asked of an object store: nothing, where the bars lie here."""
        return Traffic()

    # ------------------------------------------------------------------ read

    def read(
        self,
        asset: Any,
        timestep: str,
        start: Any = None,
        end: Any = None,
        *,
        quote: Any = None,
        source: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Stream a series in time order: ``timestamp`` (microseconds, UTC), then its columns.

        start, end : datetimes, dates or ISO text, both included; a bare date as ``end`` means all
        of that day in New York. An extra column that is itself called timestamp comes as
        ``timestamp_``. The reader has a cursor of its own, which it gives back when it is drained
        or dropped; it must not outlive the store.
        """
        entry = self._find(asset, timestep, quote, source)
        start_us = read.instant_us(start)
        end_us = read.instant_us(end, end=True)
        return read.reader(self._engine, entry, start_us, end_us, read.chosen(entry.info, columns))

    def get_historical_prices(
        self,
        asset: Any,
        start: Any = None,
        end: Any = None,
        timestep: str = "minute",
        quote: Any = None,
        source: str | None = None,
    ) -> pd.DataFrame:
        """The bars in [start, end] as a frame, as they were written: values, dtypes, order of columns.

        The index is called "datetime", in New York time, with the resolution that it was written with.
        """
        entry = self._find(asset, timestep, quote, source)
        return framing.frame(self._engine, entry, read.instant_us(start), read.instant_us(end, end=True))

    def sql(self, query: str, params: Any = None) -> pa.Table:
        """The result of a query over ``ohlcv_data``, ``assets``, ``data_sources``, ``cache_ranges``.

        params : values for ``?`` (a sequence) or ``$name`` (a mapping). Meant for reading: what a
        statement changes in the tables beneath is not checked by anyone, ``verify`` aside. The
        result is in RAM as a whole, outside the store's memory limit.
        """
        engine = self._engine
        with engine.cursor() as cur:
            kinds = {statement.type.name for statement in cur.extract_statements(query)}
        if "TRANSACTION" in kinds:
            raise ConfigError(
                "sql() takes no BEGIN, COMMIT or ROLLBACK: each call is a transaction of its own; "
                "write() and append() are all or nothing"
            )
        reads = kinds <= _READS
        with nullcontext() if reads else engine.unwatched(), engine.cursor() as cur, engine.whole(cur):
            result = cur.sql(query, params=params)
            return pa.table({}) if result is None else result.to_arrow_table()

    # --------------------------------------------------------------- catalog

    def series(self) -> list[SeriesInfo]:
        """Every series that has bars: of preferred sources first, then in the order of first writing."""
        self._engine  # noqa: B018 - raises where the store is closed
        return [entry.info for entry in self._catalog.held()]

    def assets(self) -> list[AssetKey]:
        """Every asset, sorted."""
        return sorted({info.asset for info in self.series()})

    def find(self, asset: Any, timestep: str, quote: Any = None, source: str | None = None) -> SeriesInfo:
        """The series meant. Raises UnknownSeries, which names what there is.

        A bare symbol means the stock, or else the only asset of that symbol. ``quote=None`` means
        the series without quote, the one against USD, or the only one; ``source=None`` the source
        that :meth:`prefer` puts first, then the series written first.
        """
        return self._find(asset, timestep, quote, source).info

    def verify(self) -> list[Finding]:
        """What of the catalog and the day summary disagrees with the bars. Reads all bars."""
        engine = self._engine
        with engine.cursor() as cur, engine.whole(cur):
            return verify(engine, cur, self._catalog.entries())
