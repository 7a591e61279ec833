"""The cap holds while Yahoo's symbols come: peaks of fresh processes, the bare source's beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from .peaks import measured
from .vendor import Reply, Request, Vendor
from .yahoo import Exchange, Listed

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")

CAP = 128_000_000
# Yahoo is in another process. All symbols have the bars of one.
PROGRAM = """
import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from lumibot.backtesting import YahooDataBacktesting
from lumibot.entities import Asset
from sources.yahoo import pointed_at
url, symbols, market, every_d = given[0], int(given[1]), given[2], int(given[3])
stocks = [Asset(f"S{n:04d}{market}") for n in range(symbols)]
with pointed_at(SimpleNamespace(url=url), Path(folder) / "cache", "2026-02-20 12:00"):
    begin()
    dates = dt.datetime(2025, 1, 6), dt.datetime(2025, 6, 30)
    source = wrap(YahooDataBacktesting)(*dates, show_progress_bar=False)
    now, total, calls = source.datetime_start, 0.0, 0
    while now < source.datetime_end:
        source._update_datetime(now)
        for stock in stocks:
            bars = source.get_historical_prices(stock, 252, "day")
            total += float(bars.df["close"].sum()) + float(source.get_last_price(stock))
            calls += 1
        now += dt.timedelta(days=every_d)
    end(source, total=total, calls=calls)
"""


@pytest.fixture
def yahoo() -> Iterator[Vendor]:
    """A Yahoo of which every symbol has a century of days, the most that it has of any."""
    days = pd.bdate_range("1928-01-03", "2026-02-19", tz="America/New_York").tz_convert("UTC")
    at = np.arange(len(days))
    close = 100 + 10 * np.sin(at / 500) + (at * 7919 % 101) / 100
    ends = {"open": close - 0.25, "high": close + 0.5, "low": close - 0.5, "close": close}
    bars = pd.DataFrame({**ends, "volume": at % 7 * 1e6}, index=days)
    home = Listed({"1d": bars})
    # Lumibot leaves the days of other markets where they are; dating them again takes it half a second.
    abroad = Listed({"1d": bars}, "Europe/London", "gb_market", opens="08:00:00", closes="16:30:00")

    class Anything(dict[str, Listed]):
        def get(self, symbol: str, default: object = None) -> Listed:  # type: ignore[override]
            return abroad if symbol.endswith(".L") else home

    exchange = Exchange(Anything())
    known: dict[tuple[bool, bool], Reply] = {}

    def answer(request: Request) -> Reply:
        if not request.path.startswith("/v8/"):
            return exchange(request)
        asked = request.path.endswith(".L"), "period1" in request.params
        if asked not in known:
            known[asked] = Reply(json.dumps(exchange(request).body).encode())
        return known[asked]

    with Vendor(answer).serving() as vendor:
        yield vendor


@pytest.mark.parametrize(
    ("symbols", "market", "times"),
    [
        pytest.param(4, "", 0, id="a few"),
        # What the bare source holds of it, and what it takes to get there.
        pytest.param(600, ".L", 10, id="ten times the cap", marks=pytest.mark.slow),
    ],
)
def test_the_cap_holds_while_symbols_come(
    yahoo: Vendor, symbols: int, market: str, times: int, tmp_path: Path
) -> None:
    bare = measured(PROGRAM, tmp_path / "bare", 0, yahoo.url, symbols, market, 80)
    asked = len(yahoo.requests)
    ours = measured(PROGRAM, tmp_path / "wrapped", CAP, yahoo.url, symbols, market, 80)
    print(f"cap {CAP / 1e6:.0f} MB: {ours}; bare: {bare}")
    assert (ours["total"], ours["calls"]) == (bare["total"], bare["calls"])
    assert 0 < len(yahoo.requests) - asked <= asked
    assert ours["eager"] == {}
    assert ours["peak"] <= CAP
    assert ours["booked"] <= CAP
    assert bare["peak"] >= times * CAP
