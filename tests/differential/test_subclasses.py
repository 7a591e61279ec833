"""A user's own subclass of Lumibot's source is heard, wrapped or not."""

from __future__ import annotations

from typing import Any

import pytest
from lumibot.backtesting import PandasDataBacktesting

from .curated import CORNERS, walk_of
from .exact import differences
from .rig import of_class, stream


class Dearer(PandasDataBacktesting):
    """Asks a little more than the market."""

    def get_last_price(self, *args: Any, **kwargs: Any) -> Any:
        price = super().get_last_price(*args, **kwargs)
        return None if price is None else price * 1.01


class Later(PandasDataBacktesting):
    """Shows everything a bar late."""

    def _pull_source_symbol_bars(self, asset: Any, length: int, timeshift: Any = 0, **kwargs: Any) -> Any:
        shift = (timeshift or 0) + 1 if isinstance(timeshift, int | None) else timeshift
        return super()._pull_source_symbol_bars(asset, length, timeshift=shift, **kwargs)


class Named(PandasDataBacktesting):
    """Differs in its name alone, to which Lumibot gives an end one minute earlier."""


@pytest.mark.parametrize("kind", [Dearer, Later, Named])
def test_a_subclass_answers_alike(kind: type) -> None:
    from lazybars import LazyBars

    for corner in ("holes", "days, dividends and splits"):
        universe, plain = CORNERS[corner], 0
        walk = walk_of(universe)
        kinds = (kind, LazyBars(kind), PandasDataBacktesting)
        theirs, ours, lumibots = (list(stream(of_class(one), universe, walk)) for one in kinds)
        for expected, got, other in zip(theirs, ours, lumibots, strict=True):
            assert differences(expected.value, got.value) == [], expected.request
            plain += not differences(other.value, got.value)
        assert plain < len(ours), "the subclass made no difference"
