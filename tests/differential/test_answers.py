"""Made universes: every answer of lazybars is eager Lumibot's, bit for bit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from .curated import CORNERS, walk_of
from .drawn import FULL, SHARDS, explore
from .exact import Raised, differences
from .requests import Walk
from .rig import Factory, check, eager
from .universes import UniverseSpec, asset_of, build

LazyWith = Callable[..., Factory]


@pytest.mark.parametrize("corner", CORNERS)
def test_a_known_corner(corner: str, lazy_with: LazyWith) -> None:
    universe = CORNERS[corner]
    check(universe, walk_of(universe, whole=FULL), lazy_with(), name="lazybars")


@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_universes_clocks_and_questions(shard: int, lazy_with: LazyWith) -> None:
    factory = lazy_with()
    wanted = (1_000_000 if FULL else 20_000) // SHARDS

    def judge(universe: UniverseSpec, walk: Walk) -> int:
        return check(universe, walk, factory, name="lazybars")

    assert explore(judge, answers=wanted, shard=shard) >= wanted


ODD: dict[str, tuple[Any, ...]] = {
    "length": (True, np.int64(5), "5", 2.5, None, -1, 0),
    "timeshift": ("1", True, 1.0, 1.7, np.int64(1), pd.Timedelta("2h"), dt.timedelta(seconds=-90)),
    "timestep": ("1440min", "60 minutes", "second", "week", "1 month", "0minute", 5),
}


@pytest.mark.parametrize("corner", ["plain", "hours", "days"])
@pytest.mark.parametrize("name", ODD)
def test_an_argument_of_another_kind(name: str, corner: str, lazy_with: LazyWith) -> None:
    """What Lumibot makes of it, or the exception that it raises."""
    universe = CORNERS[corner]
    sources = [factory(universe, build(universe)) for factory in (eager, lazy_with())]
    for source in sources:
        source.load_data()
        source._update_datetime(universe.moment(2 * 1440 + 640.0))
    for value in ODD[name]:
        for step in ("minute", "15min", "hour", "day"):
            asked = {"length": 5, "timestep": step, "timeshift": None, name: value}
            expected, got = (_asked(source, asset_of(universe.series[0]), asked) for source in sources)
            assert differences(expected, got) == [], asked
    for source in sources:
        source.shutdown()


def _asked(source: Any, asset: Any, arguments: dict[str, Any]) -> Any:
    try:
        return source.get_historical_prices(asset, **arguments)
    except Exception as error:
        return Raised.of(error)
