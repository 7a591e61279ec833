"""Lumibot as it is: every frame in RAM before the first bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.dataset  # noqa: F401 - pandas reads Parquet with it
from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Asset, Data

from benchmarks.contest.clock import WINDOW, Size, Tick
from benchmarks.contestants.lumibot_clock import now, span

__all__ = ["Eager"]

_COLUMNS = ["datetime", "open", "high", "low", "close", "volume"]


class Eager:
    """PandasDataBacktesting with a frame an asset."""

    def __init__(self, folder: Path, size: Size, cap_bytes: int | None) -> None:
        self._assets = [Asset(symbol) for symbol in size.symbols]
        usd = Asset("USD", "forex")
        data = [
            Data(asset, _frame(folder / f"symbol={asset.symbol}"), timestep="minute", quote=usd)
            for asset in self._assets
        ]
        self._source: Any = PandasDataBacktesting(*span(size), pandas_data=data, show_progress_bar=False)
        self._source.load_data()

    def move(self, tick: Tick) -> None:
        self._source._update_datetime(now(tick))

    def ask(self, asset: int, tick: Tick) -> Any:
        return (
            self._source.get_historical_prices(self._assets[asset], WINDOW, "minute").df["close"].to_numpy()
        )

    def close(self) -> None:
        self._source.shutdown()


def _frame(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder, columns=_COLUMNS).set_index("datetime")
    return frame.tz_convert("America/New_York")
