"""Fixtures of the importers' tests: real bars, made-up bars, Lumibot's cache folder, an import."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lazybars import open_store
from lazybars.importers import KINDS, Outcome, Wishes, files_of, import_files

_SHARED = Path(os.environ.get("LAZYBARS_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"


@pytest.fixture
def real() -> Callable[[str], pd.DataFrame]:
    """Real bars, indexed by time in UTC; where there are none a skip, in CI a failure."""

    def frame(name: str) -> pd.DataFrame:
        found = _SHARED / f"{name}.parquet"
        if not found.exists():
            if os.environ.get("CI"):
                pytest.fail(f"{found} is missing")
            pytest.skip(f"{found} is missing")
        return pd.read_parquet(found).set_index("timestamp").rename_axis("datetime")

    return frame


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: None) -> Path:
    """Where Lumibot's own writers put their files during the test."""
    from lumibot import constants
    from lumibot.tools import (
        ccxt_data_store,
        databento_helper,
        databento_helper_polars,
        ibkr_helper,
        polygon_helper,
        thetadata_helper,
    )

    root = tmp_path / "cache"
    for module in (constants, ccxt_data_store, ibkr_helper, polygon_helper, thetadata_helper):
        monkeypatch.setattr(module, "LUMIBOT_CACHE_FOLDER", str(root))
    for module in (databento_helper, databento_helper_polars):
        monkeypatch.setattr(module, "LUMIBOT_DATABENTO_CACHE_FOLDER", str(root / module.CACHE_SUBFOLDER))
    return root


class Imported:
    """A store, and what the latest import into it came to."""

    def __init__(self, store: Path) -> None:
        self.path = store
        self.outcomes: list[Outcome] = []

    def take(self, kind: str, path: object, **wishes: Any) -> list[Outcome]:
        files = files_of(KINDS[kind], str(path))
        with open_store(self.path, memory="128MB") as store:
            self.outcomes = import_files(KINDS[kind], files, store, Wishes(**wishes))
        return self.outcomes

    def one(self, kind: str, path: object, **wishes: Any) -> Outcome:
        """The only outcome; what went wrong fails the test."""
        (outcome,) = self.take(kind, path, **wishes)
        assert outcome.status != "failed", outcome.detail
        return outcome

    def frame(self) -> pd.DataFrame:
        """All bars of the only series."""
        with open_store(self.path, read_only=True) as store:
            (info,) = store.series()
            return store.get_historical_prices(
                info.asset, timestep=info.timestep, quote=info.quote, source=info.source
            )

    def series(self) -> list[tuple[Any, ...]]:
        """(asset, quote, timestep, source, rows) of every series."""
        with open_store(self.path, read_only=True) as store:
            return [(one.asset, one.quote, one.timestep, one.source, one.rows) for one in store.series()]

    def empty(self) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
        """The ranges that are known to be empty, in New York time."""
        with open_store(self.path, read_only=True) as store:
            found = store.sql("SELECT start_time, end_time FROM empty_ranges ORDER BY start_time").to_pylist()
        return [
            tuple(pd.Timestamp(one).tz_convert("America/New_York") for one in row.values()) for row in found
        ]

    def digest(self) -> list[Any]:
        """Every row of bars, catalog, day summary, ranges and sources, with all that they note but ids of
        ranges."""
        with open_store(self.path, read_only=True) as store:
            tables = [
                store.sql(f"SELECT * EXCLUDE ({out}) FROM {table} ORDER BY ALL").to_pylist()
                for table, out in (
                    ("series_catalog", "columns"),
                    ("session_days", "rows"),
                    ("known_ranges", "id"),
                    ("sources", "config"),
                    ("meta", "key"),
                )
            ]
            return [repr(store.sql("SELECT * FROM bars ORDER BY series_id, ts").to_pylist()), *tables]


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    return Imported(tmp_path / "bars.duckdb")


@pytest.fixture
def bars() -> Callable[..., pd.DataFrame]:
    """Random bars at any times, cents and whole volumes, indexed by UTC."""

    def make(times: pd.DatetimeIndex, seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        close = np.round(100 + rng.normal(0, 0.1, len(times)).cumsum(), 2)
        return pd.DataFrame(
            {
                "open": np.round(close - 0.01, 2),
                "high": np.round(close + 0.05, 2),
                "low": np.round(close - 0.05, 2),
                "close": close,
                "volume": rng.integers(1, 1000, len(times)).astype("float64"),
            },
            index=times.tz_convert("UTC").rename("datetime"),
        )

    return make


@pytest.fixture
def sessions() -> Callable[..., pd.DatetimeIndex]:
    """The first minutes of some sessions in New York."""

    def make(start: str = "2024-01-02", days: int = 3, minutes: int = 30) -> pd.DatetimeIndex:
        return pd.DatetimeIndex(
            [
                day + pd.Timedelta(hours=9, minutes=30 + i)
                for day in pd.bdate_range(start, periods=days)
                for i in range(minutes)
            ]
        ).tz_localize("America/New_York")

    return make
