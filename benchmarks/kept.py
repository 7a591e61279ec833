"""The same bars in a store and in Feather files, and the peak memory of a fresh process over either."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.feather

from .market import MinuteMarket

__all__ = ["QUERIES", "Form", "Kept", "Span", "masked", "peak_bytes"]

QUERIES = 10
_NEW_YORK = "America/New_York"
Span = tuple[pd.Timestamp, pd.Timestamp]
Form = Literal["Feather, uncompressed", "Feather, lz4", "CSV"]


class Kept:
    """The same bars in a store, in Feather files, one an asset, and in RAM, one frame of all."""

    def __init__(self, market: MinuteMarket) -> None:
        self.market = market
        self.path = market.write()
        self.symbols = market.bars.symbols
        for bars in market.bars.bars():
            for compression in ("uncompressed", "lz4"):
                path = self.feather(bars.symbol, compression)
                if not path.exists():
                    pyarrow.feather.write_feather(bars.table(), path, compression=compression)

    def feather(self, symbol: str, compression: str = "lz4") -> Path:
        return self.market.folder / f"{symbol}-{self.market.days}-{compression}.feather"

    def read(self, symbol: str) -> pd.DataFrame:
        """A whole file, as a cache of Feather files is read."""
        frame = pd.read_feather(self.feather(symbol)).set_index("datetime")
        return frame.tz_convert(_NEW_YORK)

    def bytes_on_disk(self, form: Form) -> tuple[int, int]:
        """(rows, bytes) of all bars in files of that form, one an asset."""
        rows = held = 0
        for bars in self.market.bars.bars():
            rows += len(bars.times_ns)
            if form == "CSV":
                path = self.market.folder / "bars.csv"
                pyarrow.csv.write_csv(bars.table(), path)
            else:
                path = self.feather(bars.symbol, form.split(", ")[1])
            held += path.stat().st_size
        return rows, held

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All assets in one frame, told apart by a column."""
        frames = {symbol: self.read(symbol) for symbol in self.symbols}
        out = pd.concat(frames, names=["asset", "datetime"]).reset_index("asset")
        return out.astype({"asset": "category"})

    def asked(self, sessions: int) -> list[tuple[str, Span]]:
        """Some assets, each over so many sessions, spread over the whole time."""
        days = np.busday_offset("2023-01-02", np.arange(self.market.days), roll="forward")
        starts = np.linspace(0, max(len(days) - sessions, 0), QUERIES).astype(int)
        out = []
        for number, at in enumerate(starts):
            first, last = days[at], days[min(at + sessions, len(days)) - 1]
            span = (
                pd.Timestamp(first, tz=_NEW_YORK),
                pd.Timestamp(last, tz=_NEW_YORK) + pd.Timedelta("23h59min"),
            )
            out.append((self.symbols[7 * number % len(self.symbols)], span))
        return out


def masked(frame: pd.DataFrame, span: Span) -> pd.DataFrame:
    """Every row looked at, as a filter without an index does."""
    return frame[(frame.index >= span[0]) & (frame.index <= span[1])]


_PEAK = """
import sys
from datetime import datetime
import numpy, pandas, pyarrow, pyarrow.feather
{imports}
sys.path.insert(0, {root!r})
from lazybars import open_store

def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def read(path):
    return pandas.read_feather(path).set_index("datetime").tz_convert("America/New_York")

before = status("VmRSS")
{work}
print(status("VmHWM") - before)
"""
# One month of one asset, of all side by side, and the mean of everything; what is kept is what has to be.
_WORK = {
    ("month of an asset", "lazy"): (
        "with open_store({path!r}, read_only=True, memory={memory!r}) as store:\n"
        "    kept = store.get_historical_prices({symbols!r}[0], {start!r}, {end!r})"
    ),
    ("month of an asset", "other"): "kept = read({files!r}[0]).loc[{start!r}:{end!r}].copy()",
    ("month of all", "lazy"): (
        "with open_store({path!r}, read_only=True, memory={memory!r}) as store:\n"
        "    kept = store.panel({symbols!r}, 'close', 'minute', {start!r}, {end!r})"
    ),
    ("month of all", "other"): (
        "frames = [read(path) for path in {files!r}]\n"
        "kept = pandas.concat([frame['close'].loc[{start!r}:{end!r}] for frame in frames], axis=1)"
    ),
    ("every bar", "lazy"): (
        "with open_store({path!r}, read_only=True, memory={memory!r}) as store:\n"
        "    kept = [batch.num_rows for symbol in {symbols!r} for batch in store.read(symbol, 'minute')]"
    ),
    (
        "every bar",
        "other",
    ): "frames = [read(path) for path in {files!r}]\nkept = [len(frame) for frame in frames]",
    (
        "backtest",
        "lazy",
    ): "source = LazyBars({path!r}, memory={cap!r})(*span, show_progress_bar=False)\n{walk}",
    ("backtest", "other"): (
        "data = {{Asset(symbol): Data(Asset(symbol), read(path), timestep='minute', quote=USD)"
        " for symbol, path in zip({symbols!r}, {files!r})}}\n"
        "source = PandasDataBacktesting(*span, pandas_data=data, show_progress_bar=False)\n{walk}"
    ),
}
_IMPORTS = {
    "backtest": (
        "from lumibot.backtesting import PandasDataBacktesting\n"
        "from lumibot.entities import Asset, Data\n"
        "from lazybars import LazyBars\n"
        "USD = Asset('USD', 'forex')"
    )
}
# A backtest's questions without its orders: 60 bars of every asset at noon of each day.
_WALK = """
source.load_data()
days = pandas.bdate_range(span[0].date(), span[1].date(), tz='America/New_York')
for noon in days + pandas.Timedelta(hours=12):
    source._update_datetime(noon.to_pydatetime())
    for symbol in {symbols!r}:
        assert len(source.get_historical_prices(Asset(symbol), 60, 'minute', quote=USD).df) == 60
"""
_MEMORY = "32MB"
_CAP = "72MB"
# Lumibot reads its settings once, and would look for a broker's.
_LUMIBOT = {
    "BACKTESTING_DATA_SOURCE": "none",
    "BACKTESTING_QUIET_LOGS": "true",
    "IS_BACKTESTING": "true",
    "LUMIBOT_DISABLE_DOTENV": "1",
    "LUMIBOT_LOG_LEVEL": "ERROR",
}


def peak_bytes(kept: Kept, work: str, side: Literal["lazy", "other"], assets: int | None = None) -> int:
    """Peak RSS of a fresh process over what it had after its imports.

    work : "month of an asset", "month of all", "every bar" or "backtest". assets : how many; None for all.
    """
    _, (start, end) = kept.asked(21)[QUERIES // 2]
    symbols = list(kept.symbols[:assets])
    filling = {
        "path": str(kept.path),
        "symbols": symbols,
        "files": [str(kept.feather(symbol)) for symbol in symbols],
        "start": start.isoformat(),
        "end": end.isoformat(),
        "memory": _MEMORY,
        "cap": _CAP,
        "walk": _WALK.format(symbols=symbols),
    }
    filled = _WORK[work, side].format(**filling)
    days = [moment.isoformat() for moment in kept.market.bars.span]
    span = f"span = [datetime.fromisoformat(moment) for moment in {days!r}]\n"
    code = _PEAK.format(
        root=str(Path(__file__).parents[1]), imports=_IMPORTS.get(work, ""), work=span + filled
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=kept.market.folder,  # where Lumibot may leave its logs
        env={**os.environ, **_LUMIBOT},
    )
    if done.returncode:
        raise RuntimeError(f"{work}, {side}: {done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])
