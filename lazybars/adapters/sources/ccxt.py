"""CCXT: candles are written to the store as they come, and served from there.

Lumibot's own code asks the exchange, page by page; its cache, a DuckDB file of its own, is not used. What
that cache does to candles its answers show, so it is done here as well: prices and volumes are
DECIMAL(18,3); and of candles of one download with the same five numbers only the first is kept, at whatever
times they stand. Which those are depends on where a run begins. So the store has the candles as the exchange
gave them, and where a run shows fewer, those as a series of their own.
"""

from __future__ import annotations

import copy
import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.data_sources import ccxt_backtesting_data
from lumibot.tools.symbol_normalization import build_ccxt_crypto_symbol

from lazybars.adapters.growing import GrowingRun
from lazybars.adapters.instants import exact_ns
from lazybars.adapters.plain_frame import PlainFrame
from lazybars.adapters.sources.plain import LazyPlain
from lazybars.adapters.vault import Range, Vault, Wanted
from lazybars.errors import BadInput
from lazybars.model import BAR_FIELDS, AssetKey, SeriesInfo

__all__ = ["LazyCcxt"]

_STEPS = {"1m": "minute", "1h": "hour", "1d": "day"}
# Candles that are asked for and written at a time, by 300 a request: their pages, frames and what writing
# them takes were measured at 13 MiB.
_AT_ONCE = 15_000
_ANSWER_BYTES = 16 << 20
# A candle while those that Lumibot would drop are looked for in as many as it downloads at a time; measured
# at 234.
_CHOICE_ROW_BYTES = 320
_PLACES = 1000.0
_LARGEST = 1e15
_PRICES = list(BAR_FIELDS[:4])
_UTC = dt.timezone.utc


class LazyCcxt(LazyPlain):
    """Put in front of ``CcxtBacktesting`` or a subclass by `lazybars.LazyBars`."""

    _lazy_replaces = ("_append_data", "_pull_source_bars", "_pull_source_symbol_bars")

    def _lazy_make_run(self) -> GrowingRun:
        cache, end_ns = self.cache_db, exact_ns(self.datetime_end, LUMIBOT_DEFAULT_PYTZ)
        minutes = (end_ns - exact_ns(self.datetime_start, LUMIBOT_DEFAULT_PYTZ)) // 60_000_000_000
        chosen = min(cache.max_download_limit, max(minutes, 0) + 2000) * _CHOICE_ROW_BYTES
        name = f"ccxt:{cache.exchange_id}:candles"
        run = GrowingRun(self._lazy_knobs, name, end_ns, max(_ANSWER_BYTES, chosen))
        self._lazy_candles = _Candles(cache, run)
        cache.download_ohlcv = self._lazy_candles.between
        return run

    def _pull_source_symbol_bars(
        self,
        asset: Any,
        length: int | None = None,
        timestep: str = "minute",
        timeshift: Any = None,
        quote: Any = None,
        exchange: Any = None,
        include_after_hours: bool = True,
    ) -> Any:
        """Lumibot's, with a slice of the store where it masks all rows of a frame."""
        self._lazy_run.calls += 1
        if isinstance(asset, tuple):
            symbol = f"{asset[0].symbol.upper()}/{asset[1].symbol.upper()}"
        elif quote is not None:
            symbol = f"{asset.symbol.upper()}/{quote.symbol.upper()}"
        else:
            symbol = asset
        timeframe = self._parse_source_timestep(timestep, reverse=True)
        with self._lazy_run.noting():
            found = self._lazy_shown(symbol, timeframe)
            if isinstance(found, str):  # why it is not in the store
                more = (timestep, timeshift, quote, exchange, include_after_hours)
                return super()._pull_source_symbol_bars(asset, length, *more)
            if found is None:
                ccxt_backtesting_data.logger.error(
                    f"{self.SOURCE} did not return data for asset {symbol}. Make sure this symbol is valid."
                )
                return None
            end = self.get_datetime()
            if timeshift:
                end = end - timeshift
            duration, _ = self.convert_timestep_str_to_timedelta(timestep)
            closed = self.to_default_timezone(end) - duration
            rows = found.count_until(exact_ns(closed, LUMIBOT_DEFAULT_PYTZ))
            first = 0
            if length is not None:
                first = rows if length == 0 else slice(-length, None).indices(rows)[0]
            return _with_changes(found, first, rows)

    def _lazy_shown(self, symbol: Any, timeframe: str) -> PlainFrame | str | None:
        key = f"{symbol}_{timeframe}"
        found: PlainFrame | str | None = self._data_store.get(key)
        if found is None or not isinstance(found, (PlainFrame, str)):
            unit = {"1m": "minutes", "1h": "hours", "1d": "days"}[timeframe]
            start = self._to_utc_timezone(self.datetime_start)
            start -= dt.timedelta(**{unit: self._download_start_dt_prebuffer})
            found = self._lazy_candles.shown(
                symbol, timeframe, start, self._to_utc_timezone(self.datetime_end)
            )
            if isinstance(found, PlainFrame):
                self._data_store[key] = found
        return found


class _Candles:
    """What stands for Lumibot's cache: candles of one exchange, asked for once. Any thread."""

    def __init__(self, cache: Any, run: GrowingRun) -> None:
        self._cache = cache
        self._run = run
        self._lock = threading.Lock()
        self._passed: dict[tuple[Any, str], str] = {}

    # ---- what Lumibot asks -------------------------------------------------------------------------

    def shown(self, symbol: Any, timeframe: str, start: Any, end: Any) -> PlainFrame | str | None:
        """The candles of [start, end]; None for none; text where they cannot be stored, and why."""
        with self._lock:
            found = self._found(symbol, timeframe, start, end)
            if found is None or isinstance(found, str):
                return found
            wanted, info, window = found
            span_ns = _ns(start), _ns(end)
            info = self._chosen(wanted, info, timeframe, window)
            return self._run.frame(info, span_ns) if self._run.vault.has_bars(info, span_ns) else None

    def between(self, symbol: Any, timeframe: str, start: Any, end: Any, limit: Any = None) -> pd.DataFrame:
        """What Lumibot's ``download_ohlcv`` gives: a frame that is the caller's, with times of UTC."""
        with self._lock:
            found = self._found(symbol, timeframe, start, end)
            if isinstance(found, str):
                return type(self._cache).download_ohlcv(self._cache, symbol, timeframe, start, end, limit)
            empty = self._cache._empty_ohlcv_frame().set_index("datetime")
            if found is None:
                return empty
            _, info, window = found
            parts = [rows[~rows.duplicated()] for _, rows in self._chunks(info, timeframe, window)]
        frame = pd.concat(parts).tz_convert("UTC").tz_localize(None)
        return _as_cached(frame[frame.index.to_series().between(*(_naive(one) for one in (start, end)))])

    def _found(
        self, symbol: Any, timeframe: str, start: Any, end: Any
    ) -> tuple[Wanted, SeriesInfo, Range] | str | None:
        """Download what is not known, and give the series and the days that Lumibot would have asked for."""
        reason = self._passed.get((symbol, timeframe))
        if reason is not None:
            return reason
        name = build_ccxt_crypto_symbol(symbol, exchange_id=self._cache.exchange_id) or symbol
        begin, stop = self._cache._normalize_download_window(start, end)
        if begin > stop:
            return None
        try:
            wanted = _wanted(name, timeframe)
            for gap in self._run.vault.missing(wanted, _aware(begin), _aware(stop)):
                bounds = (_naive(max(gap[0], _aware(begin))), _naive(gap[1]))
                limit = min(_AT_ONCE, self._cache.max_download_limit)
                for part in self._cache._split_download_range(*bounds, timeframe, limit):
                    self._fetch(name, timeframe, wanted, *part)
        except BadInput as error:
            self._passed[symbol, timeframe] = str(error)
            self._run.passes(f"{name} {_STEPS[timeframe]}", str(error))
            return str(error)
        info = self._run.vault.find(wanted)
        return None if info is None else (wanted, info, (begin, stop))

    # ---- what is asked of the exchange -----------------------------------------------------------------

    def _fetch(self, name: str, timeframe: str, wanted: Wanted, start: dt.datetime, end: dt.datetime) -> None:
        """Have Lumibot ask for some candles, and write them; where it fails, those that came."""
        pages = _Pages(self._cache.api)
        asking = copy.copy(self._cache)
        asking.api = pages
        expected = asking._count_timeframe_units(start, end, timeframe)
        vault, span = self._run.vault, (_aware(start), _aware(end))
        try:
            asking._get_barset_from_api(name, timeframe, expected, start, end)
        except BaseException:
            came = pages.frame(*span)
            if len(came):
                vault.keep(wanted, came, *span, complete=False)
            raise
        vault.keep(wanted, pages.frame(*span), *span)

    # ---- what a run shows of it --------------------------------------------------------------------------

    def _chunks(
        self, info: SeriesInfo, timeframe: str, window: Range
    ) -> Iterator[tuple[Range, pd.DataFrame]]:
        """The candles of the days, as many at a time as Lumibot would have downloaded at a time."""
        limit = self._cache.max_download_limit
        for start, end in self._cache._split_download_range(*window, timeframe, limit):
            span = _aware(start), _aware(end)
            yield (
                span,
                self._run.vault.store.get_historical_prices(
                    info.asset, *span, timestep=info.timestep, quote=info.quote, source=info.source
                ),
            )

    def _chosen(self, wanted: Wanted, info: SeriesInfo, timeframe: str, window: Range) -> SeriesInfo:
        """The series less what Lumibot drops of these days; the very same where that is nothing."""
        limit, days = self._cache.max_download_limit, (_aware(window[0]), _aware(window[1]))
        vault: Vault = self._run.vault.under(f"{info.source} from {window[0]:%Y-%m-%d} by {limit}")
        if vault.find(wanted) is None and not any(
            rows.duplicated().any() for _, rows in self._chunks(info, timeframe, window)
        ):
            return info
        if vault.missing(wanted, *days):
            for span, rows in self._chunks(info, timeframe, window):
                vault.keep(wanted, rows[~rows.duplicated()], *span)
        return vault.find(wanted) or info


class _Pages:
    """An exchange whose answers are noted as they come. One thread."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._candles: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def fetch_ohlcv(self, *args: Any, **kwargs: Any) -> Any:
        """What the exchange answers."""
        page = self._api.fetch_ohlcv(*args, **kwargs)
        self._candles += page
        return page

    def frame(self, start: dt.datetime, end: dt.datetime) -> pd.DataFrame:
        """The candles of [start, end] so far; no row without a price.

        Raises
        ------
        BadInput
            A number that Lumibot's cache cannot hold.
        """
        frame = pd.DataFrame(self._candles, columns=["datetime", *BAR_FIELDS])
        times = pd.to_datetime(frame.pop("datetime"), unit="ms", utc=True)
        frame = frame.apply(pd.to_numeric, errors="coerce").astype("float64")
        frame.index = pd.DatetimeIndex(times, name="datetime").as_unit("us")
        frame = frame[(frame.index >= start) & (frame.index <= end)].dropna(subset=_PRICES)
        frame = frame[~frame.index.duplicated()].sort_index()
        if (frame.abs() >= _LARGEST).any(axis=None):
            raise BadInput("a candle has a number of 1e15 or more, which Lumibot's DECIMAL(18,3) cannot hold")
        return frame


def _wanted(name: str, timeframe: str) -> Wanted:
    base, _, quote = name.partition("/")
    kind = "crypto"
    return Wanted(AssetKey(base, kind), AssetKey(quote, kind) if quote else None, _STEPS[timeframe])


def _as_cached(raw: pd.DataFrame) -> pd.DataFrame:
    """Candles as Lumibot's cache gives them back; without a volume nothing was traded."""
    frame = raw.fillna({"volume": 0.0})
    scaled = frame.to_numpy() * _PLACES
    # Rounded as DuckDB does: half away from zero.
    whole = np.trunc(scaled)
    whole += np.where(np.abs(scaled - whole) >= 0.5, np.sign(scaled), 0.0)
    frame = pd.DataFrame(whole / _PLACES, index=frame.index, columns=frame.columns)
    frame["missing"] = 0
    return frame


def _with_changes(found: PlainFrame, start: int, end: int) -> pd.DataFrame:
    """Rows with the columns that Lumibot computes from row to row over the whole frame."""
    before = min(start, 1)
    frame = _as_cached(found.rows(start - before, max(end, start)))
    frame["price_change"] = frame["close"].pct_change()
    frame["dividend_yield"] = 0
    frame["return"] = frame["dividend_yield"] + frame["price_change"]
    return frame.iloc[before:]


def _aware(when: dt.datetime) -> dt.datetime:
    return when.replace(tzinfo=_UTC)


def _naive(when: dt.datetime) -> dt.datetime:
    return when.replace(tzinfo=None) if when.tzinfo is None else when.astimezone(_UTC).replace(tzinfo=None)


def _ns(when: dt.datetime) -> int:
    return exact_ns(_aware(_naive(when)), _UTC)
