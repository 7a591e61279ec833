"""A market of two assets over three short days, and a strategy that trades on it, or goes wrong as told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import lazybars

__all__ = ["NEIGHBOUR", "STRATEGY", "Market", "command", "environment", "lines"]

STRATEGY = '''
import os
import signal
import time

from lumibot.entities import Asset
from lumibot.strategies import Strategy

import neighbour


class Cross(Strategy):
    """Holds what trades above its average; "how" says in which way it goes wrong."""

    parameters = {"fast": 2, "slow": neighbour.SLOW, "how": None}

    def initialize(self):
        self.sleeptime = "10M"
        self.turns = 0
        self.fills = []
        self.hoard = []
        log = os.environ.get("RUNS")
        if log:
            with open(log, "a") as file:
                file.write(f"{os.getpid()} {os.getcwd()}\\n")

    def on_trading_iteration(self):
        self.turns += 1
        if self.turns == 3:
            self.go_wrong(self.parameters.get("how"))
        for symbol in ("A", "B"):
            asset = Asset(symbol)
            bars = self.get_historical_prices(asset, self.parameters["slow"], "minute")
            if bars is None:
                continue
            close = bars.df["close"]
            rising = close.tail(self.parameters["fast"]).mean() > close.mean()
            position = self.get_position(asset)
            if rising and position is None:
                self.submit_order(self.create_order(asset, 10, "buy"))
            elif not rising and position is not None:
                self.submit_order(self.create_order(asset, position.quantity, "sell"))

    def on_filled_order(self, position, order, price, quantity, multiplier):
        when = self.get_datetime().isoformat()
        self.fills.append([when, order.asset.symbol, str(order.side), float(quantity), float(price)])

    def on_strategy_end(self):
        if self.parameters.get("how") == "at the end":
            raise RuntimeError("it ends badly")

    def go_wrong(self, how):
        if how == "raise":
            raise RuntimeError("it went [wrong] \\u2713")
        if how == "hang":
            while True:
                pass
        if how == "sleep":
            time.sleep(1000)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(3)
        if how == "hoard":
            while True:
                self.hoard.append(bytearray(1 << 22))


class Unused:
    """No strategy, so that the one in this file need not be named."""
'''
NEIGHBOUR = "SLOW = 20\n"
# What runs in the background is started with SIGINT ignored; in a terminal it is not.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from lazybars.cli import main
main()
"""


@dataclass(frozen=True)
class Market:
    """A folder with a store, the frames in it, and a strategy file with a neighbour that it imports."""

    folder: Path
    store: Path
    strategy: Path
    frames: dict[str, pd.DataFrame]
    start: str = "2024-03-04"
    end: str = "2024-03-07"

    def sweep(self, trials: Any, **more: Any) -> lazybars.sweep.Sweep:  # type: ignore[name-defined]
        given = {"store": self.store, "memory": "140MB", "workers": 2, **more}
        return lazybars.sweep(self.strategy, self.start, self.end, trials=trials, **given)


def lines(path: Path) -> list[dict[str, Any]]:
    """The results in a file, once whole lines are all that it has."""
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def environment() -> dict[str, str]:
    """This process's own, in which the lazybars under test is found."""
    paths = [str(Path(lazybars.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def command(*argv: object, **more: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, argv)],
        env={**environment(), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )
