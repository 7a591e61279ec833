"""A progress bar for a sweep, redrawn by whoever polls: it needs no thread."""

from __future__ import annotations

import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["Bar"]

_REDRAW_S = 0.2


class Bar:
    """On standard error, from its making until `close`.

    Parameters
    ----------
    total
        How many trials there are; None where that is not known.
    """

    def __init__(self, total: int | None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(
            *columns, console=Console(stderr=True), auto_refresh=False, transient=True, redirect_stdout=False
        )
        self._task = self._progress.add_task("sweeping", total=total)
        self._drawn = 0.0
        self._progress.start()

    def show(self, counts: Counter[str], running: int) -> None:
        """Redraw, unless that was done a moment ago.

        Parameters
        ----------
        counts
            Trials by status.
        """
        now = time.monotonic()
        if now - self._drawn < _REDRAW_S:
            return
        self._drawn = now
        failed = counts.total() - counts["ok"]
        said = f"{running} running" + (f", [red]{failed} not ok[/red]" if failed else "")
        self._progress.update(self._task, completed=counts.total(), description=said)
        self._progress.refresh()

    def close(self) -> None:
        """Take the bar away. Repeatable."""
        self._progress.stop()
