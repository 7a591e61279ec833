"""LazyBars over a store, asked as Lumibot is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Asset

from benchmarks.contest.clock import WINDOW, Size, Tick
from benchmarks.contestants.lumibot_clock import now, span
from lazybars import LazyBars

__all__ = ["Lazy"]


class Lazy:
    """The wrapped PandasDataBacktesting; ``options`` are those of `lazybars.LazyBars`."""

    def __init__(self, folder: Path, size: Size, cap_bytes: int, **options: Any) -> None:
        self._assets = [Asset(symbol) for symbol in size.symbols]
        wrapped = LazyBars(PandasDataBacktesting, store=folder / "bars.duckdb", memory=cap_bytes, **options)
        self._source = wrapped(*span(size), show_progress_bar=False)
        self._source.load_data()

    def move(self, tick: Tick) -> None:
        self._source._update_datetime(now(tick))

    def ask(self, asset: int, tick: Tick) -> Any:
        return (
            self._source.get_historical_prices(self._assets[asset], WINDOW, "minute").df["close"].to_numpy()
        )

    def close(self) -> None:
        self._source.shutdown()
