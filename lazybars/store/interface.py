"""What the rest of lazybars needs of a store, whatever its bars lie in."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import pyarrow as pa

from lazybars.errors import BadInput
from lazybars.model import AssetKey, SeriesInfo, Traffic, WriteSummary
from lazybars.store.background import Job
from lazybars.store.loading import FileMark, FileWrite
from lazybars.store.read import Int64s
from lazybars.store.verify import Finding

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Storage"]

Moments = list[tuple[dt.datetime, dt.datetime]]


class Storage(ABC):
    """Bars of many series; a context manager. Made by :func:`lazybars.open_store`.

    The abstract methods are all that LazyBars, `iterate`, `sweep`, the forecast and the command line ask
    of a store. Each implementation passes the tests in ``tests/store/suite.py``.

    Every method may be called from any thread. Times given without a zone are New York's; ranges are
    closed; physical columns and integer ids are those of the :class:`SeriesInfo` that :meth:`series`
    gives. A write is there whole or not at all, also where its process is killed. Faults are
    :class:`lazybars.errors.StoreError`; once closed, every method raises StoreClosed.
    """

    # ------------------------------------------------------------------ itself

    @property
    @abstractmethod
    def path(self) -> str:
        """Where it lies: what :func:`lazybars.open_store` takes in any process of this machine."""

    @property
    @abstractmethod
    def read_only(self) -> bool: ...

    @property
    @abstractmethod
    def bytes_on_disk(self) -> int: ...

    @property
    @abstractmethod
    def kept_bytes(self) -> int:
        """What the engine keeps of the store in RAM once all of it was read, outside its memory limit."""

    @property
    @abstractmethod
    def traffic(self) -> Traffic:
        """What it has asked of an object store so far."""

    @property
    @abstractmethod
    def version(self) -> int:
        """How many writes it has seen; each adds at least one."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. Repeatable."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------- write

    @abstractmethod
    def write(
        self,
        data: Any,
        *,
        asset: Any,
        timestep: str,
        quote: Any = None,
        source: str = "user",
        mode: str = "upsert",
        tz: str | dt.tzinfo | None = None,
        covers: tuple[Any, Any] | None = None,
    ) -> WriteSummary:
        """Storage the bars of one series, all of them or none."""

    @abstractmethod
    def write_files(
        self, items: Iterator[FileWrite], *, workers: int | None = None
    ) -> Generator[tuple[FileWrite, WriteSummary | BadInput]]:
        """Write many files, each in a transaction of its own with its mark; what came of each, in order."""

    @abstractmethod
    def marks(self) -> set[FileMark]:
        """Every file, and part of a file, that was stored under a mark."""

    @abstractmethod
    def remember(self, marks: Sequence[FileMark]) -> None:
        """Leave marks of files all of whose parts are stored."""

    @abstractmethod
    def delete(
        self,
        asset: Any,
        timestep: str,
        start: Any = None,
        end: Any = None,
        *,
        quote: Any = None,
        source: str | None = None,
    ) -> int:
        """Delete bars of a series, and what is known of their time; gives the rows."""

    @abstractmethod
    def mark_empty(
        self, asset: Any, timestep: str, start: Any, end: Any, *, quote: Any = None, source: str = "user"
    ) -> None:
        """Note that the source has no bars there."""

    @abstractmethod
    def describe_source(self, source: str, config: Mapping[str, Any]) -> None:
        """Keep a JSON object with a source that has bars, in ``data_sources.config``, for the one before."""

    @overload
    def compact(self) -> None: ...

    @overload
    def compact(self, *, background: Literal[False]) -> None: ...

    @overload
    def compact(self, *, background: Literal[True]) -> Job: ...

    @abstractmethod
    def compact(self, *, background: bool = False) -> Job | None:
        """Bring the bars into the order in which a run reads them. Changes no answer."""

    @property
    @abstractmethod
    def is_compact(self) -> bool:
        """Whether nothing was written since it was made or last compacted."""

    # ----------------------------------------------------------------- catalog

    @abstractmethod
    def series(self) -> list[SeriesInfo]:
        """Every series that has bars, of preferred sources first."""

    @abstractmethod
    def assets(self) -> list[AssetKey]:
        """Every asset, sorted."""

    @abstractmethod
    def find(self, asset: Any, timestep: str, quote: Any = None, source: str | None = None) -> SeriesInfo:
        """The series meant. Raises UnknownSeries."""

    @abstractmethod
    def coverage(self, asset: Any, timestep: str, *, quote: Any = None, source: str | None = None) -> Moments:
        """All that is known of a series."""

    @abstractmethod
    def known_empty(
        self, asset: Any, timestep: str, *, quote: Any = None, source: str | None = None
    ) -> Moments:
        """Where a series is known to have no bars."""

    @abstractmethod
    def missing(
        self, asset: Any, timestep: str, start: Any, end: Any, *, quote: Any = None, source: str | None = None
    ) -> Moments:
        """What of a range is left to download."""

    # -------------------------------------------------------------------- read

    @abstractmethod
    def read(
        self,
        asset: Any,
        timestep: str,
        start: Any = None,
        end: Any = None,
        *,
        quote: Any = None,
        source: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader:
        """Stream a series in time order: ``timestamp`` (microseconds, UTC), then its columns."""

    @abstractmethod
    def get_historical_prices(
        self,
        asset: Any,
        start: Any = None,
        end: Any = None,
        timestep: str = "minute",
        quote: Any = None,
        source: str | None = None,
    ) -> pd.DataFrame:
        """Bars as a frame, as they were written: values, dtypes, order of columns."""

    @abstractmethod
    def sql(self, query: str, params: Any = None) -> pa.Table:
        """The result of a query over ``ohlcv_data``, ``assets``, ``data_sources``, ``cache_ranges``.

        Beneath them lie ``bars`` (series_id, ts, the physical columns), ``series_catalog`` and
        ``session_days`` (series_id, day, first_ts, last_ts, rows).
        """

    @abstractmethod
    def verify(self) -> list[Finding]:
        """What of the store disagrees with itself. Reads all bars."""

    # ---------------------------------------------------------- for the engine

    @abstractmethod
    def scan(
        self, first_id: int, last_id: int, start_ns: int, end_ns: int, columns: Sequence[str]
    ) -> pa.Table:
        """Rows of the series first_id..last_id in [start_ns, end_ns), in any order.

        ``series_id`` (int32), ``ts`` (int64, microseconds UTC), then the physical columns asked for. The
        table belongs to the caller.
        """

    @abstractmethod
    def last_before(self, series_id: int, ns: int, columns: Sequence[str]) -> tuple[Any, ...] | None:
        """(timestamp in ns, *values of the physical columns) of the last row before ``ns``."""

    @abstractmethod
    def sessions(self, series_ids: Sequence[int]) -> tuple[Int64s, Int64s, Int64s]:
        """(day, first_ns, last_ns) of those series together, one entry per New York date, ascending."""

    @abstractmethod
    def series_days(self, series_id: int) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """(day, first_ns, last_ns, rows) of one series, as in :meth:`sessions`."""

    @abstractmethod
    def timestamps(self, series_id: int) -> Int64s:
        """All timestamps of a series, int64 ns, ascending."""

    @abstractmethod
    def lower_memory(self, memory_bytes: int, reserve_bytes: int = 0) -> int:
        """Bring the memory that it works in down to a cap's share; returns what it was.

        reserve_bytes : what it may take more where a scan does not fit.
        """

    @abstractmethod
    def restore_memory(self, memory_bytes: int, reserve_bytes: int = 0) -> None:
        """Give back what :meth:`lower_memory` took, unless the store is closed."""

    @abstractmethod
    def interrupt(self) -> None:
        """Stop what any thread is running on the store; it raises StoreInterrupted there."""

    @abstractmethod
    def wait_for_bars(self, after_version: int, timeout_s: float | None = None) -> int:
        """Wait until :attr:`version` is beyond ``after_version``; gives the version there is then."""
