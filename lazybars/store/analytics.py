"""Analytics over the stored bars: indicators, coarser bars, panels, correlations, as-of joins."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from lazybars.errors import ConfigError
from lazybars.store import across, coarser, technical
from lazybars.store.base import StoreBase
from lazybars.store.catalog import Entry
from lazybars.store.indicators import CUSTOMARY
from lazybars.store.read import instant_us

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Analytics"]


class Analytics(StoreBase):
    """The part of a store that computes. The frames are in RAM; what makes them is under DuckDB's limit.

    Each reads only the row groups that hold its series and its time. ``start`` and ``end`` are
    as in :meth:`Store.read`, both included. Where there is no ``quote``, an asset may be given as
    (asset, quote). A range without bars gives a frame without rows. Raises UnknownSeries, and
    ConfigError for a name, column or width that there is not, with those that there are.
    """

    def indicators(
        self,
        asset: Any,
        timestep: str,
        start: Any = None,
        end: Any = None,
        names: Sequence[str] = CUSTOMARY,
        *,
        quote: Any = None,
        source: str | None = None,
    ) -> pd.DataFrame:
        """Technical indicators of the bars in [start, end], as columns on their times.

        names : "sma_20", "ema_50", "rsi_14", "macd_12_26_9" (the line; beside it _histogram and _signal),
            "bbands_20_2" (bars, deviations; gives _lower, _middle, _upper, _bandwidth, _percent), "atr_14",
            "vwap" (since New York's midnight), "zscore_30".

        They are those of pandas-ta on the whole series, the bars before ``start`` included: NaN until
        there are enough, averages that begin as plain means, bands with the population's deviation,
        z-scores with the sample's. Two differences: where prices do not move a z-score is NaN and a
        band's percent 1, while pandas-ta may divide rounding by rounding; and of a series too short all
        is NaN, not None.

        SMA, bands, VWAP and z-score are windows in SQL, over [start, end] and the days before that
        their windows reach. EMA, RSI, MACD and ATR remember every bar: the series is read from its
        first bar to ``end``, one to three columns of 8 bytes a bar.
        """
        entry = self._find(asset, timestep, quote, source)
        return technical.frame(self._engine, entry, instant_us(start), instant_us(end, end=True), names)

    def resample(
        self,
        asset: Any,
        timestep: str,
        to: str,
        start: Any = None,
        end: Any = None,
        *,
        quote: Any = None,
        source: str | None = None,
    ) -> pd.DataFrame:
        """Open, high, low, close and volume of coarser bars, stamped with their beginning.

        to : a number of "min", "h" or "D": "5min", "15min", "1h", "4h", "1D".

        As pandas' ``resample(to)`` on the bars in [start, end]: days are New York's, 23 or 25 hours long
        where the clock changes; shorter bins are counted from the midnight before the first bar, so
        that four-hour bins lie an hour off after a change of the clock. Bins without bars are left out, and
        the first and last bin hold what of them lies in the range.
        """
        entry = self._find(asset, timestep, quote, source)
        return coarser.frame(self._engine, entry, to, instant_us(start), instant_us(end, end=True))

    def panel(
        self,
        assets: Sequence[Hashable],
        field: str = "close",
        timestep: str = "day",
        start: Any = None,
        end: Any = None,
        *,
        source: str | None = None,
    ) -> pd.DataFrame:
        """One column of many series side by side: time by asset, NaN where an asset has no bar.

        Columns are called as the assets were given. Bars are streamed into the frame, 8 bytes a cell.
        """
        picks = self._picked(assets, field, timestep, source)
        return across.panel(self._engine, picks, instant_us(start), instant_us(end, end=True))

    def correlation(
        self,
        assets: Sequence[Hashable],
        timestep: str = "day",
        start: Any = None,
        end: Any = None,
        *,
        field: str = "close",
        returns: bool = True,
        source: str | None = None,
    ) -> pd.DataFrame:
        """Pearson's correlation of every two assets over the times that both have, asset by asset.

        returns : of the change from each bar in the range to the asset's own next one; else of the
            values themselves. What is not finite is left out; NaN where one of two does not move.

        A pair's number depends on these two alone, whichever others are asked for.
        """
        picks = self._picked(assets, field, timestep, source)
        start_us, end_us = instant_us(start), instant_us(end, end=True)
        return across.correlation(self._engine, picks, start_us, end_us, returns)

    def asof(
        self,
        left: Any,
        right: Any,
        timestep: str = "minute",
        start: Any = None,
        end: Any = None,
        *,
        right_timestep: str | None = None,
        tolerance: dt.timedelta | None = None,
        source: str | None = None,
    ) -> pd.DataFrame:
        """The bars of ``left`` in [start, end], each with right's last one at or before it.

        tolerance : how old that one may be; without it any age. Where there is none: NaN.

        As ``pandas.merge_asof`` on the times with the suffixes ("", "_right"); right's bar may lie before
        ``start``. Bars are stamped with their beginning, so an hour's bar joined to minutes tells of
        the rest of its hour.
        """
        entries = [
            self._of(one, step, source)
            for one, step in ((left, timestep), (right, right_timestep or timestep))
        ]
        start_us, end_us = instant_us(start), instant_us(end, end=True)
        return across.asof(self._engine, entries[0], entries[1], start_us, end_us, tolerance)

    def _of(self, asset: Any, timestep: str, source: str | None) -> Entry:
        """The series of an asset, or of (asset, quote)."""
        one, quote = asset if isinstance(asset, tuple) and len(asset) == 2 else (asset, None)
        return self._find(one, timestep, quote, source)

    def _picked(
        self, assets: Sequence[Hashable], field: str, timestep: str, source: str | None
    ) -> list[across.Picked]:
        if isinstance(assets, str) or not hasattr(assets, "__iter__"):
            raise ConfigError(f"assets={assets!r}: give a list of them")
        labels = list(assets)
        return across.picked(labels, [self._of(one, timestep, source) for one in labels], field)
