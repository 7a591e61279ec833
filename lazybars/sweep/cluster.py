"""Trials on a Dask cluster: each still in a process of its own, on the machine of the Dask worker."""

from __future__ import annotations

import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from lazybars.errors import ConfigError, SweepFailed
from lazybars.sweep.job import Job, Reply

__all__ = ["Cluster", "run_on_worker"]

_LOOK_S = 0.05


class Cluster:
    """The cluster of a ``dask.distributed.Client``, which stays the caller's.

    A trial whose Dask worker is lost is started again on another one, by Dask.

    Parameters
    ----------
    client
        Connected, and not an asynchronous one.
    workers
        Trials at a time; None for as many as the cluster has threads.
    """

    def __init__(self, client: Any, workers: int | None) -> None:
        if client.asynchronous:
            raise ConfigError("backend: give a client that is not asynchronous")
        threads = sum(client.nthreads().values())
        if not threads:
            raise ConfigError("backend: the cluster has no workers: start some with `dask worker ADDRESS`")
        self.workers = threads if workers is None else workers
        self._client = client
        self._futures: dict[int, Any] = {}

    def rehearse(self, job: Job) -> Reply:
        future = self._submit(job)
        try:
            return self._reply(future)
        finally:
            future.cancel()

    def start(self, number: int, job: Job) -> None:
        self._futures[number] = self._submit(job)

    def poll(self) -> list[tuple[int, Reply]]:
        ended = [(number, future) for number, future in self._futures.items() if future.done()]
        for number, _ in ended:
            del self._futures[number]
        return [(number, self._reply(future)) for number, future in ended]

    def stop(self) -> None:
        futures, self._futures = list(self._futures.values()), {}
        if futures:
            with suppress(OSError):  # a cluster that is gone has let go of them
                self._client.cancel(futures)

    def _submit(self, job: Job) -> Any:
        key = f"lazybars-trial-{uuid.uuid4().hex}"
        return self._client.submit(run_on_worker, job.to_json(), key=key, pure=False)

    def _reply(self, future: Any) -> Reply:
        from distributed import CancelledError

        try:
            error = future.exception()
            if error is None:
                reply: Reply = future.result()
                return reply
        except (CancelledError, OSError) as gone:  # OSError: the connection
            said = " ".join(str(gone).split())
            raise SweepFailed(f"the cluster is gone, or let go of a trial: {said}") from gone
        # That the trial failed is in its reply: this is Dask's own failure, or a worker without lazybars.
        status = "killed" if type(error).__name__ == "KilledWorker" else "error"
        said = " ".join(str(error).split())
        return {"status": status, "error": f"on the cluster: {type(error).__name__}: {said}"}


def run_on_worker(told: dict[str, Any]) -> Reply:
    """A task of Dask's: run a job in a process of its own, in the folder of the Dask worker.

    Ends the process where nobody waits for it any more: the sweep was closed, or its client is gone.
    """
    import distributed

    from lazybars.sweep.process import TrialProcess  # POSIX only

    worker = distributed.get_worker()
    key = worker.get_current_task()
    with tempfile.TemporaryDirectory(prefix="lazybars-trial-", dir=worker.local_directory) as folder:
        trial = TrialProcess(Job(**told), Path(folder))
        try:
            while (reply := trial.poll()) is None:
                task = worker.state.tasks.get(key)
                if task is None or task.state == "cancelled":
                    return {"status": "killed", "error": "nobody waits for it any more"}
                time.sleep(_LOOK_S)
            return reply
        finally:
            trial.stop()
