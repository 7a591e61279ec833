"""Strategies' files as users write them, that note for themselves what they saw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["BARS", "BOTH_WAYS", "FILE", "Files"]

BARS = """
import datetime as dt

import numpy as np
import pandas as pd
from lumibot.entities import Asset, Data

times = pd.date_range("2024-03-04 09:30", "2024-03-06 15:59", freq="1min", tz="America/New_York")
times = times[(times.time >= dt.time(9, 30)) & (times.time <= dt.time(15, 59))]
start, end = dt.datetime(2024, 3, 5), dt.datetime(2024, 3, 6)


def data():
    made = {}
    for seed, symbol in enumerate(("A", "B")):
        close = (100 + np.random.default_rng(seed).normal(0, 0.1, len(times)).cumsum()).round(2)
        frame = pd.DataFrame(
            {"open": close, "high": close + 0.1, "low": close - 0.1, "close": close, "volume": 100.0},
            index=times,
        )
        made[Asset(symbol)] = Data(Asset(symbol), frame, timestep="minute")
    return made
"""
STRATEGY = '''
import json
import os
import random
import signal
import sys

from lumibot.backtesting import BacktestingBroker, PandasDataBacktesting
from lumibot.entities import Asset
from lumibot.strategies import Strategy
from lumibot.traders import Trader

import bars


class Trend(Strategy):
    """Buys what trades above its average; "how" says in which way it does not do the same twice."""

    parameters = {"how": None}

    def initialize(self):
        self.sleeptime = "10M"
        self.turns = self.fills = 0

    def on_trading_iteration(self):
        self.turns += 1
        wrapped = hasattr(self.broker.data_source, "lazy")
        if self.turns == 5:
            self.go_wrong(self.parameters["how"], wrapped)
        for symbol in ("A", "B"):
            asset = Asset(symbol)
            close = self.get_historical_prices(asset, 20, "minute").df["close"]
            rising = close.tail(3).mean() > close.mean()
            position = self.get_position(asset)
            if rising and position is None:
                quantity = 10
                if self.parameters["how"] == "chance":
                    quantity = random.SystemRandom().randrange(1, 10**6)
                if self.parameters["how"] == "lazy is other" and wrapped and self.turns > 20:
                    quantity = 11
                self.submit_order(self.create_order(asset, quantity, "buy"))
            elif not rising and position is not None:
                self.submit_order(self.create_order(asset, position.quantity, "sell"))

    def on_filled_order(self, position, order, price, quantity, multiplier):
        self.fills += 1

    def on_strategy_end(self):
        note = [hasattr(self.broker.data_source, "lazy"), self.turns, self.fills, float(self.cash)]
        with open(os.environ["NOTES"], "a") as file:
            file.write(json.dumps([*note, sys.argv[1:]]) + "\\n")
        if self.parameters["how"] == "at the end":
            raise RuntimeError("it ends badly")

    def go_wrong(self, how, wrapped):
        if how == "lazy raises" and wrapped:
            raise KeyError("it went [wrong]")
        if how == "bare dies" and not wrapped:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "hang":
            open(os.environ["NOTES"], "a").close()
            while True:
                pass
'''
# Nothing is said of benchmark, plots and files: Lumibot's defaults would reach for the network and ./logs.
FILE = (
    STRATEGY
    + """

if __name__ == "__main__":
    how = sys.argv[1] if len(sys.argv) > 1 else None
    print("what it prints is not shown", input if how == "hang" else "")
    Trend.backtest(
        PandasDataBacktesting, bars.start, bars.end, pandas_data=bars.data(), parameters={"how": how}
    )
"""
)
# The other shapes: an instance with a broker and a trader of one's own, and a file that was changed already.
BOTH_WAYS = (
    STRATEGY
    + """
from lazybars import LazyBars

if __name__ == "__main__":
    source = PandasDataBacktesting(pandas_data=bars.data(), datetime_start=bars.start, datetime_end=bars.end)
    trader = Trader(backtest=True)
    trader.add_strategy(
        Trend(broker=BacktestingBroker(source), backtesting_start=bars.start, backtesting_end=bars.end)
    )
    trader.run_all()
    Trend.run_backtest(
        LazyBars(PandasDataBacktesting, memory="100MB"), bars.start, bars.end, pandas_data=bars.data()
    )
    sys.exit(0)
"""
)


@dataclass(frozen=True)
class Files:
    """folder : where the strategy lies. here : where the user is. temporary : of all processes."""

    folder: Path
    here: Path
    temporary: Path

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def file(self, text: str = FILE, name: str = "trend strategy.py") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def noted(self) -> list[list[Any]]:
        """Of each backtest that ended: whether it was wrapped, iterations, fills, cash, arguments."""
        return [json.loads(line) for line in self.notes.read_text().splitlines()]
