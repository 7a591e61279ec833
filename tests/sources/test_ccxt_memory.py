"""The cap holds while candles are downloaded: peaks of fresh processes, the bare source's beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .peaks import measured

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")

CAP = 128_000_000
# The exchange is in the process: its candles are computed page by page, so that it holds none.
PROGRAM = """
import datetime as dt
import numpy as np
from unittest import mock
from lumibot.backtesting import CcxtBacktesting
from lumibot.entities import Asset
from sources.binance import Exchange, in_place
coins, days, every_h = map(int, given)
usdt = Asset("USDT", "crypto")
class Endless(Exchange):
    asked = 0
    def _page(self, asked):
        self.asked += 1
        self.requests.clear()  # 43,000 of them would be in the peak
        first, limit = -(-int(asked["startTime"]) // 60_000), int(asked["limit"])
        at = np.arange(first, first + limit)
        close = 100 + 10 * np.sin(at / 5000) + (at * 7919 % 101) / 100
        return [
            [int(t) * 60_000, repr(c), repr(c + 0.5), repr(c - 0.5), repr(c), repr(c % 7), 0, "0", 1, "0"]
            for t, c in zip(at, close.tolist())
        ]
exchange = Endless({f"C{n:02d}USDT": None for n in range(coins)})
begin()
with in_place(exchange, folder + "/cache"):
    first = dt.datetime(2024, 1, 1)
    source = wrap(CcxtBacktesting)(first, first + dt.timedelta(days=days), show_progress_bar=False)
    now, total, calls = source.datetime_start, 0.0, 0
    while now < source.datetime_end:
        source._update_datetime(now)
        for n in range(coins):
            coin = Asset(f"C{n:02d}", "crypto")
            bars = source.get_historical_prices(coin, 60, "minute", quote=usdt)
            total += float(bars.df["close"].sum()) + float(source.get_last_price(coin, quote=usdt))
            calls += 1
        now += dt.timedelta(hours=every_h)
    end(source, total=total, calls=calls, requests=exchange.asked)
"""


@pytest.mark.parametrize(
    ("coins", "days", "times"),
    [
        pytest.param(2, 40, 0, id="a few"),
        # What the bare source holds of it, and what it takes to get there.
        pytest.param(32, 320, 10, id="ten times the cap", marks=pytest.mark.slow),
    ],
)
def test_the_cap_holds_while_candles_are_downloaded(
    coins: int, days: int, times: int, tmp_path: Path
) -> None:
    ours = measured(PROGRAM, tmp_path / "wrapped", CAP, coins, days, 31)
    bare = measured(PROGRAM, tmp_path / "bare", 0, coins, days, 31)
    print(f"cap {CAP / 1e6:.0f} MB: {ours}; bare: {bare}")
    assert (ours["total"], ours["calls"]) == (bare["total"], bare["calls"])
    assert 0 < ours["requests"] <= bare["requests"]
    assert ours["eager"] == {}
    assert ours["peak"] <= CAP
    assert ours["booked"] <= CAP
    assert bare["peak"] >= times * CAP
