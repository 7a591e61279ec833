"""The cap holds while bars come from DataBento: peaks of fresh processes, the bare source's beside them.

The vendor is in this process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from .databento import Exchange
from .peaks import measured
from .test_polygon_memory import coin
from .vendor import Reply, Request, Vendor

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")

CAP = 160_000_000
PROGRAM = """
import datetime as dt
from types import SimpleNamespace
import pandas as pd
from lumibot.backtesting import DataBentoDataBacktesting
from lumibot.entities import Asset
from sources.databento import KEY, pointed_at
url, stocks, days = given[0], int(given[1]), int(given[2])
first = pd.Timestamp("2024-01-10", tz="America/New_York")
begin()
with pointed_at(SimpleNamespace(url=url), folder + "/cache"):
    source = wrap(DataBentoDataBacktesting)(
        first.to_pydatetime(), (first + pd.Timedelta(days=days)).to_pydatetime(), api_key=KEY,
        show_progress_bar=False,
    )
    now, total, calls = source.datetime_start + dt.timedelta(hours=2), 0.0, 0
    while now < source.datetime_end:
        source._update_datetime(now)
        for n in range(stocks):
            one = Asset(f"S{n:03d}")
            bars = source.get_historical_prices(one, 60, "minute")
            total += float(bars.df["close"].sum()) + float(source.get_last_price(one))
            total += float(source.get_quote(one).price)
            calls += 1
        now += dt.timedelta(hours=119)
    end(source, total=total, calls=calls)
"""


class OneForAll(Exchange):
    """Every stock has the same bars; an answer is encoded once."""

    def __init__(self, bars: pd.DataFrame) -> None:
        super().__init__({"ALL": bars})
        self.ends = "2025-06-01T00:00:00.000000000Z"
        self._told: dict[str, Reply] = {}

    def __call__(self, request: Request) -> Reply:
        asked = {**request.params, "symbols": "ALL"}
        told = f"{request.path} {asked}"
        if told not in self._told:
            self._told[told] = super().__call__(Request(request.path, asked, request.headers))
        return self._told[told]


@pytest.fixture
def serving(request: pytest.FixtureRequest) -> Iterator[Vendor]:
    with Vendor(OneForAll(coin(request.param + 30))).serving() as vendor:
        yield vendor


@pytest.mark.parametrize(
    ("serving", "days", "stocks", "times"),
    [
        pytest.param(21, 21, 1, 0, id="one"),
        pytest.param(365, 365, 46, 10, id="ten times the cap", marks=pytest.mark.slow),
    ],
    indirect=["serving"],
)
def test_the_cap_holds_while_bars_are_downloaded(
    serving: Vendor, days: int, stocks: int, times: int, tmp_path: Path
) -> None:
    ours = measured(PROGRAM, tmp_path / "wrapped", CAP, serving.url, stocks, days)
    requests = len(serving.requests)
    bare = measured(PROGRAM, tmp_path / "bare", 0, serving.url, stocks, days)
    asked = requests, len(serving.requests) - requests
    print(f"cap {CAP / 1e6:.0f} MB: {ours}; bare: {bare}; requests: {asked}")
    assert 0 < asked[0] <= asked[1]
    assert (ours["total"], ours["calls"]) == (bare["total"], bare["calls"])
    assert ours["eager"] == {}
    assert ours["peak"] <= CAP
    assert ours["booked"] <= CAP
    assert bare["peak"] >= times * CAP
