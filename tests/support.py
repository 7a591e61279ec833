"""What the tests of several rooms need: frames, stores, a store that falters, Lumibot's own repair.

``support`` holds no assertions of its own and fakes no answers: `Faltering` stands before a real
store, and what `repaired` gives is computed by Lumibot.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Before Lumibot is imported: it reads its environment once.
os.environ["BACKTESTING_DATA_SOURCE"] = "none"
os.environ.setdefault("LUMIBOT_DISABLE_DOTENV", "1")

import numpy as np
import pandas as pd

from lazybars import Store, open_store
from lazybars.layout import Layout
from lazybars.model import AssetKey, Column, SeriesInfo

__all__ = [
    "NEW_YORK",
    "PREFETCH",
    "Faltering",
    "bits",
    "info_of",
    "layout_of",
    "minutes",
    "ns_of",
    "prefetchers",
    "repaired",
    "settled",
    "write_store",
]

NEW_YORK = "America/New_York"
PREFETCH = "lazybars-prefetch"


def ns_of(when: Any) -> int:
    """Nanoseconds of anything that pandas takes; New York where it bears no zone."""
    stamp = pd.Timestamp(when)
    return int((stamp.tz_localize(NEW_YORK) if stamp.tzinfo is None else stamp).value)


def minutes(
    days: int = 5, rows: int = 120, *, seed: int = 0, start: str = "2024-03-04", keep: float = 1.0
) -> pd.DataFrame:
    """Random minute bars from 9:30 on business days; ``keep`` is the share of them that there is."""
    rng = np.random.default_rng(seed)
    index = pd.DatetimeIndex(
        np.concatenate(
            [
                pd.date_range(day + pd.Timedelta(hours=9, minutes=30), periods=rows, freq="min").asi8
                for day in pd.bdate_range(start, periods=days)
            ]
        ).astype("M8[ns]" if pd.bdate_range(start, periods=1).unit == "ns" else "M8[s]")
    ).tz_localize(NEW_YORK)
    close = np.round(100 + rng.normal(0, 0.1, len(index)).cumsum(), 2)
    frame = pd.DataFrame(
        {
            "open": np.round(close - rng.normal(0, 0.01, len(index)), 2),
            "high": close + 0.25,
            "low": close - 0.25,
            "close": close,
            "volume": rng.integers(1, 1000, len(index)).astype("float64"),
        },
        index=index.rename("datetime"),
    )
    kept = rng.random(len(frame)) < keep
    kept[[0, -1]] = True
    return frame[kept]


def write_store(path: Path, frames: Mapping[str, pd.DataFrame], timestep: str = "minute") -> Path:
    """A store with these series, in this order."""
    with open_store(path) as store:
        for symbol, frame in frames.items():
            store.write(frame, asset=symbol, timestep=timestep)
    return path


class Faltering:
    """A real store whose scans can be held up or made to fail.

    on_scan : called before each scan, in the thread that scans; may wait or raise.
    scans : how many there were, by the name of the thread.
    """

    def __init__(self, store: Store) -> None:
        self.on_scan: Callable[[], None] = lambda: None
        self.scans: dict[str, int] = {}
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def scan(self, *args: Any) -> Any:
        name = threading.current_thread().name
        self.scans[name] = self.scans.get(name, 0) + 1
        self.on_scan()
        return self._store.scan(*args)


def prefetchers() -> list[threading.Thread]:
    """The prefetch threads that are alive."""
    return [thread for thread in threading.enumerate() if thread.name == PREFETCH]


def settled(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


# ---- Lumibot's own repair, and the parts that the rooms repair with -------------------------------


def repaired(frame: pd.DataFrame, index: pd.DatetimeIndex, timestep: str) -> pd.DataFrame:
    """What Lumibot shows of a frame on a universe's index."""
    from lumibot.entities import Asset, Data

    data = Data(Asset("A"), frame.copy(), timestep=timestep)
    data.repair_times_and_fill(index)
    return data.df


def info_of(frame: pd.DataFrame, timestep: str, series_id: int = 1) -> SeriesInfo:
    """A frame as a series."""
    columns = tuple(
        Column(name, str(frame[name].dtype), name, bool(frame[name].isna().any())) for name in frame.columns
    )
    times_ns = frame.index.as_unit("ns").asi8
    return SeriesInfo(
        series_id, AssetKey("A"), None, timestep, "user", len(frame), times_ns[0], times_ns[-1], columns
    )


def layout_of(frame: pd.DataFrame, timestep: str) -> Layout:
    return Layout.of(info_of(frame, timestep))


def bits(values: Any) -> bytes:
    """The bytes of an array, all NaN spelled alike."""
    array = np.array(values)
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan
    return array.tobytes()
