"""The wrapped data source: Lumibot's own class, with lazy ``Data`` in its store.

A subclass with the name of the class it wraps, because Lumibot dispatches on class names
(``DataSourceBacktesting.__init__``, ``StrategyExecutor``), never a delegating proxy, because it
sets attributes on its source. All of Lumibot's private expectations of a source live here and in
`lumibot_data`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pandas as pd
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.data_sources import PandasData
from lumibot.entities import Asset, Bars, Data
from lumibot.tools.helpers import parse_timestep_qty_and_unit

from lazybars.adapters.clocked import LazyClock
from lazybars.adapters.instants import exact_ns
from lazybars.adapters.lumibot_data import LazyData
from lazybars.adapters.recorder import quicken
from lazybars.adapters.run import Run
from lazybars.config import Knobs

__all__ = ["LazyMixin"]


@dataclass(slots=True)
class _Route:
    """Where the answer to one set of arguments comes from.

    plain : a window of rows is the answer as it stands. native : at the series' own timestep.
    bars : the attributes of the ``Bars`` that it is handed out in, once there was one.
    """

    asset: Any
    quote: Any
    data: LazyData
    plain: bool
    native: bool
    bars: dict[str, Any] | None = None


# Methods of PandasData that a route leaves out.
_SKIPPED = frozenset(
    [
        "_adjust_stale_daily_price_for_stock_split",
        "_parse_source_symbol_bars",
        "_pull_source_symbol_bars",
        "find_asset_in_data_store",
        "get_datetime",
        "get_historical_prices",
        "get_last_price",
        "get_timestep",
    ]
)
# Which argument objects lead to which Data: their ids, so that no Asset is hashed at every call. So many a
# series, for its timesteps; a strategy that names its assets anew at every call fills them all.
_ROUTES = 16


class LazyMixin(LazyClock, PandasData):
    """Put in front of ``PandasData`` or a subclass by `lazybars.LazyBars`."""

    _lazy_knobs: ClassVar[Knobs]
    _lazy_direct: ClassVar[bool] = True
    _lazy_run: Run

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A class that answers in a way of its own is asked in Lumibot's, so that it is heard.
        behind = cls.__mro__[cls.__mro__.index(LazyMixin) + 1 : cls.__mro__.index(PandasData)]
        cls._lazy_direct = not any(_SKIPPED & vars(one).keys() for one in behind)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy_adopt()

    def _lazy_adopt(self) -> None:
        """Take over the frames that the plain source was given, and the index that it may have laid."""
        self._date_index = self.__dict__.pop("_date_index", None)
        if "_market_input_evidence" in self.__dict__:
            self._market_input_evidence = self.__dict__.pop("_market_input_evidence")
        self._lazy_begin(run := self._lazy_make_run())
        self._lazy_routes: dict[tuple[int, Any, int], _Route] = {}
        # How many items the store had when it was last seen whether any can have a split, and whether.
        self._lazy_split_items: tuple[int, bool] | None = None
        try:
            run.adopt(self.pandas_data)
        except BaseException:
            self._lazy_end()
            raise
        self._data_store = self.pandas_data

    def _lazy_make_run(self) -> Run:
        return Run(self._lazy_knobs)

    # ---- start and end ---------------------------------------------------------------------

    def load_data(self) -> Any:
        self._data_store = self.pandas_data
        self._lazy_routes.clear()
        self._lazy_split_items = None
        self._find_asset_in_data_store_cache.clear()
        items = list(self._data_store.values())
        if not any(isinstance(data, LazyData) for data in items):
            return super().load_data()
        run = self._lazy_run
        if run.joined(items):
            for key, data in self._data_store.items():
                if run.has_rows(data):
                    self._data_store[key] = run.whole(data)
            return self.load_data()
        if items[0].timestep == "minute":
            universe, bars = run.lay_sessions(items, self.datetime_end)
            with self._lazy_stand_ins([bars]):
                self._date_index = self.update_date_index()
            self._timestep = "minute"
            calendar = super().get_trading_days_pandas()
        else:
            universe, calendar = run.lay_union(items, self._lazy_union)
        self._date_index = None
        start, end = self.datetime_start, self.datetime_end
        run.load(items, universe, exact_ns(start, LUMIBOT_DEFAULT_PYTZ), exact_ns(end, LUMIBOT_DEFAULT_PYTZ))
        for data in items:
            if not isinstance(data, LazyData):
                data.repair_times_and_fill(run.whole_index())
        return calendar

    @contextmanager
    def _lazy_stand_ins(self, indexes: list[pd.DatetimeIndex]) -> Iterator[None]:
        """Have Lumibot's own code see frames that are nothing but these indexes."""
        store = self._data_store
        self._data_store = {
            at: SimpleNamespace(df=pd.DataFrame(index=index)) for at, index in enumerate(indexes)
        }
        try:
            yield
        finally:
            self._data_store = store

    def _lazy_union(self, indexes: list[pd.DatetimeIndex]) -> tuple[pd.DatetimeIndex, Any]:
        with self._lazy_stand_ins(indexes):
            self._date_index = self.update_date_index()
        self._timestep = next(iter(self._data_store.values())).timestep
        calendar = super().get_trading_days_pandas()
        return self.clean_trading_times(self._date_index, calendar), calendar

    @property
    def _date_index(self) -> Any:
        # The executor walks it in daily backtests; minute ones never ask, and it is long.
        index = self.__dict__.get("_lazy_date_index")
        run = self.__dict__.get("_lazy_run")
        return run.whole_index() if index is None and run is not None and run.loaded else index

    @_date_index.setter
    def _date_index(self, index: Any) -> None:
        self.__dict__["_lazy_date_index"] = index

    @property
    def _market_input_evidence(self) -> Any:
        # Lumibot makes its recorder of inputs at the first history, and leaves it here.
        return self.__dict__.get("_lazy_recorder")

    @_market_input_evidence.setter
    def _market_input_evidence(self, recorder: Any) -> None:
        quicken(recorder)
        self.__dict__["_lazy_recorder"] = recorder

    def get_trading_days_pandas(self) -> Any:
        if self._lazy_run.loaded and self.__dict__.get("_lazy_date_index") is None:
            self._date_index = self._lazy_run.calendar_index()
            try:
                return super().get_trading_days_pandas()
            finally:
                self._date_index = None
        return super().get_trading_days_pandas()

    # ---- questions ------------------------------------------------------------------------------

    def _lazy_route(self, asset: Any, timestep: Any, quote: Any) -> _Route | None:
        """How these arguments are answered without Lumibot's detours; None where they have to be taken."""
        route = self._lazy_routes.get((id(asset), timestep, id(quote)))
        # The ids are only good while the objects live: the route holds them, and is compared.
        if route is not None and route.asset is asset and route.quote is quote:
            return route
        if type(asset) is not Asset or not self._lazy_direct:
            return None
        data = self._data_store.get(self.find_asset_in_data_store(asset, quote, timestep))
        if not isinstance(data, LazyData):
            return None
        native = timestep is not None and parse_timestep_qty_and_unit(timestep) == (1, data.timestep)
        if len(self._lazy_routes) >= _ROUTES * len(self._data_store):
            self._lazy_routes.clear()
        route = _Route(asset, quote, data, native and data.plain, native)
        self._lazy_routes[id(asset), timestep, id(quote)] = route
        return route

    def get_historical_prices(
        self,
        asset: Any,
        length: int,
        timestep: str | None = None,
        timeshift: Any = None,
        quote: Any = None,
        exchange: Any = None,
        include_after_hours: bool = True,
        return_polars: bool = False,
    ) -> Any:
        self._lazy_run.calls += 1
        step = timestep or self.get_timestep()
        route = self._lazy_route(asset, step, quote) if exchange is None and not return_polars else None
        if route is not None and route.plain:
            frame = route.data.native_frame(self._datetime, length, timeshift or 0)
            return None if frame is None else self._lazy_bars(route, frame, frame)
        if route is not None and not route.native and route.data._bound is not None:
            try:
                answer = route.data.resampled(self._datetime, length, step, timeshift or 0)
            except ValueError:
                return None
            if answer is not NotImplemented:
                return None if answer is None else self._lazy_bars(route, *answer)
        return super().get_historical_prices(
            asset, length, timestep, timeshift, quote, exchange, include_after_hours, return_polars
        )

    def _lazy_bars(self, route: _Route, raw: Any, frame: Any) -> Any:
        """``Bars`` of a frame that lacks none of the columns that ``Bars`` would add."""
        if route.bars is None or not len(frame):
            bars = Bars(frame, self.SOURCE, route.asset, quote=route.quote, raw=raw, return_polars=False)
            # Its other attributes are the same every time, as long as it took the frame as it is. The frame
            # is not kept: a strategy that names its assets anew at every call has a route for each.
            route.bars = {**vars(bars), "_raw": None, "_df": None} if bars._df is frame else None
            return bars
        bars = Bars.__new__(Bars)
        bars.__dict__.update(route.bars)
        bars._raw = raw
        bars._df = frame
        return bars

    def get_last_price(self, asset: Any, quote: Any = None, exchange: Any = None) -> Any:
        run = self._lazy_run
        run.calls += 1
        route = self._lazy_route(asset, None, quote)
        if route is not None and not route.data._bars_has_stock_splits:
            price = route.data.price_at(self._datetime)
            if price is not None and price > 0:
                return price
        with run.failures():
            return super().get_last_price(asset, quote=quote, exchange=exchange)

    def get_quote(self, asset: Any, quote: Any = None, exchange: Any = None) -> Any:
        self._lazy_run.calls += 1
        return super().get_quote(asset, quote=quote, exchange=exchange)

    def get_spread(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_run.failures():
            return super().get_spread(*args, **kwargs)

    def get_midpoint(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_run.failures():
            return super().get_midpoint(*args, **kwargs)

    def get_bars(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_run.failures():
            return super().get_bars(*args, **kwargs)

    # ---- corporate actions: from the few rows that have one -------------------------------------

    def _get_backtest_daily_corporate_action_frame(self, asset: Any, quote: Any = None) -> Any:
        # Lumibot scans the whole universe for a daily series with splits, at every iteration and asset.
        items = len(self._data_store)
        if self._lazy_split_items is None or self._lazy_split_items[0] != items:
            has_splits = any(self._lazy_may_split(data) for data in self._data_store.values())
            self._lazy_split_items = items, has_splits
        return (
            super()._get_backtest_daily_corporate_action_frame(asset, quote)
            if self._lazy_split_items[1]
            else None
        )

    @staticmethod
    def _lazy_may_split(data: Any) -> bool:
        if isinstance(data, LazyData):
            return bool(data.timestep == "day" and data._bars_has_stock_splits)
        return True

    def _daily_stock_split_frame_from_data(self, data: Any, asset: Any, quote: Any = None) -> Any:
        if not isinstance(data, LazyData) or data._bound is None:
            return super()._daily_stock_split_frame_from_data(data, asset, quote)
        if data.timestep != "day" or not data._bars_has_stock_splits:
            return None
        stand_in = SimpleNamespace(
            timestep=data.timestep, asset=data.asset, quote=data.quote, df=data.events()
        )
        return super()._daily_stock_split_frame_from_data(stand_in, asset, quote)

    def _adjust_stale_daily_price_for_stock_split(self, data: Any, price: Any, dt: Any) -> Any:
        if not isinstance(data, LazyData) or data._bound is None:
            return super()._adjust_stale_daily_price_for_stock_split(data, price, dt)
        if price is None or data.timestep != "day" or not data._bars_has_stock_splits:
            return price
        if pd.Timestamp(dt).date() not in data.event_dates():
            return price
        stand_in = SimpleNamespace(timestep="day", df=data.events())
        return super()._adjust_stale_daily_price_for_stock_split(stand_in, price, dt)

    def get_yesterday_dividends(self, assets: Any, quote: Any = None) -> Any:
        self._lazy_no_events(assets, quote, "dividend", self._dividend_cache)
        with self._lazy_run.failures():
            return super().get_yesterday_dividends(assets, quote=quote)

    def get_yesterday_stock_splits(self, assets: Any, quote: Any = None) -> Any:
        self._lazy_no_events(assets, quote, "stock_splits", self._stock_split_cache)
        with self._lazy_run.failures():
            return super().get_yesterday_stock_splits(assets, quote=quote)

    def _lazy_no_events(self, assets: Any, quote: Any, column: str, cache: dict[Any, Any]) -> None:
        """Answer for bars that have no such column: Lumibot would resample them all to find that out."""
        if not self._datetime:
            return
        for asset in assets:
            if (
                asset in cache
                or self._get_backtest_daily_corporate_action_frame(asset, quote=quote) is not None
            ):
                continue
            data: Data | None = self._data_store.get(self.find_asset_in_data_store(asset, quote, "day"))
            if isinstance(data, LazyData) and data._bound and column not in data._bars_cols:
                cache[asset] = {}
