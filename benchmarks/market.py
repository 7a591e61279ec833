"""The bars that the benchmarks run on: generated, always the same, and never all in RAM but for eager."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ

from lazybars import AssetKey, open_store
from lazybars.demo.universes import Generated

__all__ = ["MEMORY", "DailyMarket", "MinuteMarket"]

MEMORY = os.environ.get("LAZYBARS_BENCH_MEMORY", "128MB")
_USD = AssetKey("USD", "forex")
_SESSION_MINUTES = 390


@dataclass(frozen=True)
class MinuteMarket:
    """Minute bars of ``assets`` stocks over ``days`` sessions; one bar in a hundred is missing."""

    folder: Path
    assets: int
    days: int

    @property
    def bars(self) -> Generated:
        return Generated(self.assets, self.days)

    @property
    def title(self) -> str:
        return f"{self.assets} assets x {self.days} days of generated minute bars"

    @property
    def span(self) -> tuple[dt.datetime, dt.datetime]:
        """From the second session on, so that every request has a history."""
        start, end = self.bars.span
        return LUMIBOT_DEFAULT_PYTZ.localize(start), LUMIBOT_DEFAULT_PYTZ.localize(end)

    def write(self) -> Path:
        """The store, made once."""
        path = self.folder / f"minutes-{self.assets}-{self.days}.duckdb"
        if not path.exists():
            with open_store(path) as store:
                for bars in self.bars.bars():
                    store.write(bars.table(), asset=bars.symbol, timestep="minute", quote=_USD)
                store.compact()
        return path

    def write_parquet(self) -> list[Path]:
        """A file an asset, made once."""
        paths = []
        for bars in self.bars.bars():
            path = self.folder / f"{bars.symbol}-{self.days}.parquet"
            if not path.exists():
                pq.write_table(bars.table(), path)
            paths.append(path)
        return paths

    def data(self) -> list[Any]:
        """Lumibot's own containers; new ones each time, because loading them changes them."""
        from lumibot.entities import Asset, Data

        usd = Asset("USD", "forex")
        return [
            Data(Asset(bars.symbol), bars.frame(), timestep="minute", quote=usd) for bars in self.bars.bars()
        ]

    def ticks(self, every_minutes: int, sessions: int | None = None) -> list[dt.datetime]:
        """Clock times through the sessions, from the second on; all of them, or the first so many."""
        days = np.busday_offset("2023-01-02", np.arange(1, self.days), roll="forward")[:sessions].tolist()
        opens = [LUMIBOT_DEFAULT_PYTZ.localize(dt.datetime.combine(day, dt.time(9, 30))) for day in days]
        return [
            opened + dt.timedelta(minutes=minutes)
            for opened in opens
            for minutes in range(1, _SESSION_MINUTES, every_minutes)
        ]


@dataclass(frozen=True)
class DailyMarket:
    """Daily bars of ``assets`` stocks over some years.

    events : all pay dividends and every fourth one splits; else there are no such columns.
    """

    folder: Path
    assets: int
    years: int = 5
    events: bool = True

    @property
    def span(self) -> tuple[dt.datetime, dt.datetime]:
        """From behind the longest lookback to the end."""
        days = self._days()
        return days[min(60, len(days) // 2)].to_pydatetime(), days[-1].to_pydatetime()

    def _days(self) -> pd.DatetimeIndex:
        return pd.bdate_range("2015-01-02", periods=252 * self.years, tz="America/New_York")

    def frames(self) -> dict[str, pd.DataFrame]:
        """By symbol."""
        return {f"D{number:03d}": self._frame(number) for number in range(self.assets)}

    def _frame(self, number: int) -> pd.DataFrame:
        days = self._days()
        rows = len(days)
        rng = np.random.default_rng((7, number))
        close = np.exp(np.cumsum(rng.normal(0.0003, 0.012, rows))) * rng.uniform(40, 200)
        split = np.zeros(rows)
        if number % 4 == 0:
            at = int(rng.integers(rows // 4, rows - rows // 4))
            split[at] = 2.0
            close[at:] /= 2.0
        close = close.round(2)
        before = np.concatenate((close[:1], close[:-1] / np.where(split[1:] > 0, split[1:], 1.0))).round(2)
        dividend = np.zeros(rows)
        dividend[20 + number % 40 :: 63] = 0.25
        columns = {
            "open": before,
            "high": np.maximum(before, close) + 0.3,
            "low": np.minimum(before, close) - 0.3,
            "close": close,
            "volume": rng.integers(100_000, 2_000_000, rows),
        }
        if self.events:
            columns |= {"dividend": dividend, "stock_splits": split}
        return pd.DataFrame(columns, index=days)

    def write(self) -> Path:
        """The store, made once."""
        path = self.folder / f"days-{self.assets}-{self.years}-{self.events:d}.duckdb"
        if not path.exists():
            with open_store(path) as store:
                for symbol, frame in self.frames().items():
                    store.write(frame, asset=symbol, timestep="day", quote=_USD)
                store.compact()
        return path

    def data(self) -> list[Any]:
        """Lumibot's own containers, new ones each time."""
        from lumibot.entities import Asset, Data

        usd = Asset("USD", "forex")
        return [
            Data(Asset(symbol), frame, timestep="day", quote=usd) for symbol, frame in self.frames().items()
        ]
