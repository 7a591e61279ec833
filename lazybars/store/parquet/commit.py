"""The end of a write: what it touched goes to new files, and the manifest names them.

Until the manifest takes the old one's place nothing of the write counts; from then on all of it does.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import duckdb

from lazybars.store.parquet.manifest import LOOSE, BarFile, Book, Manifest, Mask
from lazybars.store.parquet.place import BARS, BOOKS, Directory, digest_of
from lazybars.store.parquet.scans import FIXED
from lazybars.store.ranges import EVER, Range, added, touching
from lazybars.store.schema import floored, identifier, literal
from lazybars.store.tables import TABLES

__all__ = ["BOOKED", "LONG", "Pending", "bar_file", "books_of", "flush"]

# The tables beside the bars. One has a row for each series and day: the only long one.
BOOKED = tuple(name for name in TABLES if name != "bars")
LONG = "session_days"
# Small, so that a scan of some series of a partition reads little beside them; measured: as fast as
# DuckDB's own size for a whole partition, and 7 % larger.
_GROUP_ROWS = 32_768
_FORMAT = f"FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE {_GROUP_ROWS}"
_SORT_BYTES_A_ROW = 256
_DAY_US = 86_400_000_000


@dataclass(slots=True)
class Pending:
    """A write under way.

    touched, brought : closed ranges by series, microseconds: what it changes, what its table has.
    new : files that it has made, relative to the store.
    rewritten : the store with other files and the same rows, where that is what it is about.
    """

    touched: dict[int, list[Range]] = field(default_factory=dict)
    brought: dict[int, list[Range]] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    rewritten: Manifest | None = None


def flush(
    cur: duckdb.DuckDBPyConnection,
    place: Directory,
    before: Manifest,
    pending: Pending,
    extras: dict[str, str],
    memory_bytes: int,
) -> Manifest:
    """Write what a transaction left in its table ``bars`` and in the books; gives the manifest to publish."""
    version = before.version + 1
    spans = [
        (series_id, first, last)
        for series_id, ranges in sorted(pending.touched.items())
        for first, last in ranges
    ]
    files: list[BarFile] = []
    if spans:
        # Not by way of Arrow, which imports pandas to look at a list.
        cur.execute(
            "CREATE TEMP TABLE touched_spans AS SELECT unnest($1::INTEGER[]) AS series_id, "
            "unnest($2::BIGINT[]) AS first_us, unnest($3::BIGINT[]) AS last_us",
            [list(column) for column in zip(*spans, strict=True)],
        )
        files = list(_files(cur, place, pending, version, extras, memory_bytes))
        cur.execute("DROP TABLE temp.touched_spans")
    masks = [Mask(version, *span) for span in spans]
    return before.after(version, files, masks, books_of(cur, place, before, pending, version))


def _files(
    cur: duckdb.DuckDBPyConnection,
    place: Directory,
    pending: Pending,
    version: int,
    extras: dict[str, str],
    memory_bytes: int,
) -> Iterator[BarFile]:
    """The touched rows, as files of as many rows as the memory limit sorts at once."""
    touched = (
        "FROM temp.bars b JOIN touched_spans s ON b.series_id = s.series_id "
        "AND epoch_us(b.ts) BETWEEN s.first_us AND s.last_us "
        "JOIN series_catalog c ON c.series_id = b.series_id"
    )
    days = cur.execute(
        f"SELECT c.timestep, {floored('epoch_us(b.ts)', _DAY_US)} AS day, count(*) {touched} "
        "GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    most = max(100_000, memory_bytes // _SORT_BYTES_A_ROW)
    for timestep in dict.fromkeys(day[0] for day in days):
        for first, stop in _spans([(day, rows) for step, day, rows in days if step == timestep], most):
            held = f"{touched} WHERE c.timestep = '{timestep}' AND b.ts >= make_timestamptz({first}) " + (
                f"AND b.ts < make_timestamptz({stop})"
            )
            yield bar_file(
                cur, place, pending, (timestep, LOOSE), version, extras, held, "b.series_id, b.ts", "b."
            )


def _spans(days: list[tuple[int, int]], most: int) -> Iterator[Range]:
    """Half-open spans of whole days, in microseconds."""
    start, held = days[0][0], 0
    for day, rows in days:
        if held and held + rows > most:
            yield start * _DAY_US, day * _DAY_US
            start, held = day, 0
        held += rows
    yield start * _DAY_US, (days[-1][0] + 1) * _DAY_US


def bar_file(
    cur: duckdb.DuckDBPyConnection,
    place: Directory,
    pending: Pending,
    partition: tuple[str, str],
    version: int,
    extras: dict[str, str],
    rows: str,
    order: str,
    prefix: str = "",
) -> BarFile:
    """Write one file of bars.

    Parameters
    ----------
    partition
        Timestep and period.
    rows, order, prefix
        "FROM ..." and "WHERE ..." of the rows, how they are sorted, and what goes before a column's name.
    """
    timestep, period = partition
    stats = ", ".join(f"count({prefix}{identifier(name)})" for name in extras)
    count, first_id, last_id, first_us, last_us, *held = cur.execute(
        f"SELECT count(*), min({prefix}series_id), max({prefix}series_id), epoch_us(min({prefix}ts)), "
        f"epoch_us(max({prefix}ts)){', ' if stats else ''}{stats} {rows}"
    ).fetchall()[0]
    # A column that is empty all through is left out, as it is in files from before it was there.
    columns = tuple(name for name, values in zip(extras, held, strict=True) if values)
    named = ", ".join(f"{prefix}{identifier(name)}" for name in (*FIXED, *columns))
    relative = f"{BARS}/timestep={timestep}/period={period}/{uuid.uuid4().hex}.parquet"
    path = place.new(relative)
    pending.new.append(relative)
    cur.execute(f"COPY (SELECT {named} {rows} ORDER BY {order}) TO {literal(path)} ({_FORMAT})")
    return BarFile(
        relative,
        os.path.getsize(path),
        digest_of(path),
        timestep,
        period,
        version,
        count,
        first_id,
        last_id,
        first_us,
        last_us,
        columns,
    )


def books_of(
    cur: duckdb.DuckDBPyConnection, place: Directory, before: Manifest, pending: Pending, version: int
) -> dict[str, Book]:
    """The tables beside the bars as files; one that says what it said before is the one from before."""
    books = {}
    for name in BOOKED:
        old = before.books.get(name)
        if name == LONG and old is not None and not pending.touched:
            books[name] = old
            continue
        order = "series_id, day" if name == LONG else "rowid"
        relative = f"{BOOKS}/{name}-{version}-{uuid.uuid4().hex[:8]}.parquet"
        path = place.new(relative)
        pending.new.append(relative)
        cur.execute(f"COPY (SELECT * FROM {name} ORDER BY {order}) TO {literal(path)} ({_FORMAT})")
        book = Book(relative, os.path.getsize(path), digest_of(path))
        if old is not None and (old.size_bytes, old.digest) == (book.size_bytes, book.digest):
            os.remove(path)
            pending.new.remove(relative)
            book = old
        books[name] = book
    return books


def touch(pending: Pending, series_id: int, span: Range) -> None:
    """Note that a write changes a range of a series."""
    span = (max(span[0], EVER[0]), min(span[1], EVER[1]))
    pending.touched[series_id] = added(pending.touched.get(series_id, []), span, touching(span))
