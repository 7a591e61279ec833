"""Where the rows of a lazy ``Data`` are."""

from __future__ import annotations

from typing import Any

from lazybars.adapters.frames import FrameMaker, IndexMaker
from lazybars.adapters.instants import Instants
from lazybars.adapters.resample import Heading
from lazybars.feed import Feed
from lazybars.series import GridSeries

__all__ = ["Binding"]


class Binding:
    """Where a series' rows are: a feed, and a place in a grid. Made by ``load_data``.

    instants, headings : what the series of one universe find once a tick, and share.
    """

    __slots__ = ("feed", "frames", "headings", "index", "instants", "series")

    def __init__(
        self,
        feed: Feed,
        series: GridSeries,
        index: IndexMaker,
        instants: Instants,
        headings: dict[Any, Heading],
    ) -> None:
        self.feed = feed
        self.series = series
        self.index = index
        self.instants = instants
        self.headings = headings
        self.frames = FrameMaker.of_layout(series.layout)
