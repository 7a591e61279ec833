"""One cell: ``python -m benchmarks.contest.worker JOB.json OUT.json``, in a process of its own.

Standard library and NumPy only, so that what is measured is the contestant, in its own environment.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .clock import Digests, Size, Walk

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_OUT_OF_MEMORY = {"MemoryError", "ArrowMemoryError", "OutOfMemoryException"}


def main(job_path: str, out_path: str) -> int:
    """Do what the job says; what came of it is in the other file, errors of the contestant included."""
    job = json.loads(Path(job_path).read_text())
    if job["limit_bytes"]:
        resource.setrlimit(resource.RLIMIT_DATA, (job["limit_bytes"], job["limit_bytes"]))
    # Whoever started this may be killed before it can end this process.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # If the machine runs out of memory all the same, this process is the one to go.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    out = _imported(job)
    Path(out_path).write_text(json.dumps(out))
    return 0


def _imported(job: dict[str, Any]) -> dict[str, Any]:
    module, _, name = job["code"].partition(":")
    began = time.perf_counter()
    try:
        kind = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        return {"status": "not installed", "cause": str(error)}
    except (ImportError, MemoryError) as error:
        # A library that cannot be mapped is an ImportError.
        memory = isinstance(error, MemoryError) or "allocate memory" in str(error)
        return {"status": "out of memory" if memory else "failed", "cause": f"importing {module}: {error}"}
    import_s = time.perf_counter() - began
    size = Size(*job["size"])
    try:
        if job["parquet"] is not None:
            kind.prepare(Path(job["parquet"]), Path(job["folder"]), size)
            return {"status": "ok"}
        cap = {} if job["cap_bytes"] is None else {"cap_bytes": job["cap_bytes"]}
        done = measure(
            lambda: kind(Path(job["folder"]), size, **({"cap_bytes": None} | cap), **job["options"]),
            Walk(size, job["calls"]),
        )
    except Exception as error:
        traceback.print_exc()
        return {"status": _status(error), "cause": f"{type(error).__name__}: {error}"}
    return {"status": "ok", "import_s": import_s, "versions": _versions(job["packages"]), **done}


def measure(make: Callable[[], Any], walk: Walk) -> dict[str, Any]:
    """Start a contestant, walk, end it. Seconds, CPU seconds (user and system, all threads), bytes.

    The harness is in these figures as well, the same for all: about 4 us of a call, and no memory
    that is not there at the baseline.
    """
    digests = Digests(walk.size.assets)
    call_ns = np.empty(walk.calls, dtype=np.int64)
    call_ns.fill(0)
    assets = range(walk.size.assets)
    at = 0
    baseline = _status_bytes("VmRSS"), _status_bytes("RssAnon")
    wall, cpu = time.perf_counter(), time.process_time()
    contestant = make()
    startup_s, startup_cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    for tick in walk.ticks:
        # What is done for all assets of a tick is part of its first call.
        began = time.perf_counter_ns()
        contestant.move(tick)
        for asset in assets:
            closes = contestant.ask(asset, tick)
            call_ns[at] = time.perf_counter_ns() - began
            digests.add(asset, closes)
            at += 1
            began = time.perf_counter_ns()
    anon_bytes = _status_bytes("RssAnon") - baseline[1]
    contestant.close()
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    # Before the quantiles, which work on a copy of all times.
    peak_bytes = _status_bytes("VmHWM") - baseline[0]
    p50_us, p99_us = (np.quantile(call_ns, (0.5, 0.99)) / 1000).tolist()
    return {
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "startup_s": startup_s,
        "startup_cpu_s": startup_cpu_s,
        "p50_us": p50_us,
        "p99_us": p99_us,
        "peak_bytes": peak_bytes,
        "anon_bytes": anon_bytes,
        "checksum": digests.total(),
    }


def _status(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        names = {kind.__name__ for kind in type(cause).__mro__}
        if names & _OUT_OF_MEMORY:
            return "out of memory"
        if "CapTooSmall" in names:
            return "cap too small"
        cause = cause.__cause__ or cause.__context__
    return "failed"


def _versions(packages: list[str]) -> str:
    found = [f"python {sys.version.split()[0]}"]
    for name in (*packages, "numpy"):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


def _status_bytes(field: str) -> int:
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}: RAM is measured on Linux alone")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
