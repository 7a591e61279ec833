"""One trial's process, from its start to its end: started, watched, stopped, and what it came to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from lazybars.errors import SweepFailed
from lazybars.sweep.job import INSIDE, Reply
from lazybars.sweep.worker import JOB, REPLY

__all__ = ["TrialProcess", "Work", "quiet_environment", "run_here", "starting"]

_LOOK_S = 0.02
_MEASURE_S = 0.1
_TAIL_BYTES = 500
_HEARD_BYTES = 65536
# With this process's paths, so that the same modules are found as here.
_START = (
    "import importlib, sys; _, worker, folder, *sys.path[:] = sys.argv; del sys.argv[1:]; "
    "importlib.import_module(worker).main(folder)"
)


@contextmanager
def starting() -> Iterator[None]:
    """Have it told what keeps a process from being started: a full disk, too many processes."""
    try:
        yield
    except OSError as error:
        raise SweepFailed(f"no process can be started for a trial: {error}") from error


class Work(Protocol):
    """What a process is started for: a trial's `Job`, or other work with a worker of its own."""

    @property
    def timeout_s(self) -> float | None:
        """Wall seconds that the process may take; None for no limit."""

    def to_json(self) -> dict[str, Any]:
        """What travels to the process, as JSON has it."""


class TrialProcess:
    """A fresh interpreter with one job. Owner: the thread that polls it.

    It leads a session of its own: a Ctrl-C of the terminal does not reach it, and what it starts is
    ended with it. Should this process end, however it ends, so does the trial's.

    Parameters
    ----------
    folder
        An empty directory, for this trial alone; removed with the trial.
    worker
        The module whose ``main(folder)`` does the job and leaves its reply in the folder.
    environment
        Of the process. None: this one's, without settings of Lumibot's.

    Raises
    ------
    SweepFailed
        It cannot be started.
    """

    def __init__(
        self,
        job: Work,
        folder: Path,
        *,
        worker: str = "lazybars.sweep.worker",
        environment: dict[str, str] | None = None,
    ) -> None:
        self._job = job
        self._folder = folder
        self._started = time.monotonic()
        self._measured = 0.0
        self._peak_bytes = 0
        self._cpu_s: float | None = None
        self._late = False
        self._said = b""
        told = {"job": job.to_json(), "started": self._started}
        with starting():
            (folder / JOB).write_text(json.dumps(told), "utf-8")
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, worker, str(folder), *map(_absolute, sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=quiet_environment(folder) if environment is None else environment,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._life, self._cries = self._process.stdin, self._process.stderr
        os.set_blocking(self._cries.fileno(), False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> Reply | None:
        """The reply, once the process has ended; None while it runs. Ends it where its time is up."""
        now = time.monotonic()
        if now - self._measured >= _MEASURE_S:
            self._measured = now
            self._peak_bytes = max(self._peak_bytes, _peak_bytes(self.pid))
        self._listen()
        limit_s = self._job.timeout_s
        if limit_s is not None and now - self._started > limit_s and not self._late:
            self._late = True
            self.kill()
        return self._end() if self._reaped(os.WNOHANG) else None

    def kill(self) -> None:
        """End the process, and all that it started, at once."""
        # It may have ended; macOS says PermissionError of what is ending.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the process and remove what it left. Repeatable."""
        if self._process.returncode is None:
            self.kill()
            self._reaped(0)
        self._clear()

    def _reaped(self, options: int) -> bool:
        """Whether the process has ended; then its exit code and CPU time are known."""
        try:
            pid, status, usage = os.wait4(self.pid, options)  # subprocess would not tell the time
        except ChildProcessError:  # somebody else in this process waits for any child
            self._process.returncode = 0
            return True
        if pid == 0:
            return False
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._cpu_s = usage.ru_utime + usage.ru_stime
        return True

    def _end(self) -> Reply:
        reply = self._reply()
        reply["cpu_s"] = self._cpu_s
        reply.setdefault("wall_s", time.monotonic() - self._started)
        reply.setdefault("peak_rss_bytes", self._peak_bytes or None)
        self._clear()
        return reply

    def _reply(self) -> Reply:
        try:
            reply: Reply = json.loads((self._folder / REPLY).read_text("utf-8"))
        except (OSError, ValueError):
            return self._obituary()
        return reply

    def _obituary(self) -> Reply:
        """What can be said of a process that said nothing itself."""
        code = self._process.returncode
        self._listen()
        last = " ".join(self._said.decode("utf-8", "replace").split())
        said = f": {last}" if last else ""
        if self._late or code == -signal.SIGALRM:
            status, error = "timeout", f"it ran longer than trial_timeout_s={self._job.timeout_s:g}"
        elif code == -signal.SIGKILL:
            status = "killed"
            error = f"its process was ended by SIGKILL, for want of memory or by somebody{said}"
        elif code == -signal.SIGABRT and ("bad_alloc" in last or "emory" in last):
            status, error = "memory", f"its process gave up{said}"
        elif code < 0:
            status, error = "killed", f"its process was ended by {signal.Signals(-code).name}{said}"
        else:
            status, error = "error", f"its process ended with code {code} and without a result{said}"
        return {"status": status, "error": error}

    def _listen(self) -> None:
        """Keep the last of what is said on standard error: by the interpreter, or a library, in need."""
        with suppress(BlockingIOError):
            while heard := os.read(self._cries.fileno(), _HEARD_BYTES):
                self._said = (self._said + heard)[-_TAIL_BYTES:]

    def _clear(self) -> None:
        if self._life.closed:
            return
        # A child of the trial's may be left; its group's number is not given to others so soon.
        self.kill()
        self._life.close()
        self._cries.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def run_here(job: Work, folder: Path, **how: Any) -> Reply:
    """Run a job in a process of its own and wait for it. ``how``: see `TrialProcess`."""
    trial = TrialProcess(job, folder, **how)
    try:
        while (reply := trial.poll()) is None:
            time.sleep(_LOOK_S)
        return reply
    finally:
        trial.stop()


def _absolute(path: str) -> str:
    """A path to import from, wherever the other process is; what is no directory may be a hook's mark."""
    return os.path.abspath(path) if os.path.isdir(path or os.curdir) else str(path)


def _peak_bytes(pid: int) -> int:
    """The most that the resident set of a process ever was (Linux; 0 elsewhere, or once it has ended)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def quiet_environment(folder: Path) -> dict[str, str]:
    """The caller's environment without settings of Lumibot's that would reach for a broker or a network."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LUMIBOT_", "LUMIWEALTH_", "BACKTESTING_", "BOTSPOT_", "SAVE_LOGFILE"))
    }
    return ours | {
        INSIDE: "1",
        "BACKTESTING_DATA_SOURCE": "none",
        "BACKTESTING_QUIET_LOGS": "true",
        "IS_BACKTESTING": "true",
        "LUMIBOT_CACHE_FOLDER": str(folder),
        "LUMIBOT_DISABLE_DOTENV": "1",
        "LUMIBOT_LOG_LEVEL": "ERROR",
        # Whatever is put aside on the disk goes when the trial goes.
        "TMPDIR": str(folder),
    }
