"""The benchmarks run at a tiny size, and the notebooks from top to bottom."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[1]
_NOTEBOOKS = sorted((_ROOT / "notebooks").glob("*.ipynb"))
_TINY = {
    "ASSETS": "2",
    "DAYS": "4",
    "BACKTEST_SESSIONS": "1",
    "DAILY_ASSETS": "2",
    "YEARS": "1",
    "STORE_ASSETS": "2",
    "STORE_DAYS": "6",
}


def test_the_benchmarks_run_and_save_their_table(tmp_path: Path) -> None:
    sizes = {f"LAZYBARS_BENCH_{name}": value for name, value in _TINY.items()}
    wanted = "not without and not hourly and not 30"  # what these show, the others show as well
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", "-q", "-p", "no:cacheprovider", "-k", wanted],
        cwd=_ROOT,
        env={**os.environ, **sizes, "LAZYBARS_BENCH_RESULTS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = {row["what"] for row in rows}
    for what in ("60 minute bars, each minute", "20 daily bars", "start-up", "compact"):
        assert what in measured
    assert all(float(row["lazy"]) > 0 and float(row["other"]) > 0 for row in rows)


def test_the_claims_are_measured_and_their_section_is_made(tmp_path: Path) -> None:
    page, out = tmp_path / "RESULTS.md", tmp_path / "claims.csv"
    real = (_ROOT / "benchmarks/RESULTS.md").read_text()
    page.write_text(real)
    sizes = ["--assets", "2", "--days", "30", "--symbols", "20", "--rounds", "1"]
    command = [sys.executable, "-m", "benchmarks.claims", "--out", out, "--results", page]
    done = subprocess.run([*command, *sizes], cwd=_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        ours, theirs, figure = (float(row[name]) for name in ("ours", "theirs", "figure"))
        assert min(ours, theirs) > 0
        expected = 100 * (1 - ours / theirs) if row["sign"] == "%" else theirs / ours
        assert figure == pytest.approx(expected, rel=1e-3, abs=1e-2)
    made = page.read_text()
    assert made.count("\n| ") == real.count("\n| ") - _rows_of_section(real) + len(rows) + 1
    before, after = (text.partition("<!-- claims: made")[0] for text in (real, made))
    assert before == after
    again = subprocess.run([*command, "--section"], cwd=_ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert page.read_text() == made


def test_the_section_of_the_claims_is_that_of_their_file() -> None:
    from benchmarks.claims import load, section, with_section

    page = (_ROOT / "benchmarks/RESULTS.md").read_text()
    assert with_section(page, section(load(_ROOT / "benchmarks/results/claims.csv"))) == page
    with pytest.raises(ValueError, match="markers"):
        with_section("no section", "made")


def _rows_of_section(page: str) -> int:
    return page.partition("<!-- claims: made")[2].partition("<!-- claims: end")[0].count("\n| ")


def _cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_as_it_ran(path: Path) -> None:
    cells = _cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = json.dumps([cell["outputs"] for cell in cells])
    assert "image/png" in outputs
    assert '"output_type": "error"' not in outputs
    shown = re.sub(r'"image/png": "[^"]*"', "", outputs)
    assert not re.search(r"/(home|root|Users|tmp|work|private)/", shown), "a path of somebody's machine"


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_executes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for name in ("ipykernel", "matplotlib", "bokeh_sampledata", "optuna"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(_ROOT), os.environ.get("PYTHONPATH", ""))))
    monkeypatch.setenv("LAZYBARS_NOTEBOOK", "quick")  # the same cells, fewer trials
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
