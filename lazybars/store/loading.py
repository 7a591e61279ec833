"""Many files into a store: read and checked by several threads, written by one, and remembered."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import duckdb

from lazybars.errors import BadInput, ConfigError
from lazybars.model import AssetKey, WriteSummary
from lazybars.store import ingest
from lazybars.store.arrivals import Arrival, open_arrival
from lazybars.store.background import ahead
from lazybars.store.base import StoreBase, require_timestep
from lazybars.store.checks import Findings, inspect

__all__ = ["FileMark", "FileWrite", "Loading"]

# What a thread that reads text takes of DuckDB's memory limit.
_WORKER_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class FileMark:
    """What is remembered of a file that was stored, so that it need not be stored again.

    labels : how its bars were to be understood, as text. part : which of its series; "" is the file whole.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    labels: str
    part: str = ""

    @classmethod
    def of(cls, path: str | os.PathLike[str], labels: str) -> FileMark:
        """The mark of a file as it is now."""
        try:
            at = os.stat(path)
        except OSError as error:
            raise BadInput(f"{os.fspath(path)} cannot be read: {error}") from error
        return cls(os.path.abspath(path), at.st_size, at.st_mtime_ns, labels)


@dataclass(frozen=True, slots=True)
class FileWrite:
    """One write of files: as for ``Store.write``, and the mark to leave with it."""

    paths: tuple[str, ...]
    asset: AssetKey
    timestep: str
    quote: AssetKey | None = None
    source: str = "user"
    mode: str = "upsert"
    tz: str | dt.tzinfo | None = None
    mark: FileMark | None = None


@dataclass(slots=True)
class _Prepared:
    """A checked arrival, with its spool file until ``undo`` is closed."""

    arrival: Arrival
    found: Findings
    undo: ExitStack


class Loading(StoreBase):
    """The part of a store that takes files in bulk and remembers which it took."""

    def write_files(
        self, items: Iterator[FileWrite], *, workers: int | None = None
    ) -> Generator[tuple[FileWrite, WriteSummary | BadInput]]:
        """Write many files, each in a transaction of its own with its mark; what came of each, in order.

        ``workers`` threads read, check and spool the files that come next while this one writes: one
        for each core, and no more than the memory limit has room for, where it is not given. A file
        that cannot be stored gives its BadInput, and the next one follows; any other fault is raised.
        What was given is in the store. Ended early, the threads are stopped and spool files removed.
        """
        engine = self._writable("write")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        room = max(engine.memory_bytes // _WORKER_BYTES, 1)
        count = min(cores, room) if workers is None else workers
        if count < 1:
            raise ConfigError(f"workers={workers}: at least one")
        busy: set[Callable[[], None]] = set()
        lock = threading.Lock()

        def prepare(item: FileWrite) -> _Prepared:
            require_timestep(item.timestep)
            if item.mode not in ingest.MODES:
                raise ConfigError(f"mode={item.mode!r}: give one of {', '.join(ingest.MODES)}")
            with ExitStack() as undo, engine.cursor() as cur:
                with lock:
                    busy.add(cur.interrupt)
                try:
                    arrival = undo.enter_context(
                        open_arrival(cur, list(item.paths), item.tz, engine.scratch.folder())
                    )
                    return _Prepared(arrival, inspect(cur, arrival), undo.pop_all())
                finally:
                    with lock:
                        busy.discard(cur.interrupt)

        def interrupt() -> None:
            with lock:
                for stop in busy:
                    stop()

        made = ahead(
            items,
            prepare,
            workers=count,
            name="lazybars-load",
            interrupt=interrupt,
            discard=lambda prepared: prepared.undo.close(),
        )
        try:
            for item, outcome in made:
                if isinstance(outcome, BadInput):
                    yield item, outcome
                elif isinstance(outcome, Exception):
                    raise outcome
                else:
                    with outcome.undo:
                        yield item, self._write_prepared(item, outcome)
        finally:
            made.close()

    def _write_prepared(self, item: FileWrite, prepared: _Prepared) -> WriteSummary | BadInput:
        began = time.perf_counter()
        engine = self._engine
        with engine.write_lock:
            held = self._catalog.exact(item.asset, item.timestep, item.quote, item.source)
            target = ingest.Target(item.asset, item.quote, item.timestep, item.source, held)
            try:
                with engine.transaction() as cur:
                    summary = ingest.write_arrival(
                        engine, cur, prepared.arrival, prepared.found, target, item.mode
                    )
                    if item.mark is not None:
                        _remember(cur, item.mark, summary.rows_read)
            except BadInput as error:
                return error
        return dataclasses.replace(summary, wall_s=time.perf_counter() - began)

    def marks(self) -> set[FileMark]:
        """Every file, and part of a file, that was stored under a mark."""
        with self._current("the journal of files").cursor() as cur:
            rows = cur.execute(
                "SELECT path, size_bytes, mtime_ns, labels, part FROM ingested_files"
            ).fetchall()
        return {FileMark(*row) for row in rows}

    def remember(self, marks: Sequence[FileMark]) -> None:
        """Leave marks of files all of whose parts are stored."""
        with self._writable("remember files").transaction() as cur:
            for mark in marks:
                _remember(cur, mark, None)


def _remember(cur: duckdb.DuckDBPyConnection, mark: FileMark, rows: int | None) -> None:
    cur.execute(
        "DELETE FROM ingested_files WHERE path = ? AND labels = ? AND part = ?",
        [mark.path, mark.labels, mark.part],
    )
    cur.execute(
        "INSERT INTO ingested_files VALUES (?, ?, ?, ?, ?, ?, now())",
        [mark.path, mark.size_bytes, mark.mtime_ns, mark.labels, mark.part, rows],
    )
