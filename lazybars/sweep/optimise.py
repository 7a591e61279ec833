"""An objective for Optuna: one trial of a study is one backtest in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lazybars.errors import ConfigError, SweepFailed
from lazybars.model import size_bytes
from lazybars.sweep.entry import job_of, rehearsed
from lazybars.sweep.job import NUMBERS, TrialResult
from lazybars.sweep.spans import Moment
from lazybars.sweep.trials import plain

__all__ = ["objective"]


def objective(
    strategy: Any,
    start: Moment,
    end: Moment,
    *,
    store: Any,
    space: Callable[[Any], Mapping[str, Any]],
    value: str | Callable[[TrialResult], float] = "sharpe",
    memory: str | int = "512MB",
    workers: int = 1,
    assets: Sequence[Any] | None = None,
    trial_timeout_s: float | None = None,
    slack: str | int | None = "256MB",
    backtest: Mapping[str, Any] | None = None,
) -> Callable[[Any], float]:
    """An objective for ``optuna.Study.optimize``; see :func:`lazybars.sweep` for what is not told here.

    The figures of a trial become its user attributes. A trial that does not end well raises
    SweepFailed: ``study.optimize(..., catch=SweepFailed)`` goes on with the next.

    Parameters
    ----------
    space
        Gives the parameters of an Optuna trial: ``lambda trial: {"fast": trial.suggest_int("fast", 5, 50)}``.
    value
        What is optimised: a figure of `TrialResult`, or a function of one.
    workers
        The ``n_jobs`` of the study: each trial gets ``memory // workers``. Any thread may call the
        objective.

    Raises
    ------
    CapTooSmall, ConfigError, SweepFailed, LazyBarsError
        As :func:`lazybars.sweep` does, before the first trial.
    """
    if os.name != "posix":
        raise ConfigError("a sweep needs Linux or macOS (on Windows: WSL)")
    if isinstance(value, str) and value not in NUMBERS:
        raise ConfigError(f"value={value!r}: choose one of {', '.join(NUMBERS)}")
    from lazybars.sweep.folders import Folders
    from lazybars.sweep.pool import Pool
    from lazybars.sweep.process import run_here

    job = job_of(
        strategy,
        start,
        end,
        store=store,
        assets=assets,
        slack=slack,
        trial_timeout_s=trial_timeout_s,
        backtest=backtest,
    )
    pool = Pool(workers)
    try:
        job = rehearsed(job, pool, size_bytes(memory), fixed=True)
    finally:
        pool.stop()

    def run(trial: Any) -> float:
        one = job.trial(plain(space(trial), "parameters"))
        with Folders() as folders:
            result = TrialResult.of(trial.number, one.what, run_here(one, folders.new()))
        for name, figure in result.figures.items():
            trial.set_user_attr(name, figure)
        if not result.ok:
            raise SweepFailed(f"trial {trial.number} ended with {result.status}: {result.error}")
        found = getattr(result, value) if isinstance(value, str) else value(result)
        if found is None:
            raise SweepFailed(f"trial {trial.number} has no {value}")
        return float(found)

    return run
