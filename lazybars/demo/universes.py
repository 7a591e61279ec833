"""The bars that the demonstration runs on: five real stocks by the day, a generated market by the minute.

Both are made asset by asset and always the same, so that the eager run can make its frames from the
same source as the store was written from, without the store.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lazybars.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Bars", "Daily", "Generated", "Universe"]

_NEW_YORK = ZoneInfo("America/New_York")
_STOCKS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
_SESSION_MINUTES = 390
_FIRST_DAY = "2023-01-02"
_SEED = 20_230_102


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of one asset: ``times_ns`` since the epoch, UTC, and a column each of the same length."""

    symbol: str
    times_ns: npt.NDArray[np.int64]
    columns: dict[str, npt.NDArray[np.generic]]

    def table(self) -> pa.Table:
        """As Arrow, to write to a store."""
        times = pa.array(self.times_ns, pa.timestamp("ns", tz="UTC"))
        return pa.table({"datetime": times, **self.columns})

    def frame(self) -> pd.DataFrame:
        """As pandas, to give to Lumibot."""
        import pandas as pd

        index = pd.DatetimeIndex(self.times_ns, tz="UTC").tz_convert(str(_NEW_YORK))
        return pd.DataFrame(self.columns, index=index)


@dataclass(frozen=True, slots=True)
class Daily:
    """Real daily bars that bokeh_sampledata ships, 2000 to 2013; GOOG lists in 2004, FB in 2012.

    Prices are adjusted for splits and dividends by the package's own adjusted close.
    """

    timestep: str = "day"

    @property
    def symbols(self) -> tuple[str, ...]:
        return _STOCKS

    @property
    def span(self) -> tuple[dt.datetime, dt.datetime]:
        """From when to when the backtest runs: it begins behind the first lookback."""
        return dt.datetime(2000, 6, 1), dt.datetime(2013, 3, 1)

    def bars(self) -> Iterator[Bars]:
        try:
            import bokeh_sampledata.stocks as stocks
        except ImportError as error:
            raise ConfigError("the demo needs bokeh_sampledata: pip install 'lazybars[demo]'") from error
        for symbol in self.symbols:
            shipped = getattr(stocks, symbol)
            dates = [dt.date.fromisoformat(day) for day in shipped["date"]]
            midnights = [dt.datetime.combine(day, dt.time(), _NEW_YORK).timestamp() for day in dates]
            adjustment = np.array(shipped["adj_close"]) / np.array(shipped["close"])
            columns: dict[str, npt.NDArray[np.generic]] = {
                name: np.array(shipped[name]) * adjustment for name in ("open", "high", "low", "close")
            }
            columns["volume"] = np.array(shipped["volume"], dtype=np.int64)
            yield Bars(symbol, np.array(midnights, dtype=np.int64) * 1_000_000_000, columns)


@dataclass(frozen=True, slots=True)
class Generated:
    """A random walk in whole cents for every asset; one bar in a hundred is missing.

    assets, days : how many; weekdays from 2 January 2023, 09:30 to 16:00 New York.
    step_minutes : 1, or 60 for hourly bars.
    """

    assets: int
    days: int
    step_minutes: int = 1

    @property
    def timestep(self) -> str:
        return "minute" if self.step_minutes == 1 else "hour"

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(f"G{number:03d}" for number in range(self.assets))

    @property
    def span(self) -> tuple[dt.datetime, dt.datetime]:
        """From when to when the backtest runs: from the second day through the last one."""
        days = self._days()
        return dt.datetime.combine(days[1], dt.time()), dt.datetime.combine(days[-1], dt.time(23, 59))

    def _days(self) -> list[dt.date]:
        days: list[dt.date] = np.busday_offset(_FIRST_DAY, np.arange(self.days), roll="forward").tolist()
        return days

    def bars(self) -> Iterator[Bars]:
        opens_s = [dt.datetime.combine(day, dt.time(9, 30), _NEW_YORK).timestamp() for day in self._days()]
        minutes = np.arange(0, _SESSION_MINUTES, self.step_minutes, dtype=np.int64)
        times_ns = np.add.outer(np.array(opens_s, dtype=np.int64), minutes * 60).ravel() * 1_000_000_000
        for number, symbol in enumerate(self.symbols):
            yield self._walk(np.random.default_rng((_SEED, number)), symbol, times_ns)

    def _walk(self, rng: np.random.Generator, symbol: str, times_ns: npt.NDArray[np.int64]) -> Bars:
        rows = len(times_ns)
        steps = rng.normal(0.0, 0.0008 * self.step_minutes**0.5, rows)
        cents = np.rint(rng.uniform(2_000, 40_000) * np.exp(np.cumsum(steps))).clip(100)
        before = np.concatenate((cents[:1], cents[:-1]))
        prices = {
            "open": before,
            "high": np.maximum(before, cents) + rng.integers(0, 8, rows),
            "low": np.minimum(before, cents) - rng.integers(0, 8, rows),
            "close": cents,
        }
        kept = rng.random(rows) >= 0.01
        columns: dict[str, npt.NDArray[np.generic]] = {
            name: price[kept] / 100 for name, price in prices.items()
        }
        columns["volume"] = rng.integers(100, 20_000, rows)[kept]
        return Bars(symbol, times_ns[kept], columns)


Universe = Daily | Generated
