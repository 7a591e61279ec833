"""What a source has downloaded: which ranges are known, and what arrives written with its coverage.

One vault serves one run. What it is told is about one source ("polygon"), so that no other source's
bars or coverage are taken for its own. It sees bars and ranges, never a key or a session of the service.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lazybars.config import Knobs
from lazybars.errors import UnknownSeries
from lazybars.model import AssetKey, SeriesInfo, asset_key
from lazybars.store import Store, open_store

__all__ = ["Range", "Vault", "Wanted"]

Range = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One series of a source: what is asked of the service under one name.

    asset, quote : Lumibot's. timestep : "minute", "hour" or "day".
    variant : of what kind its bars are, where a service has several of one timestep ("5Min", prices
        adjusted for dividends).
    """

    asset: Any
    quote: Any
    timestep: str
    variant: str = ""

    @property
    def label(self) -> str:
        return f"{self.asset}/{self.quote} {self.timestep}" if self.quote else f"{self.asset} {self.timestep}"


class Vault:
    """The store of a run that downloads. Any thread; closed with the run.

    Parameters
    ----------
    source
        The name that its series have in the store.
    engine_limit_bytes
        DuckDB's ``memory_limit`` while the backtest runs; enough to write one answer.
    """

    def __init__(self, knobs: Knobs, source: str, engine_limit_bytes: int) -> None:
        self.source = source
        self._private: Path | None = None
        self._given: Store | None = None
        self._lowered = 0
        if knobs.store is None:
            self._private = Path(tempfile.mkdtemp(prefix="lazybars-"))
        try:
            if self._private is not None:
                path: Any = self._private / "bars.duckdb"
            else:
                path = knobs.store
            if isinstance(path, (str, os.PathLike)):
                self.store: Store = open_store(path, memory=engine_limit_bytes, threads=1)
            else:
                self.store = self._given = knobs.store
                self._lowered = knobs.store.lower_memory(engine_limit_bytes)
        except BaseException:
            self._remove()
            raise

    def limit(self, engine_limit_bytes: int) -> None:
        """Give DuckDB what series with many columns need."""
        most = min(engine_limit_bytes, self._lowered) if self._given is not None else engine_limit_bytes
        self.store.restore_memory(most)

    def under(self, source: str) -> Vault:
        """The same store for series of another name; closed with this one."""
        other = copy.copy(self)
        other.source = source
        return other

    # ---- what is known ----------------------------------------------------------------------------

    def find(self, wanted: Wanted) -> SeriesInfo | None:
        """The series, if any bar of it is stored."""
        try:
            return self.store.find(*self._name(wanted), self._source(wanted))
        except UnknownSeries:
            return None

    def missing(self, wanted: Wanted, start: dt.datetime, end: dt.datetime) -> list[Range]:
        """What of [start, end] has to be downloaded; closed ranges in UTC, ascending."""
        asset, timestep, quote = self._name(wanted)
        try:
            return self.store.missing(asset, timestep, start, end, quote=quote, source=self._source(wanted))
        except UnknownSeries:
            return [(_utc(start), _utc(end))]

    def has_bars(self, info: SeriesInfo, span_ns: tuple[int, int]) -> bool:
        """Whether any bar of a series lies in a span, both ends included."""
        start_ns, end_ns = span_ns
        if end_ns < info.first_ns or info.last_ns < start_ns:
            return False
        found = self.store.last_before(info.series_id, end_ns + 1, [])
        return found is not None and found[0] >= start_ns

    def beside(self, info: SeriesInfo, start: dt.datetime, end: dt.datetime) -> pd.DataFrame:
        """The prices of the last stored bar by ``start`` and of the first one from ``end`` on.

        What a service says of them now, next to a range that is asked for, tells whether it adjusts its
        prices in another way than when they were stored. Rows: at most two, indexed by UTC; columns: open,
        high, low, close.
        """
        sides = "SELECT max(ts) FROM bars WHERE series_id = $1 AND ts <= $2 UNION ALL "
        sides += "SELECT min(ts) FROM bars WHERE series_id = $1 AND ts >= $3"
        found = self.store.sql(
            "SELECT DISTINCT epoch_ns(ts) AS ts, open, high, low, close FROM bars "
            f"WHERE series_id = $1 AND ts IN ({sides}) ORDER BY ts",
            [info.series_id, _utc(start), _utc(end)],
        )
        columns = {name: found.column(name).to_pylist() for name in found.column_names}
        index = pd.DatetimeIndex(pd.to_datetime(columns.pop("ts"), utc=True))
        return pd.DataFrame(columns, index=index, dtype="float64")

    # ---- what arrives -----------------------------------------------------------------------------

    def keep(
        self,
        wanted: Wanted,
        frame: pd.DataFrame,
        start: dt.datetime,
        end: dt.datetime,
        *,
        complete: bool = True,
    ) -> SeriesInfo | None:
        """Write what the service answered for [start, end], with the coverage that it deserves.

        Parameters
        ----------
        frame
            The bars, with the columns and dtypes that the source's own frame has; text and objects
            cannot be stored. No bars: the service said, for the whole range, that there are none.
        complete
            Unset where the answer broke off: it is covered from ``start`` to its last bar.

        What is not over yet is not covered beyond the last bar: the service may have more tomorrow.
        Gives the series, None where none of its bars is known.
        """
        over = _utc(dt.datetime.now(dt.timezone.utc)).replace(hour=0, minute=0, second=0, microsecond=0)
        start, end = _utc(start), min(_utc(end), over)
        asset, timestep, quote = self._written_as(wanted)
        if not len(frame):
            if complete and start < end:
                self.store.mark_empty(asset, timestep, start, end, quote=quote, source=self._source(wanted))
            return self.find(wanted)
        first, last = _utc(frame.index[0].to_pydatetime()), _utc(frame.index[-1].to_pydatetime())
        covers = min(start, first), max(end, last) if complete else last
        return self.store.write(
            frame, asset=asset, timestep=timestep, quote=quote, source=self._source(wanted), covers=covers
        ).series

    def replace(
        self, wanted: Wanted, frame: pd.DataFrame, start: dt.datetime, end: dt.datetime
    ) -> SeriesInfo:
        """Write what the service tells of a whole series in place of all that it told before.

        Known is then what lies from ``start`` to ``end``, or to the first and the last bar.
        """
        first, last = _utc(frame.index[0].to_pydatetime()), _utc(frame.index[-1].to_pydatetime())
        covers = min(_utc(start), first), max(_utc(end), last)
        asset, timestep, quote = self._written_as(wanted)
        return self.store.write(
            frame,
            asset=asset,
            timestep=timestep,
            quote=quote,
            source=self.source,
            mode="replace",
            covers=covers,
        ).series

    def forget(self, wanted: Wanted) -> None:
        """The service tells the past anew (prices adjusted for another split): all of it is unknown.

        So is where it had no bars.
        """
        asset, timestep, quote = self._written_as(wanted)
        with suppress(UnknownSeries):
            self.store.delete(asset, timestep, quote=quote, source=self._source(wanted))

    def _source(self, wanted: Wanted) -> str:
        return f"{self.source} {wanted.variant}" if wanted.variant else self.source

    @staticmethod
    def _name(wanted: Wanted) -> tuple[AssetKey, str, AssetKey | None]:
        quote = None if wanted.quote is None else asset_key(wanted.quote)
        return asset_key(wanted.asset), wanted.timestep, quote

    def _written_as(self, wanted: Wanted) -> tuple[AssetKey, str, AssetKey | None]:
        """Bars against USD may be there as bars against nothing (imported ones): they are one series."""
        asset, timestep, quote = self._name(wanted)
        known = self.find(wanted)
        return asset, timestep, quote if known is None else known.quote

    def notes(self) -> dict[str, Any]:
        """What is kept with the source beside its bars."""
        kept = self._kept_with_source()
        notes: dict[str, Any] = json.loads(kept[0]) if kept and kept[0] else {}
        return notes

    def note(self, notes: Mapping[str, Any]) -> bool:
        """Keep a JSON object with the source in place of the one before; False before it has bars."""
        if not self._kept_with_source():
            return False
        self.store.describe_source(self.source, notes)
        return True

    def _kept_with_source(self) -> list[str | None]:
        """Its JSON, or None; nothing where the store does not know the source."""
        found = self.store.sql("SELECT config FROM data_sources WHERE source_name = ?", [self.source])
        kept: list[str | None] = found.column(0).to_pylist()
        return kept

    def written_on(self, info: SeriesInfo) -> dt.date:
        """The date on which a series was first written."""
        found = self.store.sql(
            "SELECT CAST(created_at AS DATE) FROM series_catalog WHERE series_id = ?", [info.series_id]
        )
        day: dt.date = found.column(0)[0].as_py()
        return day

    # ---- end ----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the store, and remove it where it is private. Repeatable."""
        if self._given is None:
            self.store.close()
        elif self._lowered:
            self._given.restore_memory(self._lowered)
            self._lowered = 0
        self._remove()

    def _remove(self) -> None:
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)


def _utc(when: dt.datetime) -> dt.datetime:
    return when.astimezone(dt.timezone.utc)
