"""The comparison itself: equal rows have no difference, planted ones are found and told; bad arguments."""

from __future__ import annotations

import copy
import dataclasses
import io
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lazybars import cli
from lazybars.comparing.outcome import FIELDS, Backtest, Outcome, differences
from lazybars.comparing.show import show

AT = ["2024-03-05T10:00:00-05:00", "2024-03-05T10:30:00-05:00"]
ROWS: dict[str, list[list[Any]]] = {
    "orders": [[when, "A", "buy", "10", *["x"] * 9, []] for when in AT],
    "order events": [[when, "A", "buy", 1, "fill", "market", 100.5, 10.0] for when in AT],
    "fills": [[when, "A", "buy", 10.0, 100.5, 0.0] for when in AT],
    "cash": [[when, 99_000.5] for when in AT],
    "portfolio values": [[when, float("nan")] for when in AT],
}
FIGURES = {
    "cap_bytes": 128_000_000,
    "peak_bytes": 100_000_000,
    "calls": 4,
    "hit_rate": 1.0,
    "misses": 0,
    "late": 0,
    "prefetched": 2,
    "stall_s": 0.0,
    "eager": {"A/USD minute": "it has a column of text"},
    "held": {"frames of the caller's Data objects": 50_000_000},
}
SAME = Backtest("Trend", "PandasDataBacktesting", False, ROWS, 1.5, {})


def planted(subject: str, row: int, field: int, value: Any) -> Backtest:
    rows = copy.deepcopy(ROWS)
    rows[subject][row][field] = value
    return dataclasses.replace(SAME, rows=rows)


def test_the_same_rows_have_no_difference_whatever_they_cost() -> None:
    other = dataclasses.replace(SAME, rows=copy.deepcopy(ROWS), wrapped=True, start_up_s=9.0, figures=FIGURES)
    assert differences([SAME], [other]) == []


@pytest.mark.parametrize("subject", FIELDS)
def test_any_field_of_any_row_is_compared(subject: str) -> None:
    for field, name in enumerate(FIELDS[subject]):
        when = AT[1].replace("30", "31") if name == "time" else "other"
        (found,) = differences([SAME], [planted(subject, 1, field, when)])
        assert (found.subject, found.rows) == (subject, 1)
        assert name in found.said
        assert found.when is not None
        assert found.when.isoformat() == AT[1]


@pytest.mark.parametrize("other", [float(np.nextafter(99_000.5, 0)), -99_000.5, None])
def test_a_bit_is_a_difference(other: Any) -> None:
    (found,) = differences([SAME], [planted("cash", 0, 1, other)])
    assert f"cash 99000.5 bare, {'none' if other is None else other} lazy" in found.said


@pytest.mark.parametrize("which", ["bare", "lazy"])
def test_rows_that_one_side_lacks_are_counted_and_told(which: str) -> None:
    more = dataclasses.replace(SAME, rows={**ROWS, "fills": [*ROWS["fills"], *ROWS["fills"]]})
    sides = ([more], [SAME]) if which == "bare" else ([SAME], [more])
    (found,) = differences(*sides)
    assert (found.rows, found.subject) == (2, "fills")
    assert found.said.startswith(f"fill 3 is there only {which}: {AT[0]} A buy")


def test_what_parted_first_comes_first_and_a_backtest_too_many_is_said() -> None:
    rows = copy.deepcopy(ROWS)
    rows["orders"][1][3] = "11"
    rows["cash"][0][1] = 1.0
    found = differences([SAME, SAME], [dataclasses.replace(SAME, rows=rows)])
    assert [one.subject for one in found] == ["backtests", "cash", "orders"]


def test_what_a_person_sees() -> None:
    lazy = dataclasses.replace(planted("cash", 1, 1, 5.0), wrapped=True, figures=FIGURES)
    console = Console(file=io.StringIO(), width=120)
    outcomes = [
        Outcome((one,), wall_s=wall_s, cpu_s=1.0, added_bytes=added_bytes)
        for one, wall_s, added_bytes in ((SAME, 4.0, 900_000_000), (lazy, 3.0, 90_000_000))
    ]
    show(console, *outcomes, differences([SAME], [lazy]))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "10.0 % of bare" in said
    assert "75.0 % of bare" in said
    assert said.count("DIFFERENT") == 1
    assert "cash: iteration 2" in said
    assert "not bounded: A/USD minute: it has a column of text" in said
    assert "50.0 MB" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nothing.py"], "is no file"),
        (["nothing.txt"], "give strategy.py"),
        (["{file}", "--start=2024-01-02"], "give --start and --end, or neither"),
        (["{file}", "--class=Cross"], "go with --start and --end"),
        (["{file}", "--parameter=a=1"], "go with --start and --end"),
        (["{file}", "--start=2024-01-02", "--end=2024-01-03"], "give --store"),
        (["{file}", "--start=2024-01-02", "--end=2024-01-03", "--store=no.duckdb"], "there is no store"),
        (["{file}", "--start=2024-01-03", "--end=2024-01-02", "--store={file}"], "is not after"),
        (["{file}", "--start=2024-01-02", "--end=2024-01-03", "--store={file}", "--", "x"], "no arguments"),
        (
            ["{file}", "--start=2024-01-02", "--end=2024-01-03", "--store={file}", "--parameter=a"],
            "NAME=VALUE",
        ),
        (["{file}", "--memory=10MB"], "bytes"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_code_2(
    argv: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    file = tmp_path / "strategy.py"
    file.touch()
    monkeypatch.setattr("sys.argv", ["lazybars", "compare", *(one.format(file=file) for one in argv)])
    monkeypatch.setattr("subprocess.Popen", None)  # before any process is started
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    err = capsys.readouterr().err
    assert ended.value.code == 2, err
    assert said in err
    assert len(err.splitlines()) == 1
    assert signal.getsignal(signal.SIGTERM) is handler
