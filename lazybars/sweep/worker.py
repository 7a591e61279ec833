"""The process of one trial, or of a sweep's rehearsal: reads a job, writes a reply, ends."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path

from lazybars.errors import LazyBarsError
from lazybars.stats import peak_rss_bytes
from lazybars.sweep.job import Job, Reply
from lazybars.sweep.limits import die_with_parent, end_after, held_to

__all__ = ["JOB", "REPLY", "main"]

JOB, REPLY = "job.json", "reply.json"
_TRACEBACK_CHARS = 4000
_ERROR_CHARS = 2000


def main(folder: str) -> None:
    """Do the job of a folder and end this process; standard input is the parent's sign of life."""
    die_with_parent(sys.stdin.fileno())
    home = Path(folder)
    told = json.loads((home / JOB).read_text("utf-8"))
    job = Job(**told["job"])
    if job.timeout_s is not None:
        end_after(max(job.timeout_s - (time.monotonic() - told["started"]), 0.001))
    logging.disable(logging.CRITICAL)
    # What a strategy prints is nobody's; what the interpreter or a library cries out goes to stderr.
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # as long as the process lives
    try:
        reply = _done(job, home)
    except BaseException as error:
        reply = _raised(error, job)
    reply["wall_s"] = time.monotonic() - told["started"]
    reply.setdefault("peak_rss_bytes", peak_rss_bytes() or None)
    sys.stderr = sys.__stderr__  # a disk that is full is told by the parent
    beside = home / f"{REPLY}.part"
    beside.write_text(json.dumps(reply), "utf-8")
    beside.replace(home / REPLY)
    # Not by way of the interpreter's end: a thread of the strategy's could hold that up.
    os._exit(0)


def _done(job: Job, home: Path) -> Reply:
    from lazybars.sweep.backtest import Backtest  # imports Lumibot

    backtest = Backtest.of(job)
    if job.parameters is None:
        return backtest.rehearse()
    with held_to(job.most_bytes):
        return backtest.run(home)


def _raised(error: BaseException, job: Job) -> Reply:
    said = " ".join(_said(error).split())[:_ERROR_CHARS]
    status = "error"
    if _is_memory(error):
        status = "memory"
        if job.most_bytes is not None:
            said += f": beyond its imports it may take {job.most_bytes / 1e6:.0f} MB, its share and slack"
    told = traceback.format_exception(error)
    reply: Reply = {"status": status, "error": said, "traceback": "".join(told)[-_TRACEBACK_CHARS:]}
    if isinstance(error, LazyBarsError):
        reply["kind"] = type(error).__name__
        reply["said"] = str(error)
        reply["needed_bytes"] = getattr(error, "needed_bytes", None)
    return reply


def _said(error: BaseException) -> str:
    """The exception in a line, with the place that raised it."""
    said = "".join(traceback.format_exception_only(error))
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{said} ({os.path.basename(last[0].filename)}:{last[0].lineno})" if last else said


def _is_memory(error: BaseException | None) -> bool:
    """Whether the process was refused memory: by the system, or DuckDB by way of it."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryException":
            return True
        error = error.__cause__ or error.__context__
    return False
