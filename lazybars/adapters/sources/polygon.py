"""Polygon: each answer is written to the store as it comes, and served from there.

Lumibot's own ``_update_pandas_data`` decides what is needed; what it would have downloaded into its
Parquet cache is downloaded into the store here, a month at a time, one after the other. Lumibot's
answers differ between a run that downloads and a later one, which takes the dummy rows of its cache
(``missing``) for bars; those of the run that downloads are the ones that are given here, always.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pandas as pd
from lumibot.backtesting import PolygonDataBacktesting
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.data_sources import PandasData
from lumibot.entities import Asset, Data
from lumibot.tools import polygon_helper

from lazybars.adapters.downloaded import glimpses
from lazybars.adapters.growing import GrowingRun
from lazybars.adapters.instants import exact_ns
from lazybars.adapters.lumibot_source import LazyMixin
from lazybars.adapters.sources.loading import raise_own, with_globals
from lazybars.adapters.vault import Range, Wanted
from lazybars.model import SeriesInfo, size_bytes
from lazybars.rows import RowGrid

__all__ = ["LazyPolygon"]

_log = logging.getLogger("lazybars")

# A month of minutes around the clock, 44,640 bars: the JSON, the client's objects and the frame were
# measured at 41 MiB together.
_ANSWER_BYTES = 44 << 20
# What the client's answers consist of; a column that an answer has nothing in is not stored.
_COLUMNS = ("open", "high", "low", "close", "volume", "vwap", "timestamp", "transactions", "otc")
_ONE_DAY = dt.timedelta(days=1)
_MICROSECOND = dt.timedelta(microseconds=1)
_UTC = dt.timezone.utc
Chunk = tuple[dt.date, dt.date]


class _Found:
    """What stands for the frame that Lumibot's loader gets: where the bars are, and in which span."""

    def __init__(self, info: SeriesInfo, span_ns: tuple[int, int], dates: list[dt.date]) -> None:
        self.info = info
        self.span_ns = span_ns
        self.dates = dates
        self.empty = False


class LazyPolygon(LazyMixin):
    """Put in front of ``PolygonDataBacktesting`` or a subclass by `lazybars.LazyBars`."""

    _lazy_run: GrowingRun  # type: ignore[assignment]

    @classmethod
    def lazy_refuses(cls, source: type) -> str | None:
        """Why a subclass of Polygon's source cannot be wrapped, or None."""
        for base in source.__mro__[: source.__mro__.index(PolygonDataBacktesting)]:
            if "_update_pandas_data" in vars(base):
                return f"{base.__name__} downloads in a way of its own (_update_pandas_data)"
        return None

    def _lazy_make_run(self) -> GrowingRun:  # type: ignore[override]
        helper = SimpleNamespace(get_price_data_from_polygon=self._lazy_download)
        self._lazy_update = with_globals(
            PolygonDataBacktesting._update_pandas_data, polygon_helper=helper, Data=self._lazy_data
        )
        knobs, limit = self._lazy_knobs, self.MAX_STORAGE_BYTES
        if limit:
            knobs = knobs.capped(size_bytes(limit, name="max_memory"))
        return GrowingRun(knobs, "polygon", exact_ns(self.datetime_end, LUMIBOT_DEFAULT_PYTZ), _ANSWER_BYTES)

    # ---- what Lumibot asks -------------------------------------------------------------------------

    def load_data(self) -> Any:
        """Lumibot lays an index of every minute of the backtest here, and then looks at it no more."""
        run = self._lazy_run
        for key, data in self.pandas_data.items():
            if run.shows(data):
                self.pandas_data[key] = run.whole(data)
        if self.pandas_data or self._timestep != "minute":
            return PandasData.load_data(self)
        self._data_store = self.pandas_data
        self._find_asset_in_data_store_cache.clear()
        self._date_index = _day_ends(self.datetime_start, self.datetime_end)
        calendar = PandasData.get_trading_days_pandas(self)
        self._date_index = None
        return calendar

    def _update_pandas_data(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with glimpses():
                return self._lazy_update(self, *args, **kwargs)
        except Exception as error:
            raise_own(error)
            raise

    def _enforce_storage_limit(self, *args: Any) -> None:
        """The cap does it."""

    def _lazy_no_events(self, *args: Any) -> None:
        """Whether bars have dividends Lumibot finds out by asking for them, which downloads; so here."""

    def get_last_price(self, asset: Any, *args: Any, **kwargs: Any) -> Any:
        run = self._lazy_run
        run.calls += 1
        with run.failures():
            return super(LazyMixin, self).get_last_price(asset, *args, **kwargs)

    # ---- what its loader gets -----------------------------------------------------------------------

    def _lazy_data(self, asset: Asset, found: _Found, timestep: str, quote: Asset) -> Data | None:
        def columns(grid: RowGrid) -> tuple[str, ...]:
            # Lumibot marks the dates of the calendar that have no row, in a column that it then ignores.
            days = grid.days.utc_days
            marked = any((day - dt.date(1970, 1, 1)).days not in days for day in found.dates)
            return (*_COLUMNS, "missing") if marked else _COLUMNS

        with self._lazy_run.noting():
            data = self._lazy_run.data(found.info, asset, quote, found.span_ns, columns=columns)
        assert data is not None, "a span without bars is no answer"
        return data

    def _lazy_download(
        self,
        api_key: str,
        asset: Asset,
        start: dt.datetime,
        end: dt.datetime,
        timespan: str,
        quote_asset: Asset,
    ) -> _Found | None:
        """What ``get_price_data_from_polygon`` does, with the store for its cache."""
        with self._lazy_run.noting():
            vault, wanted = self._lazy_run.vault, Wanted(asset, quote_asset, timespan)
            dates = _dates(wanted, start, end)
            chunks = list(self._lazy_missing(wanted, dates))
            if chunks and self._lazy_split_since(wanted, api_key):
                vault.forget(wanted)
                chunks = list(self._lazy_missing(wanted, dates))
            if chunks:
                client = polygon_helper.PolygonClient.create(api_key=api_key)
                symbol = polygon_helper.get_polygon_symbol(asset, client, quote_asset)
                for first, last in chunks:
                    self._lazy_fetch(client, symbol, wanted, first, last)
            info, span_ns = vault.find(wanted), _span_ns(timespan, start, end)
            if info is None or not vault.has_bars(info, span_ns):
                return None
            return _Found(info, span_ns, dates)

    def _lazy_missing(self, wanted: Wanted, dates: list[dt.date]) -> Iterator[Chunk]:
        """Runs of dates of the calendar that are not known, at most as long as Lumibot asks for at once."""
        if not dates:
            return
        gaps = self._lazy_run.vault.missing(wanted, *_hours(wanted.asset, dates[0], dates[-1]))
        run: list[dt.date] = []
        for day in dates:
            if not _overlaps(gaps, _hours(wanted.asset, day, day)):
                if run:
                    yield run[0], run[-1]
                run = []
                continue
            if run and (day - run[0]).days > polygon_helper.MAX_POLYGON_DAYS:
                yield run[0], run[-1]
                run = []
            run.append(day)
        if run:
            yield run[0], run[-1]

    def _lazy_fetch(
        self, client: Any, symbol: str | None, wanted: Wanted, first: dt.date, last: dt.date
    ) -> None:
        """Ask for some dates and write what comes. What fails is raised: what came before is written."""
        vault, hours = self._lazy_run.vault, _hours(wanted.asset, first, last)
        if symbol is None:  # Polygon knows no such contract
            vault.keep(wanted, pd.DataFrame(), *hours)
            return
        answer = client.get_aggs(
            ticker=symbol, from_=first, to=last, multiplier=1, timespan=wanted.timestep, limit=50000
        )
        if answer is None:
            return  # the plan does not cover these dates: Lumibot's client has said so, Polygon has not
        frame = polygon_helper.update_polygon_data(None, answer)
        del answer
        if frame is None:
            vault.keep(wanted, pd.DataFrame(), *hours)
            return
        for name in [name for name in frame.columns if frame[name].isna().all()]:
            if name not in ("open", "high", "low", "close"):
                del frame[name]
        vault.keep(wanted, frame, *hours)

    def _lazy_split_since(self, wanted: Wanted, api_key: str) -> bool:
        """Whether the asset was split since its bars were stored: Polygon adjusts all prices then."""
        kinds = (Asset.AssetType.STOCK, Asset.AssetType.OPTION)
        info = self._lazy_run.vault.find(wanted)
        if info is None or wanted.asset.asset_type not in kinds:
            return False
        written = self._lazy_run.vault.written_on(info)
        try:
            client = polygon_helper.PolygonClient.create(api_key=api_key)
            splits = client.list_splits(ticker=wanted.asset.symbol, sort="execution_date", order="asc")
            dates = [str(split.execution_date) for split in splits]
        except Exception as error:  # as Lumibot does: the plan may not include them
            _log.warning(
                "the splits of %s cannot be asked for (%s): its stored bars are taken to be as Polygon would "
                "give them now",
                wanted.asset.symbol,
                type(error).__name__,
            )
            return False
        return any(written.isoformat() <= date <= dt.date.today().isoformat() for date in dates)


def _dates(wanted: Wanted, start: dt.datetime, end: dt.datetime) -> list[dt.date]:
    """The dates of the asset's calendar in a range."""
    dates: list[dt.date] = polygon_helper.get_trading_dates(wanted.asset, start, end)
    if wanted.asset.asset_type == Asset.AssetType.OPTION:
        return [day for day in dates if day <= wanted.asset.expiration]
    return dates


def _hours(asset: Asset, first: dt.date, last: dt.date) -> Range:
    """The time that the bars of some dates lie in: New York's days, and UTC's of what is not of there."""
    elsewhere = asset.asset_type in (Asset.AssetType.CRYPTO, Asset.AssetType.FOREX)

    def midnight(day: dt.date) -> dt.datetime:
        if elsewhere:
            return dt.datetime(day.year, day.month, day.day, tzinfo=_UTC)
        local: dt.datetime = LUMIBOT_DEFAULT_PYTZ.localize(dt.datetime(day.year, day.month, day.day))
        return local.astimezone(_UTC)

    return midnight(first), midnight(last + _ONE_DAY) - _MICROSECOND


def _overlaps(gaps: list[Range], hours: Range) -> bool:
    # A gap begins and ends with the known time next to it: a moment in common is nothing missing.
    return any(start < hours[1] and hours[0] < end for start, end in gaps)


def _span_ns(timespan: str, start: dt.datetime, end: dt.datetime) -> tuple[int, int]:
    """The rows that Lumibot shows of what it has: daily bars by their UTC date, others by the time."""
    if timespan == "day":
        first = dt.datetime.combine(start.date(), dt.time.min, _UTC)
        last = dt.datetime.combine(end.date(), dt.time.max, _UTC)
    else:
        first, last = start, end
        if last.time() == dt.time.min:
            last = LUMIBOT_DEFAULT_PYTZ.localize(dt.datetime.combine(last.date(), dt.time.max))
    return exact_ns(first, LUMIBOT_DEFAULT_PYTZ), exact_ns(last, LUMIBOT_DEFAULT_PYTZ)


def _day_ends(start: dt.datetime, end: dt.datetime) -> pd.DatetimeIndex:
    """The first and the last of the minutes from ``start`` to ``end`` on each local day."""
    begin, stop = pd.Timestamp(start), pd.Timestamp(end)
    midnights = pd.date_range(begin.normalize() + pd.Timedelta("1D"), stop, freq="D", tz=begin.tz)
    step = pd.Timedelta("1min")
    behind = (midnights - begin) // step * step + begin
    first = behind.where(behind == midnights, behind + step)
    final = begin + (stop - begin) // step * step
    ends = pd.DatetimeIndex([begin, final]).append([first, first - step])
    return ends[(ends >= begin) & (ends <= final)].unique().sort_values()
