"""Fixtures for sources that download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .polygon import Market, pointed_at
from .vendor import Vendor, real_bars


@pytest.fixture
def market() -> Market:
    """Two stocks of March and April 2022 with extended hours, one of them with holes; and bitcoin."""
    return Market(
        {
            "AAPL": real_bars("alvinmoore__AAPL__1min"),
            "GME": real_bars("alvinmoore__GME__1min"),
            "X:BTCUSD": real_bars("aiquant__BTCUSDT__1min")["2026-03-01":"2026-03-25"],
        }
    )


@pytest.fixture
def polygon(market: Market, tmp_path: Path, quiet: None) -> Iterator[Vendor]:
    """A Polygon over that market, asked by Lumibot's own client; nothing cached."""
    with Vendor(market).serving() as vendor, pointed_at(vendor, tmp_path / "cache"):
        yield vendor
