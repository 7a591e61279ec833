"""DataBento: each contract's bars are written to the store as they come, and served from there.

``DataBentoDataBacktesting`` is Lumibot's Polars class. Its own code decides what is needed, which
contracts a continuous future consists of and when it rolls; what it would have joined into one frame is
joined here as pieces of stored series. Its Parquet cache is neither read nor written: what it gives back
has a column more than what was downloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any

from lumibot.backtesting.databento_backtesting_polars import DataBentoDataBacktestingPolars
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.entities import Asset
from lumibot.entities.data_polars import DataPolars
from lumibot.tools import databento_helper_polars as helper

from lazybars.adapters.growing import GrowingRun
from lazybars.adapters.instants import exact_ns
from lazybars.adapters.plain_frame import PlainFrame
from lazybars.adapters.sources.databento_asking import ANSWER_BYTES, Asking, Contract, client_class
from lazybars.adapters.sources.loading import with_globals
from lazybars.adapters.sources.plain import LazyPlain
from lazybars.adapters.stored_polars import Piece, StoredPolars, StoredRows, StoredTimes
from lazybars.errors import BadInput

__all__ = ["LazyDataBento"]

_FUTURES = (Asset.AssetType.FUTURE, Asset.AssetType.CONT_FUTURE)


class LazyDataBento(LazyPlain):
    """Put in front of ``DataBentoDataBacktesting`` or a subclass by `lazybars.LazyBars`."""

    _lazy_replaces = (
        "_cache_datetime_series",
        "_ensure_futures_multiplier",
        "_update_pandas_data",
        "prefetch_data",
    )

    def _lazy_adopt(self) -> None:
        # Lumibot's get_bars asks in several threads.
        self._lazy_lock = threading.RLock()
        self._lazy_many = False
        # What the caller gave, or was loaded before an instance was wrapped, stays what it is.
        self._lazy_begin(self._lazy_make_run())
        self._lazy_run.adopt(self.pandas_data)

    def _lazy_make_run(self) -> GrowingRun:
        end_ns = exact_ns(self.datetime_end, LUMIBOT_DEFAULT_PYTZ)
        run = GrowingRun(self._lazy_knobs, "databento", end_ns, ANSWER_BYTES)
        base, loader = DataBentoDataBacktestingPolars, _Loader(run)
        self._lazy_update = with_globals(
            base._update_pandas_data, databento_helper=loader, DataPolars=_Polars
        )
        self._lazy_multiply = with_globals(base._ensure_futures_multiplier, databento_helper=loader)
        self._lazy_prefetch = with_globals(base.prefetch_data, databento_helper=loader)
        return run

    @contextmanager
    def _lazy_answering(self) -> Iterator[None]:
        """Lumibot's own code asks, and slices what it gets. One thread at a time: rows are counted from a
        series' first one, and another thread may show more of it."""
        run = self._lazy_run
        with self._lazy_lock:
            run.calls += 1
            # What fails for one asset of many is raised when all have been asked for.
            with run.noting() if self._lazy_many else run.failures():
                yield

    # ---- what Lumibot asks -------------------------------------------------------------------------

    @wraps(DataBentoDataBacktestingPolars.get_historical_prices)  # Lumibot looks at what it takes
    def get_historical_prices(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_answering():
            return super().get_historical_prices(*args, **kwargs)

    def get_last_price(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_answering():
            return super().get_last_price(*args, **kwargs)

    def get_quote(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_answering():
            return super().get_quote(*args, **kwargs)

    def get_bars(self, *args: Any, **kwargs: Any) -> Any:
        self._lazy_many = True
        try:
            return super().get_bars(*args, **kwargs)
        finally:
            self._lazy_many = False

    def prefetch_data(self, assets: Any, timestep: str = "minute") -> None:
        """Lumibot's, which holds what it loads as pandas frames."""
        with self._lazy_answering():
            self._lazy_prefetch(self, assets, timestep)
        for asset in assets or ():
            self._lazy_run.passes(f"{asset} {timestep}", "prefetch_data() loads it whole")

    # ---- how it loads ---------------------------------------------------------------------------------

    def _update_pandas_data(self, *args: Any, **kwargs: Any) -> None:
        self._lazy_update(self, *args, **kwargs)

    def _ensure_futures_multiplier(self, asset: Any) -> None:
        self._lazy_multiply(self, asset)

    def _cache_datetime_series(self, search_asset: Any, data: Any) -> None:
        if type(data) is StoredPolars:
            self._datetime_ns_cache[search_asset, data.timestep] = StoredTimes(data.polars_df)
        else:
            super()._cache_datetime_series(search_asset, data)


class _EveryPolars(type):
    def __instancecheck__(cls, one: Any) -> bool:
        return isinstance(one, DataPolars)


class _Polars(metaclass=_EveryPolars):
    """What Lumibot's loader takes for ``DataPolars``."""

    def __new__(cls, asset: Any, df: Any, timestep: str, quote: Any) -> Any:
        made = StoredPolars if type(df) is StoredRows else DataPolars
        return made(asset, df, timestep=timestep, quote=quote)


class _Joined(list[Contract]):
    """What Lumibot's loader takes for the frame of all contracts."""

    columns = ()

    def sort_index(self, inplace: bool) -> None:
        """They are put in order when it is known what is shown of them."""


class _Loader:
    """What Lumibot's source takes for its helper module. One thread."""

    def __init__(self, run: GrowingRun) -> None:
        self._run = run
        self._asking = Asking(run, helper._normalize_databento_dataframe)
        self._shown: dict[int, tuple[int, tuple[int, int], PlainFrame]] = {}
        self._known: dict[str, tuple[Any, StoredRows]] = {}
        self.DataBentoClient = client_class(helper.DataBentoClient, self._asking)
        self._load = with_globals(
            helper.get_price_data_from_databento,
            DataBentoClient=self.DataBentoClient,
            pd=SimpleNamespace(concat=lambda contracts, axis: _Joined(contracts)),
            _load_cache=lambda path: None,
            _save_cache=lambda frame, path: None,
            _normalize_databento_dataframe=lambda contract: contract,
            _filter_front_month_rows_polars=self._rolled,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(helper, name)

    def get_price_data_from_databento(self, **asked: Any) -> Any:
        """Lumibot's, with the store for its cache: `StoredRows` for a frame, None for no bars."""
        asset, window = asked["asset"], (asked["start"], asked["end"])
        label = " ".join(map(str, (asset.symbol, asset.asset_type, asset.expiration, asked["timestep"])))
        known = self._known.get(label)
        # Until it has one, Lumibot asks for a future's multiplier each time.
        settled = asset.asset_type not in _FUTURES or asset.multiplier != 1
        if known is not None and known[0] == window and settled:
            return known[1]
        asking = self._asking
        asking.refused, asking.failed = None, False
        with self._run.noting():
            try:
                found = self._load(**{**asked, "return_polars": False})
                if type(found) is _Joined:
                    found = self._rolled(found, [])
            except BadInput as error:
                asking.refused = error
        if asking.refused is not None:
            self._run.passes(label, str(asking.refused))
            return helper.get_price_data_from_databento(**asked)
        if found is not None and not asking.failed:
            self._known[label] = window, found
        return found

    def _rolled(self, contracts: _Joined, schedule: Any) -> StoredRows:
        """Of each contract the time that it is the front one; where that is nothing, all, as Lumibot does."""
        spans = [
            (contract, exact_ns(start, LUMIBOT_DEFAULT_PYTZ), exact_ns(end, LUMIBOT_DEFAULT_PYTZ) - 1)
            for symbol, start, end in schedule
            for contract in contracts
            if contract.symbol == symbol
        ]
        pieces = [piece for span in spans if (piece := self._piece(*span)) is not None]
        if not pieces:
            if len(contracts) > 1:
                raise BadInput(
                    "none of its contracts has bars while it is the front one: it is shown all of them"
                )
            (contract,) = contracts
            whole = self._piece(contract, *(exact_ns(when, LUMIBOT_DEFAULT_PYTZ) for when in contract.span))
            assert whole is not None, "a contract without bars is left out"
            pieces = [whole]
        return StoredRows(sorted(pieces, key=lambda piece: piece.first_ns))

    def _piece(self, contract: Contract, first_ns: int, last_ns: int) -> Piece | None:
        info = contract.info
        assert info is not None, "a contract without bars is left out"
        start_ns, end_ns = (exact_ns(when, LUMIBOT_DEFAULT_PYTZ) for when in contract.span)
        first_ns, last_ns = max(first_ns, start_ns, info.first_ns), min(last_ns, end_ns, info.last_ns)
        if first_ns > last_ns:
            return None
        # Frames of other windows, and other assets, may show the same series.
        rows, span_ns, frame = self._shown.get(info.series_id, (0, (first_ns, last_ns), None))
        wide_ns = min(first_ns, span_ns[0]), max(last_ns, span_ns[1])
        if frame is None or rows != info.rows or wide_ns != span_ns:
            frame = self._run.frame(info, wide_ns)
            self._shown[info.series_id] = info.rows, wide_ns, frame
        rows = frame.count_until(last_ns) - frame.count_until(first_ns, inclusive=False)
        return Piece(frame, first_ns, last_ns) if rows else None
