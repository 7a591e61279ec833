"""Fixtures of the sweeps' tests: a market, where temporary files go, and that no process is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support import minutes, settled, write_store

from sweep.market import NEIGHBOUR, STRATEGY, Market


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    folder = tmp_path_factory.mktemp("märket")
    frames = {"A": minutes(days=3, rows=90, seed=1), "B": minutes(days=3, rows=90, seed=2, keep=0.8)}
    store = write_store(folder / "bars.duckdb", frames)
    strategy = folder / "cross_strategy.py"
    strategy.write_text(STRATEGY)
    (folder / "neighbour.py").write_text(NEIGHBOUR)
    return Market(folder, store, strategy, frames)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that all temporary files go to, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Afterwards no process is there that was not there before."""
    me = psutil.Process()
    before = set(me.children(recursive=True))
    yield
    assert settled(lambda: not set(me.children(recursive=True)) - before), me.children(recursive=True)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The working directories of the trials that really ran."""
    log = tmp_path / "runs"
    monkeypatch.setenv("RUNS", str(log))
    return lambda: [line.split(" ", 1)[1] for line in log.read_text().splitlines()] if log.exists() else []
