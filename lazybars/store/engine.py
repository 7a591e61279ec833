"""One DuckDB instance per file and process: connections, cursors, who uses what.

DuckDB shares an instance between connections of one process and refuses a second one with
another configuration, and a connection used by two threads hands one the other's rows. So the
engines of a process stand in a register, counted, and every thread gets a cursor of its own.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from lazybars.errors import (
    ConfigError,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreForeign,
    StoreMissing,
    StoreReadOnly,
)
from lazybars.store import migrate, schema
from lazybars.store.faults import foreign, translated
from lazybars.store.ranges import EVER
from lazybars.store.rows import Rows
from lazybars.store.scratch import Scratch
from lazybars.store.seats import Seat, Stoppable
from lazybars.store.tables import SCHEMA_VERSION

__all__ = ["ROW_GROUP", "Engine"]

_CLOSE_WAIT_S = 5.0
ROW_GROUP = 122_880  # DuckDB's own size, in rows
_SQLITE = b"SQLite format 3\0"


class Engine(Rows):
    """The shared instance of one store file. Made by :meth:`acquire`, ended by :meth:`release`.

    ``write_lock`` is held by whoever changes the store.
    ``job`` is what works in the background. ``touched``, where it is a list, takes down the
    (series, first, last) in microseconds that writes touch, for a compaction that must catch up.
    """

    _engines: dict[tuple[int, str], Engine] = {}
    # Reentrant: a forgotten store may be collected, and so released, while its thread is in here.
    _register = threading.RLock()

    def __init__(self, path: str, read_only: bool, memory_bytes: int, threads: int) -> None:
        super().__init__(path)
        self.read_only = read_only
        self.memory_bytes = memory_bytes
        self.threads = threads
        self.schema_version = SCHEMA_VERSION
        self.job: Stoppable | None = None
        self.touched: list[tuple[int, int, int]] | None = None
        self.scratch = self._scratch()
        self.write_lock = threading.RLock()
        self._users = 0
        self._local = threading.local()
        self._seats: weakref.WeakSet[Seat] = weakref.WeakSet()
        self._inserting = 0
        # What the limit may still be raised by where a scan does not fit.
        self._reserve_bytes = 0
        self._widening = threading.Lock()
        self._aside = False
        self._root: duckdb.DuckDBPyConnection | None = None
        # DuckDB refuses a call on a connection that another thread is in, even that of cursor().
        self._rooting = threading.Lock()
        self._connect()

    # ------------------------------------------------------------------ life

    @classmethod
    def acquire(
        cls, path: str | os.PathLike[str], read_only: bool, memory_bytes: int, threads: int, **how: Any
    ) -> Engine:
        """The engine of that file, opened or shared. The larger memory limit of all users holds.

        how : what else a kind of engine is made with; it holds where the file is opened by this call.
        """
        real = cls._located(os.fspath(path))
        key = (os.getpid(), real)
        with cls._register:
            engine = cls._engines.get(key)
            if engine is None:
                engine = cls._engines[key] = cls(real, read_only, memory_bytes, threads, **how)
                engine._users = 1
                return engine
            engine._users += 1
        try:
            if engine.read_only != read_only:
                other = "read-only" if engine.read_only else "for writing"
                raise StoreBusy(f"{real} is open {other} in this process already: close it there first")
            engine._grow(memory_bytes, threads)
        except BaseException:
            engine.release()
            raise
        return engine

    def release(self) -> None:
        """Give the engine back; the last user closes it and with it every cursor."""
        if self._users == 1 and self.job is not None:
            self.job.stop()  # before the register is held, which its thread may have to wait for
        with self._register:
            self._users -= 1
            if self._users > 0:
                return
            self._engines.pop((os.getpid(), self.path), None)
            self._aside = False
            self._disconnect()
            self.scratch.drop()
            self.changed()

    @staticmethod
    def _located(path: str) -> str:
        """By what two paths are known to be the same store."""
        return os.path.realpath(path)

    def _scratch(self) -> Scratch:
        return Scratch(self.path, self.read_only)

    def _check_place(self) -> None:
        path = Path(self.path)
        if not path.parent.is_dir():
            raise StoreMissing(f"{path}: the directory {path.parent} does not exist: create it first")
        if "?" in str(path):
            # DuckDB takes it for the start of URL parameters and misplaces its log.
            raise ConfigError(f"{path}: DuckDB cannot keep a database under a path with a question mark")
        if path.is_dir():
            raise StoreMissing(
                f"{path} is a directory: give the path of a file, or end it with a slash to keep a Parquet "
                "store there"
            )
        if self.read_only and not path.exists():
            raise StoreMissing(f"{path} does not exist: write it first, or check the path")
        if path.is_file():
            with translated(self.path, self.memory_bytes), path.open("rb") as file:
                begins = file.read(len(_SQLITE))
            if begins == _SQLITE:  # DuckDB would look for an extension that reads it
                raise StoreForeign(f"{path}: the file is an SQLite database: give another path")

    def _config(self) -> dict[str, Any]:
        return {
            "memory_limit": f"{self.memory_bytes}B",
            "threads": self.threads,
            "temp_directory": self.scratch.folder(),
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # SQL must not read Python variables that happen to bear a table's name.
            "python_enable_replacements": False,
        }

    def _connect(self) -> None:
        self._check_place()
        with self._translated(), ExitStack() as undo:
            undo.callback(self.scratch.drop)
            root = duckdb.connect(self.path, read_only=self.read_only, config=self._config())
            undo.callback(root.close)
            if not self.read_only:
                self.scratch.drop_stale()
            root.execute("SET TimeZone = 'UTC'")
            if schema.is_empty(root):
                if self.read_only:
                    raise foreign(self.path)
                schema.create(root)
            version = schema.require(root, self.path)
            if version < SCHEMA_VERSION and not self.read_only:
                migrate.migrate(root, version)
                version = SCHEMA_VERSION
            self.schema_version = version
            undo.pop_all()
        self._root = root

    def _disconnect(self) -> None:
        with self._rooting:
            root, self._root = self._root, None
        self.interrupt()
        for seat in list(self._seats):
            seat.close()
        if root is not None:
            with self._translated():
                self._close_root(root)

    def _close_root(self, root: duckdb.DuckDBPyConnection) -> None:
        """Close the instance; a thread that was on its way into a cursor gets a moment to leave."""
        until = time.monotonic() + _CLOSE_WAIT_S
        while True:
            try:
                return root.close()
            except duckdb.Error as error:
                if type(error).__name__ != "ResourceInUseException" or time.monotonic() > until:
                    raise
                time.sleep(0.005)

    def _grow(self, memory_bytes: int, threads: int) -> None:
        if memory_bytes > self.memory_bytes:
            self.limit(memory_bytes)
        if threads > self.threads:
            with self.cursor() as cur:
                cur.execute(f"SET GLOBAL threads = {threads:d}")
            self.threads = threads

    def limit(self, memory_bytes: int, reserve_bytes: int = 0) -> None:
        """Set DuckDB's ``memory_limit``, for all users of the file in this process.

        reserve_bytes : what :meth:`widen` may raise it by.
        """
        with self.cursor() as cur:
            cur.execute(f"SET GLOBAL memory_limit = '{memory_bytes:d}B'")
        self.memory_bytes, self._reserve_bytes = memory_bytes, reserve_bytes

    def widen(self, found_bytes: int) -> bool:
        """Raise the limit, which some work did not fit into, by the reserve; whether it is higher now.

        found_bytes : the limit that the work was begun under.
        """
        with self._widening:
            if self.memory_bytes <= found_bytes and self._reserve_bytes:
                self.limit(self.memory_bytes + self._reserve_bytes)
            return self.memory_bytes > found_bytes

    def _translated(self) -> AbstractContextManager[None]:
        """Faults of DuckDB and Arrow inside are raised as those of this store."""
        return translated(self.path, self.memory_bytes)

    # --------------------------------------------------------------- cursors

    def _new_seat(self) -> Seat:
        with self._rooting:
            if self._aside and self._root is None:
                self._connect()
            root = self._root
            if root is None:
                raise StoreClosed(f"{self.path}: the store is closed")
            seat = Seat(root.cursor())
        seat.cursor.execute("SET TimeZone = 'UTC'")
        self._seats.add(seat)
        return seat

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The calling thread's own cursor, for one call; faults inside are translated.

        Results must be fetched whole before the block ends.
        """
        self._enter()
        try:
            with self._translated():
                seat: Seat | None = getattr(self._local, "seat", None)
                if seat is None or self._local.root is not self._root:
                    seat = self._new_seat()
                    self._local.seat, self._local.root = seat, self._root
                with seat.lock:
                    if self._root is None:
                        raise StoreClosed(f"{self.path}: the store is closed")
                    yield seat.cursor
        finally:
            self._leave()

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A write: the write lock, this thread's cursor, and all or nothing of what happens inside."""
        with self.write_lock, self.cursor() as cur:
            if self.read_only:
                raise StoreReadOnly(
                    f"{self.path} was opened read-only: open it without read_only=True to write"
                )
            cur.execute("BEGIN")
            try:
                cur.execute(
                    "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS VARCHAR) WHERE key = 'version'"
                )
                self._begun(cur)
                yield cur
                self._commit(cur)
            except BaseException:
                # A fatal fault has ended the transaction already; the first error tells.
                with suppress(duckdb.Error):
                    cur.execute("ROLLBACK")
                self._undone()
                raise
            finally:
                self.changed()

    def _begun(self, cur: duckdb.DuckDBPyConnection) -> None:
        """A write has begun."""

    def _commit(self, cur: duckdb.DuckDBPyConnection) -> None:
        cur.execute("COMMIT")

    def _undone(self) -> None:
        """A write was rolled back."""

    def touch(self, series_id: int, first_us: int, last_us: int) -> None:
        """A write changes those bars: a compaction under way has to catch up with it."""
        if self.touched is not None:
            self.touched.append((series_id, first_us, last_us))

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """A change that nobody describes: in SQL of the user's own."""
        with self.write_lock:
            self.touch(-1, *EVER)
            try:
                yield
            finally:
                self.changed()

    @contextmanager
    def one_thread(self, cur: duckdb.DuckDBPyConnection, rows: int) -> Iterator[None]:
        """Run a large INSERT on one thread.

        Two threads insert by batches, and unless those are as long as row groups much of the data
        is written twice: measured 21.7 instead of 11.0 bytes a bar, and twice the time.
        """
        if self.threads == 1 or rows < ROW_GROUP:
            yield
            return
        with self._state:
            self._inserting += 1
        cur.execute("SET GLOBAL threads = 1")
        try:
            yield
        finally:
            with self._state:
                self._inserting -= 1
                last = not self._inserting
            with suppress(duckdb.Error):  # after a fatal fault nothing runs any more, and that fault tells
                if last:
                    cur.execute(f"SET GLOBAL threads = {self.threads:d}")

    @contextmanager
    def stream(self) -> Iterator[Seat]:
        """A cursor of its own for an open reader, counted until the block ends."""
        self._enter()
        try:
            with self._translated():
                seat = self._new_seat()
            self._stream(1)
        finally:
            self._leave()
        try:
            with self._translated():
                yield seat
        finally:
            self._stream(-1)
            seat.close()

    def interrupt(self) -> None:
        """Stop what any cursor of the store is running; its thread gets StoreInterrupted."""
        for seat in list(self._seats):
            with suppress(duckdb.Error):  # closed in the meantime: nothing runs there
                seat.cursor.interrupt()

    # ------------------------------------------------------------------ swap

    def swap(self, replacement: str) -> None:
        """Put ``replacement`` in the file's place and go on with it. The caller holds ``write_lock``.

        Raises StoreBusy, the store as it was, as :meth:`_alone` does.
        """
        with self._alone():
            self._disconnect()
            if os.path.exists(self.path + ".wal"):
                self._connect()
                raise StoreError(f"{self.path}: its log could not be folded in; the file is as it was")
            os.replace(replacement, self.path)
            self._connect()

    def step_aside(self, pause_s: float) -> None:
        """Let go of a file that is open read-only for a moment, so that another process may write.

        Raises StoreLocked where another process has it by then; the next call tries again.
        """
        with self._alone():
            self._disconnect()
            self._aside = True
            time.sleep(pause_s)
            with self._rooting:
                self._connect()
