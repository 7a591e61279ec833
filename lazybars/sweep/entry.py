"""`lazybars.sweep`: from what a caller gives to a sweep whose first trial can start."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lazybars import errors
from lazybars.budget import split
from lazybars.errors import CapTooSmall, ConfigError, SweepFailed
from lazybars.model import asset_key, located, size_bytes
from lazybars.sweep.job import INSIDE, Job
from lazybars.sweep.named import reference
from lazybars.sweep.session import Sweep
from lazybars.sweep.spans import Moment, span_of
from lazybars.sweep.trials import plain, trials_of

if TYPE_CHECKING:
    from lazybars.sweep.pool import Backend

__all__ = ["job_of", "rehearsed", "sweep"]

_REHEARSAL_S = 60.0


def sweep(
    strategy: Any,
    start: Moment,
    end: Moment,
    *,
    store: Any,
    trials: Any,
    memory: str | int = "512MB",
    workers: int | None = None,
    backend: Any = "processes",
    results: str | os.PathLike[str] | None = None,
    retry: bool = False,
    assets: Sequence[Any] | None = None,
    trial_timeout_s: float | None = None,
    slack: str | int | None = "256MB",
    backtest: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Sweep:
    """Run a strategy once for each set of parameters, each in a fresh process with its share of memory.

    The strategy is loaded and the run laid out once, in a process of its own, before this returns. A
    trial that raises, hangs, is killed or runs out of memory is a result that says so; the others go on.

    Parameters
    ----------
    strategy
        A Lumibot strategy class that can be imported, or "module:Class", "strategy.py" or
        "strategy.py:Class". Only its name travels.
    start, end
        Of each backtest: datetimes, dates or ISO 8601. See also `lazybars.walk_forward`.
    store
        Path or URL of the store; each trial opens it read-only.
    trials
        A grid, ``{"fast": [5, 10], "slow": [50, 100]}``, or an iterable of dicts, which may be endless.
        Each is a trial's ``parameters``; what was tried in this sweep is not tried again. Values are
        what JSON holds: tuples arrive as lists.
    memory
        For all trials together; each gets ``memory // workers`` as the cap of its `LazyBars`.
    workers
        Trials at a time. None: one a CPU (of a cluster: one a thread), or as many as the memory holds.
    backend
        "processes", or a ``dask.distributed.Client``: then every worker of the cluster must find store
        and strategy under the same path, and ``memory`` is that of the cluster.
    results
        A file of JSON lines, one a trial, synced as each ends. A sweep that is pointed at it again runs
        what is missing: other parameters, strategy, span, store, assets or ``backtest``. The strategy
        goes by its name: give another file when you change its code.
    retry
        Run again what is in ``results`` with another status than "ok".
    assets
        The universe, when it is not the whole store; see `LazyBars`.
    trial_timeout_s
        Wall seconds that a trial's process may take, its start included.
    slack
        What the process of a trial may hold beyond its share, for Lumibot's records and the strategy's
        own data, after its imports; what it asks for beyond that is refused (Linux). None: no limit.
    backtest
        Further arguments of ``Strategy.backtest``, as ``{"budget": 50_000}``. By default there is no
        benchmark, the risk-free rate is 0, and nothing is shown or saved.
    progress
        A bar on standard error. None: where that is a terminal.

    Raises
    ------
    CapTooSmall
        A trial's share cannot hold its work, with the arithmetic and a memory that can.
    ConfigError
        An argument cannot be meant, or ``results`` cannot be used.
    SweepFailed
        The strategy's module raises, or its process ends without a word.
    LazyBarsError
        The store cannot be opened, and why.

    Examples
    --------
    >>> with sweep("trend.py", "2023-01-03", "2023-12-29", store="bars.duckdb",
    ...            trials={"fast": [5, 10], "slow": [50, 100]}, results="trend.jsonl") as trend:
    ...     for result in trend:
    ...         print(result.parameters, result.status, result.sharpe)
    ...     frame = trend.frame()
    """
    if os.name != "posix":
        raise ConfigError("a sweep needs Linux or macOS (on Windows: WSL)")
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
    wanted = trials_of(trials)
    memory_bytes = size_bytes(memory)
    shown = sys.stderr.isatty() if progress is None else progress
    with ExitStack() as undo:
        where = _backend(backend, _workers(workers))
        undo.callback(where.stop)
        held = None
        if results is not None:
            from lazybars.sweep.results import Results  # POSIX only

            held = Results(results, retry=retry)
            undo.callback(held.close)
        job = rehearsed(job, where, memory_bytes, fixed=workers is not None)
        made = Sweep(job, wanted, where, held, progress=shown)
        undo.pop_all()
    return made


def job_of(
    strategy: Any,
    start: Moment,
    end: Moment,
    *,
    store: Any,
    assets: Sequence[Any] | None,
    slack: str | int | None,
    trial_timeout_s: float | None,
    backtest: Mapping[str, Any] | None,
) -> Job:
    """What all trials have in common; its memory is still to be set. See :func:`sweep`."""
    if INSIDE in os.environ:
        raise ConfigError(
            "a sweep is started while a trial loads its strategy: put that part of the strategy's file "
            'under if __name__ == "__main__":'
        )
    path = store if isinstance(store, (str, os.PathLike)) else getattr(store, "path", None)
    if path is None:
        raise ConfigError(f"store={store!r}: give the path of a store; each trial opens it for itself")
    if trial_timeout_s is not None and not 0 < trial_timeout_s < 1e9:
        raise ConfigError(f"trial_timeout_s={trial_timeout_s!r}: give seconds, or None for no limit")
    span = span_of(start, end)
    named = [assets] if isinstance(assets, str) else assets
    return Job(
        strategy=reference(strategy),
        start=span.start.isoformat(),
        end=span.end.isoformat(),
        store=located(path),
        assets=None if named is None else [_asset(one) for one in named],
        backtest=plain(dict(backtest or {}), "backtest"),
        memory_bytes=0,
        slack_bytes=None if slack is None else size_bytes(slack, name="slack"),
        timeout_s=trial_timeout_s,
    )


def rehearsed(job: Job, backend: Backend, memory_bytes: int, *, fixed: bool) -> Job:
    """The job with its share of memory, once the strategy was loaded and the run laid out with it.

    Unless the number of workers is ``fixed``, it is lowered until the shares are large enough.
    Raises what :func:`sweep` raises.
    """
    # A limit may be there to cut slow trials short; what is waited for here is the start of one.
    limit_s = None if job.timeout_s is None else max(job.timeout_s, _REHEARSAL_S)
    while True:
        share = memory_bytes // backend.workers
        try:
            split(share)
            reply = backend.rehearse(replace(job, memory_bytes=share, timeout_s=limit_s))
            if reply["status"] == "ok":
                return replace(job, memory_bytes=share, strategy=reply["strategy"])
            raise _failure(job, reply)
        except CapTooSmall as error:
            fewer = min(memory_bytes // error.needed_bytes, backend.workers - 1)
            if fixed or fewer < 1:
                raise _too_small(error, memory_bytes, backend.workers) from error
            backend.workers = fewer


def _too_small(error: CapTooSmall, memory_bytes: int, workers: int) -> CapTooSmall:
    if workers == 1:
        return error
    needed = error.needed_bytes * workers
    fewer = memory_bytes // error.needed_bytes
    cure = f", or workers={fewer}" if fewer else ""
    return CapTooSmall(
        f"memory={memory_bytes / 1e6:.1f} MB // {workers} workers is {memory_bytes // workers / 1e6:.1f} MB "
        f"a trial, and for one trial: {error} For {workers} workers give memory={needed / 1e6:.1f} MB "
        f"({needed} bytes) at least{cure}.",
        needed,
    )


def _failure(job: Job, reply: Mapping[str, Any]) -> Exception:
    """The error of a rehearsal, as it was raised in its process."""
    kind = reply.get("kind")
    if kind == "CapTooSmall":
        return CapTooSmall(reply["said"], reply["needed_bytes"])
    if kind in errors.__all__:
        found: Exception = getattr(errors, kind)(reply["said"])
        return found
    return SweepFailed(f"{job.strategy} cannot be rehearsed: {reply['error']}")


def _workers(workers: int | None) -> int | None:
    if workers is None:
        return None
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers={workers!r}: give how many trials may run at a time")
    return workers


def _backend(backend: Any, workers: int | None) -> Backend:
    if backend == "processes":
        from lazybars.sweep.pool import Pool  # POSIX only

        return Pool(workers or _cpus())
    if hasattr(backend, "submit") and hasattr(backend, "nthreads"):
        from lazybars.sweep.cluster import Cluster

        return Cluster(backend, workers)
    raise ConfigError(f'backend={backend!r}: give "processes" or a dask.distributed.Client')


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _asset(one: Any) -> Any:
    """An asset as JSON: a symbol as it is, another as its fields, an asset with its quote as two of them."""
    if isinstance(one, tuple):
        return [_asset(part) for part in one]
    return one if isinstance(one, str) else asdict(asset_key(one))
