"""A sweep: trials are started, watched and collected while the caller iterates."""

from __future__ import annotations

import os
import time
import weakref
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lazybars.sweep.job import Job, TrialResult
from lazybars.sweep.trials import Parameters

if TYPE_CHECKING:
    import pandas as pd

    from lazybars.sweep.pool import Backend
    from lazybars.sweep.progress import Bar
    from lazybars.sweep.results import Results

__all__ = ["Sweep"]

_LOOK_S = 0.02
# An iterator that gives nothing new so many times over has nothing new to give.
_MOST_REPEATS = 10_000
# Results from the file that are handed out before more trials are looked at.
_MOST_READY = 1000


class Sweep:
    """Runs the trials of a sweep; made by :func:`lazybars.sweep`, where its parameters are told.

    An iterator over `TrialResult`, as trials end, and a context manager. Nothing runs on while the
    caller does not ask: a slow loop holds up the start of further trials, and `close`, or the end of
    the ``with`` block, ends those that run. Owner: one thread.

    workers : trials at a time. share_bytes : the cap of each. total : trials in all, where known.
    results : what came of the trials so far, in the order in which they ended.
    """

    def __init__(
        self,
        job: Job,
        trials: tuple[Iterator[Parameters], int | None],
        backend: Backend,
        results: Results | None,
        *,
        progress: bool,
    ) -> None:
        self.workers = backend.workers
        self.share_bytes = job.memory_bytes
        self.results: list[TrialResult] = []
        self._trials, self.total = trials
        self._job = job
        self._backend = backend
        self._file = results
        self._jobs: dict[int, Job] = {}
        self._ready: deque[TrialResult] = deque()
        self._seen: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._fault: Exception | None = None
        self._bar: Bar | None = None
        if progress:
            from lazybars.sweep.progress import Bar  # brings rich in

            self._bar = Bar(self.total)
        self._end = weakref.finalize(self, _end, backend, results, self._bar)

    def __iter__(self) -> Sweep:
        return self

    def __next__(self) -> TrialResult:
        try:
            while True:
                self._fill()
                if self._ready:
                    return self._ready.popleft()
                if not self._jobs:
                    break
                self._collect()
                if self._bar is not None:
                    self._bar.show(self._counts, len(self._jobs))
                if not self._ready:
                    time.sleep(_LOOK_S)
        except BaseException:
            self.close()
            raise
        self.close()
        fault, self._fault = self._fault, None
        raise StopIteration if fault is None else fault

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self) -> pd.DataFrame:
        """Run what is left, and give :meth:`frame`."""
        for _ in self:
            pass
        return self.frame()

    def frame(self) -> pd.DataFrame:
        """What came of the trials so far: a row a trial, in their order; parameters, then figures."""
        from lazybars.sweep.frame import frame_of

        return frame_of(self.results)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write what :meth:`frame` gives as one HTML page with charts, and give its path.

        Raises
        ------
        ConfigError
            The file cannot be written there.
        """
        from lazybars.sweep.report import write_report

        return write_report(self.results, path)

    def close(self) -> None:
        """End the trials that run; what is done stays. Repeatable."""
        self._trials = iter(())
        self._jobs.clear()
        self._ready.clear()
        self._end()

    # ---- trials ---------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start trials while there is room; those that are done already become ready."""
        repeats = 0
        while len(self._jobs) < self.workers and len(self._ready) < _MOST_READY and repeats < _MOST_REPEATS:
            try:
                parameters = next(self._trials, None)
            except Exception as error:
                # What runs is not lost for it: it is raised when all results have been handed out.
                self._fault, parameters = error, None
                self._trials = iter(())
            if parameters is None:
                return
            job = self._job.trial(parameters)
            if job.identity in self._seen:
                repeats += 1
                continue
            number = len(self._seen)
            self._seen.add(job.identity)
            known = self._file.done.get(job.identity) if self._file is not None else None
            if known is not None:
                self._note(TrialResult.of(number, job.what, known))
            else:
                self._backend.start(number, job)
                self._jobs[number] = job
        if repeats == _MOST_REPEATS:
            self._trials = iter(())

    def _collect(self) -> None:
        for number, reply in self._backend.poll():
            job = self._jobs.pop(number)
            result = TrialResult.of(number, job.what, reply)
            self._note(result)
            if self._file is not None:
                self._file.add(job, result)

    def _note(self, result: TrialResult) -> None:
        self.results.append(result)
        self._ready.append(result)
        self._counts[result.status] += 1


def _end(backend: Backend, results: Results | None, bar: Bar | None) -> None:
    try:
        if bar is not None:
            bar.close()
    finally:
        try:
            backend.stop()
        finally:
            if results is not None:
                results.close()
