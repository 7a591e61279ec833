"""The benchmark of sweeps at a tiny size, and what it says where two sides of a trial differ."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.sweeping.rows import Row, Rows
from benchmarks.sweeping.section import put_section, section_of, wrong
from lazybars.errors import ConfigError

_ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's PSS")
def test_sweeps_are_measured_and_end_as_single_runs_of_lumibot_do(tmp_path: Path) -> None:
    out, page = tmp_path / "out.csv", tmp_path / "RESULTS.md"
    page.write_text("before\n<!-- sweeps: begin -->\nold\n<!-- sweeps: end -->\nafter\n")
    argv = ["--size", "8x5", "--trials", "2", "--only", "single,sweep", "--workdir", tmp_path, "--out", out]
    for more in ([], ["--section", page]):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.sweeps", *map(str, argv), *map(str, more)],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    rows = list(Rows(out))
    assert sorted((row.part, row.number, row.workers) for row in rows) == [
        ("single", 0, 1),
        ("single", 1, 1),
        ("sweep", 2, 1),
        ("sweep", 2, 2),
    ]
    assert wrong(rows) == []
    assert len({outcome for row in rows for outcome in row.outcome.split()}) == 2
    for row in rows:
        assert 50 < (row.peak_mb or 0) < 2000
        if row.part == "sweep":
            assert 0 < (row.over_mb or 0) < (row.peak_mb or 0)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "the same bits with one worker, with 2, and in 2 single runs of Lumibot alone" in text
    assert str(tmp_path) not in text + out.read_text()


def test_two_sides_that_differ_are_told() -> None:
    sweep = Row("sweep", "lazy", 2, 4, 2, 1, 512.0, 2.0, 2.0, 300.0, 100.0, 90.0, "aa bb", date="2024-01-02")
    rows = [sweep, replace(sweep, workers=2, wall_s=1.0), Row("single", "eager", 2, 4, 1, 1, outcome="cc")]
    assert wrong(rows[:2]) == []
    (said,) = wrong(rows)
    assert "trial 1" in said
    assert "2.00 times as fast" in section_of(rows)
    assert "alone with every bar in RAM (**NOT met**)" in section_of(rows)
    slow = section_of([sweep, replace(sweep, workers=2, wall_s=1.9, over_mb=600.0)])
    assert "(target 1.7: **NOT met**)" in slow
    assert "(target 512: **NOT met**)" in slow


def test_a_page_without_a_place_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ConfigError, match="no place"):
        put_section(page, [])
    assert page.read_text() == "nothing"
