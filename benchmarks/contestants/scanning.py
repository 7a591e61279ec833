"""Polars: a lazy scan of Parquet a call, with predicate and projection pushed down.

Hive partitions by symbol and year and row groups of 16,384 bars are as fast as any layout tried (a
file an asset gets slower with its length), and one LazyFrame an asset saves planning.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.contest.clock import Size, Tick

__all__ = ["Scan"]


class Scan:
    """One ``scan_parquet(...).filter(...).select(...).collect()`` a call."""

    def __init__(self, folder: Path, size: Size, cap_bytes: int | None) -> None:
        self._scans = [
            pl.scan_parquet(folder / f"symbol={symbol}", hive_partitioning=True) for symbol in size.symbols
        ]

    def move(self, tick: Tick) -> None:
        years = (_year(tick.first_ns), _year(tick.last_ns))
        self._wanted = pl.col("year").is_between(*years) & pl.col("datetime").is_between(
            _literal(tick.first_ns), _literal(tick.last_ns)
        )

    def ask(self, asset: int, tick: Tick) -> Any:
        return self._scans[asset].filter(self._wanted).select("close").collect()["close"].to_numpy()

    def close(self) -> None:
        self._scans.clear()


def _year(ns: int) -> int:
    return dt.datetime.fromtimestamp(ns // 1_000_000_000, dt.timezone.utc).year


def _literal(ns: int) -> pl.Expr:
    return pl.lit(ns).cast(pl.Datetime("ns", "UTC"))
