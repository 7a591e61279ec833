"""The engine of a Parquet store: DuckDB in memory, with the tables of the books, and its bars in files.

The tables are those of an ordinary store, under the same statements; only ``bars`` is none of them. What
reads it is given the files that it needs. A write has a table of that name for itself, with those rows
of the store that it said it would look at; when it ends, the rows that it touched become files, and the
manifest names them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

import duckdb

from lazybars.errors import StoreDamaged, StoreMissing, StoreReadOnly
from lazybars.model import is_url
from lazybars.store.catalog import Entry
from lazybars.store.engine import Engine
from lazybars.store.kinds import DUCK_TYPES
from lazybars.store.parquet import commit
from lazybars.store.parquet.commit import BOOKED, LONG, Pending
from lazybars.store.parquet.manifest import BarFile, Book, Manifest
from lazybars.store.parquet.place import Directory, Place, harm_of
from lazybars.store.parquet.scans import Index, Stretch, from_sql, table_sql
from lazybars.store.ranges import EVER, without
from lazybars.store.schema import identifier
from lazybars.store.scratch import Scratch
from lazybars.store.tables import DDL, META, VIEWS

__all__ = ["ParquetEngine"]

_ALL_BARS = "ohlcv_data"  # the one view that is of bars


class ParquetEngine(Engine):
    """The shared instance of one Parquet store.

    index : which files are the store, replaced as a whole at the end of each write.
    place : where they lie.
    """

    def __init__(
        self, path: str, read_only: bool, memory_bytes: int, threads: int, place: Place | None = None
    ) -> None:
        self.place: Place = Directory(path) if place is None else place
        self.index = Index(Manifest())
        self.extras: dict[str, str] = {}
        self.pending: Pending | None = None
        self._timesteps: dict[int, str] = {}
        self._kept = ExitStack()
        self._shown: Manifest | None = None
        self._showing = threading.Lock()
        self._garbage: set[str] = set()
        self._readers = 0
        super().__init__(path, read_only, memory_bytes, threads)

    # ------------------------------------------------------------------ life

    @staticmethod
    def _located(path: str) -> str:
        return path.rstrip("/") if is_url(path) else os.path.realpath(path)

    def _scratch(self) -> Scratch:
        return Scratch(os.path.join(self.path, "store"), self.read_only)

    @property
    def directory(self) -> Directory:
        """The place of a store that is written to."""
        assert isinstance(self.place, Directory)
        return self.place

    def _connect(self) -> None:
        with ExitStack() as undo:
            self.place.open(self.read_only)
            undo.callback(self.place.close)
            manifest = self.place.manifest()
            if manifest is None and self.read_only:
                raise StoreMissing(f"{self.path} holds no store yet: write it first, or check the path")
            undo.callback(self.scratch.drop)
            if not self.read_only:
                self.scratch.drop_stale()
            with self._translated():
                root, index = self._loaded(manifest)
            undo.pop_all()
        self._root, self.index, self._shown = root, index, None
        if not self.read_only:
            self._garbage = set(self.directory.strays(index.manifest.paths))
            self.collect()

    def _loaded(self, manifest: Manifest | None) -> tuple[duckdb.DuckDBPyConnection, Index]:
        """DuckDB with what the books say; without a manifest, a store that has just been made."""
        with ExitStack() as undo:
            root = duckdb.connect(":memory:", config=self._config())
            undo.callback(root.close)
            root.execute("SET TimeZone = 'UTC'")
            self.place.prepare(root)
            for statement in DDL:
                if not statement.startswith("CREATE TABLE bars "):
                    root.execute(statement)
            if manifest is None:
                root.executemany("INSERT INTO meta VALUES (?, ?)", [list(item) for item in META.items()])
                pending = Pending()
                books = commit.books_of(root, self.directory, Manifest(), pending, 0)
                manifest = Manifest(books=books)
                self.directory.publish(manifest, pending.new)
            else:
                self._fill(root, manifest)
            for name, body in VIEWS.items():
                if name != _ALL_BARS:
                    root.execute(f"CREATE VIEW {name} AS {body}")
            self._learn(root)
            undo.pop_all()
        return root, Index(manifest)

    def _fill(self, root: duckdb.DuckDBPyConnection, manifest: Manifest) -> None:
        kept = ExitStack()
        for name, book in manifest.books.items():
            if name not in BOOKED:
                continue
            if name == LONG and self.read_only:
                # Too long for a reader's memory: it is read a series at a time, from where it is.
                paths = kept.enter_context(self.place.holding([book]))
                with self._read_from([book], paths):
                    _leave(root, name, paths[0])
                continue
            with self.place.holding([book]) as paths, self._read_from([book], paths):
                root.execute(f"INSERT INTO {name} BY NAME SELECT * FROM {from_sql(paths)}")
        self._kept.close()
        self._kept = kept

    def _learn(self, cur: duckdb.DuckDBPyConnection) -> None:
        rows = cur.execute("SELECT physical, kind FROM physical_columns ORDER BY rowid").fetchall()
        self.extras = {physical: DUCK_TYPES[kind] for physical, kind in rows}
        self._timesteps = dict(cur.execute("SELECT series_id, timestep FROM series_catalog").fetchall())

    def _disconnect(self) -> None:
        if not self.read_only and self._root is not None:
            with suppress(OSError):  # the next writer sees to it
                self.collect()
        try:
            super()._disconnect()
        finally:
            self._kept.close()
            self.place.close()

    def step_aside(self, pause_s: float) -> None:
        """Wait, and go on with the store as it is then: whoever writes is in nobody's way."""
        time.sleep(max(pause_s, self.place.pause_s))
        latest = self.place.manifest()
        if latest is None or latest.version == self.index.manifest.version:
            return
        with self._alone():
            self._disconnect()
            self._aside = True
            with self._rooting:
                self._connect()

    # ------------------------------------------------------------------ read

    def _files(
        self, index: Index, first_id: int, last_id: int, start_us: int | None, end_us: int | None
    ) -> list[BarFile]:
        known = self._timesteps
        ids = [one for one in range(first_id, last_id + 1) if one in known]
        return index.of(ids, {known[one] for one in ids}, start_us, end_us)

    @contextmanager
    def reading(self) -> Iterator[Index]:
        """The files of now, none of which is removed until the block ends."""
        with self._state:
            self._readers += 1
        try:
            yield self.index
        finally:
            with self._state:
                self._readers -= 1

    @contextmanager
    def bars(self, first_id: int, last_id: int, start_us: int | None, end_us: int | None) -> Iterator[str]:
        with self.reading() as index:
            files = self._files(index, first_id, last_id, start_us, end_us)
            with self.place.holding(files) as paths, self._read_from(files, paths):
                yield index.sql(files, paths, self.extras)

    @contextmanager
    def _read_from(self, files: Sequence[BarFile | Book], paths: Sequence[str]) -> Iterator[None]:
        """Where reading fails, see whether these files are what was written: DuckDB's words vary."""
        try:
            yield
        except (duckdb.Error, OSError) as error:
            if type(error) in _OF_FILES:
                for file, path in zip(files, paths, strict=True):
                    harm = harm_of(file, path)
                    if harm is not None:
                        raise StoreDamaged(
                            f"{self.path}: {harm}: restore the store from a copy or ingest again "
                            f"({' '.join(str(error).split())})"
                        ) from error
            raise

    def stretches(
        self, entry: Entry, start_us: int | None, end_us: int | None
    ) -> Iterable[tuple[AbstractContextManager[str], bool]]:
        index, info = self.index, entry.info
        found = index.stretches(info.series_id, info.timestep, start_us, end_us, self.place.most_bytes)
        return [(self._held(index, one), one.in_order) for one in found or [Stretch((), True)]]

    @contextmanager
    def _held(self, index: Index, stretch: Stretch) -> Iterator[str]:
        with self.place.holding(stretch.files) as paths, self._read_from(stretch.files, paths):
            yield index.sql(stretch.files, paths, self.extras)

    def settled(self, entry: Entry) -> Entry:
        info = entry.info
        found = self.index.stretches(info.series_id, info.timestep, None, None, EVER[1])
        return Entry(info, len(found) <= 1 and all(one.in_order for one in found))

    @contextmanager
    def whole(self, cur: duckdb.DuckDBPyConnection) -> Iterator[None]:
        with self.reading() as index:
            files = index.manifest.files
            paths = [self.place.url(file) for file in files]
            with self._read_from(files, paths):
                with self._showing:
                    if self._shown is not index.manifest:
                        bars = index.sql(files, paths, self.extras)
                        cur.execute(f"CREATE OR REPLACE VIEW bars AS SELECT * FROM {bars}")
                        cur.execute(f"CREATE OR REPLACE VIEW {_ALL_BARS} AS {VIEWS[_ALL_BARS]}")
                        self._shown = index.manifest
                yield

    # ----------------------------------------------------------------- write

    def _begun(self, cur: duckdb.DuckDBPyConnection) -> None:
        self.pending = Pending()
        # It hides the view of that name from this cursor, and from no other.
        cur.execute(f"CREATE TEMP TABLE bars ({table_sql(self.extras)})")

    def bring(self, cur: duckdb.DuckDBPyConnection, series_id: int, first_us: int, last_us: int) -> None:
        pending = self.pending
        assert pending is not None, "within a write"
        missing = [(max(first_us, EVER[0]), min(last_us, EVER[1]))]
        for span in pending.brought.get(series_id, ()):
            missing = without(missing, span)
        for start_us, end_us in missing:
            files = self._files(self.index, series_id, series_id, start_us, end_us)
            if files:
                with self.place.holding(files) as paths, self._read_from(files, paths):
                    bars = self.index.sql(files, paths, self.extras)
                    cur.execute(
                        f"INSERT INTO temp.bars BY NAME SELECT * FROM {bars} WHERE series_id = ? "
                        "AND ts BETWEEN make_timestamptz(?::BIGINT) "
                        "AND make_timestamptz(?::BIGINT)",
                        [series_id, start_us, end_us],
                    )
            pending.brought.setdefault(series_id, []).append((start_us, end_us))

    def forget(self, series_id: int) -> None:
        assert self.pending is not None, "within a write"
        self.pending.brought[series_id] = [EVER]

    def touch(self, series_id: int, first_us: int, last_us: int) -> None:
        assert self.pending is not None, "within a write"
        commit.touch(self.pending, series_id, (first_us, last_us))

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Nobody but the store's own methods changes a Parquet store."""
        raise StoreReadOnly(
            f"{self.path}: sql() reads a Parquet store; write(), append() and delete() change it"
        )
        yield

    def _commit(self, cur: duckdb.DuckDBPyConnection) -> None:
        pending = self.pending
        assert pending is not None
        extras = {row[0]: DUCK_TYPES[row[1]] for row in cur.execute(_EXTRAS).fetchall()}
        before = pending.rewritten or self.index.manifest
        made = commit.flush(cur, self.directory, before, pending, extras, self.memory_bytes)
        self.adopt(cur, made, pending)

    def adopt(self, cur: duckdb.DuckDBPyConnection, made: Manifest, pending: Pending) -> None:
        """Publish a manifest, end the transaction, and go on with it."""
        before = self.index.manifest
        self.directory.publish(made, pending.new)
        self.pending = None
        # From here on it counts, whatever happens: memory has to follow.
        try:
            cur.execute("DROP TABLE temp.bars")
            cur.execute("COMMIT")
            self._learn(cur)
            self.index = Index(made)
        except BaseException:
            root, self.index = self._loaded(made)
            self._root = root
            raise
        finally:
            self._garbage |= before.paths - made.paths
        self.collect()

    def _undone(self) -> None:
        pending, self.pending = self.pending, None
        if pending is not None:
            self.discard(pending.new)

    def discard(self, paths: Iterable[str]) -> None:
        """Files of a write that did not come to its end."""
        self._garbage |= set(paths)
        with suppress(OSError):  # the error that ended the write tells
            self.collect()

    def collect(self) -> None:
        """Remove files that are no part of the store any more, as far as nobody reads them."""
        if self._garbage and not (self._streams or self._readers) and self.directory.remove(self._garbage):
            self._garbage = set()


# What DuckDB and Arrow raise over a file that is not what it was.
_OF_FILES = (
    duckdb.Error,
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.InternalException,
    OSError,
)
_EXTRAS = "SELECT physical, kind FROM physical_columns ORDER BY rowid"


def _leave(root: duckdb.DuckDBPyConnection, name: str, path: str) -> None:
    """A table as a view of a file, with the same types."""
    columns = root.execute("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?", [name])
    cast = ", ".join(
        f"CAST({identifier(column)} AS {kind}) AS {identifier(column)}" for column, kind in columns.fetchall()
    )
    root.execute(f"DROP TABLE {name}")
    root.execute(f"CREATE VIEW {name} AS SELECT {cast} FROM {from_sql([path])}")
