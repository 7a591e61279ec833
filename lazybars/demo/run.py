"""The demonstration from end to end: make the stores, start the runs, compare, show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lazybars.budget import split
from lazybars.demo.outcome import Outcome, differences
from lazybars.demo.show import show
from lazybars.demo.universes import Daily, Generated, Universe
from lazybars.errors import LazyBarsError
from lazybars.model import AssetKey, size_bytes
from lazybars.store import open_store

__all__ = ["DemoFailed", "run_demo"]

_USD = AssetKey("USD", "forex")
# Lumibot on hourly bars of a few assets: what its own books take over the same clock.
_CONTROL_ASSETS, _CONTROL_STEP_MINUTES = 10, 60
_STDERR_LINES = 12
# An empty store has its size too, so a few bars say nothing of the bytes that one takes.
_MANY_ROWS = 100_000


class DemoFailed(LazyBarsError):
    """A run of the demonstration ended without a result."""


def run_demo(*, quick: bool = False, memory: str = "128MB", console: Console | None = None) -> int:
    """Run everything; 0 where eager and lazy came to the same in both universes, else 1.

    Parameters
    ----------
    quick
        A tenth of the generated bars.
    memory
        The cap of the lazy runs.

    Raises
    ------
    CapTooSmall
        ``memory`` leaves nothing for bars.
    DemoFailed
        A run ended without a result, with what it said.
    """
    console = Console() if console is None else console
    split(size_bytes(memory))  # before anything is made
    generated = Generated(assets=20, days=128) if quick else Generated(assets=100, days=256)
    control = Generated(_CONTROL_ASSETS, generated.days, _CONTROL_STEP_MINUTES)
    same = True
    with tempfile.TemporaryDirectory(prefix="lazybars-demo-") as folder:
        store = Path(folder) / "bars.duckdb"
        for universe, note in (
            (Daily(), "Real daily bars of AAPL, FB, GOOG, IBM and MSFT, 2000 to 2013 (bokeh_sampledata)"),
            (
                generated,
                f"Minute bars of {generated.assets} assets over {generated.days} days: generated, not real",
            ),
        ):
            console.print(note, style="bold")
            console.print(_write(universe, store, console), highlight=False)
            eager = _run(universe, None, memory, Path(folder), console)
            lazy = _run(universe, store, memory, Path(folder), console)
            alone = _run(control, None, memory, Path(folder), console) if universe is generated else None
            found = differences(eager, lazy)
            show(console, eager, lazy, alone, found)
            same = same and not any(found.values())
            store.unlink()
    if same:
        console.print("Eager and lazy came to the same in both universes.", style="bold green")
    else:
        console.print("Eager and lazy differ.", style="bold red")
    return 0 if same else 1


def _write(universe: Universe, path: Path, console: Console) -> str:
    """Put the universe into a store, asset by asset; gives what that came to."""
    began = time.perf_counter()
    rows = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with open_store(path) as store, Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("writing the store", total=len(universe.symbols))
        for bars in universe.bars():
            asset = AssetKey(bars.symbol)
            written = store.write(bars.table(), asset=asset, timestep=universe.timestep, quote=_USD)
            rows += written.rows_written
            progress.advance(task)
        progress.update(task, description="compacting the store")
        store.compact()
    disk_bytes = path.stat().st_size
    a_bar = f", {disk_bytes / rows:.1f} bytes a bar" if rows >= _MANY_ROWS else ""
    wall_s = time.perf_counter() - began
    return f"{rows:,} bars, {disk_bytes / 1e6:,.0f} MB on disk{a_bar}, stored in {wall_s:.1f} s"


def _run(universe: Universe, store: Path | None, memory: str, folder: Path, console: Console) -> Outcome:
    """One backtest in a fresh interpreter, in a folder of its own for what Lumibot leaves behind."""
    job, out = folder / "job.json", folder / "out.json"
    generated = asdict(universe) if isinstance(universe, Generated) else None
    job.write_text(
        json.dumps({"generated": generated, "store": None if store is None else str(store), "memory": memory})
    )
    which = "eager" if store is None else "lazy"
    with (
        tempfile.TemporaryDirectory(dir=folder) as cwd,
        console.status(f"{which} run, {len(universe.symbols)} assets by the {universe.timestep}"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "lazybars.demo.worker", str(job), str(out)],
            cwd=cwd,
            env=_environment(Path(cwd)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-_STDERR_LINES:])
        raise DemoFailed(f"the {which} run ended with code {done.returncode}: {said}")
    outcome = Outcome.load(out)
    out.unlink()
    return outcome


def _environment(folder: Path) -> dict[str, str]:
    """The caller's environment without settings of Lumibot's that would reach for a broker or a network."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LUMIBOT_", "LUMIWEALTH_", "BACKTESTING_", "BOTSPOT_"))
    }
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (here, ours.get("PYTHONPATH", "")) if part)
    return ours | {
        "PYTHONPATH": path,  # the same lazybars, wherever this one was imported from
        "BACKTESTING_DATA_SOURCE": "none",
        "BACKTESTING_QUIET_LOGS": "true",
        "IS_BACKTESTING": "true",
        "LUMIBOT_CACHE_FOLDER": str(folder),
        "LUMIBOT_DISABLE_DOTENV": "1",
        "LUMIBOT_LOG_LEVEL": "ERROR",
    }
