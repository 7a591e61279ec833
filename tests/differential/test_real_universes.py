"""Real bars, gaps and all: every answer of lazybars is eager Lumibot's, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from .curated import walk_of
from .drawn import FULL, explore, walks
from .real import REAL
from .rig import Factory, check
from .universes import SHARED

LazyWith = Callable[..., Factory]


@pytest.fixture(autouse=True)
def bars() -> None:
    if not SHARED.is_dir():
        missing = f"no real bars: {SHARED} is missing"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


@pytest.mark.parametrize("name", REAL)
def test_random_walks_over_real_bars(name: str, lazy_with: LazyWith) -> None:
    universe, factory = REAL[name], lazy_with()
    strategy = walks(universe, frames=False).map(lambda walk: (universe, walk))
    assert isinstance(strategy, st.SearchStrategy)
    explore(
        lambda u, walk: check(u, walk, factory, name="lazybars"),
        answers=20_000 if FULL else 800,
        strategy=strategy,
    )


@pytest.mark.parametrize(
    "name", REAL if FULL else ["days with dividends and splits", "a future with its daily break"]
)
def test_everything_is_asked_of_real_bars(name: str, lazy_with: LazyWith) -> None:
    check(REAL[name], walk_of(REAL[name], whole=FULL), lazy_with(), name="lazybars")
