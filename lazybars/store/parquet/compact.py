"""Rewrite partitions that are not in order: each becomes one file, or a few, in the order series, time.

Partitions that are in order already stay as they are. Readers go on with the files that they have; the
new ones count when the manifest names them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import duckdb

from lazybars.errors import StoreBusy, StoreReadOnly
from lazybars.store.background import Job
from lazybars.store.parquet.commit import Pending, bar_file
from lazybars.store.parquet.engine import ParquetEngine
from lazybars.store.parquet.manifest import BarFile, Manifest, period_bounds_us, period_sql

__all__ = ["compact", "start_compaction"]

# What is fetched, cached and evicted as one: some 15 to 30 MB.
_FILE_ROWS = 2_000_000
_SORT_BYTES_A_ROW = 256
_LEAST_ROWS = 100_000
_THREAD = "lazybars-compact"


@dataclass(frozen=True, slots=True)
class _Part:
    """Neighbouring series of a partition, that become one file. Bounds are closed."""

    timestep: str
    period: dt.date
    first_id: int
    last_id: int
    rows: int

    @property
    def bounds_us(self) -> tuple[int, int]:
        return period_bounds_us(self.timestep, self.period)

    @property
    def where(self) -> str:
        start_us, end_us = self.bounds_us
        return (
            f"series_id BETWEEN {self.first_id:d} AND {self.last_id:d} "
            f"AND ts BETWEEN make_timestamptz({start_us:d}) AND make_timestamptz({end_us:d})"
        )


def compact(engine: ParquetEngine, job: Job | None = None) -> None:
    """Put the store in order. Other writers wait; readers do not notice."""
    if job is None:
        _require_free(engine)
    pending = Pending()
    with engine.write_lock, engine.cursor() as cur:
        if job is not None:
            job.interrupt = cur.interrupt
        try:
            before = engine.index.manifest
            kept, parts = _plan(engine, cur)
            new: list[BarFile] = []
            for batch in _batches(parts, max(_LEAST_ROWS, engine.memory_bytes // _SORT_BYTES_A_ROW)):
                if job is not None:
                    job.check()
                new += _rewrite(engine, cur, batch, pending)
            files = sorted((*kept, *new), key=lambda one: (one.first_us, one.first_id, one.path))
            with engine.transaction() as cur:
                assert engine.pending is not None
                engine.pending.new, pending.new = pending.new, []
                engine.pending.rewritten = Manifest(before.version, tuple(files), (), before.books)
                # It is no write: nothing has changed for those who wait for bars.
                cur.execute(
                    "UPDATE meta SET value = CAST(CAST(value AS BIGINT) - 1 AS VARCHAR) WHERE key = 'version'"
                )
                cur.execute("UPDATE series_catalog SET in_order = true WHERE NOT in_order")
                cur.execute("UPDATE meta SET value = 'bucketed' WHERE key = 'layout'")
        finally:
            engine.discard(pending.new)
            if job is not None:
                job.interrupt = None
        engine.directory.drop_empty()


def start_compaction(engine: ParquetEngine) -> Job:
    """The same on a thread of its own."""
    with engine.write_lock:
        _require_free(engine)
        engine.job = Job(_THREAD, lambda job: compact(engine, job))
        return engine.job


def _require_free(engine: ParquetEngine) -> None:
    if engine.read_only:
        raise StoreReadOnly(f"{engine.path} was opened read-only: open it without read_only=True to compact")
    if engine.job is not None and not engine.job.done:
        raise StoreBusy(f"{engine.path}: a compaction runs in the background: wait() for it or cancel() it")


def _plan(engine: ParquetEngine, cur: duckdb.DuckDBPyConnection) -> tuple[list[BarFile], list[_Part]]:
    """The files that stay, and what has to be written anew, by time."""
    kept: list[BarFile] = []
    parts: list[_Part] = []
    timesteps = [row[0] for row in cur.execute("SELECT DISTINCT timestep FROM series_catalog").fetchall()]
    for timestep in sorted(timesteps):
        rows = cur.execute(
            f"SELECT {period_sql(timestep, 'd.day')} AS period, series_id, CAST(sum(d.rows) AS BIGINT) "
            "FROM session_days d JOIN series_catalog c USING (series_id) WHERE c.timestep = ? "
            "GROUP BY ALL ORDER BY ALL",
            [timestep],
        ).fetchall()
        by_period: dict[dt.date, list[tuple[int, int]]] = {}
        for period, series_id, count in rows:
            by_period.setdefault(period, []).append((series_id, count))
        for period, series in by_period.items():
            bounds = period_bounds_us(timestep, period)
            files = engine.index.of((one for one, _ in series), [timestep], *bounds)
            if _is_in_order(engine.index.manifest, files, period):
                kept += files
            else:
                parts += _parts(timestep, period, series)
    return kept, parts


def _is_in_order(manifest: Manifest, files: list[BarFile], period: dt.date) -> bool:
    """Whether these are what a compaction would leave: files of series that follow each other."""
    by_id = sorted(files, key=lambda one: one.first_id)
    return all(one.period == period.isoformat() and not manifest.masks_of(one) for one in by_id) and all(
        one.last_id < other.first_id for one, other in pairwise(by_id)
    )


def _parts(timestep: str, period: dt.date, series: list[tuple[int, int]]) -> Iterator[_Part]:
    first_id, held = series[0][0], 0
    last_id = first_id
    for series_id, rows in series:
        if held and held + rows > _FILE_ROWS:
            yield _Part(timestep, period, first_id, last_id, held)
            first_id, held = series_id, 0
        held += rows
        last_id = series_id
    yield _Part(timestep, period, first_id, last_id, held)


def _batches(parts: list[_Part], most: int) -> Iterator[list[_Part]]:
    """Neighbouring parts of a timestep, so many rows that one read of the old files serves them all."""
    batch: list[_Part] = []
    for part in parts:
        if batch and (part.timestep != batch[0].timestep or sum(p.rows for p in batch) + part.rows > most):
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


def _rewrite(
    engine: ParquetEngine, cur: duckdb.DuckDBPyConnection, batch: list[_Part], pending: Pending
) -> Iterator[BarFile]:
    index, timestep = engine.index, batch[0].timestep
    start_us, end_us = batch[0].bounds_us[0], batch[-1].bounds_us[1]
    ids = range(min(part.first_id for part in batch), max(part.last_id for part in batch) + 1)
    files = index.of(ids, [timestep], start_us, end_us)
    with engine.place.holding(files) as paths:
        bars = index.sql(files, paths, engine.extras)
        cur.execute(
            f"CREATE OR REPLACE TEMP TABLE staged AS SELECT b.* FROM {bars} b "
            f"JOIN series_catalog c USING (series_id) WHERE c.timestep = '{timestep}' "
            f"AND series_id BETWEEN {ids.start:d} AND {ids.stop - 1:d} "
            f"AND ts BETWEEN make_timestamptz({start_us:d}) AND make_timestamptz({end_us:d})"
        )
    try:
        for part in batch:
            yield bar_file(
                cur,
                engine.directory,
                pending,
                (timestep, part.period.isoformat()),
                index.manifest.version + 1,
                engine.extras,
                f"FROM staged WHERE {part.where}",
                "series_id, ts",
            )
    finally:
        cur.execute("DROP TABLE IF EXISTS temp.staged")
