"""Fixtures of the differential tests: quiet Lumibot, no network, lazybars imported late."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

# Before Lumibot is imported: it reads its environment once.
os.environ["BACKTESTING_DATA_SOURCE"] = "none"
os.environ.setdefault("LUMIBOT_DISABLE_DOTENV", "1")

import pytest

from .rig import Factory, Knobs, lazy


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lumibot warns of every short history; here there are thousands of them."""
    monkeypatch.setenv("BACKTESTING_DATA_SOURCE", "none")
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


@pytest.fixture
def lazy_with() -> Callable[..., Factory]:
    """A factory of lazybars by its knobs; fails, not skips, while there is no lazybars."""
    return lambda **knobs: lazy(Knobs(**knobs))
