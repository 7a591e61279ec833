"""Both sides of a comparison, one after the other, each in a fresh process."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lazybars.comparing.job import Side
from lazybars.comparing.outcome import Outcome
from lazybars.sweep.job import INSIDE
from lazybars.sweep.process import quiet_environment, run_here, starting

__all__ = ["Runner", "scratch"]

_WORKER = "lazybars.comparing.worker"


@contextmanager
def scratch() -> Iterator[Runner]:
    """A runner with a folder of its own; at the end nothing of it is left, not even of a killed run."""
    with starting():
        folder = tempfile.TemporaryDirectory(prefix="lazybars-compare-", ignore_cleanup_errors=True)
    with folder as name:
        yield Runner(Path(name))


class Runner:
    """Runs sides. Owner: the thread that calls it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, side: Side) -> Outcome:
        """Run a side and wait for it; a KeyboardInterrupt ends its process, and all that it started."""
        with starting():
            home = Path(tempfile.mkdtemp(dir=self._folder))
        reply = run_here(side, home, worker=_WORKER, environment=_environment(side, home))
        return Outcome.of(reply)


def _environment(side: Side, home: Path) -> dict[str, str]:
    """The caller's, for it is the caller's file; only bars from a store need nothing of Lumibot's.

    The same on both sides but for LAZYBARS, and without what would differ from one run to the next.
    """
    ours = quiet_environment(home) if side.from_store else dict(os.environ)
    ours.pop("LAZYBARS", None)
    ours.setdefault("PYTHONHASHSEED", "0")
    # The same lazybars, wherever this one was imported from, in processes that the file starts.
    here = str(Path(__file__).resolve().parents[2])
    if here in sys.path:
        ours["PYTHONPATH"] = os.pathsep.join(part for part in (here, ours.get("PYTHONPATH", "")) if part)
    return ours | {
        INSIDE: "1",
        "IS_BACKTESTING": "true",
        "LAZYBARS": "on" if side.lazy else "off",
        "TMPDIR": str(home),
    }
