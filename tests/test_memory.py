"""The cap holds: peak RSS over baseline of fresh processes that walk over a generated store.

"Over baseline" is the process's VmHWM at its end less its RSS after the imports, before anything is
opened. The walk asks every asset for 60 bars every half hour, so that every segment is read.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import lazybars
from lazybars import open_store
from lazybars.demo.universes import Bars, Generated

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")

MB = 1_000_000
START = """
import datetime as dt, json, sys
import lazybars
from lazybars.stats import peak_rss_bytes, rss_bytes
path, memory = sys.argv[1], int(sys.argv[2])
"""
WRAPPED = """
from lumibot.backtesting import PandasDataBacktesting
baseline = rss_bytes()
first, last = (dt.datetime.fromisoformat(text) for text in sys.argv[3:5])
wrapped = lazybars.LazyBars(PandasDataBacktesting, store=path, memory=memory)
source = wrapped(first, last, show_progress_bar=False)
source.load_data()
assets = [asset for asset, quote in source._data_store]
now, last, total = source.datetime_start, source.datetime_end, 0.0
while now < last:
    if now.weekday() < 5 and 10 <= now.hour < 16:
        source._update_datetime(now)
        for asset in assets:
            total += float(source.get_historical_prices(asset, 60, "minute").df["close"].iloc[-1])
    now += dt.timedelta(minutes=30)
stats, plan = source.lazy.stats(), source.lazy.plan()
source.shutdown()
"""
ITERATED = """
baseline = rss_bytes()
total = 0.0
with lazybars.iterate(path, lookback=60, memory=memory) as ticks:
    for tick in ticks:
        if tick.now.minute % 30 == 0 and tick.now.hour >= 10:
            total += sum(float(window.close[-1]) for window in tick.values() if len(window))
    stats, plan = ticks.stats(), ticks.plan()
"""
END = """
print(json.dumps({
    "peak": peak_rss_bytes() - baseline, "booked": stats.peak_bytes, "cap": stats.cap_bytes, "total": total,
    "evictions": stats.evictions, "hits": stats.hit_rate, "eager": stats.eager,
    "needed": plan.needed_cap_bytes,
}))
"""
PROGRAMS = {"wrapped": START + WRAPPED + END, "iterated": START + ITERATED + END}


@dataclass(frozen=True)
class DayAndNight:
    """One asset with a bar every minute of the year."""

    rows: int
    timestep: str = "minute"

    @property
    def span(self) -> tuple[dt.datetime, dt.datetime]:
        return dt.datetime(2023, 1, 2), dt.datetime(2023, 1, 2) + dt.timedelta(minutes=self.rows)

    def bars(self) -> Iterator[Bars]:
        times_ns = 1_672_617_600_000_000_000 + 60_000_000_000 * np.arange(self.rows, dtype=np.int64)
        close = 100 + np.arange(self.rows) % 1000 / 100
        yield Bars("COIN", times_ns, dict.fromkeys(("open", "high", "low", "close", "volume"), close))


Universe = Generated | DayAndNight
Measure = Callable[..., dict[str, float]]


def write(universe: Universe, path: Path) -> None:
    with open_store(path, memory="256MB") as store:
        for bars in universe.bars():
            store.write(bars.table(), asset=bars.symbol, timestep=universe.timestep)
        store.compact()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """The figures of a walk in a process of its own; stores and figures are made once."""

    @cache
    def store_of(universe: Universe) -> Path:
        path = tmp_path_factory.mktemp("memory") / "bars.duckdb"
        write(universe, path)
        return path

    @cache
    def run(how: str, universe: Universe, memory: int, trial: int = 0) -> dict[str, float]:
        span = [moment.isoformat() for moment in universe.span]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAMS[how], str(store_of(universe)), str(memory), *span],
            cwd=store_of(universe).parent,
            env={
                **os.environ,
                "PYTHONPATH": str(Path(lazybars.__file__).parents[1]),
                "BACKTESTING_DATA_SOURCE": "none",
                "LUMIBOT_DISABLE_DOTENV": "1",
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        print(how, universe, memory, trial, figures)
        return figures

    return run


MILLION = Generated(assets=20, days=130)
TWO_MILLION = Generated(assets=20, days=260)
FOUR_MILLION = Generated(assets=20, days=520)
CAPS = [96 * MB, 128 * MB, 256 * MB, 512 * MB]


@pytest.mark.parametrize("memory", CAPS)
@pytest.mark.parametrize("how", PROGRAMS)
def test_the_peak_stays_under_the_cap(measured: Measure, how: str, memory: int) -> None:
    figures = measured(how, MILLION, memory)
    assert figures["cap"] == memory
    assert figures["booked"] <= memory
    assert figures["peak"] <= memory
    assert not figures["eager"]


@pytest.mark.parametrize("how", PROGRAMS)
def test_one_asset_that_trades_day_and_night_stays_under_the_cap_too(measured: Measure, how: str) -> None:
    """Its partitions are the longest that one series has: a scan of one holds much in flight."""
    assert measured(how, DayAndNight(700_000), 96 * MB)["peak"] <= 96 * MB


@pytest.mark.parametrize("how", PROGRAMS)
def test_the_walk_is_longer_than_the_ring(measured: Measure, how: str) -> None:
    assert measured(how, MILLION, 96 * MB)["evictions"] > 0


@pytest.mark.parametrize("how", PROGRAMS)
def test_the_smallest_cap_that_the_plan_names_holds(measured: Measure, how: str) -> None:
    needed = int(measured(how, MILLION, 96 * MB)["needed"])
    figures = measured(how, MILLION, needed)
    assert figures["booked"] <= needed < 70 * MB
    assert figures["peak"] <= needed


@pytest.mark.parametrize("how", PROGRAMS)
def test_twice_the_days_take_no_more(measured: Measure, how: str) -> None:
    """The median of three processes each: the allocator's own share differs by a few MB between runs."""
    once, twice = (
        statistics.median(measured(how, universe, 96 * MB, trial)["peak"] for trial in range(3))
        for universe in (TWO_MILLION, FOUR_MILLION)
    )
    assert abs(twice - once) < 0.05 * once


@pytest.mark.parametrize("how", PROGRAMS)
def test_the_cap_changes_no_answer(measured: Measure, how: str) -> None:
    assert len({measured(how, MILLION, memory)["total"] for memory in CAPS}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("memory", CAPS)
@pytest.mark.parametrize("how", PROGRAMS)
def test_the_peak_of_twenty_million_bars_stays_under_the_cap(
    measured: Measure, how: str, memory: int
) -> None:
    assert measured(how, Generated(assets=100, days=520), memory)["peak"] <= memory
