"""When an exchange is open: sessions as arrays of times, out of pandas_market_calendars."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lazybars.errors import ConfigError
from lazybars.model import AssetKey

__all__ = ["ALWAYS", "Sessions", "calendar_name", "sessions_of"]

ALWAYS = "24/7"
_BY_TYPE = {
    "crypto": ALWAYS,
    "crypto_future": ALWAYS,
    "forex": "CME_FX",
    "future": "CME_Equity",
    "cont_future": "CME_Equity",
}
_OTHERWISE = "NYSE"
_EVER = 2**62
_EPOCH_DAY = dt.date(1970, 1, 1)

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of a span of time, ascending.

    opens_ns, closes_ns : when trading begins and ends, ns since the epoch; a break makes two of one
    session. days : their dates, days since 1970-01-01. zone : the exchange's.
    """

    name: str
    opens_ns: Int64s
    closes_ns: Int64s
    days: Int64s
    zone: str


def calendar_name(wanted: str, asset: AssetKey) -> str:
    """The calendar meant: "auto" goes by the type of asset."""
    return _BY_TYPE.get(asset.asset_type, _OTHERWISE) if wanted == "auto" else wanted


def sessions_of(name: str, first_ns: int, last_ns: int) -> Sessions:
    """The sessions around [first, last], and a few days before and after.

    Raises ConfigError where there is no such calendar, or it has no sessions then.
    """
    first, last = (_EPOCH_DAY + dt.timedelta(days=ns // 86_400_000_000_000) for ns in (first_ns, last_ns))
    first, last = first - dt.timedelta(days=7), last + dt.timedelta(days=7)
    if name == ALWAYS:
        days = np.arange((first - _EPOCH_DAY).days, (last - _EPOCH_DAY).days + 1, dtype=np.int64)
        return Sessions(name, np.array([-_EVER]), np.array([_EVER]), days, "UTC")
    schedule, zone = _schedule(name, first, last)
    if not len(schedule):
        raise ConfigError(f"the calendar {name} has no session between {first} and {last}: name another")
    opens, closes = _ns(schedule["market_open"]), _ns(schedule["market_close"])
    if "break_start" in schedule:
        resting = schedule["break_start"].notna().to_numpy()
        opens = np.concatenate([opens, _ns(schedule["break_end"])[resting]])
        until = np.where(resting, _ns(schedule["break_start"]), closes)
        closes = np.concatenate([until, closes[resting]])
    order = np.argsort(opens, kind="stable")
    days = schedule.index.to_numpy().astype("M8[D]").astype(np.int64)
    return Sessions(name, opens[order], closes[order], days, zone)


def _schedule(name: str, first: dt.date, last: dt.date) -> tuple[Any, str]:
    # Two seconds and pandas, which only this needs.
    import pandas_market_calendars as calendars  # type: ignore[import-untyped]

    try:
        calendar = calendars.get_calendar(name)
    except RuntimeError as error:
        raise ConfigError(
            f"the calendar {name} is not known: exchanges are named as XNYS, XLON, CME_Equity; or give 24/7, "
            "or auto"
        ) from error
    return calendar.schedule(first.isoformat(), last.isoformat()), str(calendar.tz)


def _ns(times: Any) -> Int64s:
    """Times as int64; that of none is the smallest."""
    return np.asarray(times.dt.as_unit("ns").astype("int64").to_numpy())
