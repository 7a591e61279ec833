"""DuckDB by hand on the same store: a prepared query a call, or one a tick.

The settings and the fetches are the fastest and leanest of those tried: one thread, a small buffer
pool (a larger one only makes the process larger), rows fetched as tuples where they are few.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from benchmarks.contest.clock import Size, Tick

__all__ = ["Query", "QueryOfTick"]

_SETTINGS: dict[str, Any] = {
    "threads": 1,
    "memory_limit": "64MB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


class Query:
    """One query a call."""

    _sql = "SELECT close FROM bars WHERE series_id = $1 AND ts BETWEEN $2 AND $3 ORDER BY ts"

    def __init__(self, folder: Path, size: Size, cap_bytes: int | None) -> None:
        self._con = duckdb.connect(str(folder / "bars.duckdb"), read_only=True, config=_SETTINGS)
        self._con.execute("SET TimeZone = 'UTC'")
        held = dict(self._con.execute("SELECT symbol, series_id FROM series_catalog").fetchall())
        self._ids = [held[symbol] for symbol in size.symbols]
        (self._statement,) = self._con.extract_statements(self._sql)
        self._range: list[dt.datetime] = []

    def move(self, tick: Tick) -> None:
        self._range = [_utc(tick.first_ns), _utc(tick.last_ns)]

    def ask(self, asset: int, tick: Tick) -> Any:
        rows = self._con.execute(self._statement, [self._ids[asset], *self._range]).fetchall()
        return np.array(rows)[:, 0]

    def close(self) -> None:
        self._con.close()


class QueryOfTick(Query):
    """One query a tick, for all assets: what a strategy can do that knows its universe beforehand."""

    _sql = "SELECT series_id, close FROM bars WHERE ts BETWEEN $1 AND $2 ORDER BY series_id, ts"

    def move(self, tick: Tick) -> None:
        super().move(tick)
        rows = self._con.execute(self._statement, self._range).fetchnumpy()
        ids, self._closes = rows["series_id"], rows["close"]
        self._edges = ids.searchsorted(self._ids, "left"), ids.searchsorted(self._ids, "right")

    def ask(self, asset: int, tick: Tick) -> Any:
        starts, ends = self._edges
        return self._closes[starts[asset] : ends[asset]]


def _utc(ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ns // 1_000_000_000, dt.timezone.utc)
