"""The memory of several processes at once, by the kernel's PSS: what they share is not counted twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psutil

__all__ = ["Baseline", "Watch", "measure_baselines"]

# What a process of a sweep has imported before anything is open: the sweep's own, and a trial's.
_SWEEPING = "import lazybars"
_TRIAL = "import lazybars.sweep.backtest"
_HELD = "import sys; {}; print('imported', flush=True); sys.stdin.read()"


@dataclass(frozen=True, slots=True)
class Baseline:
    """PSS in bytes of processes that have done no more than import: the sweep's own, and a trial's.

    trial_bytes : by the number of trials that are alive at the time, from 1.
    """

    sweep_bytes: int
    trial_bytes: tuple[int, ...]


@dataclass
class Watch:
    """Samples processes and their descendants in a thread, from entering to leaving.

    pids : of the processes. baseline : theirs, where the first one sweeps and the others are its trials.

    peak_bytes : the most that their PSS came to in all. over_bytes : the most that they had over their
        baselines in all; a process that has less than its baseline counts as 0. samples : how many were
        taken.
    """

    pids: Sequence[int]
    baseline: Baseline | None = None
    every_s: float = 0.1
    peak_bytes: int = 0
    over_bytes: int = 0
    samples: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run, name="benchmark-pss", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.every_s):
            found = [_pss_bytes(pid) for pid in self._alive()]
            self.samples += 1
            self.peak_bytes = max(self.peak_bytes, sum(found))
            if self.baseline is not None and found:
                own, *trials = found
                over = max(own - self.baseline.sweep_bytes, 0)
                if trials:
                    known = self.baseline.trial_bytes
                    one = known[min(len(trials), len(known)) - 1]
                    over += sum(max(bytes_ - one, 0) for bytes_ in trials)
                self.over_bytes = max(self.over_bytes, over)

    def _alive(self) -> list[int]:
        pids = list(self.pids)
        for pid in self.pids:
            with suppress(psutil.NoSuchProcess):
                pids += [one.pid for one in psutil.Process(pid).children(recursive=True)]
        return pids


def measure_baselines(trials: int) -> Baseline:
    """Start so many processes as a sweep would and have them import what it does; their PSS then."""
    alive = [_start(_SWEEPING)]
    found = []
    try:
        for _ in range(trials):
            alive.append(_start(_TRIAL))
            found.append(min(_pss_bytes(one.pid) for one in alive[1:]))
        return Baseline(_pss_bytes(alive[0].pid), tuple(found))
    finally:
        _end(alive)


def _start(code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HELD.format(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    for line in process.stdout:  # Lumibot says that it starts
        if line.strip() == b"imported":
            return process
    raise RuntimeError(f"{code!r} fails in a process of its own")


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.communicate()


def _pss_bytes(pid: int) -> int:
    """Of one process; 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
