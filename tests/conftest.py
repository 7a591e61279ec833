"""Fixtures of the tests of single rooms: no network, quiet Lumibot, nothing left behind."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before Lumibot is imported: it reads its environment once.
os.environ["BACKTESTING_DATA_SOURCE"] = "none"
os.environ.setdefault("LUMIBOT_DISABLE_DOTENV", "1")

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: minutes long; runs where LAZYBARS_PROFILE=full")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("LAZYBARS_PROFILE") == "full":
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: set LAZYBARS_PROFILE=full"))


@pytest.fixture
def quiet() -> Iterator[None]:
    """Lumibot logs at length; a test that looks at warnings of lazybars leaves this out."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that temporary files go to; afterwards no thread and no such file may be left."""
    from support import prefetchers, settled

    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    if prefetchers() or any(folder.iterdir()):
        gc.collect()
    assert settled(lambda: not prefetchers()), "a prefetch thread outlived its source"
    left = [path.name for path in folder.iterdir()]
    assert not left, f"left behind: {left}"
