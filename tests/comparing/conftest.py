"""Fixtures of the comparisons' tests: a folder with a strategy's file, and the command run on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sweep.conftest import market, no_process_left, temporary
from sweep.market import command
from test_demo import offline

from comparing.files import BARS, Files

__all__ = ["files", "market", "no_process_left", "offline", "temporary"]


@pytest.fixture
def files(tmp_path: Path, temporary: Path) -> Files:
    """A folder whose name has spaces, with bars beside the strategy, and another to be in."""
    folder = tmp_path / "my [own] strategies"
    folder.mkdir()
    (folder / "bars.py").write_text(BARS)
    here = tmp_path / "here"
    here.mkdir()
    return Files(folder, here, temporary)


@pytest.fixture
def compare(files: Files, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``lazybars compare`` in the folder to be in."""
    monkeypatch.setenv("NOTES", str(files.notes))
    monkeypatch.delenv("LAZYBARS", raising=False)

    def run(*argv: object, **environment: str) -> subprocess.CompletedProcess[str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        running = command("compare", *argv, cwd=files.here)
        out, err = running.communicate(timeout=300)
        assert not any(files.temporary.iterdir()), "temporary files are left"
        assert os.listdir(files.here) == [], "something was written where the user is"
        return subprocess.CompletedProcess(argv, running.returncode, out, err)

    return run
