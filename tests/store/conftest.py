"""Fixtures of the store's tests: real bars, small frames, a store in a fresh directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lazybars.store import Store, open_store

_SHARED = Path(os.environ.get("LAZYBARS_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"


@pytest.fixture
def real() -> Callable[[str], Path]:
    """The path of a real file of bars; where there are none a skip, in CI a failure."""

    def path(name: str) -> Path:
        found = _SHARED / f"{name}.parquet"
        if not found.exists():
            if os.environ.get("CI"):
                pytest.fail(f"{found} is missing")
            pytest.skip(f"{found} is missing")
        return found

    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "bars.duckdb", memory="128MB") as opened:
        yield opened


@pytest.fixture
def bars() -> Callable[..., pd.DataFrame]:
    """A frame of random minute bars with integer volume, by start and number of rows."""

    def make(
        start: str = "2024-01-02 09:30", rows: int = 10, *, seed: int = 0, freq: str = "1min"
    ) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        close = np.round(100 + rng.normal(0, 0.1, rows).cumsum(), 2)
        index = pd.date_range(start, periods=rows, freq=freq, tz="America/New_York", name="datetime")
        return pd.DataFrame(
            {
                "open": close - 0.01,
                "high": close + 0.05,
                "low": close - 0.05,
                "close": close,
                "volume": rng.integers(1, 1000, rows),
            },
            index=index,
        )

    return make
