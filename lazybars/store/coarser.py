"""Bars of a coarser timestep out of finer ones, as pandas' ``resample`` bins them."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from lazybars.errors import ConfigError
from lazybars.store.catalog import Entry
from lazybars.store.days import ZONE
from lazybars.store.engine import Engine
from lazybars.store.spans import as_dtype, index_of, midnight_us, snapshot, within

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame"]

_MINUTES = {"min": 1, "h": 60}
_DAY_OF_ROW = f"CAST(timezone('{ZONE}', ts) AS DATE)"

# arg_min and arg_max pass over bars without a price. fsum, so that no order of adding shows.
_AGGREGATES = {
    "open": "arg_min(open, ts)",
    "high": "max(high)",
    "low": "min(low)",
    "close": "arg_max(close, ts)",
    "volume": "coalesce(fsum(volume), 0)",
}


def frame(engine: Engine, entry: Entry, to: str, start_us: int | None, end_us: int | None) -> pd.DataFrame:
    """See :meth:`lazybars.store.analytics.Analytics.resample`."""
    import pandas as pd

    number, unit = _width(to)
    info = entry.info
    fields = [field for field in _AGGREGATES if field in {column.name for column in info.columns}]
    held, bounds = within(start_us, end_us)
    with snapshot(engine) as cur:
        origin = _first_day(cur, info.series_id, start_us)
        if unit == "D":
            since, width = f"{_DAY_OF_ROW} - DATE '{origin}'", number
        else:
            since, width = f"epoch_us(ts) - {midnight_us(origin):d}", number * _MINUTES[unit] * 60_000_000
        aggregates = ", ".join(_AGGREGATES[field] for field in fields)
        with engine.bars(info.series_id, info.series_id, start_us, end_us) as bars:
            table = cur.sql(
                f"SELECT ({since}) // {width:d} * {width:d} AS bin, {aggregates} FROM {bars} "
                f"WHERE series_id = ? AND {held} GROUP BY bin ORDER BY bin",
                params=[info.series_id, *bounds],
            ).to_arrow_table()
    bins = table.column(0).to_numpy()
    if unit == "D":
        local = pd.DatetimeIndex(np.datetime64(origin, "D") + bins.astype("m8[D]")).as_unit(info.index_unit)
        index = local.tz_localize(ZONE).rename("datetime")
    else:
        index = index_of(midnight_us(origin) + bins, info.index_unit)
    dtypes = {column.name: column.dtype for column in info.columns}
    columns = {
        field: as_dtype(values.to_numpy(), dtypes[field])
        for field, values in zip(fields, table.columns[1:], strict=True)
    }
    return pd.DataFrame(columns, index=index)


def _first_day(cur: duckdb.DuckDBPyConnection, series_id: int, start_us: int | None) -> dt.date:
    """The day of the first bar at or after a start, from the day summary."""
    held, bounds = within(start_us, None, "last_ts")
    found: dt.date | None = cur.execute(
        f"SELECT min(day) FROM session_days WHERE series_id = ? AND {held}", [series_id, *bounds]
    ).fetchall()[0][0]
    return found or dt.date(1970, 1, 1)


def _width(to: str) -> tuple[int, str]:
    found = re.fullmatch(r"([0-9]{0,6})(min|h|D)", to) if isinstance(to, str) else None
    number = int(found[1] or 1) if found else 0
    if found is None or number < 1:
        raise ConfigError(f'to={to!r}: give a number of "min", "h" or "D", such as "15min", "4h" or "1D"')
    return number, found[2]
