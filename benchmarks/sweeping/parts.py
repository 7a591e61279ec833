"""The measurements: each starts its processes, watches them, and gives a row."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.contest.clock import Size
from benchmarks.market import MinuteMarket

from .pss import Watch, measure_baselines
from .rows import Row

__all__ = ["Bench", "grid"]

_ROOT = Path(__file__).resolve().parents[2]
_EVERY_S = 0.25
_EVERY_TOTAL_S = 0.25
# The first trials of many warm what a process keeps for good: its imports, its pools.
_WARM = 0.2


def grid(trials: int) -> list[dict[str, int]]:
    """So many different sets of parameters."""
    return [{"lookback": 60 + 30 * (one % 4), "hold": 2 + one // 4} for one in range(trials)]


@dataclass(frozen=True)
class Bench:
    """Where the bars are kept, and of which size they are."""

    folder: Path
    size: Size

    def row(self, part: str, side: str, number: int, workers: int) -> Row:
        """An empty row of a measurement."""
        return Row(part, side, self.size.assets, self.size.days, number, workers, load=os.getloadavg()[0])

    def single(self, number: int, parameters: Mapping[str, int]) -> Row:
        """One trial as Lumibot alone runs it."""
        row = self.row("single", "eager", number, 1)
        job = {**self._job(), "side": "eager", "parameters": self._with_symbols(parameters)}
        with _running([job]) as running, Watch(running.pids, every_s=_EVERY_TOTAL_S) as watch:
            (out,) = running.wait()
        return replace(
            row, wall_s=running.wall_s, peak_mb=watch.peak_bytes / 1e6, outcome=_digest(out["trials"][0])
        )

    def sweep(self, trials: Sequence[Mapping[str, int]], workers: int, memory_mb: int) -> Row:
        """All trials as a sweep."""
        row = self.row("sweep", "lazy", len(trials), workers)
        base = measure_baselines(workers)
        job = self._sweep_job(trials, workers, memory_mb)
        busy_s = _busy_s()
        with _running([job]) as running, Watch(running.pids, base, _EVERY_S) as watch:
            (out,) = running.wait()
        added = sorted(out["added_bytes"], reverse=True)[:workers]
        return replace(
            row,
            memory_mb=memory_mb,
            wall_s=running.wall_s,
            cpu_s=out["cpu_s"],
            peak_mb=watch.peak_bytes / 1e6,
            over_mb=watch.over_bytes / 1e6,
            added_mb=sum(added) / 1e6,
            outcome=" ".join(map(_digest, out["trials"])),
            note=(
                f"{watch.samples} samples; stall {out['stall_s']:.1f} s; other processes took "
                f"{(_busy_s() - busy_s) / running.wall_s:.2f} CPUs meanwhile"
            ),
        )

    def total(self, side: str, trials: Sequence[Mapping[str, int]], memory_mb: int) -> Row:
        """These trials all at once.

        memory_mb : of each trial.
        """
        count = len(trials)
        row = self.row("total", side, count, count)
        if side == "lazy":
            row = replace(row, memory_mb=memory_mb * count)
            jobs = [self._sweep_job(trials, count, memory_mb * count)]
        else:
            jobs = [
                {**self._job(), "side": "eager", "parameters": self._with_symbols(parameters)}
                for parameters in trials
            ]
        with _running(jobs) as running, Watch(running.pids, every_s=_EVERY_TOTAL_S) as watch:
            outs = running.wait()
        outcome = " ".join(_digest(trial) for out in outs for trial in out["trials"])
        return replace(row, wall_s=running.wall_s, peak_mb=watch.peak_bytes / 1e6, outcome=outcome)

    def short(self, count: int, workers: int, memory_mb: int) -> Row:
        """Many short trials, one sweep: what they leave behind, and what grows."""
        row = replace(self.row("short", "lazy", count, workers), memory_mb=memory_mb)
        trials = [{"lookback": 20 + one, "hold": 1} for one in range(count)]
        shared = _entries("/dev/shm")
        job = {**self._sweep_job(trials, workers, memory_mb), "side": "short"}
        with _running([job]) as running:
            (out,) = running.wait()
        files, threads, resident, temporary = zip(*out["after"], strict=True)
        warm = max(int(count * _WARM), 1)
        told = {
            "processes left": out["left"]["processes"],
            "threads left": out["left"]["threads"],
            "temporary files left": out["left"]["files"],
            "segments left in /dev/shm": len(_entries("/dev/shm") - shared),
            "descriptors grown by": max(files[warm:]) - max(files[:warm]),
            "threads grown by": max(threads[warm:]) - max(threads[:warm]),
            "most temporary files at a time": max(temporary),
        }
        grown_mb = (resident[-1] - resident[warm - 1]) / 1e6
        note = ", ".join(f"{name}: {value}" for name, value in told.items())
        return replace(
            row,
            wall_s=running.wall_s,
            added_mb=grown_mb,
            note=f"{note}, RSS of the sweeping process from trial {warm} on: {grown_mb:+.1f} MB",
        )

    # ---- jobs -----------------------------------------------------------------------------------

    @property
    def _market(self) -> MinuteMarket:
        return MinuteMarket(self.folder, self.size.assets, self.size.days)

    def _job(self) -> dict[str, Any]:
        start, end = self._market.bars.span
        return {
            "folder": str(self.folder),
            "size": [self.size.assets, self.size.days],
            "start": start.isoformat(),
            "end": end.isoformat(),
        }

    def _sweep_job(self, trials: Sequence[Mapping[str, int]], workers: int, memory_mb: int) -> dict[str, Any]:
        return {
            **self._job(),
            "side": "sweep",
            "store": str(self._market.write()),
            "trials": [self._with_symbols(one) for one in trials],
            "workers": workers,
            "memory": memory_mb * 1_000_000,
            "symbols": list(self._market.bars.symbols),
        }

    def _with_symbols(self, parameters: Mapping[str, int]) -> dict[str, Any]:
        return {**parameters, "symbols": list(self._market.bars.symbols)}


class _Running:
    """Sides that run, each in a process and a folder of its own; wall time from the first start."""

    def __init__(self, jobs: Sequence[Mapping[str, Any]], folder: Path) -> None:
        self.wall_s = 0.0
        self._began = time.perf_counter()
        self._outs = []
        self._processes = []
        for number, job in enumerate(jobs):
            home = folder / str(number)
            (home / "temporary").mkdir(parents=True)
            (home / "job.json").write_text(json.dumps(job))
            self._outs.append(home / "out.json")
            with (home / "err").open("wb") as err:
                self._processes.append(
                    subprocess.Popen(
                        [
                            sys.executable,
                            "-m",
                            "benchmarks.sweeping.side",
                            home / "job.json",
                            home / "out.json",
                        ],
                        cwd=home,
                        env=_environment(home / "temporary"),
                        stdout=subprocess.DEVNULL,
                        stderr=err,
                    )
                )

    @property
    def pids(self) -> list[int]:
        return [one.pid for one in self._processes]

    def wait(self) -> list[dict[str, Any]]:
        """What each came to; RuntimeError with the last that it said where one failed."""
        for process, out in zip(self._processes, self._outs, strict=True):
            if process.wait():
                said = (out.parent / "err").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"a side ended with {process.returncode}: {said}")
        self.wall_s = time.perf_counter() - self._began
        return [json.loads(out.read_text()) for out in self._outs]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@contextmanager
def _running(jobs: Sequence[Mapping[str, Any]]) -> Iterator[_Running]:
    with tempfile.TemporaryDirectory(prefix="lazybars-sweeps-") as folder:
        running = _Running(jobs, Path(folder))
        try:
            yield running
        finally:
            running.end()


def _environment(temporary: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(_ROOT), os.environ.get("PYTHONPATH", ""))),
        "BACKTESTING_DATA_SOURCE": "none",
        "LUMIBOT_DISABLE_DOTENV": "1",
        "TMPDIR": str(temporary),
    }


def _digest(trial: Mapping[str, Any]) -> str:
    """Of all figures that have to be equal, every bit of them."""
    told = {name: float(value).hex() if name != "trades_hash" else value for name, value in trial.items()}
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=8).hexdigest()


def _busy_s() -> float:
    """CPU seconds of the machine that were not this process's, nor those of processes it has waited for."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    ours = os.times()
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - (ours.user + ours.system + ours.children_user + ours.children_system)


def _entries(folder: str) -> set[str]:
    return set(os.listdir(folder)) if os.path.isdir(folder) else set()
