"""Lazy ``Data`` made: from the one it replaces, or from what the store says of a series."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from lumibot.constants import LUMIBOT_DEFAULT_PYTZ

from lazybars.adapters.binding import Binding
from lazybars.adapters.lumibot_data import LazyData
from lazybars.model import BAR_FIELDS, SeriesInfo

__all__ = ["lazy_data", "stored_attributes"]

# What belongs to the storage of a Data and is not taken over from it.
_STORAGE = frozenset(
    [
        "df",
        "datalines",
        "datetime",
        "iter_index_dict",
        "_bars_df",
        "_bars_cols",
        "_closed_bar_length_cache",
        "_data_len",
        "_get_bars_slice_cache_df",
        "_get_bars_slice_cache_key",
        "_index_values_ns",
        "_iter_count_cursor_i",
        "_iter_count_cursor_ns",
        "_iter_count_last_dt_key",
        "_iter_index_override",
        "_quote_missing_cols",
        "_quote_required_cols_present",
    ]
)


def lazy_data(
    info: SeriesInfo,
    attributes: Mapping[str, Any],
    bind: Callable[[LazyData], Binding],
    stored: Callable[[LazyData], pd.DataFrame],
    kind: type[LazyData] = LazyData,
) -> LazyData:
    """A ``LazyData``, or one of a ``kind`` of it, for a stored series.

    Parameters
    ----------
    attributes
        What the ``Data`` it replaces had (``vars(data)``), or what one would have.
    bind
        Called on first use before ``load_data`` was: binds the series to an index of its own.
    stored
        Gives the frame as it was before any repair.
    """
    data = kind.__new__(kind)
    columns = {c.name: c for c in info.columns}
    data.__dict__.update({k: v for k, v in attributes.items() if k not in _STORAGE and k not in columns})
    data._info = info
    data._bind = bind
    data._stored = stored
    nulls = {name: column.has_null for name, column in columns.items()}
    data._ohlc_has_nan = any(nulls.get(name, False) for name in BAR_FIELDS[:4])
    data._volume_has_nan = nulls.get("volume", False)
    data._dividend_has_nan = nulls.get("dividend", False)
    data._stock_splits_has_nan = nulls.get("stock_splits", False)
    data._bars_has_volume = "volume" in columns
    data._bars_has_dividend = "dividend" in columns
    data._bars_has_stock_splits = "stock_splits" in columns
    data._bars_required_cols = list(BAR_FIELDS[:4])
    mended = (
        data._ohlc_has_nan or data._volume_has_nan or data._dividend_has_nan or data._stock_splits_has_nan
    )
    data.plain = bool(attributes["_index_is_unique"]) and not mended
    return data


def stored_attributes(info: SeriesInfo, asset: Any, quote: Any) -> dict[str, Any]:
    """The attributes that ``Data(asset, frame of the series)`` would have."""
    start, end = (
        pd.Timestamp(ns, tz="UTC").tz_convert(LUMIBOT_DEFAULT_PYTZ).as_unit(info.index_unit)
        for ns in (info.first_ns, info.last_ns)
    )
    return {
        "asset": asset,
        "symbol": asset.symbol,
        "quote": quote,
        "timestep": info.timestep,
        "trading_hours_start": dt.time(0, 0),
        "trading_hours_end": dt.time(23, 59) if info.timestep == "minute" else dt.time(23, 59, 59, 999999),
        "date_start": start.replace(hour=0, minute=0, second=0, microsecond=0),
        "date_end": end.replace(hour=23, minute=59, second=59, microsecond=999999),
        "datetime_start": start.to_pydatetime(),
        "datetime_end": end.to_pydatetime(),
        "_index_is_unique": True,
    }
