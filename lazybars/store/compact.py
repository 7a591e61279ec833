"""Restore the physical order: time bucket, then series, then time.

So ordered, one partition of the whole universe is one contiguous read. The new file is made
beside the old one and takes its place by a rename: killed at any point, one of the two is there.

In the background the new file is made from a snapshot while bars come in; what they touched is
copied once more at the end, under the write lock.

Of every row group that a scan has passed DuckDB keeps some KB outside its memory limit, for as long as the
file is open. So many bars are put into larger row groups than it makes of itself: 100 million of them cost
3 MB in place of 8, and 13.2 bytes a bar on disk in place of 15.6, and are read faster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import duckdb
import pyarrow as pa

from lazybars.errors import StoreBusy, StoreReadOnly
from lazybars.store import schema, tables
from lazybars.store.background import Job
from lazybars.store.engine import ROW_GROUP, Engine
from lazybars.store.kinds import DUCK_TYPES
from lazybars.store.ranges import EVER
from lazybars.store.schema import floored, identifier, literal, registered

__all__ = ["compact", "start_compaction"]

_WEEK_US = 7 * 86_400_000_000
# Buckets begin on Mondays, 00:00 UTC; the epoch was a Thursday.
_BUCKET = floored("epoch_us(ts) + 3 * 86400000000", _WEEK_US)
_SORT_BYTES_A_ROW = 256
# A row group is a sixteenth of the bars, from DuckDB's own size to the largest.
_LARGEST_ROW_GROUP = 8 * ROW_GROUP
_FEW_ROW_GROUPS = 16
_IDLE_WAIT_S = 0.25
_THREAD = "lazybars-compact"


def compact(engine: Engine) -> None:
    """Rewrite the store in order. Raises StoreBusy, the store as it was, where readers are open."""
    with engine.write_lock:
        _require_free(engine)
        engine.require_idle()
        _compact_here(engine)


def _compact_here(engine: Engine) -> None:
    with _fresh_file(engine) as fresh:
        _make(engine, fresh)
        with engine.cursor() as cur:
            _build(engine, cur, fresh, None)
        engine.swap(fresh)


def start_compaction(engine: Engine) -> Job:
    """The same on a thread of its own, while others read and write."""
    with engine.write_lock:
        _require_free(engine)
        engine.job = Job(_THREAD, lambda job: _compact_behind(engine, job))
        return engine.job


def _require_free(engine: Engine) -> None:
    if engine.read_only:
        raise StoreReadOnly(f"{engine.path} was opened read-only: open it without read_only=True to compact")
    if engine.job is not None and not engine.job.done:
        raise StoreBusy(f"{engine.path}: a compaction runs in the background: wait() for it or cancel() it")


def _compact_behind(engine: Engine, job: Job) -> None:
    with _fresh_file(engine) as fresh:
        try:
            with engine.cursor() as cur:
                job.interrupt = cur.interrupt
                _make(engine, fresh)
                _build(engine, cur, fresh, job)
            job.interrupt = None
            job.check()
            while True:
                # A reader that stays open holds this up, and nobody else.
                while not engine.wait_idle(_IDLE_WAIT_S):
                    job.check()
                with engine.write_lock:
                    _catch_up(engine, fresh, job)
                    job.check()
                    try:
                        return engine.swap(fresh)
                    except StoreBusy:  # a reader was quicker
                        continue
        finally:
            with engine.write_lock:
                engine.touched = None


@contextmanager
def _fresh_file(engine: Engine) -> Iterator[str]:
    fresh = os.path.join(engine.scratch.folder(), "compacted.duckdb")
    try:
        yield fresh
    finally:
        _remove(fresh)


def _remove(fresh: str) -> None:
    for leftover in (fresh, fresh + ".wal"):
        if os.path.exists(leftover):
            os.remove(leftover)


def _make(engine: Engine, fresh: str) -> None:
    """An empty store of today's version."""
    with duckdb.connect(fresh, config={"memory_limit": f"{engine.memory_bytes}B", "threads": 1}) as maker:
        schema.create(maker)


def _row_group(rows: int, memory_bytes: int) -> int:
    """Rows of a row group in a file of so many bars: no more than the memory limit sorts at once."""
    most = min(_LARGEST_ROW_GROUP, memory_bytes // _SORT_BYTES_A_ROW)
    return ROW_GROUP * max(min(rows // _FEW_ROW_GROUPS, most) // ROW_GROUP, 1)


@contextmanager
def _attached(engine: Engine, cur: duckdb.DuckDBPyConnection, fresh: str) -> Iterator[None]:
    """The new file as ``fresh``, for one transaction."""
    rows = cur.execute("SELECT CAST(coalesce(sum(rows), 0) AS BIGINT) FROM session_days").fetchall()[0][0]
    size = _row_group(rows, engine.memory_bytes)
    cur.execute(f"ATTACH {literal(fresh)} AS fresh (ROW_GROUP_SIZE {size:d})")
    try:
        cur.execute("BEGIN")
        try:
            yield
            cur.execute("COMMIT")
        except BaseException:
            with suppress(duckdb.Error):
                cur.execute("ROLLBACK")
            raise
        cur.execute("CHECKPOINT fresh")
    finally:
        _detach(cur)


def _detach(cur: duckdb.DuckDBPyConnection) -> None:
    """Let go of the new file, whatever happened: one that stayed attached would be in the next one's way."""
    while True:
        try:
            cur.execute("DETACH fresh")
        except duckdb.InterruptException:
            continue  # meant for what was running before
        except duckdb.Error:
            pass  # after a fatal fault nothing runs any more, and that fault tells
        return


def _build(engine: Engine, cur: duckdb.DuckDBPyConnection, fresh: str, job: Job | None) -> None:
    """Copy everything, in order, as it is when this begins; from then on touches are taken down."""
    # One transaction, so that the spans are appended to each other without ragged row groups.
    with ExitStack() as lock:
        lock.enter_context(engine.write_lock)
        with _attached(engine, cur, fresh):
            if job is not None:
                engine.touched = []
            weeks = _weeks(cur)
            lock.close()  # what is committed from here on is not seen
            _copy_books(cur)
            with engine.one_thread(cur, sum(rows for _, rows in weeks)):
                for first, last in _spans(weeks, engine.memory_bytes):
                    if job is not None:
                        job.check()
                    cur.execute(
                        f"INSERT INTO fresh.main.bars BY NAME SELECT * FROM bars WHERE ts >= "
                        f"make_timestamptz({first}) AND ts < make_timestamptz({last}) "
                        f"ORDER BY {_BUCKET}, series_id, ts"
                    )
            cur.execute("UPDATE fresh.main.series_catalog SET in_order = true")
            cur.execute("UPDATE fresh.main.meta SET value = 'bucketed' WHERE key = 'layout'")


def _copy_books(cur: duckdb.DuckDBPyConnection) -> None:
    """All tables but the bars, and the columns that those have."""
    held = {
        row[0]
        for row in cur.execute(
            "SELECT column_name FROM duckdb_columns() WHERE database_name = 'fresh' AND table_name = 'bars'"
        ).fetchall()
    }
    extras = cur.execute("SELECT physical, kind FROM physical_columns ORDER BY rowid").fetchall()
    for physical, kind in extras:
        if physical not in held:
            cur.execute(f"ALTER TABLE fresh.main.bars ADD COLUMN {identifier(physical)} {DUCK_TYPES[kind]}")
    for table in tables.TABLES:
        if table != "bars":
            cur.execute(f"DELETE FROM fresh.main.{table}")
            cur.execute(f"INSERT INTO fresh.main.{table} BY NAME SELECT * FROM {table} ORDER BY rowid")


def _catch_up(engine: Engine, fresh: str, job: Job) -> None:
    """Copy once more what writes touched since the snapshot. The write lock is held."""
    touched, engine.touched = engine.touched or [], []
    spans: dict[int, tuple[int, int]] = {}
    for series_id, first, last in touched:
        before = spans.get(series_id, (first, last))
        spans[series_id] = (min(first, before[0]), max(last, before[1]))
    with engine.cursor() as cur:
        job.interrupt = cur.interrupt
        try:
            if any(series_id < 0 for series_id in spans):
                # Someone changed tables in SQL: nobody can say which bars.
                _remove(fresh)
                _make(engine, fresh)
                _build(engine, cur, fresh, job)
            elif spans or _stale(engine, cur, fresh):
                _copy_again(engine, cur, fresh, spans)
        finally:
            job.interrupt = None


def _stale(engine: Engine, cur: duckdb.DuckDBPyConnection, fresh: str) -> bool:
    """Whether anything but bars was written since."""
    cur.execute(f"ATTACH {literal(fresh)} AS fresh (READ_ONLY)")
    try:
        version = "SELECT value FROM {}meta WHERE key = 'version'"
        return bool(
            cur.execute(f"SELECT ({version.format('')}) <> ({version.format('fresh.main.')})").fetchall()[0][
                0
            ]
        )
    finally:
        _detach(cur)


def _copy_again(
    engine: Engine, cur: duckdb.DuckDBPyConnection, fresh: str, spans: dict[int, tuple[int, int]]
) -> None:
    table = pa.table(
        {
            "series_id": pa.array(list(spans), pa.int32()),
            "first_us": pa.array([first for first, _ in spans.values()], pa.int64()),
            "last_us": pa.array([last for _, last in spans.values()], pa.int64()),
        }
    )
    since = min((first for first, _ in spans.values()), default=EVER[0])
    within = (
        f"b.series_id = s.series_id AND b.ts >= make_timestamptz({since}) "
        "AND epoch_us(b.ts) BETWEEN s.first_us AND s.last_us"
    )
    with _attached(engine, cur, fresh), registered(cur, "touched_spans", table):
        was = cur.execute("SELECT value FROM fresh.main.meta WHERE key = 'layout'").fetchall()[0][0]
        settled = cur.execute("SELECT series_id FROM fresh.main.series_catalog WHERE in_order").fetchall()
        _copy_books(cur)
        cur.execute(f"DELETE FROM fresh.main.bars AS b USING touched_spans AS s WHERE {within}")
        cur.execute(
            f"INSERT INTO fresh.main.bars BY NAME SELECT b.* FROM bars b JOIN touched_spans s ON {within} "
            f"ORDER BY {_BUCKET.replace('(ts)', '(b.ts)')}, b.series_id, b.ts"
        )
        # What was in order stays so unless bars were put in before others that are there.
        cur.execute(
            "UPDATE fresh.main.series_catalog SET in_order = series_id NOT IN (SELECT b.series_id "
            "FROM fresh.main.bars b JOIN touched_spans s ON b.series_id = s.series_id "
            f"AND b.ts >= make_timestamptz({since}) AND epoch_us(b.ts) > s.last_us) "
            "AND (series_id IN (SELECT unnest(?::INTEGER[])) OR series_id IN (SELECT series_id FROM "
            "touched_spans))",
            [[row[0] for row in settled]],
        )
        layout = "mixed" if spans else was
        cur.execute("UPDATE fresh.main.meta SET value = ? WHERE key = 'layout'", [layout])


def _weeks(cur: duckdb.DuckDBPyConnection) -> list[tuple[int, int]]:
    """(bucket, rows of the days that begin in it), ascending."""
    bucket = _BUCKET.replace("(ts)", "(first_ts)")
    return cur.execute(
        f"SELECT {bucket} AS week, CAST(sum(rows) AS BIGINT) FROM session_days GROUP BY week ORDER BY week"
    ).fetchall()


def _spans(weeks: list[tuple[int, int]], memory_bytes: int) -> Iterator[tuple[int, int]]:
    """Half-open spans of whole buckets, ascending, each as many rows as the memory limit sorts at once."""
    most = max(100_000, memory_bytes // _SORT_BYTES_A_ROW)
    if not weeks:
        return
    # A local day may begin in one bucket and end in the next: the ends are left open for that.
    start, held = weeks[0][0] - 1, 0
    for week, rows in weeks:
        if held and held + rows > most:
            yield _bucket_start(start), _bucket_start(week)
            start, held = week, 0
        held += rows
    yield _bucket_start(start), _bucket_start(weeks[-1][0] + 2)


def _bucket_start(week: int) -> int:
    return week * _WEEK_US - 3 * 86_400_000_000
