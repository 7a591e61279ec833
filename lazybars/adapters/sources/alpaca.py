"""Alpaca: each page of bars is written to the store as it comes; the source's frames are served from there.

Lumibot asks for a whole window at once, reads what came back as a frame, shows a row for every minute or
day of the market's calendar, and keeps that. Here what came is stored as it is, and the rows between are
filled where they are shown. How far back a request reaches, and what is said where something fails, is
Lumibot's own code.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any

import pandas as pd
from lumibot.backtesting import AlpacaBacktesting
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.tools.helpers import get_trading_days

from lazybars.adapters.growing import GrowingRun
from lazybars.adapters.instants import exact_ns
from lazybars.adapters.kept_frame import KeptFrame
from lazybars.adapters.sources.alpaca_pages import ANSWER_BYTES, fetch, series_of
from lazybars.adapters.sources.loading import raise_own, with_globals
from lazybars.adapters.sources.plain import LazyPlain
from lazybars.adapters.sources.schedules import days_shown, minutes_of, within
from lazybars.adapters.vault import Range, Wanted
from lazybars.errors import LazyBarsError
from lazybars.filled import Timetable, filling_of, stood_before, times_of
from lazybars.model import NOMINAL_NS, SeriesInfo

__all__ = ["LazyAlpaca"]

_RESAMPLED = "Alpaca has no bars of that size, and Lumibot makes them of the whole series"
_OTHER_WINDOW = "it was asked for by dates, a zone or an adjustment other than the run's"
_FORMING = "its last bar is not over yet, and will be another one later"


class LazyAlpaca(LazyPlain, AlpacaBacktesting):
    """Put in front of ``AlpacaBacktesting`` or a subclass by `lazybars.LazyBars`."""

    _lazy_replaces = (
        "_bars_to_frame",
        "_download_and_cache_ohlcv_data",
        "_get_option_bars_frame",
        "_history_request",
        "_history_segment",
        "_load_ohlcv_into_data_store",
        "_newest_bar_position",
        "_reach_back_for_history",
        "_reindex_and_fill",
        "_resample_ohlcv_dataframe",
        "get_historical_prices_between_dates",
    )

    def _lazy_make_run(self) -> GrowingRun:
        # Of each frame that is kept: the series, the span of its window, zone and timestep.
        self._lazy_kept: dict[str, tuple[Wanted, Range, Any, str]] = {}
        self._lazy_lock = threading.RLock()
        self._lazy_inside = False
        for reached in ("_history_loaded_from", "_history_reach_attempts"):
            self.__dict__.pop(reached, None)
        end_ns = exact_ns(self.datetime_end, LUMIBOT_DEFAULT_PYTZ)
        return GrowingRun(self._lazy_knobs, "alpaca", end_ns, ANSWER_BYTES)

    @contextmanager
    def _lazy_answering(self) -> Iterator[None]:
        """Lumibot's own code asks, and slices what it gets. One thread at a time: rows are counted from the
        first one, and another thread may reach back before it."""
        with self._lazy_run.noting(), self._lazy_lock:
            before, self._lazy_inside = self._lazy_inside, True
            try:
                yield
            finally:
                self._lazy_inside = before

    # ---- what Lumibot asks ---------------------------------------------------------------------------

    @wraps(AlpacaBacktesting.get_historical_prices)  # Lumibot looks at what it takes
    def get_historical_prices(self, *args: Any, **kwargs: Any) -> Any:
        self._lazy_run.calls += 1
        try:
            with self._lazy_answering():
                return super().get_historical_prices(*args, **kwargs)
        except Exception as error:
            raise_own(error)
            raise

    def get_last_price(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_answering():
            return super().get_last_price(*args, **kwargs)

    def get_historical_prices_between_dates(self, **kwargs: Any) -> Any:
        with self._lazy_run.noting(), self._lazy_lock:
            found = super().get_historical_prices_between_dates(**kwargs)
            return found if self._lazy_inside or not isinstance(found, KeptFrame) else found.whole()

    def _resample_ohlcv_dataframe(self, df: Any, resample_rule: str) -> pd.DataFrame:
        """Bars of sizes that Alpaca has none of: made once, and held until the series grows."""
        if not isinstance(df, KeptFrame):
            return super()._resample_ohlcv_dataframe(df, resample_rule)
        key = next(key for key, frame in self._data_store.items() if frame is df)
        self._lazy_run.passes(f"{key} as {resample_rule}", _RESAMPLED)
        return df.resampled(resample_rule)

    # ---- what is loaded ------------------------------------------------------------------------------

    def _load_ohlcv_into_data_store(self, key: str) -> bool:
        """Lumibot's files are not read: what they hold was filled for one window."""
        return False

    def _download_and_cache_ohlcv_data(self, **asked: Any) -> Any:
        spelled = {name: asked[name] for name in ("base_asset", "quote_asset", "timestep")}
        key, other = self._get_asset_key(**spelled), self._get_asset_key(**asked)
        if key != other:
            return self._lazy_leave(other, _OTHER_WINDOW, asked)
        minutes = asked["timestep"] == "minute" and not self._is_option(asked["base_asset"])
        if minutes and not minutes_of(self._trading_days).rows:
            # Lumibot makes no frame of it, and says so.
            return super()._download_and_cache_ohlcv_data(**asked)
        wanted, vault = series_of(self, **spelled), self._lazy_run.vault
        start, end = asked["data_datetime_start"], asked["data_datetime_end"]
        loader = AlpacaBacktesting._download_and_cache_ohlcv_data
        try:
            if self._refresh_cache:
                vault.forget(wanted)
            until, forming = fetch(self, vault, wanted, asked["timestep"], (start, end), None, key)
        except LazyBarsError:
            raise
        except Exception as error:
            self._lazy_say(loader, error, **asked)
            raise
        if forming is not None and forming <= end:
            return self._lazy_leave(key, _FORMING, asked)
        self._lazy_kept[key] = wanted, (start, end), asked["tzinfo"], asked["timestep"]
        info = vault.find(wanted)
        if info is None or not vault.has_bars(info, _span_ns(start, until)):
            self._lazy_say(loader, None, **asked)
        return self._lazy_show(key)

    def _lazy_leave(self, key: str, reason: str, asked: dict[str, Any]) -> Any:
        """To Lumibot, which holds it whole."""
        self._lazy_run.passes(key, reason)
        return super()._download_and_cache_ohlcv_data(**asked)

    def _reach_back_for_history(self, *, frame: Any, **asked: Any) -> Any:
        asset, quote = self._sanitize_base_and_quote_asset(asked["asset"], asked["quote"])
        key = self._get_asset_key(base_asset=asset, quote_asset=quote, timestep=asked["source_timestep"])
        before, rows = self._state("_history_loaded_from", dict).get(key), len(frame)
        # It decides how far back, and remembers that; of what is kept it gets an empty segment.
        merged = super()._reach_back_for_history(frame=frame, **asked)
        reached = self._state("_history_loaded_from", dict).get(key)
        kept = self._lazy_kept.get(key)
        if kept is None or reached == before or self._lazy_run.vault.find(kept[0]) is None:
            return merged
        found = self._lazy_show(key)
        return found if len(found) > rows else None

    def _history_segment(
        self, asset: Any, quote: Any, source_timestep: str, segment_start: Any, segment_end: Any
    ) -> pd.DataFrame:
        spelled = {"base_asset": asset, "quote_asset": quote, "timestep": source_timestep}
        asked = asset, quote, source_timestep, segment_start, segment_end
        if self._get_asset_key(**spelled) not in self._lazy_kept:
            return super()._history_segment(*asked)
        last = segment_end - dt.timedelta(seconds=1)
        span = {"data_datetime_start": segment_start, "data_datetime_end": last}
        key = self._get_asset_key(**spelled, **span) + "_HISTORY"
        vault, wanted = self._lazy_run.vault, series_of(self, **spelled)
        try:
            fetch(self, vault, wanted, source_timestep, (segment_start, last), last, key)
        except LazyBarsError:
            raise
        except Exception as error:
            self._lazy_say(AlpacaBacktesting._history_segment, error, *asked)
            raise
        return pd.DataFrame()

    def _lazy_say(self, function: Any, error: Exception | None, *args: Any, **kwargs: Any) -> None:
        """What Lumibot's loader says of a download that failed, or brought no bars."""

        def answer(*_: Any, **__: Any) -> Any:
            if error is not None:
                raise error
            return SimpleNamespace(df=pd.DataFrame())

        with_globals(function, fetch_alpaca_bars=answer)(self, *args, **kwargs)

    # ---- what is shown -------------------------------------------------------------------------------

    def _lazy_show(self, key: str) -> KeptFrame:
        """The frame of a key, as far back as Lumibot has reached."""
        wanted, (start, end), tz, timestep = self._lazy_kept[key]
        run = self._lazy_run
        info = run.vault.find(wanted)
        assert info is not None, "it is shown because it has bars"
        reached = self._state("_history_loaded_from", dict).get(key, start)
        table = None
        if timestep in ("day", "minute") and not self._is_option(wanted.asset):
            table = self._lazy_timetable(info, timestep, (start, end), reached, tz)
        shown = run.frame(info, _span_ns(reached, end), tz=tz, name="timestamp", timetable=table)
        found = self._data_store.get(key)
        if not isinstance(found, KeptFrame):
            found = self._data_store[key] = KeptFrame(tz)
        found.show(shown)
        return found

    def _lazy_timetable(
        self, info: SeriesInfo, timestep: str, window: Range, reached: dt.datetime, tz: Any
    ) -> Timetable:
        """A row for each minute, or date, of the calendar; before the window the bars that there are."""
        store, (start_ns, end_ns) = self._lazy_run.vault.store, _span_ns(*window)
        asked_ns = start_ns, end_ns + NOMINAL_NS["day"]
        before_ns = exact_ns(reached, tz), start_ns - 1
        calendar = past = None
        if timestep == "minute":
            calendar = minutes_of(self._trading_days)
            day = dt.timedelta(days=1)
            past = minutes_of(get_trading_days(self.market, reached, window[0] + day, tzinfo=self.tzinfo))
            shown: Any = within(calendar, start_ns, end_ns)
        else:
            dates = self._get_trading_times_for_timestep(pcal=self._trading_days, timestep="day")
            shown = days_shown(times_of(store, info, asked_ns), dates, tz, start_ns, end_ns)
        stood = stood_before(store, info, before_ns, past)
        return Timetable(stood, before_ns, past, shown, filling_of(store, info, asked_ns, calendar))


def _span_ns(start: dt.datetime, end: dt.datetime) -> tuple[int, int]:
    return exact_ns(start, LUMIBOT_DEFAULT_PYTZ), exact_ns(end, LUMIBOT_DEFAULT_PYTZ)
