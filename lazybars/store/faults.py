"""What DuckDB raises, told in the words of lazybars.errors.

DuckDB names few of its faults by class: a lock, a missing file and a truncated one are all
``IOException``, a bad checksum is the bare base class, and a fault in the middle of an Arrow
stream arrives as ``OSError``. So the text decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from lazybars.errors import (
    CapTooSmall,
    LazyBarsError,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreInterrupted,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreReadOnly,
)

__all__ = ["NOT_A_STORE", "translate", "translated"]

NOT_A_STORE = "the file is a DuckDB database, but none that lazybars wrote: give another path"

# First match wins: (what the message holds, the class, what happened and what to do about it).
_FAULTS: tuple[tuple[str, type[StoreError], str], ...] = (
    (
        r"Could not set lock",
        StoreLocked,
        "another process has it open: close the store there, open it read_only=True in every process, or "
        "give open_store(wait_s=...) to wait for it; a store of Parquet, whose path ends in a slash, can be "
        "read by others while one process writes",
    ),
    (r"version number", StoreNewer, "a newer DuckDB wrote the file: upgrade duckdb here"),
    (
        r"not a valid DuckDB|Could not read enough bytes|Corrupt database|checksum|failed to deserialize"
        r"|Failure while replaying WAL",
        StoreDamaged,
        "the file is damaged, cut short or no store at all: restore it from a copy or ingest again",
    ),
    (
        r"No space left|File too large|max_temp_directory_size|failed to offload",
        StoreFull,
        "the disk is full: free some space and open the store again; all that was committed is still there",
    ),
    (r"database does not exist|No such file", StoreMissing, "no store there"),
    (r"read-only", StoreReadOnly, "open the store without read_only=True to write"),
    (r"[Cc]onnection (has )?already (been )?closed|Connection Error: Connection", StoreClosed, "closed"),
    (
        r"already attached|unique file handle",
        StoreError,
        "the file is in use in this process outside lazybars",
    ),
    (r"[Ii]nterrupt", StoreInterrupted, "interrupt() or close() stopped the query"),
    (
        r"database has been invalidated",
        StoreError,
        "close the store and open it again: an earlier fault ended it",
    ),
    (r"Permission denied", StoreError, "no permission"),
)
_OUT_OF_MEMORY = re.compile(r"[Oo]ut of [Mm]emory|failed to (pin|allocate)|could not allocate")


def translate(error: BaseException, path: str, memory_bytes: int) -> BaseException:
    """The lazybars error for what DuckDB or Arrow raised over the store at ``path``."""
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and text == "Query interrupted":
        return KeyboardInterrupt()  # how DuckDB reports Ctrl-C on the main thread
    for pattern, kind, cure in _FAULTS:
        if re.search(pattern, text):
            return kind(f"{path}: {cure} ({text})")
    if _OUT_OF_MEMORY.search(text):
        return CapTooSmall(
            f"{path}: the store's memory of {memory_bytes:,} bytes does not hold this work; "
            f"open it with at least {2 * memory_bytes:,} ({text})",
            2 * memory_bytes,
        )
    return StoreError(f"{path}: {text}")


@contextmanager
def translated(path: str, memory_bytes: int) -> Iterator[None]:
    """Raise the faults of DuckDB and Arrow inside as lazybars errors, the original as cause."""
    try:
        yield
    except LazyBarsError:
        raise
    except (duckdb.Error, OSError, RuntimeError) as error:
        raise translate(error, path, memory_bytes) from error


def foreign(path: str) -> StoreForeign:
    return StoreForeign(f"{path}: {NOT_A_STORE}")
