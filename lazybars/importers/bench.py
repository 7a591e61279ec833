"""A private DuckDB in memory, on which foreign files are read and made ready for the store.

It is the one place where the importers touch DuckDB. Nothing of it outlives the block that opened it.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from lazybars.errors import BadInput, CapTooSmall, StoreFull
from lazybars.store.schema import literal

__all__ = ["Bench", "open_bench", "parquet"]

_MEMORY_BYTES = 128 << 20
_THREADS = 2
_NO_SPACE = ("No space left", "File too large", "max_temp_directory_size", "failed to offload")
_NO_MEMORY = ("Out of Memory", "failed to pin", "failed to allocate", "could not allocate")


class Bench:
    """DuckDB with a memory limit and a scratch directory. Made by :func:`open_bench`; one thread."""

    def __init__(self, con: duckdb.DuckDBPyConnection, scratch: str) -> None:
        self._con = con
        self._scratch = scratch

    def rows(self, query: str, params: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a result. Raises BadInput where the input cannot be read."""
        with _told():
            return self._con.execute(query, params or {}).fetchall()

    def one(self, query: str, params: dict[str, Any] | None = None) -> tuple[Any, ...]:
        """The first row of a result."""
        return self.rows(query, params)[0]

    def columns(self, relation: str, params: dict[str, Any] | None = None) -> dict[str, str]:
        """The columns of what stands after FROM, with DuckDB's types, in order."""
        return {row[0]: row[1] for row in self.rows(f"DESCRIBE SELECT * FROM {relation}", params)}

    @contextmanager
    def spooled(self, query: str, params: dict[str, Any] | None = None, name: str = "rows") -> Iterator[Path]:
        """A query's result as a Parquet file, gone when the block ends. Streams."""
        with self.folder() as folder:
            path = folder / f"{name}.parquet"
            self.rows(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, COMPRESSION snappy)", params)
            yield path

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A fresh directory in the scratch, gone with all that is in it when the block ends."""
        folder = Path(self._scratch) / uuid.uuid4().hex
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def attached(self, path: Path) -> Iterator[str]:
        """A DuckDB file of somebody else, read-only; gives the name to put before a table's."""
        name = f"file_{uuid.uuid4().hex}"
        with _told():
            self._con.execute(f"ATTACH {literal(str(path.absolute()))} AS {name} (READ_ONLY)")
        try:
            yield name
        finally:
            with suppress(duckdb.Error):  # a damaged file may not let itself be detached; the bench goes soon
                self._con.execute(f"DETACH {name}")

    @contextmanager
    def registered(self, stream: Any) -> Iterator[str]:
        """What exports an Arrow stream anew at every scan, under a name to put after FROM."""
        name = f"stream_{uuid.uuid4().hex}"
        self._con.register(name, stream)
        try:
            yield name
        finally:
            self._con.unregister(name)


@contextmanager
def open_bench(memory_bytes: int = _MEMORY_BYTES) -> Iterator[Bench]:
    """A bench for the length of the block; the process needs some 60 MB beside ``memory_bytes``."""
    with tempfile.TemporaryDirectory(prefix="lazybars-import-") as scratch:
        con = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{memory_bytes}B",
                "threads": _THREADS,
                "temp_directory": os.path.join(scratch, "spill"),
                "preserve_insertion_order": True,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                # SQL must not read Python variables that happen to bear a table's name.
                "python_enable_replacements": False,
            },
        )
        try:
            con.execute("SET TimeZone = 'UTC'")
            # In a notebook DuckDB would draw its own.
            con.execute("SET enable_progress_bar = false")
            yield Bench(con, scratch)
        finally:
            con.close()


def parquet(paths: Sequence[Path], *, numbered: bool = False) -> tuple[str, dict[str, Any]]:
    """What to put after FROM for Parquet files, and its parameters. numbered : adds file_row_number."""
    # DuckDB must not take a bracket in a name for a pattern.
    files = [glob.escape(str(path.absolute())) for path in paths]
    rows = ", file_row_number = true" if numbered else ""
    return f"read_parquet($files, union_by_name = true, hive_partitioning = false{rows})", {"files": files}


@contextmanager
def _told() -> Iterator[None]:
    """DuckDB's complaints in the words of lazybars.errors."""
    try:
        yield
    except duckdb.Error as error:
        text = " ".join(str(error).split())
        if any(sign in text for sign in _NO_SPACE):
            raise StoreFull(
                f"the temporary directory is full: set TMPDIR to a larger one ({text})"
            ) from error
        if any(sign in text for sign in _NO_MEMORY):
            raise CapTooSmall(
                f"{_MEMORY_BYTES:,} bytes do not hold this work ({text})", 2 * _MEMORY_BYTES
            ) from error
        raise BadInput(text) from error
    except OSError as error:  # Arrow's, from a stream that DuckDB scans
        raise BadInput(" ".join(str(error).split())) from error
    except RuntimeError as error:
        if str(error).strip() == "Query interrupted":
            raise KeyboardInterrupt from error
        raise
