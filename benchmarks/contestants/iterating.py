"""The streaming iterator of lazybars, without Lumibot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contest.clock import WINDOW, Size, Tick
from lazybars import iterate

__all__ = ["Iterating"]


class Iterating:
    """`lazybars.iterate`: it stops at every minute, and is asked at the ticks."""

    def __init__(self, folder: Path, size: Size, cap_bytes: int) -> None:
        self._symbols = size.symbols
        self._ticks = iterate(
            folder / "bars.duckdb", self._symbols, size.sessions[1], lookback=WINDOW, memory=cap_bytes
        )
        self._tick: Any = None

    def move(self, tick: Tick) -> None:
        self._tick = next(one for one in self._ticks if one.now_ns >= tick.now_ns)

    def ask(self, asset: int, tick: Tick) -> Any:
        return self._tick[self._symbols[asset]].close

    def close(self) -> None:
        self._ticks.close()
