"""Strategies' files run both ways: equal, different, failed, ended; whatever shape the file has."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support import settled
from sweep.market import Market, command

from comparing.files import BOTH_WAYS, STRATEGY, Files

Compare = Callable[..., "subprocess.CompletedProcess[str]"]


def cells(out: str, name: str) -> list[str]:
    """The cells of the one row of that name."""
    rows = [[cell.strip() for cell in line.split("│")] for line in out.splitlines()]
    (found,) = [row[1:] for row in rows if row[0].startswith(name) and len(row) == 4]
    return found


def test_a_file_that_backtests_itself_is_equal_both_ways_without_network(
    files: Files, compare: Compare, offline: dict[str, str], tmp_path: Path
) -> None:
    done = compare(
        files.file(),
        "--memory=100MB",
        "--",
        "--no-such-option",
        "x y",
        PYTHONPATH=offline["PYTHONPATH"],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (bare, turns, fills, cash, argv), lazily = files.noted()
    assert (bare, lazily[0]) == (False, True)
    assert argv == ["--no-such-option", "x y"]
    assert lazily[1:] == [turns, fills, cash, argv]
    assert fills > 10
    assert cells(done.stdout, "fills") == [str(fills)] * 2 + ["equal"]
    assert cells(done.stdout, "orders") == [str(fills)] * 2 + ["equal"]
    assert cells(done.stdout, "cash") == [f"{cash:,.2f}"] * 2 + ["equal"]
    assert cells(done.stdout, "portfolio values")[2] == "equal"
    assert cells(done.stdout, "lazybars' ledger, peak")[2] == "cap 100.0 MB"
    for name in ("peak RSS", "start-up", "wall time", "CPU time"):
        assert cells(done.stdout, name)[2].endswith("of bare")
    assert "not shown" not in done.stdout + done.stderr
    assert not (tmp_path / "reached").exists(), (tmp_path / "reached").read_text()
    assert sorted(path.name for path in files.folder.iterdir() if path.is_file()) == [
        "bars.py",
        "notes",
        "trend strategy.py",
    ]


def test_a_strategy_that_does_not_do_the_same_twice_is_told_from_a_fault_of_lazybars(
    files: Files, compare: Compare
) -> None:
    done = compare(files.file(), "chance")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "they part here first" in done.stdout
    assert "differs from itself" in done.stdout
    assert [note[0] for note in files.noted()] == [False, True, False]


def test_where_the_sides_part_is_told_with_what_each_did(files: Files, compare: Compare) -> None:
    done = compare(files.file(), "lazy is other")
    assert done.returncode == 1, done.stdout + done.stderr
    (first,) = [line for line in done.stdout.splitlines() if line.startswith("they part here first")]
    assert "orders: order" in first
    assert "quantity 10 bare, 11 lazy" in first
    assert "DIFFERENT" in cells(done.stdout, "portfolio values")[2]
    assert "does the same when it is run again" in done.stdout


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            "lazy raises",
            ["The lazy side failed: KeyError: 'it went [wrong]'", "trend strategy.py", "go_wrong"],
        ),
        ("bare dies", ["The bare side failed: its process was ended by SIGKILL"]),
        pytest.param(
            "at the end",
            ["The bare side failed: ", "The lazy side failed: RuntimeError: it ends badly"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_side_that_fails_is_named_with_its_reason(
    files: Files, compare: Compare, how: str, said: list[str]
) -> None:
    done = compare(files.file(), how)
    assert done.returncode == 2, done.stdout + done.stderr
    assert all(part in done.stderr for part in said), done.stderr
    assert done.stderr.count("side failed") == (2 if how == "at the end" else 1)
    assert done.stdout == ""


def test_sources_that_the_file_makes_itself_are_wrapped_and_a_changed_file_has_its_bare_side(
    files: Files, compare: Compare
) -> None:
    done = compare(files.file(BOTH_WAYS), LAZYBARS="off")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [note[0] for note in files.noted()] == [False, False, True, True]
    assert done.stdout.count("Trend on PandasDataBacktesting") == 2
    assert cells(done.stdout, "lazybars' ledger, peak (1)")[2] == "cap 256.0 MB"
    assert cells(done.stdout, "lazybars' ledger, peak (2)")[2] == "cap 100.0 MB"


LIVE = """
if __name__ == "__main__":
    class Live:
        IS_BACKTESTING_BROKER = False

        def is_backtesting_broker(self):
            return False

    class Running:
        broker = Live()

    trader = Trader()
    trader.add_strategy(Running())
    trader.run_all()
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STRATEGY, "it ran no backtest: a file that only has a strategy needs --start, --end and --store"),
        (STRATEGY + LIVE, "the file starts live trading, which is not compared"),
        pytest.param(
            "import no_such_module\n",
            "ModuleNotFoundError: No module named 'no_such_module'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "import sys; sys.exit('no key')\n", "it ended itself with 'no key'", marks=pytest.mark.slow
        ),
    ],
)
def test_a_file_that_does_not_backtest_is_told_what_it_lacks(
    files: Files, compare: Compare, text: str, said: str
) -> None:
    done = compare(files.file(text))
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"The bare side failed: {said}" in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_comparison_that_is_ended_leaves_no_process_and_no_file(
    files: Files, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    monkeypatch.setenv("NOTES", str(files.notes))
    running = command("compare", files.file(), "hang", cwd=files.here)
    try:
        assert settled(lambda: files.notes.exists() or running.poll() is not None, 120)
        sides = psutil.Process(running.pid).children(recursive=True)
        assert sides
        running.send_signal(signum)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    _, alive = psutil.wait_procs(sides, timeout=10)
    assert not alive
    assert running.returncode == (130 if signum == signal.SIGINT else 128 + signum), err
    assert "Traceback" not in err
    assert out == ""
    assert list(files.temporary.iterdir()) == []


# ---- a class, on the bars of a store --------------------------------------------------------------


def test_a_class_is_backtested_on_the_bars_of_a_store(market: Market, compare: Compare) -> None:
    done = compare(
        market.strategy,
        "--class=Cross",
        f"--start={market.start}",
        f"--end={market.end}",
        f"--store={market.store}",
        "--parameter=fast=3",
        "--parameter=how=null",
        "--budget=5000",
        "--memory=140MB",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Cross on PandasDataBacktesting" in done.stdout
    fills = cells(done.stdout, "fills")
    assert int(fills[0]) > 3
    assert 3000 < float(cells(done.stdout, "portfolio values")[0].replace(",", "")) < 7000


def test_the_bare_side_has_the_frames_of_the_store(market: Market) -> None:
    from lazybars.comparing.job import Side
    from lazybars.comparing.stored import _frames

    side = Side("x", (), False, 0, None, str(market.store), market.start, market.end, {}, None)
    found = {data.asset.symbol: data.df for data in _frames(side)}
    assert list(found) == list(market.frames)
    for symbol, frame in market.frames.items():
        assert found[symbol].equals(frame)


def test_a_source_that_is_named_is_looked_for() -> None:
    from lumibot.backtesting import YahooDataBacktesting

    from lazybars.comparing.stored import _source
    from lazybars.errors import ConfigError

    assert _source("YahooDataBacktesting") is YahooDataBacktesting
    assert _source("lumibot.backtesting:YahooDataBacktesting") is YahooDataBacktesting
    for name in ("Nothing", "BacktestingBroker", "json:loads"):
        with pytest.raises(ConfigError, match="PandasDataBacktesting"):
            _source(name)
