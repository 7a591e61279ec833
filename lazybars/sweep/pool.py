"""Trials on this machine: a few processes at a time, each for one trial, started anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from lazybars.sweep.folders import Folders
from lazybars.sweep.job import Job, Reply
from lazybars.sweep.process import TrialProcess, run_here

__all__ = ["Backend", "Pool"]


class Backend(Protocol):
    """Where trials run. Owner: the thread that iterates over the sweep."""

    workers: int

    def rehearse(self, job: Job) -> Reply:
        """Do the job and wait for it."""

    def start(self, number: int, job: Job) -> None:
        """Start a trial. The caller sees to it that no more than ``workers`` run."""

    def poll(self) -> list[tuple[int, Reply]]:
        """The trials that have ended since the last call, by number."""

    def stop(self) -> None:
        """End all trials and remove what they left. Repeatable."""


class Pool:
    """Processes of this machine.

    workers : how many trials run at a time.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pid = os.getpid()
        self._trials: dict[int, TrialProcess] = {}
        self._folders: Folders | None = None

    def rehearse(self, job: Job) -> Reply:
        return run_here(job, self._folder())

    def start(self, number: int, job: Job) -> None:
        self._trials[number] = TrialProcess(job, self._folder())

    def poll(self) -> list[tuple[int, Reply]]:
        ended = []
        for number, trial in list(self._trials.items()):
            reply = trial.poll()
            if reply is not None:
                del self._trials[number]
                ended.append((number, reply))
        return ended

    def stop(self) -> None:
        if os.getpid() != self._pid:  # a fork has a copy of this, and no say in it
            return
        for trial in self._trials.values():
            trial.kill()
        while self._trials:
            self._trials.popitem()[1].stop()
        if self._folders is not None:
            self._folders.close()
            self._folders = None

    def _folder(self) -> Path:
        if self._folders is None:
            self._folders = Folders()
        return self._folders.new()
