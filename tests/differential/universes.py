"""Universes as plain data, and the Lumibot ``Data`` objects built from them.

A universe is a few dozen small numbers and words, so that hypothesis can shrink it, JSON can keep
it and a seed makes it again to the bit. Every wart of it (holes, halts, late listing, NaN prices,
duplicates, odd seconds, foreign zones, integer volume, quotes with gaps, splits) is one that real
bars have and that Lumibot answers in its own way.

``build`` makes new frames and new ``Data`` on every call: eager Lumibot writes into the ``Data``
it is given, so the two sides of a comparison never share one.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lumibot.entities import Asset, Data

__all__ = [
    "NY",
    "SHARED",
    "SeriesSpec",
    "UniverseSpec",
    "asset_of",
    "build",
    "data_of",
    "frame_of",
    "key_of",
    "quote_of",
]

NY = "America/New_York"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
_MINUTE_NS = 60_000_000_000
_STEP_MINUTES = {"minute": 1, "hour": 60, "day": 1440}

# First minute of the local day and minutes to the last bar's end; None: the UTC day.
_SESSIONS: dict[str, tuple[int, int] | None] = {
    "rth": (570, 390),
    "extended": (240, 960),
    "half-day": (570, 210),
    "futures": (-360, 1380),  # 18:00 the evening before to 17:00, one hour of break
    "clock-hour": (540, 420),
    "24x7": None,
    "midnight": (0, 1),
    "close16": (960, 1),
    "midnight-utc": None,
}


@dataclass(frozen=True)
class SeriesSpec:
    """One series. Days are local days after the universe's first day; shares are of its rows."""

    symbol: str = "AAA"
    kind: str = "stock"
    quote: str | None = None
    expiry: str | None = None
    strike: float = 0.0
    right: str | None = None
    timestep: str = "minute"
    calendar: str = "rth"
    every: int = 1  # bars of this many native steps
    listed: int = 0  # late listing
    days: int = 3  # and delisting after so many days
    session_rows: int = 400  # at most so many a day
    holes: float = 0.0
    halts: tuple[tuple[float, int], ...] = ()  # (where, rows): trading stops for a while
    missing_days: tuple[int, ...] = ()
    odd_seconds: float = 0.0  # share of bars stamped off the minute
    shift_us: int = 0  # every stamp late by so much
    nan: str = ""  # any of leading, middle, trailing
    nan_columns: str = "all"  # all, close, ohl, open
    duplicates: int = 0
    unsorted: bool = False
    prices: str = "cents"  # cents, floats, float32, tiny, int, signed, zeros
    volume: str = "float"  # float, int, int32, float32, nan, missing
    extras: tuple[str, ...] = ()  # vwap, trades, note, flag, stamp
    bid_ask: str = ""  # any of: quotes, gaps, sizes, times, synthetic
    actions: str = ""  # any of: dividend, splits, adjusted, nan
    unit: str = "ns"
    freq: bool = False  # the index knows its frequency, where it has one
    zone: str | None = NY
    titles: bool = False  # "Open" instead of "open"
    in_column: bool = False  # the time in a column, not in the index
    reorder: bool = False
    hours: tuple[str, str] | None = None  # trading_hours_start, _end
    cut: tuple[int, int] | None = None  # date_start, date_end, in days
    file: str | None = None  # real bars from ../shared/data instead of made ones,
    window: tuple[str, str] | None = None  # those between two dates


@dataclass(frozen=True)
class UniverseSpec:
    """A universe, and the backtest's window in minutes after the first day's midnight, New York."""

    seed: int = 0
    first_day: str = "2024-03-04"
    series: tuple[SeriesSpec, ...] = (SeriesSpec(),)
    start: int = 570
    end: int = 4 * 1440
    as_dict: bool = False

    def moment(self, minutes: float) -> dt.datetime:
        """The New York time so many minutes after the midnight of the first day."""
        stamp = pd.Timestamp(self.first_day, tz=NY).tz_convert("UTC") + pd.Timedelta(
            microseconds=round(minutes * 60e6)
        )
        moment: dt.datetime = stamp.tz_convert(NY).to_pydatetime()
        return moment

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> UniverseSpec:
        series = tuple(SeriesSpec(**{k: _frozen(v) for k, v in s.items()}) for s in spec["series"])
        return cls(**{**spec, "series": series})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value


def asset_of(spec: SeriesSpec) -> Asset:
    expiration = dt.date.fromisoformat(spec.expiry) if spec.expiry else None
    if spec.kind == "option":
        return Asset(spec.symbol, "option", expiration=expiration, strike=spec.strike, right=spec.right)
    if spec.kind == "future":
        return Asset(spec.symbol, "future", expiration=expiration, multiplier=50)
    return Asset(spec.symbol, spec.kind)


def quote_of(spec: SeriesSpec) -> Asset | None:
    if spec.quote is None:
        return None
    return Asset(spec.quote, "forex" if spec.quote in {"USD", "EUR", "JPY"} else "crypto")


def key_of(spec: SeriesSpec) -> tuple[Asset, Asset]:
    """The key under which Lumibot keeps the series."""
    return asset_of(spec), quote_of(spec) or Asset("USD", "forex")


def _stamps(spec: SeriesSpec, first_day: str, rng: np.random.Generator) -> np.ndarray:
    """Starts of the bars, ns since the epoch, ascending."""
    session = _SESSIONS[spec.calendar]
    step = _STEP_MINUTES[spec.timestep] * spec.every
    around_the_clock = spec.calendar in {"24x7", "midnight-utc"}
    days = []
    for day in pd.date_range(first_day, periods=spec.days).shift(spec.listed, freq="D"):
        if (day.weekday() >= 5 and not around_the_clock) or (day.day in spec.missing_days):
            continue
        if session is None:
            begin, minutes = day.tz_localize("UTC"), 1440
        else:
            wall = day + pd.Timedelta(minutes=session[0])
            begin, minutes = wall.tz_localize(NY, ambiguous=True, nonexistent="shift_forward"), session[1]
        rows = min(max(1, minutes // step), spec.session_rows)
        days.append(begin.value + np.arange(rows, dtype=np.int64) * (step * _MINUTE_NS))
    stamps = np.concatenate(days) if days else np.empty(0, np.int64)
    keep = rng.random(stamps.size) >= spec.holes
    for where, rows in spec.halts:
        begin = int(where * stamps.size)
        keep[begin : begin + rows] = False
    stamps = stamps[keep]
    odd = rng.random(stamps.size) < spec.odd_seconds
    stamps = stamps + np.where(odd, rng.integers(1, 60, stamps.size) * 1_000_000_000, 0)
    return np.sort(stamps + spec.shift_us * 1000)


def _ohlc(spec: SeriesSpec, rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    scale = {"tiny": 1e-5, "signed": 0.02}.get(spec.prices, 100.0 * (1 + rng.random()))
    close = scale * np.exp(np.cumsum(rng.normal(0, 2e-3, rows)))
    if spec.prices == "signed":
        close = np.cumsum(rng.normal(0, 0.01, rows))
    opens = close * (1 + rng.normal(0, 5e-4, rows))
    high = np.maximum(opens, close) + np.abs(close) * rng.random(rows) * 1e-3
    low = np.minimum(opens, close) - np.abs(close) * rng.random(rows) * 1e-3
    found = {"open": opens, "high": high, "low": low, "close": close}
    if spec.prices == "zeros":  # worthless now and then, for a few bars
        worthless = rng.random(rows) < 0.3
        opens, low, close = (np.where(worthless, 0.0, column) for column in (opens, low, close))
        found = {"open": opens, "high": high, "low": low, "close": close}
    if spec.prices in {"cents", "signed", "zeros"}:
        return {name: np.round(column, 2) for name, column in found.items()}
    if spec.prices in {"float32", "int"}:
        return {
            name: column.astype("float32" if spec.prices == "float32" else "int64")
            for name, column in found.items()
        }
    return found


def _blank(spec: SeriesSpec, columns: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """NaN prices where the spec wants them; integer prices cannot hold one."""
    rows = columns["close"].size
    if not spec.nan or spec.prices == "int" or rows < 4:
        return
    width = max(1, rows // 10)
    at = np.zeros(rows, bool)
    at[:width] |= "leading" in spec.nan
    at[-width:] |= "trailing" in spec.nan
    if "middle" in spec.nan:
        at |= rng.random(rows) < 0.1
    names = {"all": ("open", "high", "low", "close"), "ohl": ("open", "high", "low")}
    for name in names.get(spec.nan_columns, (spec.nan_columns,)):
        columns[name][at] = np.nan


def _volume(spec: SeriesSpec, rows: int, rng: np.random.Generator) -> np.ndarray | None:
    if spec.volume == "missing":
        return None
    counted = rng.integers(0, 100_000, rows)
    if spec.volume in {"int", "int32"}:
        return counted.astype("int64" if spec.volume == "int" else "int32")
    fractional = counted + rng.random(rows)
    if spec.volume == "nan":
        fractional[rng.random(rows) < 0.1] = np.nan
    return fractional.astype("float32") if spec.volume == "float32" else fractional


def _beside(
    spec: SeriesSpec, stamps: np.ndarray, close: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Extra columns, quotes and corporate actions."""
    rows, found = stamps.size, dict[str, Any]()
    draws = {name: rng.random(rows) for name in ("vwap", "gap", "bid", "ask", "event", "ratio")}
    if spec.bid_ask:
        width = 0.0 if "synthetic" in spec.bid_ask else 1.0
        gap = (draws["gap"] < 0.3) & ("gaps" in spec.bid_ask)
        found["bid"] = np.where(gap, np.nan, close - width * np.round(draws["bid"] * 0.05, 2))
        found["ask"] = np.where(gap, np.nan, close + width * np.round(draws["ask"] * 0.05, 2))
        if "sizes" in spec.bid_ask:
            found["bid_size"], found["ask_size"] = np.round(draws["bid"] * 90), np.round(draws["ask"] * 90, 1)
        if "times" in spec.bid_ask:
            found["last_bid_time"] = pd.DatetimeIndex(stamps, tz="UTC").tz_convert(NY)
    if "dividend" in spec.actions:
        found["dividend"] = np.where(draws["event"] < 0.15, np.round(draws["ratio"], 2), 0.0)
    if "splits" in spec.actions:
        found["stock_splits"] = np.where(draws["event"] > 0.85, np.round(0.1 + draws["ratio"] * 4, 1), 0.0)
    if "nan" in spec.actions:
        for name in found.keys() & {"dividend", "stock_splits"}:
            found[name] = np.where(draws["gap"] < 0.3, np.nan, found[name])
    if "adjusted" in spec.actions:
        found["_split_adjusted"] = np.ones(rows, bool)
    makers: dict[str, Any] = {
        "vwap": lambda: close * (1 + 1e-3 * draws["vwap"]),
        "trades": lambda: (draws["vwap"] * 1000).astype("int64"),
        "note": lambda: np.array([f"n{int(v * 9)}" for v in draws["vwap"]], dtype=object),
        "flag": lambda: draws["vwap"] < 0.5,
        "stamp": lambda: pd.DatetimeIndex(stamps, tz="UTC"),
    }
    return found | {name: makers[name]() for name in spec.extras}


def frame_of(spec: SeriesSpec, universe: UniverseSpec, number: int) -> pd.DataFrame:
    """The frame as a user would bring it: the owner's column names, zone, unit and order."""
    if spec.file is not None:
        return _real(spec.file, spec.window)
    rng = np.random.default_rng([universe.seed, number])
    stamps = _stamps(spec, universe.first_day, rng)
    columns = _ohlc(spec, stamps.size, rng)
    close = columns["close"].copy()
    volume = _volume(spec, stamps.size, rng)
    _blank(spec, columns, rng)
    index = pd.DatetimeIndex(stamps, tz="UTC")
    index = index.tz_convert(spec.zone or NY)
    frame = pd.DataFrame(columns | ({} if volume is None else {"volume": volume}), index=index)
    for name, column in _beside(spec, stamps, close.astype("float64"), rng).items():
        frame[name] = column
    if spec.zone is None:  # naive wall times, where they say which time they mean
        plain = frame.index.tz_localize(None)
        frame.index = plain
        frame = frame[~np.isnat(plain.tz_localize(NY, ambiguous="NaT").tz_localize(None).to_numpy())]
    if spec.duplicates and len(frame):
        again = rng.integers(0, len(frame), spec.duplicates)
        twice = frame.iloc[again].copy()
        twice["close"] = (twice["close"] + 1).astype(frame["close"].dtype)
        frame = pd.concat([frame, twice]).sort_index(kind="stable")
    if spec.unsorted and len(frame):
        frame = frame.iloc[rng.permutation(len(frame))]
    if spec.reorder:
        frame = frame[list(frame.columns[rng.permutation(frame.shape[1])])]
    if spec.titles:
        frame.columns = [
            name.capitalize() if name in {"open", "high", "low", "close", "volume"} else name
            for name in frame.columns
        ]
    exact = frame.index.as_unit("ns").as_unit(spec.unit)
    if (exact.as_unit("ns") == frame.index.as_unit("ns")).all():
        frame.index = exact
    if spec.freq and len(frame) > 2 and frame.index.is_monotonic_increasing and frame.index.is_unique:
        frame.index = pd.DatetimeIndex(frame.index, freq=pd.infer_freq(frame.index))
    if spec.in_column:
        frame = frame.rename_axis("timestamp").reset_index()
    return frame


@lru_cache(maxsize=16)
def _read(file: str) -> pd.DataFrame:
    return pd.read_parquet(SHARED / file).set_index("timestamp")


def _real(file: str, window: tuple[str, str] | None) -> pd.DataFrame:
    frame = _read(file)
    return (frame if window is None else frame.loc[window[0] : window[1]]).copy()


def data_of(spec: SeriesSpec, universe: UniverseSpec, frame: pd.DataFrame) -> Data:
    options: dict[str, Any] = {}
    if spec.hours is not None:
        first, last = (dt.time.fromisoformat(text) for text in spec.hours)
        options |= {"trading_hours_start": first, "trading_hours_end": last}
    if spec.cut is not None:
        first_day = dt.datetime.fromisoformat(universe.first_day)
        options |= {"date_start": first_day + dt.timedelta(days=spec.cut[0])}
        options |= {"date_end": first_day + dt.timedelta(days=spec.cut[1])}
    return Data(asset_of(spec), frame, timestep=spec.timestep, quote=quote_of(spec), **options)


def build(universe: UniverseSpec) -> list[Data]:
    """New ``Data`` of every series that Lumibot takes; those that trimming empties are left out."""
    made = []
    for number, spec in enumerate(universe.series):
        frame = frame_of(spec, universe, number)
        if frame.empty:
            continue
        try:
            made.append(data_of(spec, universe, frame))
        except ValueError as error:
            if "empty dataframe" not in str(error):
                raise
    return made
