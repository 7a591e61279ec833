"""What a trial's process is held to: its parent's life, its time, its memory. Called inside of it."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["die_with_parent", "end_after", "held_to"]


def die_with_parent(pipe: int) -> None:
    """Have the system kill this process and its children when the pipe's other end is closed.

    No thread waits for that, and no code of a strategy can be in its way.

    Parameters
    ----------
    pipe
        The end to read from. Whoever holds the other one lets go of it when it ends, however it ends.
    """
    if sys.platform == "linux":
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    else:
        signal.signal(signal.SIGIO, lambda *_: os._exit(1))
    fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:  # closed before the system was asked to watch
        os._exit(1)


def end_after(wall_s: float) -> None:
    """Have the system end this process, for where its parent looks away."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


@contextmanager
def held_to(extra_bytes: int | None) -> Iterator[None]:
    """Inside, the process's data may grow by so many bytes; beyond that an allocation fails.

    Linux only: elsewhere, and for None, nothing is held.
    """
    if extra_bytes is None or sys.platform != "linux":
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    most = _data_bytes() + extra_bytes
    if before[1] != resource.RLIM_INFINITY:
        most = min(most, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (most, before[1]))
    try:
        yield
    finally:
        # There must be room to say what happened.
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    """What RLIMIT_DATA counts: private memory that may be written to, touched or not."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
