"""The process of one side: reads a job, runs the file, writes what came of it, ends."""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from lazybars.comparing.job import Side
from lazybars.comparing.watching import Watch
from lazybars.errors import ConfigError, LazyBarsError
from lazybars.sweep.job import Reply
from lazybars.sweep.limits import die_with_parent
from lazybars.sweep.worker import JOB, REPLY

__all__ = ["main"]

_TRACEBACK_CHARS = 6000


def main(folder: str) -> None:
    """Do the job of a folder and end this process; standard input is the parent's sign of life."""
    life = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # a file that asks for input gets none
    die_with_parent(life)
    home = Path(folder)
    told = json.loads((home / JOB).read_text("utf-8"))["job"]
    side = Side(**told)
    sys.stdin = open(os.devnull)  # noqa: SIM115  # as long as the process lives
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # what a file prints twice is of no use
    scratch = home / "scratch"
    scratch.mkdir()
    watch = Watch(
        memory_bytes=side.memory_bytes if side.lazy else None,
        store=side.store,
        source=side.source,
        scratch=scratch,
    )
    try:
        _run(side, watch)
        reply = _reply(side, watch)
    except BaseException as error:
        reply = _raised(error, side)
    beside = home / f"{REPLY}.part"
    beside.write_text(json.dumps(reply), "utf-8")
    beside.replace(home / REPLY)
    # Not by way of the interpreter's end: a thread of the file's could hold that up.
    os._exit(0)


def _run(side: Side, watch: Watch) -> None:
    if side.start is not None:
        from lazybars.comparing.stored import backtest

        watch.install()
        backtest(side)
        return
    sys.argv = [side.strategy, *side.arguments]
    sys.path.insert(0, os.path.dirname(side.strategy))
    watch.install()
    try:
        runpy.run_path(side.strategy, run_name="__main__")
    except SystemExit as ended:
        if ended.code not in (None, 0):
            raise


def _reply(side: Side, watch: Watch) -> Reply:
    if watch.crashes:
        raise watch.crashes[0]
    if not watch.backtests:
        raise ConfigError(
            "it ran no backtest: a file that only has a strategy needs --start, --end and --store"
            if side.start is None
            else "Lumibot ran no backtest of it: is it IS_BACKTESTABLE?"
        )
    if side.lazy and not any(one.wrapped for one in watch.backtests):
        used = ", ".join(dict.fromkeys(one.source for one in watch.backtests))
        raise ConfigError(f"nothing was wrapped: --source is {side.source}, and the file uses {used}")
    return {"status": "ok", "backtests": [asdict(one) for one in watch.backtests], **watch.figures}


def _raised(error: BaseException, side: Side) -> Reply:
    if isinstance(error, SystemExit):
        said = f"it ended itself with {error.code!r}"
    elif isinstance(error, LazyBarsError):
        said = " ".join(str(error).split())
    else:
        said = " ".join("".join(traceback.format_exception_only(error)).split())
    path = side.strategy if side.start is None else side.strategy.rpartition(":")[0] or side.strategy
    frames = traceback.extract_tb(error.__traceback__)
    own = next((at for at, frame in enumerate(frames) if frame.filename == path), None)
    told = [] if own is None else traceback.format_list(frames[own:])
    return {"status": "error", "error": said, "traceback": "".join(told)[-_TRACEBACK_CHARS:]}
