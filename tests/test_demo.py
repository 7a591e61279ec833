"""The demonstration: that it runs offline and compares, and that its comparison finds what differs."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import lazybars
from lazybars.demo import run
from lazybars.demo.outcome import Outcome, differences
from lazybars.demo.show import show
from lazybars.demo.universes import Daily, Generated
from lazybars.errors import ConfigError

FILL = ["2024-01-02T10:00:00-05:00", "SPY", "buy", "10", 470.25]
LAZY = {
    "cap_bytes": 128_000_000,
    "peak_bytes": 100_000_000,
    "hits": 990,
    "misses": 10,
    "late": 0,
    "prefetched": 40,
    "evictions": 30,
    "stall_s": 0.1,
    "hit_rate": 0.99,
}
SAME = Outcome(
    fills=[FILL, [*FILL[:2], "sell", "10", 471.0]],
    final_value=100_007.5,
    values_hash="00ff",
    frames=2,
    frames_hash="ff00",
    history_s=0.001,
    start_up_s=1.0,
    total_s=2.0,
    baseline_bytes=100,
    peak_bytes=200,
    lazy=LAZY,
)


def changed(outcome: Outcome, **fields: Any) -> Outcome:
    return dataclasses.replace(outcome, **fields)


# ---- the comparison -------------------------------------------------------------------------------


def test_equal_runs_have_no_differences() -> None:
    slower = changed(SAME, total_s=9.0, peak_bytes=900, lazy={})
    assert not any(differences(slower, SAME).values())


@pytest.mark.parametrize(
    ("fields", "subject"),
    [
        ({"final_value": float(np.nextafter(SAME.final_value, 0))}, "final value"),
        ({"values_hash": "00fe"}, "values"),
        ({"frames_hash": "ff01"}, "frames"),
        ({"frames": 3}, "frames"),
        ({"fills": SAME.fills[:1]}, "trades"),
        ({"fills": []}, "trades"),
        ({"fills": SAME.fills[::-1]}, "trades"),
        *(
            ({"fills": [[*FILL[:at], other, *FILL[at + 1 :]], SAME.fills[1]]}, "trades")
            for at, other in enumerate(
                ["2024-01-02T10:01:00-05:00", "QQQ", "sell", "10.0", float(np.nextafter(470.25, 0))]
            )
        ),
    ],
)
def test_a_planted_difference_is_found(
    fields: dict[str, Any], subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = differences(SAME, changed(SAME, **fields))
    assert [name for name, told in found.items() if told] == [subject]
    code, said = demo(monkeypatch, lambda lazy: changed(SAME, **fields) if lazy else SAME)
    assert code == 1
    assert said.count("DIFFERENT") == 2  # in both universes
    assert "Eager and lazy differ." in said


def demo(monkeypatch: pytest.MonkeyPatch, outcome: Callable[[bool], Outcome]) -> tuple[int, str]:
    """The demonstration with outcomes of our own in place of its runs."""
    monkeypatch.setattr(run, "_run", lambda universe, store, *rest: outcome(store is not None))
    monkeypatch.setattr(run, "_write", lambda universe, path, console: path.touch() or "")
    console = Console(file=io.StringIO(), width=200)
    code = run.run_demo(quick=True, console=console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def test_equal_runs_end_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = demo(monkeypatch, lambda lazy: SAME)
    assert code == 0
    assert "DIFFERENT" not in said
    assert "Eager and lazy came to the same in both universes." in said


def test_an_outcome_survives_its_file_bit_for_bit(tmp_path: Path) -> None:
    odd = changed(SAME, final_value=0.1 + 0.2, fills=[[*FILL[:4], 1e-300]])
    odd.save(tmp_path / "out.json")
    assert Outcome.load(tmp_path / "out.json") == odd


def test_no_rss_is_shown_where_none_is_known() -> None:
    console = Console(file=io.StringIO(), width=200)
    blind = changed(SAME, baseline_bytes=0, peak_bytes=0)
    show(console, blind, blind, None, differences(blind, blind))
    assert "RSS" not in console.file.getvalue()  # type: ignore[attr-defined]


# ---- its bars -------------------------------------------------------------------------------------


def test_generated_bars_are_the_same_again_in_whole_cents_with_gaps() -> None:
    universe = Generated(assets=2, days=3)
    first, other = universe.bars()
    again, _ = universe.bars()
    assert (first.times_ns == again.times_ns).all()
    assert all((first.columns[name] == again.columns[name]).all() for name in first.columns)
    assert first.columns["close"][:5].tolist() != other.columns["close"][:5].tolist()
    assert 0.97 < len(first.times_ns) / (3 * 390) < 1
    assert (first.columns["high"] >= np.maximum(first.columns["open"], first.columns["close"])).all()
    assert (first.columns["low"] <= np.minimum(first.columns["open"], first.columns["close"])).all()
    for name in ("open", "high", "low", "close"):
        assert (first.columns[name] == np.round(first.columns[name], 2)).all()
    assert first.frame().index[0].isoformat() == "2023-01-02T09:30:00-05:00"


def test_daily_bars_are_real_and_list_late() -> None:
    bars = {one.symbol: one for one in Daily().bars()}
    assert list(bars) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    assert bars["AAPL"].frame().index[0].isoformat() == "2000-03-01T00:00:00-05:00"
    assert bars["FB"].frame().index[0].isoformat() == "2012-05-18T00:00:00-04:00"


def test_the_daily_universe_says_which_package_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh_sampledata.stocks", None)
    with pytest.raises(ConfigError, match=r"lazybars\[demo\]"):
        next(iter(Daily().bars()))


# ---- the whole, in processes of its own -----------------------------------------------------------


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """An environment whose Python has no network, and whose user has settings that Lumibot must not see."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(self, address, *rest):\n"
        "    if self.family != socket.AF_UNIX:\n"
        "        open(%r, 'a').write(f'{address}\\n')\n"
        "        raise OSError('this test has no network')\n"
        "    return connect(self, address, *rest)\n"
        "connect, socket.socket.connect = socket.socket.connect, refuse\n"
        "socket.socket.connect_ex = refuse\n"
        "def no_names(host, *rest, **more):\n"
        "    open(%r, 'a').write(f'{host}\\n')\n"
        "    raise OSError('this test has no network')\n"
        "socket.getaddrinfo = no_names\n" % ((str(tmp_path / "reached"),) * 2)
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(tmp_path), str(Path(lazybars.__file__).parents[1]))),
        "BACKTESTING_DATA_SOURCE": "polygon",
        "TMPDIR": str(tmp_path),
        "COLUMNS": "120",
    }
    reach = "import socket; socket.create_connection(('192.0.2.1', 9))"
    assert subprocess.run([sys.executable, "-c", reach], env=environment, capture_output=True).returncode == 1
    (tmp_path / "reached").unlink()  # the trap works
    return environment


def lazybars_demo(environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from lazybars.cli import main; main()", "demo", *argv],
        env=environment,
        cwd=environment["TMPDIR"],
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_quick_demo_is_equal_offline_and_leaves_nothing(tmp_path: Path, offline: dict[str, str]) -> None:
    done = lazybars_demo(offline, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert "generated, not real" in done.stdout
    for start in ("trades", "final value", "value at each iteration"):
        told = [row for row in rows if " ".join(row).startswith(start)]
        assert [row[-1] for row in told] == ["equal", "equal"], done.stdout
        assert [row[-3] == row[-5] for row in told] == [True, True]
    assert sum("frames served" in " ".join(row) and row[-1] == "equal" for row in rows) == 2
    trades = [int(row[-3].replace(",", "")) for row in rows if row[:1] == ["trades"]]
    assert min(trades) > 100
    assert "Eager and lazy came to the same in both universes." in done.stdout
    assert not (tmp_path / "reached").exists(), (tmp_path / "reached").read_text()
    assert sorted(one.name for one in tmp_path.iterdir() if one.name != "__pycache__") == ["sitecustomize.py"]


def test_a_cap_that_is_too_small_is_one_line(tmp_path: Path, offline: dict[str, str]) -> None:
    done = lazybars_demo(offline, "--quick", "--memory", "1MB")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "memory=1 MB" in done.stderr
