"""How sweeps end before their end: what is done is kept, and nothing is left that runs."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support import settled

from lazybars import cli
from lazybars.sweep.folders import Folders
from lazybars.sweep.trials import canonical
from sweep.market import Market, command, lines


def options(market: Market, results: Path, *hows: str) -> list[object]:
    span = ["--start", market.start, "--end", market.end]
    grid = ["--grid", "fast=2", "--grid", "slow=20", "--grid", f"how={','.join(hows)}"]
    rest = ["--memory=140MB", "--results", results]
    return ["sweep", market.strategy, "--store", market.store, *span, *grid, *rest]


def until_one_is_done(running: subprocess.Popen[str], results: Path) -> list[psutil.Process]:
    """Wait for the first result; gives the processes that there are then."""

    def done() -> bool:
        return running.poll() is not None or (results.exists() and b"\n" in results.read_bytes())

    assert settled(done, 300)
    assert running.poll() is None, running.communicate()
    return psutil.Process(running.pid).children(recursive=True)


@pytest.mark.parametrize(
    "signum", [signal.SIGINT, signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_sweep_that_is_ended_keeps_what_is_done_and_leaves_no_process(
    market: Market, tmp_path: Path, temporary: Path, signum: signal.Signals
) -> None:
    results = tmp_path / "r.jsonl"
    running = command(*options(market, results, "null", "sleep", "hang"), "--workers=2")
    try:
        trials = until_one_is_done(running, results)
        assert trials
        running.send_signal(signum)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    gone, alive = psutil.wait_procs(trials, timeout=10)
    assert not alive
    assert len(gone) == len(trials)
    assert [row["parameters"]["how"] for row in lines(results)] == [None]
    if signum == signal.SIGINT:
        assert running.returncode == 130, err
        assert "1 trial in" in out
        assert "goes on from there" in err
    if signum == signal.SIGTERM:
        assert running.returncode == 128 + signal.SIGTERM
    if signum == signal.SIGKILL:
        # It cannot remove its files itself: the next sweep does, and leaves those that are in use alone.
        assert len(list(temporary.iterdir())) == 1
        with Folders() as used:
            market.sweep({"fast": [2], "slow": [20]}).close()
            assert list(temporary.iterdir()) == [used.new().parent]
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in err


def test_the_command_line_runs_a_sweep_shows_it_and_goes_on_from_its_file(
    market: Market, tmp_path: Path, runs: Callable[[], list[str]]
) -> None:
    results, report = tmp_path / "r.jsonl", tmp_path / "out.html"
    argv = [*options(market, results, "null", "raise"), "--grid=x=0.5,a b", "--report", report]
    grid = [{"fast": 2, "slow": 20, "how": how, "x": x} for how in (None, "raise") for x in (0.5, "a b")]
    running = command(*argv)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 1, err  # some trials did not end well
    assert "4 trials" in out
    assert "2 ok, 2 error" in out or "2 error, 2 ok" in out
    assert "it went [wrong] \u2713" in out
    assert "a b" in out
    found = [row["parameters"] for row in lines(results)]
    assert sorted(map(canonical, found)) == sorted(map(canonical, grid))
    assert "<html" in report.read_text()
    assert len(runs()) == 4
    again = command(*argv)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 1, err
    assert "4 trials" in out
    assert len(runs()) == 4


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--grid=fast"], "NAME=VALUE"),
        (["--grid==1"], "NAME=VALUE"),
        (["--grid=fast="], "NAME=VALUE"),
        (["--grid=fast=1", "--grid=fast=2"], "given twice"),
        (["--grid=fast=[1"], "no JSON list"),
        (["--grid=fast=[]"], "give a list of values"),
        (["--grid=fast=NaN"], "finite"),
        (["--memory=10MB"], "bytes"),
        (["--workers=0"], "workers=0"),
        (["--start=never"], "start='never'"),
        (["--results=/nowhere/at/all.jsonl"], "cannot be written"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_code_2(
    market: Market,
    argv: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    span = [f"--start={market.start}", f"--end={market.end}"]
    sane = ["lazybars", "sweep", str(market.strategy), f"--store={market.store}", *span]
    monkeypatch.setattr("sys.argv", [*sane, *argv])
    monkeypatch.setattr("subprocess.Popen", None)  # before any trial is started
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    err = capsys.readouterr().err
    assert ended.value.code == 2, err
    assert said in err
    assert len(err.splitlines()) == 1
    assert signal.getsignal(signal.SIGTERM) is handler
