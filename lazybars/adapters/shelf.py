"""Where a run's bars lie: the store, the caller's frames in it, and what stays in RAM after all."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from lumibot.entities import Asset, Data

from lazybars.config import Knobs
from lazybars.errors import BadInput, ConfigError, StoreBusy, StoreMissing, UnknownSeries
from lazybars.layout import obstacle
from lazybars.model import AssetKey, Column, SeriesInfo, asset_key
from lazybars.store import Storage, open_store

__all__ = ["Shelf", "bytes_held", "lumibot_asset"]

# While frames are written DuckDB needs room for whole row groups of every column.
_WRITE_MEMORY_BYTES = 128_000_000
_FINEST_FIRST = ("minute", "hour", "day")


def lumibot_asset(key: AssetKey) -> Asset:
    """The Lumibot asset of a stored key."""
    return Asset(
        key.symbol,
        asset_type=key.asset_type,
        expiration=dt.date.fromisoformat(key.expiration) if key.expiration else None,
        strike=key.strike,
        right=key.right or None,
        multiplier=key.multiplier,
        auto_expiry=key.auto_expiry or None,
    )


class Shelf:
    """The store of one run, opened on demand and closed with the run.

    Parameters
    ----------
    engine_limit_bytes
        DuckDB's ``memory_limit`` while the backtest runs.
    """

    def __init__(self, knobs: Knobs, engine_limit_bytes: int) -> None:
        self._knobs = knobs
        self._limit = engine_limit_bytes
        self._private: Path | None = None
        self._own: Storage | None = None
        self._writer: Storage | None = None
        # What the caller's open store had as its memory limit, while the cap's share is in force.
        self._lowered: int | None = None
        if knobs.store is None:
            self._private = Path(tempfile.mkdtemp(prefix="lazybars-"))
            self._path: str | None = str(self._private / "bars.duckdb")
        elif isinstance(knobs.store, (str, os.PathLike)):
            self._path = os.fspath(knobs.store)
        else:
            self._path = None

    @property
    def store(self) -> Storage:
        """The store, open for reading."""
        if self._path is None:
            given: Storage = self._knobs.store
            if self._lowered is None:
                self._lowered = given.lower_memory(self._limit)
            return given
        if self._own is None:
            try:
                self._own = open_store(self._path, read_only=True, memory=self._limit, threads=1)
            except StoreBusy:  # this process writes to it already: share that handle
                self._own = open_store(self._path, memory=self._limit, threads=1)
        return self._own

    def limit(self, engine_limit_bytes: int, reserve_bytes: int) -> None:
        """Give DuckDB what series with many columns need; for stores that are opened from now on as well.

        reserve_bytes : what it may take more where a scan does not fit.
        """
        self._limit = engine_limit_bytes
        if self._own is not None:
            self._own.restore_memory(engine_limit_bytes, reserve_bytes)
        elif self._lowered is not None:
            # Whoever opened it may ask for more than scans: it keeps the reserve.
            self._knobs.store.restore_memory(min(engine_limit_bytes + reserve_bytes, self._lowered))

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Frames may be taken inside. DuckDB's room for writing is given back at the end."""
        try:
            yield
        finally:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def take(self, data: Data) -> SeriesInfo | str:
        """Write the frame of a ``Data``, unless it is there already; or say why it cannot be.

        The frame is recognised by a fingerprint of its values, which is the name of its source.
        """
        reason = obstacle(_sketch(data))
        if reason is not None:
            return reason
        source = "frame:" + _fingerprint(data)
        try:
            return (self._writer or self.store).find(data.asset, data.timestep, data.quote, source)
        except (StoreMissing, UnknownSeries):
            pass
        try:
            return (
                self._for_writing()
                .write(
                    data.df,
                    asset=data.asset,
                    timestep=data.timestep,
                    quote=data.quote,
                    source=source,
                    mode="replace",
                )
                .series
            )
        except BadInput as error:
            return str(error)

    def _for_writing(self) -> Storage:
        if self._path is None:
            return self.store
        if self._writer is None:
            self.close_store()
            self._writer = open_store(self._path, memory=_WRITE_MEMORY_BYTES)
        return self._writer

    def universe(self) -> list[SeriesInfo]:
        """One series for each asset and quote of the store: the finest timestep, the first written."""
        known = [info for info in self.store.series() if info.rows and not info.source.startswith("frame:")]
        wanted = self._knobs.assets
        if wanted is not None:
            keys = [_wanted_key(asset) for asset in wanted]
            have = {info.asset for info in known}
            for asset, _ in keys:
                if asset not in have:
                    names = ", ".join(sorted(str(one) for one in have)[:20])
                    raise UnknownSeries(f"the store has no bars of {asset}; it has: {names or 'none'}")
            known = [
                next_info
                for asset, quote in keys
                for next_info in known
                if next_info.asset == asset and (quote is None or next_info.quote == quote)
            ]
        best: dict[tuple[AssetKey, AssetKey | None], SeriesInfo] = {}
        for info in known:
            place = (info.asset, info.quote)
            kept = best.setdefault(place, info)
            if _FINEST_FIRST.index(info.timestep) < _FINEST_FIRST.index(kept.timestep):
                best[place] = info
        if not best:
            raise ConfigError(f"the store {self._knobs.store!r} holds no bars: write some first")
        return list(best.values())

    def with_late_bars(self) -> set[int]:
        """Ids of the series with bars inside the last minute of a local day; a day's last bar tells."""
        late = self.store.sql(
            "SELECT DISTINCT series_id FROM session_days "
            "WHERE CAST(last_ts AT TIME ZONE 'America/New_York' AS TIME) > TIME '23:59:00'"
        )
        return set(late.column(0).to_pylist())

    def frame(self, info: SeriesInfo) -> pd.DataFrame:
        """All stored rows of a series."""
        return self.store.get_historical_prices(
            info.asset, timestep=info.timestep, quote=info.quote, source=info.source
        )

    def with_zero_closes(self, series_ids: Iterable[int]) -> set[int]:
        """Those of some series that ever close at zero: a return from zero to zero is no number."""
        zeros = self.store.sql("SELECT DISTINCT series_id FROM bars WHERE close = 0").column(0).to_pylist()
        return set(zeros) & set(series_ids)

    def close_store(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            own.close()

    def close(self) -> None:
        """Close what this run opened and remove what is private to it. Repeatable."""
        self.close_store()
        if self._lowered is not None:
            self._knobs.store.restore_memory(self._lowered)
            self._lowered = None
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)


def _wanted_key(asset: Any) -> tuple[AssetKey, AssetKey | None]:
    if isinstance(asset, tuple):
        return asset_key(asset[0]), asset_key(asset[1])
    return asset_key(asset), None


def _sketch(data: Data) -> SeriesInfo:
    """A frame as a series that is not stored yet, to see whether it can be."""
    frame = data.df
    columns = tuple(
        Column(str(name), str(frame.dtypes.iloc[at]), "", bool(frame.iloc[:, at].isna().any()))
        for at, name in enumerate(frame.columns)
    )
    quote = None if data.quote is None else asset_key(data.quote)
    return SeriesInfo(-1, asset_key(data.asset), quote, data.timestep, "", len(frame), 0, 0, columns)


def _fingerprint(data: Data) -> str:
    frame = data.df
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr([(str(name), str(dtype)) for name, dtype in frame.dtypes.items()]).encode())
    digest.update(str(frame.index.dtype).encode())
    digest.update(frame.index.asi8.tobytes())
    for at in range(frame.shape[1]):
        digest.update(frame.iloc[:, at].to_numpy().tobytes())
    return digest.hexdigest()


def bytes_held(frames: Iterable[Data]) -> int:
    """What the frames of some ``Data`` take in RAM."""
    return sum(int(data.df.memory_usage(index=True).sum()) for data in frames)
