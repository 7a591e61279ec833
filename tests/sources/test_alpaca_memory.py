"""The cap holds while bars come from Alpaca: peaks of fresh processes, the bare source's beside them.

The vendor is in this process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from .alpaca import Market
from .peaks import measured
from .test_polygon_memory import coin
from .vendor import Reply, Request, Vendor

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")

CAP = 128_000_000
PROGRAM = """
import datetime as dt
from types import SimpleNamespace
import pandas as pd
from lumibot.backtesting import AlpacaBacktesting
from lumibot.entities import Asset
from sources.alpaca import CONFIG, pointed_at
url, coins, days = given[0], int(given[1]), int(given[2])
first = pd.Timestamp("2024-01-01", tz="America/New_York")
begin()
with pointed_at(SimpleNamespace(url=url), folder + "/cache"):
    source = wrap(AlpacaBacktesting)(
        first.to_pydatetime(), (first + pd.Timedelta(days=days)).to_pydatetime(), config=CONFIG,
        timestep="minute", market="24/7", full_window=True, show_progress_bar=False,
    )
    source._throttle_alpaca_requests = lambda: None  # the vendor is no stranger's
    now, total, calls = source.datetime_start + dt.timedelta(hours=2), 0.0, 0
    while now < source.datetime_end:
        source._update_datetime(now)
        for n in range(coins):
            coin = Asset(f"C{n:02d}", "crypto")
            bars = source.get_historical_prices(coin, 60, "minute")
            total += float(bars.df["close"].sum()) + float(source.get_last_price(coin))
            calls += 1
        now += dt.timedelta(hours=31)
    end(source, total=total, calls=calls)
"""


class OneForAll(Market):
    """Every coin has the same bars; a page is put into JSON's objects once."""

    def __init__(self, bars: pd.DataFrame) -> None:
        super().__init__({"ALL/USD": bars})
        self._told: dict[str, Reply] = {}

    def __call__(self, request: Request) -> Reply:
        asked = request.params["symbols"]
        page = json.dumps({**request.params, "symbols": "ALL/USD"})
        if page not in self._told:
            told = super().__call__(Request(request.path, json.loads(page), request.headers))
            self._told[page] = told
        body = self._told[page].body
        told = body["bars"].get("ALL/USD")
        return Reply({**body, "bars": {asked: told} if told else {}})


@pytest.fixture
def serving(request: pytest.FixtureRequest) -> Iterator[Vendor]:
    with Vendor(OneForAll(coin(request.param + 20))).serving() as vendor:
        yield vendor


@pytest.mark.parametrize(
    ("serving", "days", "coins", "times"),
    [
        pytest.param(21, 21, 1, 0, id="one"),
        # As much as the bare source holds of it, its models of what came in one request included.
        pytest.param(365, 365, 12, 10, id="ten times the cap", marks=pytest.mark.slow),
    ],
    indirect=["serving"],
)
def test_the_cap_holds_while_bars_are_downloaded(
    serving: Vendor, days: int, coins: int, times: int, tmp_path: Path
) -> None:
    ours = measured(PROGRAM, tmp_path / "wrapped", CAP, serving.url, coins, days)
    requests = len(serving.requests)
    bare = measured(PROGRAM, tmp_path / "bare", 0, serving.url, coins, days)
    asked = requests, len(serving.requests) - requests
    print(f"cap {CAP / 1e6:.0f} MB: {ours}; bare: {bare}; requests: {asked}")
    assert 0 < asked[0] <= asked[1]
    assert (ours["total"], ours["calls"]) == (bare["total"], bare["calls"])
    assert ours["eager"] == {}
    assert ours["peak"] <= CAP
    assert ours["booked"] <= CAP
    assert bare["peak"] >= times * CAP
