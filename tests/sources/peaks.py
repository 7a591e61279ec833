"""Peaks of fresh processes: a program over a source, bare (no cap) or wrapped, and what it prints.

A peak is the process's VmHWM at its end less its RSS after the imports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lazybars

__all__ = ["measured"]

_START = """
import json, logging, sys
from lazybars import LazyBars
from lazybars.stats import peak_rss_bytes, rss_bytes
logging.disable(logging.CRITICAL)
folder, memory, *given = sys.argv[1:]
def begin():
    open("/proc/self/clear_refs", "w").write("5")  # VmHWM from here on: importing Lumibot has one of its own
    global baseline
    baseline = rss_bytes()
def wrap(kind):
    return LazyBars(kind, memory=int(memory), store=folder + "/bars.duckdb") if int(memory) else kind
def end(source, **found):
    found["peak"] = peak_rss_bytes() - baseline
    if int(memory):
        stats, plan = source.lazy.stats(), source.lazy.plan()
        found |= {"booked": stats.peak_bytes, "evictions": stats.evictions, "eager": stats.eager,
                  "rows": plan.rows, "partition": plan.partition, "hits": stats.hit_rate}
    source.shutdown()
    print(json.dumps(found))
"""


def measured(program: str, folder: Path, memory: int, *given: object) -> dict[str, Any]:
    """What a program prints at its end; ``memory`` 0 for the bare source."""
    folder.mkdir()
    roots = [str(Path(lazybars.__file__).parents[1]), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", _START + program, str(folder), str(memory), *map(str, given)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots), "BACKTESTING_DATA_SOURCE": "none"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
