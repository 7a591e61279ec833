"""One cell after another, each in a fresh process that cannot harm the machine."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant

from .clock import Walk
from .records import Record
from .stores import NoRoom, Stores

__all__ = ["Cell", "Machine", "describe_machine"]

_ROOT = Path(__file__).resolve().parents[2]
_STDERR_LINES = 3
# What allocators say before they end the process.
_NO_MEMORY = ("memory allocation", "cannot allocate memory", "memoryerror", "bad_alloc")
# Lumibot's settings that would reach for a broker, a network or a terminal.
_FOREIGN = ("LUMIBOT_", "LUMIWEALTH_", "BACKTESTING_", "BOTSPOT_")


@dataclass(frozen=True)
class Machine:
    """What the cells run on.

    interpreters : by the name of an environment. limit_s : wall time of a cell. ram_bytes : what a cell
        may allocate; what is more than that is refused, or ends the cell. say : takes what is going on.
    """

    folder: Path
    limit_s: float
    ram_bytes: int
    interpreters: Mapping[str, Path] = field(default_factory=dict)
    say: Callable[[str], None] = print


@dataclass(frozen=True)
class Cell:
    """A contestant with one cap on one size with so many calls."""

    name: str
    contestant: Contestant
    cap_bytes: int | None
    walk: Walk

    @property
    def key(self) -> tuple[str, float | None, int, int, int]:
        size = self.walk.size
        return self.name, self._cap_mb, size.assets, size.days, self.walk.calls

    @property
    def _cap_mb(self) -> float | None:
        return None if self.cap_bytes is None else self.cap_bytes / 1e6

    def run(self, machine: Machine) -> Record:
        """Make what it reads, measure it, hold its answers against the right ones."""
        load = os.getloadavg()[0]
        out = self._refused(machine) or self._run(machine)
        size = self.walk.size
        checksum = out.get("checksum", "")
        if out["status"] == "ok" and checksum != (right := Stores(machine.folder, size).truth(self.walk)):
            out |= {
                "status": "wrong",
                "cause": f"the bars give {right}; where all are wrong, the work folder is stale: remove it",
            }
        megabytes = {
            name: out[found] / 1e6 if found in out else None
            for name, found in (("peak_rss_mb", "peak_bytes"), ("anon_mb", "anon_bytes"))
        }
        seconds = ("cpu_s", "wall_s", "startup_s", "startup_cpu_s", "p50_us", "p99_us", "import_s")
        return Record(
            contestant=self.name,
            bars=size.bars,
            cap_mb=self._cap_mb,
            assets=size.assets,
            days=size.days,
            calls=self.walk.calls,
            machine=describe_machine(),
            versions=out.get("versions", ""),
            date=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            load=load,
            runs=1,
            checksum=checksum,
            status=out["status"],
            cause=out.get("cause", "").replace(str(machine.folder), "WORKDIR"),
            **megabytes,
            **{name: out.get(name) for name in seconds},
        )

    def _refused(self, machine: Machine) -> dict[str, Any] | None:
        a_bar = self.contestant.ram_bytes_a_bar
        needed = self.walk.size.bars * a_bar
        if needed <= machine.ram_bytes:
            return None
        return {
            "status": "refused",
            "cause": f"it needs at least {needed / 1e9:.1f} GB of RAM ({a_bar} bytes a bar), "
            f"and may have {machine.ram_bytes / 1e9:.1f} GB here",
        }

    def _run(self, machine: Machine) -> dict[str, Any]:
        stores = Stores(machine.folder, self.walk.size)
        form = self.contestant.form
        try:
            if self.contestant.disk_bytes_a_bar and not stores.path(form).exists():
                parquet = stores.make("parquet", machine.say)
                stores.make(
                    form,
                    machine.say,
                    lambda folder: self._prepare(machine, parquet, folder),
                    self.contestant.disk_bytes_a_bar,
                )
            else:
                stores.make(form, machine.say)
        except _Unprepared as error:
            return error.out
        except NoRoom as error:
            return {"status": "refused", "cause": str(error)}
        stores.warm(form)
        return self._process(machine, stores.path(form), None, machine.limit_s)

    def _prepare(self, machine: Machine, parquet: Path, folder: Path) -> None:
        out = self._process(machine, folder, parquet, None)
        if out["status"] != "ok":
            raise _Unprepared(out)

    def _process(
        self, machine: Machine, folder: Path, parquet: Path | None, limit_s: float | None
    ) -> dict[str, Any]:
        """The worker, in a folder of its own for what Lumibot leaves behind."""
        size = self.walk.size
        job = {
            "code": self.contestant.code,
            "packages": self.contestant.packages,
            "options": dict(self.contestant.options),
            "cap_bytes": self.cap_bytes,
            "size": (size.assets, size.days),
            "calls": self.walk.calls,
            "folder": str(folder),
            "parquet": None if parquet is None else str(parquet),
            "limit_bytes": machine.ram_bytes,
        }
        python = machine.interpreters.get(self.contestant.environment, Path(sys.executable))
        with tempfile.TemporaryDirectory(prefix="lazybars-compare-") as name:
            cwd = Path(name)
            job_path, out_path = cwd / "job.json", cwd / "out.json"
            job_path.write_text(json.dumps(job))
            process = subprocess.Popen(
                [python, "-m", "benchmarks.contest.worker", job_path, out_path],
                cwd=cwd,
                env=_environment(cwd) | dict(self.contestant.variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            try:
                _, said = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                return {"status": "timeout", "cause": f"not done after {limit_s:g} s"}
            finally:
                _end(process)
            if out_path.exists():
                return dict(json.loads(out_path.read_text()))
        last = " / ".join(said.strip().splitlines()[-_STDERR_LINES:])
        dead = process.returncode == -signal.SIGKILL or any(word in said.lower() for word in _NO_MEMORY)
        return {
            "status": "out of memory" if dead else "failed",
            "cause": f"the process ended with code {process.returncode}: {last or 'it said nothing'}",
        }


class _Unprepared(Exception):
    """The contestant could not write its own form of the bars."""

    def __init__(self, out: dict[str, Any]) -> None:
        super().__init__(out["status"])
        self.out = out


def _end(process: subprocess.Popen[str]) -> None:
    """End it and what it started, on every way out: a timeout, Ctrl-C, an error."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _environment(folder: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    path = os.pathsep.join(part for part in (str(_ROOT), ours.get("PYTHONPATH", "")) if part)
    return ours | {
        "PYTHONPATH": path,
        "BACKTESTING_DATA_SOURCE": "none",
        "BACKTESTING_QUIET_LOGS": "true",
        "IS_BACKTESTING": "true",
        "LUMIBOT_CACHE_FOLDER": str(folder),
        "LUMIBOT_DISABLE_DOTENV": "1",
        "LUMIBOT_LOG_LEVEL": "ERROR",
        "MPLCONFIGDIR": str(folder),
    }


def describe_machine() -> str:
    """Cores, processor, memory and system, without a name."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = f" ({models[0]})" if models else ""
    return f"{os.cpu_count()} cores{model}, {memory_bytes / 2**30:.0f} GB, {platform.system()}"
