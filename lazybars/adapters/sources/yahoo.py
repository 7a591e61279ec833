"""Yahoo: a symbol's whole history is written to the store when it comes, and served from there.

Lumibot asks for all that Yahoo has of a symbol (of minutes: for the last days), and takes it for its
answer as it is. So an answer here stands in place of all that was known of the series: Yahoo tells prices
anew after every split. What was over when it came is not asked for again.
"""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import numpy as np
import pandas as pd
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.data_sources import YahooData
from lumibot.entities import Asset
from lumibot.tools import yahoo_helper

from lazybars.adapters.growing import GrowingRun
from lazybars.adapters.instants import exact_ns
from lazybars.adapters.sources.loading import with_globals
from lazybars.adapters.sources.plain import LazyPlain
from lazybars.adapters.sources.yahoo_asking import OWN_TIMES, Answer, asking
from lazybars.adapters.sources.yahoo_frame import DATED, YahooFrame
from lazybars.adapters.vault import Vault, Wanted
from lazybars.errors import BadInput
from lazybars.model import SeriesInfo

__all__ = ["LazyYahoo"]

_UTC = dt.timezone.utc
# Nothing on Yahoo is older: bars lie from here on, and of daily ones all of it is known.
_FIRST = dt.datetime(1927, 1, 1, tzinfo=_UTC)
# A century of daily bars, 23,000: the JSON, its objects, the frames, and what writing them takes were
# measured at 18 MiB of the first one, 8 to 13 of each later one; and after six hundred of them the allocator
# keeps some 5 MiB more.
_ANSWER_BYTES = 28 << 20
# What Lumibot's frames have that is stored; it computes the rest of it from row to row.
_NAMES = {
    "Open": "open",
    "High": "high",
    "Low": "low",
    "Close": "close",
    "Volume": "volume",
    "Dividends": "dividend",
    "Stock Splits": "stock_splits",
}


class LazyYahoo(LazyPlain):
    """Put in front of ``YahooDataBacktesting`` or a subclass by `lazybars.LazyBars`."""

    _lazy_replaces = (
        "_append_data",
        "_get_filtered_end_index",
        "_get_last_daily_open_price",
        "_get_source_symbol_data",
        "_pull_source_symbol_bars",
    )

    def _lazy_adopt(self) -> None:
        super()._lazy_adopt()
        self._data_index_values: dict[Any, Any] = {}
        self._data_open_values: dict[Any, Any] = {}
        # Lumibot's get_bars asks in several threads: what is not there yet is downloaded once.
        self._lazy_lock = threading.RLock()
        self._lazy_answer = answer = Answer()
        self._lazy_pull = with_globals(YahooData._get_source_symbol_data, YahooHelper=asking(answer))

    def _lazy_make_run(self) -> GrowingRun:
        end_ns = exact_ns(self.datetime_end, LUMIBOT_DEFAULT_PYTZ)
        bars_ns = exact_ns(_FIRST, _UTC), max(exact_ns(_now(), _UTC), end_ns)
        return GrowingRun(self._lazy_knobs, "yahoo", end_ns, _ANSWER_BYTES, bars_ns)

    # ---- what Lumibot asks -------------------------------------------------------------------------

    def _get_source_symbol_data(self, asset: Any, timestep: str) -> Any:
        run = self._lazy_run
        run.calls += 1
        if isinstance(asset, str):
            asset = Asset(symbol=asset)
        interval = self._parse_source_timestep(timestep, reverse=True)
        key = self._store_key(asset, interval)
        if key in self._data_store:
            return self._data_store[key]
        with run.noting(), self._lazy_lock:
            if key in self._data_store:
                return self._data_store[key]
            wanted, vault = _wanted(asset, interval), self._lazy_vault(interval)
            info = vault.find(wanted)
            if info is not None and not vault.missing(wanted, *self._lazy_needed()):
                return self._lazy_show(asset, interval, info)
            self._lazy_answer.told_market = False
            # Lumibot's own: it tries a symbol's spellings, and gives what comes to _append_data.
            return self._lazy_pull(self, asset, timestep)

    def _append_data(self, asset: Any, data: pd.DataFrame, interval: str = "1d") -> Any:
        """Take up a frame, in Yahoo's words, that has come for an asset."""
        if OWN_TIMES not in data.columns:
            self._lazy_run.passes(f"{asset} {interval}", "it was not downloaded")
            return super()._append_data(asset, data, interval)
        own_us = data.pop(OWN_TIMES).to_numpy()
        try:
            info = self._lazy_keep(asset, interval, data, own_us)
        except BadInput as error:
            self._lazy_run.passes(f"{asset} {interval}", str(error))
            return super()._append_data(asset, data, interval)
        return self._lazy_show(asset, interval, info)

    # ---- what is kept ------------------------------------------------------------------------------

    def _lazy_vault(self, interval: str, *, dated: bool = True) -> Vault:
        parts = ["yahoo", *([] if interval == "1d" else [interval]), *([] if dated else ["undated"])]
        return self._lazy_run.vault.under(":".join(parts))

    def _lazy_needed(self) -> tuple[dt.datetime, dt.datetime]:
        """The last moment that has to be known: the end of the backtest's last day, now at the latest."""
        day = self.to_default_timezone(self.datetime_end).date() + dt.timedelta(days=1)
        midnight = LUMIBOT_DEFAULT_PYTZ.localize(dt.datetime(day.year, day.month, day.day))
        last = min(midnight, _now()).astimezone(_UTC)
        return last, last

    def _lazy_keep(self, asset: Any, interval: str, data: pd.DataFrame, own_us: Any) -> SeriesInfo:
        """Write what came.

        Raises
        ------
        BadInput
            The store cannot hold it as it is.
        """
        if "Open" not in data.columns:
            raise BadInput(f"{asset}: auto_adjust leaves no open, high and low in Lumibot's own frames")
        if data.index.name != _index_name(interval):
            raise BadInput(f"{asset}: its index is called {data.index.name!r}")
        frame = data.rename(columns=_NAMES).drop(columns="Adj Close", errors="ignore")
        if not frame.index.is_unique:
            frame[DATED] = frame.index.as_unit("us").asi8
            frame.index = pd.DatetimeIndex(own_us.view("M8[us]"), tz="UTC").as_unit(data.index.unit)
            if not (np.diff(own_us) > 0).all():
                raise BadInput(f"{asset}: its bars are not in the order of their own times")
        answer, now = self._lazy_answer, _now()
        start = _FIRST if answer.start is None else answer.start
        # The exchange's day is not over: its bar, where there is one, may still change.
        midnight = pd.Timestamp(now).tz_convert(answer.zone).normalize().to_pydatetime()
        # Dated otherwise than the market would have it, it is not what the next run should be told.
        vault = self._lazy_vault(interval, dated=answer.told_market)
        wanted = _wanted(asset, interval)
        info = vault.replace(wanted, frame, start, midnight)
        if info.rows != len(frame):
            vault.forget(wanted)
            raise BadInput(f"{info.label}: {len(frame) - info.rows} bars have the time of another one")
        return info

    def _lazy_show(self, asset: Any, interval: str, info: SeriesInfo) -> YahooFrame:
        rows = self._lazy_run.frame(info, name=_index_name(interval))
        dtypes = {column.name: column.dtype for column in info.columns}
        shown = YahooFrame(
            rows, dtypes, unit=info.index_unit, tz=LUMIBOT_DEFAULT_PYTZ, name=_index_name(interval)
        )
        key = self._store_key(asset, interval)
        self._data_store[key] = shown
        self._data_index_values[key] = shown.index
        self._data_open_values[asset] = shown["open"]
        return shown


def _now() -> dt.datetime:
    """As Lumibot has it when it asks Yahoo."""
    now: dt.datetime = yahoo_helper.get_lumibot_datetime()
    return now


def _wanted(asset: Any, interval: str) -> Wanted:
    return Wanted(asset, None, "day" if interval == "1d" else "minute")


def _index_name(interval: str) -> str:
    return "Date" if interval == "1d" else "Datetime"
