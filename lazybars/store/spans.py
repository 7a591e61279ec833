"""What the analytics share: one view of the bars, what lies before a start, indexes and labels."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from lazybars.store.days import ZONE
from lazybars.store.engine import Engine
from lazybars.store.read import NS_US, Int64s

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_dtype", "day_of", "index_of", "midnight_us", "reach_us", "snapshot", "within"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EARLIEST = dt.datetime(1, 1, 2, tzinfo=dt.UTC)  # that has a time in New York


@contextmanager
def snapshot(engine: Engine) -> Iterator[duckdb.DuckDBPyConnection]:
    """The calling thread's cursor in one transaction: all queries inside see the same bars."""
    with engine.cursor() as cur:
        cur.execute("BEGIN")
        try:
            yield cur
        finally:
            with suppress(duckdb.Error):  # after a fatal fault nothing runs any more, and that fault tells
                cur.execute("ROLLBACK")


def within(start_us: int | None, end_us: int | None, ts: str = "ts") -> tuple[str, list[int]]:
    """(condition, parameters) of both bounds, included; a constant range, so that row groups are skipped."""
    bounds = [(">=", start_us), ("<=", end_us)]
    given = [(sign, us) for sign, us in bounds if us is not None]
    condition = " AND ".join(f"{ts} {sign} make_timestamptz(?::BIGINT)" for sign, _ in given)
    return condition or "true", [us for _, us in given]


def reach_us(cur: duckdb.DuckDBPyConnection, series_id: int, start_us: int, rows: int) -> int | None:
    """From where to read so that at least ``rows`` bars lie before ``start_us``; None: from the first.

    Whole days, counted in the day summary: no bar is read for it.
    """
    found = cur.execute(
        "SELECT epoch_us(max(first_ts)) FROM (SELECT first_ts, sum(rows) OVER (ORDER BY day DESC) AS held "
        "FROM session_days WHERE series_id = ? AND last_ts < make_timestamptz(?::BIGINT)) WHERE held >= ?",
        [series_id, start_us, rows],
    ).fetchall()[0][0]
    return None if found is None else int(found)


def day_of(us: int) -> dt.date:
    """The New York day that holds ``us``."""
    moment = max(_EPOCH + dt.timedelta(microseconds=us), _EARLIEST)
    return moment.astimezone(zoneinfo.ZoneInfo(ZONE)).date()


def midnight_us(day: dt.date) -> int:
    """The beginning of a New York day."""
    midnight = dt.datetime(day.year, day.month, day.day, tzinfo=zoneinfo.ZoneInfo(ZONE))
    return (midnight - _EPOCH) // dt.timedelta(microseconds=1)


def index_of(times_us: Int64s, unit: str) -> pd.DatetimeIndex:
    """The index that ``get_historical_prices`` gives bars of those times."""
    import pandas as pd

    if unit == "ns" and len(times_us) and max(-times_us.min(), times_us.max()) < NS_US:
        # What pandas does as well, a time at a time.
        index = pd.DatetimeIndex((times_us * 1000).view("M8[ns]"), tz="UTC", name="datetime")
    else:
        index = pd.DatetimeIndex(times_us.view("M8[us]"), tz="UTC", name="datetime").as_unit(unit)
    return index.tz_convert(ZONE)


def as_dtype(values: Any, dtype: str) -> Any:
    """Floats as a column of ``dtype``; numpy's integers cannot be missing and then stay floats."""
    import pandas as pd

    whole = dtype.startswith(("int", "uint"))
    return values if whole and np.isnan(values).any() else pd.Series(values).astype(dtype).array
