"""A sweep on a Dask cluster that is started as its users start one, and loses a worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import settled

import lazybars
from lazybars import SweepFailed
from sweep.market import Market, environment, lines

distributed = pytest.importorskip("distributed")

SCHEDULER = ["scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard"]
WORKER = ["worker", "--host=127.0.0.1", "--nthreads=1", "--no-dashboard"]


# A sweep on a cluster as a user's script has it.
SCRIPT = """
import json, sys
import distributed, lazybars

told = json.loads(sys.argv[1])
client = distributed.Client(scheduler_file=told.pop("scheduler"))
what = [told.pop(name) for name in ("strategy", "start", "end")]
with lazybars.sweep(*what, backend=client, **told) as sweep:
    for result in sweep:
        print(result.status, flush=True)
"""


class Cluster:
    """A scheduler and two workers with their nannies, all on the loopback interface."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.folder = folder
        self.processes = [self.start(*SCHEDULER, f"--scheduler-file={self.file}")]
        assert settled(lambda: self.file.exists() and _is_json(self.file), 60)
        self.processes += [self.worker(number) for number in range(2)]
        self.client = distributed.Client(scheduler_file=str(self.file))
        self.client.wait_for_workers(2, timeout=60)

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *argv],
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def worker(self, number: int) -> subprocess.Popen[bytes]:
        where = self.folder / f"worker{number}"
        return self.start(*WORKER, f"--scheduler-file={self.file}", f"--local-directory={where}")

    def trials(self) -> list[psutil.Process]:
        """The trials' processes."""
        found = []
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):  # they come and go
                for one in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        if "lazybars.sweep.worker" in " ".join(one.cmdline()):
                            found.append(one)
        return found

    def close(self) -> None:
        self.client.close()
        for process in self.processes:
            if process.poll() is None:
                for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                    one.kill()
            process.wait()


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except ValueError:
        return False


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


def told(results: list[Any]) -> list[tuple[Any, ...]]:
    names = (
        "parameters",
        "status",
        "error",
        "final_value",
        "total_return",
        "sharpe",
        "trades",
        "trades_hash",
    )
    ordered = sorted(results, key=lambda one: one.number)
    return [tuple(getattr(one, name) for name in names) for one in ordered]


def test_trials_end_as_in_a_serial_run_though_a_worker_is_killed(market: Market, cluster: Cluster) -> None:
    trials = [{"fast": fast, "slow": 20} for fast in (2, 3, 5)] + [{"fast": 2, "slow": 20, "how": "raise"}]
    serial = list(market.sweep(trials, workers=1))
    with market.sweep(trials, backend=cluster.client, workers=None) as sweep:
        assert (sweep.workers, sweep.share_bytes) == (2, 70_000_000)
        results = [next(sweep)]
        assert settled(lambda: len(cluster.trials()) == 1, 60)
        os.killpg(cluster.processes[1].pid, signal.SIGKILL)  # a worker with its nanny and what it runs
        results += list(sweep)
    assert told(results) == told(serial)
    assert [one.status for one in sorted(results, key=lambda one: one.number)] == ["ok"] * 3 + ["error"]
    assert settled(lambda: not cluster.trials(), 30)


def test_a_client_that_is_killed_takes_its_trials_with_it_and_keeps_what_is_done(
    market: Market, cluster: Cluster, tmp_path: Path
) -> None:
    file = tmp_path / "r.jsonl"
    given = {
        "strategy": str(market.strategy),
        "start": market.start,
        "end": market.end,
        "store": str(market.store),
        "results": str(file),
        "memory": "70MB",
        "workers": 1,
        "trials": [{"fast": 2, "slow": 20, "how": how} for how in (None, "sleep")],
    }
    told = json.dumps({**given, "scheduler": str(cluster.file)})
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, told], env=environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert script.stdout is not None
        assert script.stdout.readline() == "ok\n"
        assert settled(lambda: len(cluster.trials()) == 1, 60)
    finally:
        script.kill()
        script.communicate()
    assert settled(lambda: not cluster.trials(), 60)
    assert [row["parameters"]["how"] for row in lines(file)] == [None]
    # The cluster is as good as before, and goes on where the file ends.
    trials = [{"fast": 2, "slow": 20, "how": how} for how in (None, "raise")]
    with market.sweep(trials, backend=cluster.client, workers=1, memory="70MB", results=file) as sweep:
        assert [one.status for one in sweep] == ["ok", "error"]
    assert [row["parameters"]["how"] for row in lines(file)] == [None, "raise"]


@pytest.mark.slow
def test_a_store_that_vanishes_from_the_cluster_is_a_row_with_its_cause(
    market: Market, cluster: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "gone.duckdb"
    shutil.copy(market.store, store)
    trials = [{"fast": fast, "slow": 20} for fast in (2, 3)]
    with market.sweep(trials, backend=cluster.client, workers=1, memory="70MB", store=store) as sweep:
        assert next(sweep).ok
        store.unlink()
        (last,) = sweep
    assert last.status == "error"
    assert "StoreMissing" in (last.error or "")
    assert str(store) in (last.error or "")


@pytest.mark.slow
def test_a_sweep_that_is_closed_ends_its_trials_on_the_cluster(market: Market, cluster: Cluster) -> None:
    trials = [{"fast": 2, "slow": 20}, {"fast": 2, "slow": 20, "how": "sleep"}]
    with market.sweep(trials, backend=cluster.client, workers=1) as sweep:
        assert next(sweep).ok
        sweep._fill()
        assert settled(lambda: len(cluster.trials()) == 1, 60)
    assert settled(lambda: not cluster.trials(), 30)
    assert len(sweep.frame()) == 1


def test_too_small_a_share_is_told_before_a_trial_is_sent(market: Market, cluster: Cluster) -> None:
    with pytest.raises(lazybars.CapTooSmall, match="// 5 workers"):
        market.sweep([{}], backend=cluster.client, workers=5)
    with pytest.raises(lazybars.StoreMissing):
        market.sweep([{}], backend=cluster.client, workers=1, store=market.folder / "none.duckdb")


# The last one: it takes the cluster away.
def test_a_cluster_that_is_gone_is_told_and_no_trial_is_left(market: Market, cluster: Cluster) -> None:
    trials = [{"fast": 2, "slow": 20, "how": how} for how in (None, "sleep")]
    sweep = market.sweep(trials, backend=cluster.client, workers=1, memory="70MB")
    assert next(sweep).ok
    running: list[psutil.Process] = []

    def killed() -> bool:
        sweep._fill()
        running.extend(cluster.trials())
        return bool(running)

    assert settled(killed, 60)
    for process in cluster.processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with pytest.raises(SweepFailed, match="cluster is gone"):
        next(sweep)
    _, alive = psutil.wait_procs(running, timeout=30)
    assert not alive
    assert len(sweep.frame()) == 1
