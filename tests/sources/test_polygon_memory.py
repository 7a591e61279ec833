"""The cap holds while bars are downloaded: peaks of fresh processes, the bare source's beside them.

A peak is the process's VmHWM at its end less its RSS after the imports. The vendor is in this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lazybars

from .polygon import Market
from .vendor import Reply, Request, Vendor

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")

CAP = 160_000_000
PROGRAM = """
import datetime as dt, json, logging, sys
from types import SimpleNamespace
from lumibot.backtesting import PolygonDataBacktesting
from lumibot.entities import Asset
from lazybars import LazyBars
from lazybars.stats import peak_rss_bytes, rss_bytes
from sources.polygon import KEY, pointed_at
url, folder, memory, assets, first, last = sys.argv[1:]
logging.disable(logging.CRITICAL)
first, last = dt.datetime.fromisoformat(first), dt.datetime.fromisoformat(last)
kind, usd = PolygonDataBacktesting, Asset("USD", "forex")
open("/proc/self/clear_refs", "w").write("5")  # VmHWM from here on: importing Lumibot has one of its own
baseline = rss_bytes()
if int(memory):
    kind = LazyBars(kind, memory=int(memory), store=folder + "/bars.duckdb")
with pointed_at(SimpleNamespace(url=url), folder + "/cache"):
    source = kind(first, last, api_key=KEY, show_progress_bar=False)
    source.load_data()
    now, total, calls = source.datetime_start, 0.0, 0
    while now < source.datetime_end:
        source._update_datetime(now)
        for n in range(int(assets)):
            bars = source.get_historical_prices(Asset(f"C{n:02d}", "crypto"), 60, "minute", quote=usd)
            total += float(bars.df["close"].iloc[-1]) + source.get_last_price(bars.asset, quote=usd)
            calls += 1
        now += dt.timedelta(hours=31)
    found = {"peak": peak_rss_bytes() - baseline, "total": total, "calls": calls}
    if int(memory):
        stats, plan = source.lazy.stats(), source.lazy.plan()
        found |= {"booked": stats.peak_bytes, "evictions": stats.evictions, "eager": stats.eager,
                  "rows": plan.rows, "partition": plan.partition, "hits": stats.hit_rate}
    source.shutdown()
print(json.dumps(found))
"""


class OneForAll(Market):
    """Every coin has the same bars; an answer is put into JSON's objects once."""

    def __init__(self, bars: pd.DataFrame) -> None:
        super().__init__({"X:ALLUSD": bars})
        self._told: dict[str, Reply] = {}

    def __call__(self, request: Request) -> Reply:
        path = "/".join(["X:ALLUSD" if part.startswith("X:C") else part for part in request.path.split("/")])
        if path not in self._told:
            self._told[path] = super().__call__(Request(path, request.params, request.headers))
        return self._told[path]


def coin(days: int) -> pd.DataFrame:
    """Minutes around the clock from 2024 on."""
    index = pd.date_range("2023-12-20", periods=days * 1440, freq="min", tz="UTC")
    rng = np.random.default_rng(days)
    close = np.round(100 + rng.normal(0, 0.05, len(index)).cumsum(), 2)
    return pd.DataFrame(
        {
            "open": close,
            "high": close + 0.25,
            "low": close - 0.25,
            "close": close,
            "volume": rng.integers(1, 10_000, len(index)) / 8,
        },
        index=index,
    )


@pytest.fixture
def serving(request: pytest.FixtureRequest) -> Iterator[Vendor]:
    with Vendor(OneForAll(coin(request.param + 20))).serving() as vendor:
        yield vendor


def measured(vendor: Vendor, folder: Path, memory: int, assets: int, days: int) -> dict[str, Any]:
    folder.mkdir()
    last = (pd.Timestamp("2024-01-01") + pd.Timedelta(days=days)).date()
    roots = [str(Path(lazybars.__file__).parents[1]), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            vendor.url,
            str(folder),
            str(memory),
            str(assets),
            "2024-01-01",
            str(last),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots), "BACKTESTING_DATA_SOURCE": "none"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("serving", "days", "assets", "times"),
    [
        pytest.param(35, 35, 2, 0, id="a few"),
        # As much as the bare source holds of it: some 300 bytes a bar.
        pytest.param(365, 365, 20, 10, id="ten times the cap", marks=pytest.mark.slow),
    ],
    indirect=["serving"],
)
def test_the_cap_holds_while_bars_are_downloaded(
    serving: Vendor, days: int, assets: int, times: int, tmp_path: Path
) -> None:
    first = measured(serving, tmp_path / "wrapped", CAP, assets, days)
    asked = len(serving.requests)
    bare = measured(serving, tmp_path / "bare", 0, assets, days)
    print(f"cap {CAP / 1e6:.0f} MB: {first}; bare: {bare}; {asked} requests")
    assert (first["total"], first["calls"]) == (bare["total"], bare["calls"])
    assert first["eager"] == {}
    assert first["peak"] <= CAP
    assert first["booked"] <= CAP
    assert bare["peak"] >= times * CAP
