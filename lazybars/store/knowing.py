"""What a store knows: which ranges were asked for, which hold no bars, what is left to download."""

from __future__ import annotations

import datetime as dt
from typing import Any

from lazybars.errors import BadInput, UnknownSeries
from lazybars.model import SeriesInfo, asset_key
from lazybars.store import catalog
from lazybars.store.base import StoreBase, moment, require_source, require_timestep, span_us
from lazybars.store.catalog import Entry
from lazybars.store.coverage import empty_ranges, known_ranges, learn_empty, missing_ranges
from lazybars.store.ingest import touch_source

__all__ = ["Knowing"]

Moments = list[tuple[dt.datetime, dt.datetime]]


class Knowing(StoreBase):
    """The part of a store that knows what it knows. Ranges are closed, ascending, disjoint, in UTC."""

    def coverage(self, asset: Any, timestep: str, *, quote: Any = None, source: str | None = None) -> Moments:
        """All that is known of a series: what its bars span, what ``covers`` said, what is known empty."""
        info = self._find(asset, timestep, quote, source, empty=True).info
        with self._engine.cursor() as cur:
            return _moments(known_ranges(cur, info.series_id))

    def known_empty(
        self, asset: Any, timestep: str, *, quote: Any = None, source: str | None = None
    ) -> Moments:
        """Where :meth:`mark_empty` said that there are no bars, and none were written since."""
        info = self._find(asset, timestep, quote, source, empty=True).info
        with self._engine.cursor() as cur:
            return _moments(empty_ranges(cur, info.series_id))

    def missing(
        self, asset: Any, timestep: str, start: Any, end: Any, *, quote: Any = None, source: str | None = None
    ) -> Moments:
        """What of [start, end] is left to download: all of it where the series is unknown.

        A gap begins and ends with the known time next to it, or with the end of [start, end].
        """
        wanted = span_us("missing()", start, end)
        require_timestep(timestep)
        try:
            info = self._find(asset, timestep, quote, source, empty=True).info
        except UnknownSeries:
            # That there are several is for the caller to settle; that there is none, to download.
            unsaid = isinstance(asset, str) or quote is None
            if unsaid and any(self._might_mean(e.info, asset, timestep, source) for e in self._entries()):
                raise
            return _moments([wanted])
        engine = self._engine
        with engine.cursor() as cur:
            return _moments(missing_ranges(engine, cur, info, wanted))

    def mark_empty(
        self, asset: Any, timestep: str, start: Any, end: Any, *, quote: Any = None, source: str = "user"
    ) -> None:
        """Note that the source has no bars in [start, end], so that nobody asks it again.

        The series need not have any bars yet; until it does, ``series()`` and ``find()`` pass it
        over. Raises BadInput where there are bars in that range. A later write of bars ends it.
        """
        span = span_us("mark_empty()", start, end)
        require_timestep(timestep)
        require_source(source)
        engine = self._writable("note what is empty")
        key, quote_key = asset_key(asset), None if quote is None else asset_key(quote)
        with engine.write_lock:
            held = self._catalog.exact(key, timestep, quote_key, source)
            with engine.transaction() as cur:
                if held is None:
                    series_id = catalog.new_series_id(cur)
                    info = SeriesInfo(series_id, key, quote_key, timestep, source, 0, 0, 0, ())
                    catalog.save(cur, Entry(info, True), new=True)
                else:
                    info = held.info
                    engine.bring(cur, info.series_id, *span)
                    rows = cur.execute(
                        "SELECT count(*) FROM bars WHERE series_id = ? AND ts BETWEEN "
                        "make_timestamptz(?::BIGINT) AND make_timestamptz(?::BIGINT)",
                        [info.series_id, *span],
                    ).fetchall()[0][0]
                    if rows:
                        raise BadInput(
                            f"{info.label} has {rows} bars between {moment(span[0])} and {moment(span[1])}: "
                            "delete() them first, or mark less as empty"
                        )
                learn_empty(cur, info, span)
                touch_source(cur, source)

    @staticmethod
    def _might_mean(info: SeriesInfo, asset: Any, timestep: str, source: str | None) -> bool:
        same = info.asset.symbol == asset_key(asset).symbol
        return same and info.timestep == timestep and source in (None, info.source)


def _moments(found: list[tuple[int, int]]) -> Moments:
    return [(moment(start), moment(end)) for start, end in found]
