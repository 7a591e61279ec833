"""Sweeps from end to end: trials in processes of their own, against eager Lumibot in a plain one."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from support import write_store

import lazybars
from lazybars import CapTooSmall, ConfigError, StoreMissing, SweepFailed
from lazybars.budget import smallest_cap
from lazybars.sweep import Sweep, TrialResult
from sweep.market import Market, lines

# Lumibot as it is, over the same frames; nothing of lazybars is imported.
PLAIN = """
import json, logging, sys
import pandas as pd
from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Asset, Data
from lumibot.traders import Trader

sys.path.insert(0, sys.argv[1])
from cross_strategy import Cross

logging.disable(logging.CRITICAL)
kept = []
class Keeping(Trader):
    def add_strategy(self, strategy):
        kept.append(strategy)
        super().add_strategy(strategy)

def run(parameters, budget):
    usd = Asset("USD", "forex")
    frames = {name: pd.read_pickle(f"{name}.pickle") for name in "AB"}
    data = [Data(Asset(name), frame, timestep="minute", quote=usd) for name, frame in frames.items()]
    result = Cross.backtest(
        PandasDataBacktesting, pd.Timestamp(sys.argv[2]), pd.Timestamp(sys.argv[3]), pandas_data=data,
        parameters=parameters, budget=budget, benchmark_asset=None, risk_free_rate=0.0, trader_class=Keeping,
        show_plot=False, show_tearsheet=False, save_tearsheet=False, show_indicators=False,
        show_progress_bar=False, save_logfile=False, save_stats_file=False,
    )
    strategy = kept.pop()
    return {
        "fills": strategy.fills, "final_value": float(strategy.portfolio_value),
        "sharpe": float(result["sharpe"]), "cagr": float(result["cagr"]),
        "total_return": float(result["total_return"]),
        "max_drawdown": float(result["max_drawdown"]["drawdown"]),
    }
print(json.dumps([run(json.loads(one), float(sys.argv[4])) for one in sys.argv[5:]]))
"""


@pytest.fixture(scope="module")
def plain(market: Market, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    def run(*parameters: dict[str, Any], budget: float = 100_000) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp("plain")
        for name, frame in market.frames.items():
            frame.to_pickle(folder / f"{name}.pickle")
        given = [json.dumps(one) for one in parameters]
        argv = [str(market.folder), market.start, market.end, str(budget), *given]
        done = subprocess.run(
            [sys.executable, "-c", PLAIN, *argv], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
        return told

    return run


def digest(fills: list[list[Any]]) -> str:
    told = hashlib.blake2b(digest_size=8)
    for when, symbol, side, quantity, price in fills:
        told.update(f"{when} {symbol} {side} {quantity!r} {price!r}\n".encode())
    return told.hexdigest()


def assert_same(result: TrialResult, truth: dict[str, Any]) -> None:
    for name in ("final_value", "total_return", "cagr", "max_drawdown", "sharpe"):
        assert getattr(result, name) == truth[name], name
    assert result.trades == len(truth["fills"]) > 2
    assert result.trades_hash == digest(truth["fills"])


# ---- what comes of trials -------------------------------------------------------------------------


def test_a_trial_is_what_a_single_run_in_a_plain_process_is(
    market: Market,
    plain: Callable[..., list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.syspath_prepend(market.folder)
    monkeypatch.chdir(tmp_path)
    import cross_strategy

    # Settings of the caller's, which a trial must not follow.
    monkeypatch.setenv("BACKTESTING_START", "2020-01-01")
    monkeypatch.setenv("SAVE_LOGFILE", "true")
    trials = {"fast": [2, 5], "slow": [20]}
    given = {"store": market.store, "memory": "70MB", "workers": 1, "backtest": {"budget": 40_000.5}}
    with lazybars.sweep(cross_strategy.Cross, market.start, market.end, trials=trials, **given) as sweep:
        results = list(sweep)
    monkeypatch.delenv("BACKTESTING_START")
    monkeypatch.delenv("SAVE_LOGFILE")
    truths = plain(*(one.parameters for one in results), budget=40_000.5)
    assert [one.status for one in results] == ["ok", "ok"]
    for result, truth in zip(results, truths, strict=True):
        assert_same(result, truth)
    assert truths[0]["fills"] != truths[1]["fills"]
    # What Lumibot and the trials leave behind is gone.
    assert list(tmp_path.iterdir()) == []


HOWS = [None, "raise", "kill", "exit", "hoard", "at the end"]


@pytest.fixture(scope="module")
def wrong(market: Market, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Path]:
    """A sweep with a trial that goes wrong in each way, and its file."""
    path = tmp_path_factory.mktemp("wrong") / "r.jsonl"
    trials = [{"fast": 2, "slow": 20, "how": how} for how in HOWS]
    sweep = market.sweep(trials, results=path, slack="100MB")
    list(sweep)
    return sweep, path


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        ("raise", "error", "RuntimeError: it went [wrong] \u2713 (cross_strategy.py:"),
        ("kill", "killed", "SIGKILL"),
        ("exit", "error", "code 3"),
        ("hoard", "memory", "it may take 170 MB, its share and slack"),
        ("at the end", "error", "it ends badly"),
    ],
)
def test_a_trial_that_goes_wrong_is_one_row_with_its_cause(
    wrong: tuple[Sweep, Path], how: str, status: str, error: str
) -> None:
    sweep, path = wrong
    result = next(one for one in sweep.results if one.parameters["how"] == how)
    assert result.status == status
    assert error in (result.error or "")
    assert result.final_value is None
    row = next(row for row in lines(path) if row["parameters"]["how"] == how)
    assert (row["status"], row["error"]) == (result.status, result.error)


def test_the_others_go_on_and_the_frame_has_all(
    wrong: tuple[Sweep, Path], plain: Callable[..., list[dict[str, Any]]]
) -> None:
    sweep, _ = wrong
    frame = sweep.frame()
    assert frame.index.tolist() == list(range(len(HOWS)))
    assert frame["how"].tolist() == HOWS
    assert frame["status"].tolist() == ["ok", "error", "killed", "error", "memory", "error"]
    good = sweep.results[[one.number for one in sweep.results].index(0)]
    assert_same(good, plain(good.parameters)[0])
    assert frame.loc[0, "sharpe"] == good.sharpe
    assert frame.loc[0, "hit_rate"] > 0
    assert frame["error"].isna().tolist() == [True] + [False] * 5


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")
def test_memory_and_time_are_told(wrong: tuple[Sweep, Path]) -> None:
    frame = wrong[0].frame()
    assert (frame["peak_rss_bytes"] > 50_000_000).all()
    assert (frame["wall_s"] > 0.5).all()
    assert (frame["cpu_s"] > 0.5).all()
    good, hoard = frame.loc[0], frame[frame["how"] == "hoard"].iloc[0]
    # 70 MB of share and 100 MB of slack: the limit is on data, so what is resident is no more than that.
    assert 30_000_000 < hoard["peak_rss_bytes"] - good["peak_rss_bytes"] < 170_000_000


def test_a_trial_that_hangs_is_ended_when_its_time_is_up(market: Market) -> None:
    sweep = market.sweep([{"fast": 2, "slow": 20, "how": "hang"}], trial_timeout_s=4, workers=1)
    (result,) = sweep
    assert result.status == "timeout"
    assert "trial_timeout_s=4" in (result.error or "")
    assert (result.wall_s or 0) >= 4


def test_a_store_that_vanishes_is_a_row_with_its_cause(market: Market, tmp_path: Path) -> None:
    store = tmp_path / "gone.duckdb"
    shutil.copy(market.store, store)

    def trials() -> Iterator[dict[str, Any]]:
        yield {"fast": 2, "slow": 20}
        store.unlink()
        yield {"fast": 3, "slow": 20}
        yield from itertools.repeat({"fast": 2, "slow": 20})  # nothing new is as good as the end

    with market.sweep(trials(), store=store, workers=1) as sweep:
        results = list(sweep)
    assert [one.status for one in results] == ["ok", "error"]
    assert "StoreMissing" in (results[1].error or "")
    assert str(store) in (results[1].error or "")


# ---- again, and not to the end --------------------------------------------------------------------


def test_a_sweep_runs_what_is_missing_in_its_file(
    market: Market, tmp_path: Path, runs: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "r.jsonl"
    first = market.sweep({"fast": [2], "slow": [20]}, results=path).run()
    assert runs() == [str(tmp_path)]  # a strategy finds its files where its user is
    torn = path.read_bytes()
    path.write_bytes(torn + torn[: len(torn) // 3])
    again = market.sweep({"slow": [30, 20], "fast": [2]}, results=path)
    assert again.total == 2
    assert [one.parameters["slow"] for one in again] == [20, 30]  # what is known comes at once
    assert len(runs()) == 2
    frame = again.frame()
    assert frame["slow"].tolist() == [30, 20]
    known = frame.loc[[1]].rename({1: 0}).drop(columns=["fast", "slow"])
    pd.testing.assert_frame_equal(known, first.drop(columns=["fast", "slow"]))
    assert [row["parameters"]["slow"] for row in lines(path)] == [20, 30]


def test_an_endless_iterator_is_stopped_early_and_repeats_are_not_run(
    market: Market, temporary: Path, runs: Callable[[], list[str]]
) -> None:
    drawn = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal drawn
        for number in itertools.count(2):
            for _ in range(3):
                drawn += 1
                yield {"fast": number, "slow": 20}

    files = psutil.Process().num_fds()
    with market.sweep(endless(), progress=True) as sweep:
        assert sweep.total is None
        for count, _result in enumerate(sweep, 1):
            if count == 2:
                break
    frame = sweep.frame()
    assert len(frame) >= 2
    assert frame["fast"].is_unique
    assert drawn < 20
    assert list(temporary.iterdir()) == []
    assert threading.active_count() == 1 or not [
        one for one in threading.enumerate() if "rich" in type(one).__module__
    ]
    assert psutil.Process().num_fds() <= files
    assert list(sweep) == []


def test_a_bad_trial_in_the_middle_ends_the_sweep_and_keeps_what_is_done(
    market: Market, temporary: Path
) -> None:
    trials = [{"fast": 2, "slow": 20}, {"fast": {1, 2}}]
    sweep = market.sweep(trials, memory="100MB", workers=None)
    assert (sweep.workers, sweep.share_bytes) == (1, 100_000_000)  # as many as the memory holds
    assert next(sweep).ok
    with pytest.raises(ConfigError, match=r"parameters\.fast"):
        next(sweep)
    assert len(sweep.frame()) == 1
    assert list(temporary.iterdir()) == []


# ---- before the first trial -----------------------------------------------------------------------


def test_too_small_a_memory_is_told_before_any_process_is_started(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    with pytest.raises(CapTooSmall, match=r"90\.0 MB // 2 workers is 45\.0 MB a trial") as raised:
        market.sweep({"fast": [2]}, memory="90MB")
    assert raised.value.needed_bytes > 90_000_000
    assert f"({raised.value.needed_bytes} bytes)" in str(raised.value)


def test_too_small_a_share_for_the_plan_is_told_with_one_that_works(market: Market, tmp_path: Path) -> None:
    """The index of 25 years of hours, day and night, is more than the smallest share has room for."""
    hours = pd.date_range("2000-01-01", "2024-03-07", freq="h", tz="America/New_York", name="datetime")
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0), index=hours)
    store = write_store(tmp_path / "hours.duckdb", {"A": frame}, "hour")
    smallest = 2 * smallest_cap(0)
    with pytest.raises(CapTooSmall, match=r"MB // 2 workers is .* tables") as raised:
        market.sweep({"fast": [2]}, memory=smallest, store=store)
    assert raised.value.needed_bytes > smallest
    market.sweep({"fast": [2]}, memory=raised.value.needed_bytes, store=store).close()


def test_what_every_trial_would_end_with_is_raised_at_once(
    market: Market, temporary: Path, runs: Callable[[], list[str]]
) -> None:
    broken = temporary.parent / "broken.py"
    broken.write_text("import nothing_of_the_kind\n")
    for strategy, given, kind, said in (
        (market.strategy, {"store": temporary.parent / "none.duckdb"}, StoreMissing, "does not exist"),
        (market.strategy, {"backtest": {"bugdet": 1}}, ConfigError, "bugdet"),
        (broken, {}, SweepFailed, "nothing_of_the_kind.*broken.py:1"),
    ):
        sane = {"store": market.store, "trials": [{}], **given}
        with pytest.raises(kind, match=said):
            lazybars.sweep(strategy, market.start, market.end, **sane)
    assert runs() == []
    assert list(temporary.iterdir()) == []


def test_a_strategys_file_that_sweeps_as_it_is_loaded_is_told(market: Market, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    call = f"lazybars.sweep(Mine, '2024-03-04', '2024-03-07', store={str(market.store)!r}, trials=[{{}}])"
    script.write_text(
        f"import lazybars\nfrom lumibot.strategies import Strategy\nclass Mine(Strategy): pass\n{call}\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "__main__" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "given",
    [
        {"workers": 0},
        {"workers": True},
        {"workers": 1.5},
        {"memory": "lots"},
        {"slack": "-1"},
        {"trial_timeout_s": 0},
        {"trial_timeout_s": float("nan")},
        {"backend": "threads"},
        {"store": 5},
        {"backtest": {"budget": float("inf")}},
        {"assets": [5]},
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_process_is_started(
    market: Market, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    with pytest.raises(ConfigError):
        market.sweep({"fast": [2]}, **given)


# ---- many -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hundred_trials_leave_nothing_behind(market: Market, temporary: Path) -> None:
    me = psutil.Process()
    after = []
    with market.sweep({"fast": list(range(2, 12)), "slow": list(range(20, 30))}) as sweep:
        for result in sweep:
            assert result.ok
            after.append(
                (me.num_fds(), me.num_threads(), me.memory_info().rss, len(list(temporary.rglob("*"))))
            )
    assert len(after) == 100
    files, threads, resident, left = zip(*after, strict=True)
    assert max(files[20:]) <= max(files[:20])
    assert max(threads) == min(threads)
    assert resident[-1] - resident[20] < 2_000_000
    assert max(left) < 30
    assert list(temporary.iterdir()) == []
