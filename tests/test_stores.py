"""Whatever the bars lie in, the answers are the same, bit for bit, and the cap holds."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import minutes, prefetchers

import lazybars
from lazybars import LazyBars, iterate, open_store, sweep
from lazybars.demo.universes import Generated
from lazybars.forecast import forecast

pytest.importorskip("lumibot")

from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Asset, Data
from lumibot.strategies import Strategy

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(lazybars.__file__).parents[1]),
    "BACKTESTING_DATA_SOURCE": "none",
    "LUMIBOT_DISABLE_DOTENV": "1",
}
FRAMES = {
    "AAA": minutes(days=12, rows=80, seed=1),
    "BBB": minutes(days=12, rows=80, seed=2, keep=0.6),
    "CCC": minutes(days=5, rows=80, seed=3, start="2024-03-11"),
}
START, END = dt.datetime(2024, 3, 8), dt.datetime(2024, 3, 14)
STRATEGY = """
from lumibot.entities import Asset
from lumibot.strategies import Strategy


class Cross(Strategy):
    def initialize(self):
        self.sleeptime = "90M"
        self.set_market("24/7")
        self.seen = []

    def on_trading_iteration(self):
        for name in ("AAA", "BBB", "CCC"):
            asset = Asset(name)
            for length, step in ((self.parameters["length"], "minute"), (6, "15 minutes"), (2, "day")):
                bars = self.get_historical_prices(asset, length, step)
                self.seen.append(None if bars is None else bars.df)
            self.seen.append(self.get_last_price(asset))
            bars = self.get_historical_prices(asset, self.parameters["length"], "minute")
            if bars is not None and len(bars.df) > 5:
                held, rises = self.get_position(asset), bars.df["close"].iloc[-1] > bars.df["close"].mean()
                if rises and not held:
                    self.submit_order(self.create_order(asset, 10, "buy"))
                elif held and not rises:
                    self.submit_order(self.create_order(asset, held.quantity, "sell"))
"""
OFF = (
    "show_plot",
    "show_tearsheet",
    "save_tearsheet",
    "show_indicators",
    "save_logfile",
    "show_progress_bar",
)
QUIET: dict[str, Any] = {
    "benchmark_asset": None,
    "risk_free_rate": 0.0,
    "quiet_logs": True,
    "analyze_backtest": False,
    **dict.fromkeys(OFF, False),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same bars three times: in a file, in a directory as they were written, and compacted."""
    folder = tmp_path_factory.mktemp("stores")
    paths = {"duckdb": f"{folder}/bars.duckdb", "loose": f"{folder}/loose/", "compact": f"{folder}/compact/"}
    for kind, path in paths.items():
        with open_store(path) as store:
            for name, frame in FRAMES.items():
                store.write(frame.iloc[::-1], asset=name, timestep="minute")
            # Replaced, taken out and put back: the loose one is of many pieces.
            store.write(FRAMES["AAA"].iloc[100:300], asset="AAA", timestep="minute")
            store.delete("BBB", "minute", "2024-03-06", "2024-03-07")
            store.write(FRAMES["BBB"].loc["2024-03-06":"2024-03-07"], asset="BBB", timestep="minute")
            if kind != "loose":
                store.compact()
    return paths


@pytest.mark.parametrize(("memory", "prefetch"), [("72MB", True), ("128MB", False)])
def test_a_walk_is_the_same(stores: dict[str, str], memory: str, prefetch: bool) -> None:
    def walk(path: str) -> list[Any]:
        seen: list[Any] = []
        with iterate(path, lookback=50, memory=memory, partition="1D", prefetch=prefetch) as ticks:
            for tick in ticks:
                if len(seen) % 5 == 0:
                    seen.append([w.close.tobytes() + w.timestamp.tobytes() for w in tick.values()])
                else:
                    seen.append(tick.now_ns)
        return seen

    truth = walk(stores["duckdb"])
    assert len(truth) > 900
    assert walk(stores["compact"]) == truth
    assert walk(stores["loose"]) == truth


@pytest.mark.usefixtures("quiet")
def test_a_backtest_is_the_same(
    stores: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As eager Lumibot's: every frame that the strategy saw, every fill, every value."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(STRATEGY, scope)
    cross: type[Strategy] = scope["Cross"]

    def run(source: Any, **data: Any) -> tuple[list[Any], pd.DataFrame, pd.DataFrame]:
        _, strategy = cross.run_backtest(source, START, END, parameters={"length": 40}, **QUIET, **data)
        assert not prefetchers(), "Lumibot keeps its source"
        log = strategy.broker._trade_event_log_df
        return strategy.seen, log[["time", "symbol", "side", "filled_quantity", "price"]], strategy.stats

    usd = Asset("USD", "forex")
    eager = [Data(Asset(name), frame.copy(), quote=usd) for name, frame in FRAMES.items()]
    truth, fills, values = run(PandasDataBacktesting, pandas_data=eager)
    assert len(fills) > 3
    for path in stores.values():
        seen, got, worth = run(LazyBars(PandasDataBacktesting, store=path, memory="96MB"))
        assert len(seen) == len(truth)
        for one, other in zip(seen, truth, strict=True):
            if isinstance(other, pd.DataFrame):
                pd.testing.assert_frame_equal(one, other, check_exact=True)
            else:
                assert one == other
        pd.testing.assert_frame_equal(got, fills, check_exact=True)
        assert worth["portfolio_value"].tolist() == values["portfolio_value"].tolist()


@pytest.mark.usefixtures("quiet")
def test_frames_given_are_kept_in_a_directory(tmp_path: Path) -> None:
    path = f"{tmp_path}/bars/"
    given = [Data(Asset(name), frame.copy(), quote=Asset("USD", "forex")) for name, frame in FRAMES.items()]
    versions = []
    for _ in range(2):
        source = LazyBars(PandasDataBacktesting, store=path, memory="96MB")(
            START, END, pandas_data=given, show_progress_bar=False
        )
        source.load_data()
        source._update_datetime(FRAMES["AAA"].index[200].to_pydatetime())
        bars = source.get_historical_prices(Asset("AAA"), 50, "minute").df
        assert bars["close"].tolist() == FRAMES["AAA"]["close"].iloc[150:200].tolist()
        source.shutdown()
        with open_store(path, read_only=True) as store:
            versions.append(store.version)
    assert versions[0] == versions[1] == len(FRAMES), "a second run writes nothing"


def test_a_forecast_and_a_sweep_are_the_same(stores: dict[str, str], tmp_path: Path) -> None:
    first, *others = (forecast(path, lookback=30) for path in stores.values())
    assert all(one == first for one in others)
    strategy = tmp_path / "cross.py"
    strategy.write_text(STRATEGY)
    found = []
    for kind in ("duckdb", "compact"):
        with sweep(
            strategy, START, END, store=stores[kind], trials={"length": [40]}, memory="100MB", workers=1
        ) as running:
            results = sorted(running, key=lambda one: one.number)
        found.append([(one.status, one.error, one.trades_hash, one.final_value) for one in results])
    assert found[0] == found[1]
    assert [one[0] for one in found[0]] == ["ok"]


def test_the_command_line(tmp_path: Path) -> None:
    for name, frame in FRAMES.items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
    names = [f"{name}.parquet" for name in FRAMES]
    code = (
        "import sys\nfrom lazybars.cli import app\n"
        "for line in sys.stdin.read().splitlines():\n"
        "    try:\n        app(line.split())\n"
        "    except SystemExit as end:\n        print('exit', end.code)"
    )

    def say(store: str) -> str:
        lines = [
            f"ingest {store} {' '.join(names)}",
            f"ingest {store} {' '.join(names)}",
            f"plan {store} --lookback 30",
            f"verify {store} --json",
        ]
        done = subprocess.run(
            [sys.executable, "-c", code],
            input="\n".join(lines),
            cwd=tmp_path,
            env={**ENVIRONMENT, "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return re.sub(r"[0-9.,]+ MB, [0-9.,]+ bytes a bar", "", done.stdout.replace(store, "STORE"))

    said = say("bars/")
    assert f"{sum(map(len, FRAMES.values())):,} bars in the store" in said
    assert "3 files are in the store already" in said
    assert said == say("bars.duckdb")


WALK = """
import json, sys
import lazybars
from lazybars.stats import peak_rss_bytes, rss_bytes
baseline = rss_bytes()
total = 0.0
with lazybars.iterate(sys.argv[1], lookback=60, memory=int(sys.argv[2])) as ticks:
    for tick in ticks:
        if tick.now.minute % 30 == 0 and tick.now.hour >= 10:
            total += sum(float(window.close[-1]) for window in tick.values() if len(window))
print(json.dumps([peak_rss_bytes() - baseline, total]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")
def test_the_cap_holds(tmp_path: Path) -> None:
    """Half a million bars in a fresh process, from either kind."""
    universe = Generated(assets=20, days=65)
    totals = []
    for path in (f"{tmp_path}/bars.duckdb", f"{tmp_path}/bars/"):
        with open_store(path) as store:
            for bars in universe.bars():
                store.write(bars.table(), asset=bars.symbol, timestep=universe.timestep)
            store.compact()
        for memory in (72_000_000,):
            done = subprocess.run(
                [sys.executable, "-c", WALK, path, str(memory)],
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            peak_bytes, total = json.loads(done.stdout)
            print(path, memory, peak_bytes)
            assert peak_bytes <= memory
            totals.append(total)
    assert np.unique(totals).size == 1
