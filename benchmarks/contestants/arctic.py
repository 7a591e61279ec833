"""ArcticDB on LMDB: ``read`` with a date range a call.

Small segments and Arrow output are the fastest and leanest of those tried: a read decodes whole
segments, and 100,000 rows are the default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arcticdb
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.contest.clock import Size, Tick

__all__ = ["Range"]

_SEGMENT_ROWS = 2_000
_MAP_BYTES_A_BAR = 60


class Range:
    """One ``Library.read(symbol, date_range=..., columns=["close"])`` a call."""

    def __init__(self, folder: Path, size: Size, cap_bytes: int | None) -> None:
        self._library = _open(folder, size)["bars"]
        self._symbols = size.symbols

    def move(self, tick: Tick) -> None:
        self._range = (pd.Timestamp(tick.first_ns, tz="UTC"), pd.Timestamp(tick.last_ns, tz="UTC"))

    def ask(self, asset: int, tick: Tick) -> Any:
        read = self._library.read(
            self._symbols[asset],
            date_range=self._range,
            columns=["close"],
            output_format=arcticdb.OutputFormat.PYARROW,
        )
        return read.data["close"].to_numpy()

    def close(self) -> None:
        del self._library

    @staticmethod
    def prepare(parquet: Path, folder: Path, size: Size) -> None:
        options = arcticdb.LibraryOptions(rows_per_segment=_SEGMENT_ROWS)
        library = _open(folder, size).create_library("bars", options)
        for symbol in size.symbols:
            table = pq.read_table(parquet / f"symbol={symbol}").drop_columns("year")
            library.write(symbol, table.to_pandas().set_index("datetime"))


def _open(folder: Path, size: Size) -> Any:
    # The size that the file may grow to.
    map_mb = max(size.bars * _MAP_BYTES_A_BAR // 1_000_000, 256)
    return arcticdb.Arctic(f"lmdb://{folder}?map_size={map_mb}MB")
