"""Eviction that learns: traces of strategies through a real feed, against Belady's optimum and LRU.

The optimum is computed from the very list of segments that the test asks for; `test_replay` holds it
against every possible choice. Nothing is read ahead here, so that only what is kept decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import NEW_YORK, write_store

from lazybars import Store, open_store
from lazybars.budget import Split
from lazybars.eviction import policy_named
from lazybars.feed import Feed
from lazybars.partition import Partitions
from lazybars.replay import Key, belady, lru
from lazybars.ring import PAGE_OVERHEAD_BYTES
from lazybars.series import StoredSeries

ASSETS, DAYS, ROWS, EVERY = 12, 24, 30, 10
SEGMENT_BYTES = ROWS * 8 * 6 + PAGE_OVERHEAD_BYTES
Ask = Callable[[int], list[tuple[int, int]]]


def static(tick: int) -> list[tuple[int, int]]:
    return [(asset, 20) for asset in range(ASSETS)]


def mixed(tick: int) -> list[tuple[int, int]]:
    return [(asset, 20 if asset % 2 else 120) for asset in range(ASSETS)]


def rotating(tick: int) -> list[tuple[int, int]]:
    """Another quarter of the universe every two days."""
    return [(asset, 20) for asset in range(ASSETS) if asset % 4 == tick // 6 % 4]


def monthly(tick: int) -> list[tuple[int, int]]:
    """A few at every tick, and all the others once in ten days."""
    rest = [(asset, 60) for asset in range(4, ASSETS)] if tick % 30 == 0 else []
    return [*((asset, 20) for asset in range(4)), *rest]


# Segments asked for at a tick when most are: under half of it, and above it.
TRACES: dict[str, tuple[Ask, int, float]] = {
    "static": (static, 2 * ASSETS, 0.98),
    "mixed": (mixed, 4 * ASSETS, 0.98),
    "rotating": (rotating, ASSETS // 2, 0.9),
    "monthly": (monthly, 8, 0.9),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    index = pd.DatetimeIndex(
        np.concatenate(
            [
                pd.date_range(day + pd.Timedelta(hours=9, minutes=30), periods=ROWS, freq="min")
                .as_unit("ns")
                .asi8
                for day in pd.bdate_range("2024-03-04", periods=DAYS)
            ]
        ).view("M8[ns]")
    ).tz_localize(NEW_YORK)
    columns = {name: np.arange(len(index)) / 4 for name in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame(columns, index=index.rename("datetime"))
    path = tmp_path_factory.mktemp("habits") / "bars.duckdb"
    write_store(path, {f"A{number:02}": frame for number in range(ASSETS)})
    with open_store(path) as opened:
        opened.compact()
    with open_store(path, read_only=True) as opened:
        yield opened


def played(store: Store, ask: Ask, ring_bytes: int, policy: str) -> tuple[Feed, list[Key]]:
    """The feed after the whole trace, and the segments that were asked for, in order."""
    infos = store.series()
    stamps_ns = store.timestamps(infos[0].series_id)
    partitions = Partitions.covering("1D", int(stamps_ns[0]), int(stamps_ns[-1]))
    edges = stamps_ns.searchsorted(partitions.edges_ns).tolist()
    hours = tuple(
        [int(stamps_ns[min(max(at, 0), len(stamps_ns) - 1)]) for at in some]
        for some in (edges[:-1], [edge - 1 for edge in edges[1:]])
    )
    series = [StoredSeries(info, partitions, edges, hours) for info in infos]
    feed = Feed(
        store,
        series,
        partitions,
        Split(ring_bytes, 0, 0, 0, ring_bytes),
        policy_named(policy),
        now_ns=int(stamps_ns[0]),
        prefetch=False,
        close=lambda: None,
        start_rss_bytes=0,
        spare_bytes=0,
    )
    keys: list[Key] = []
    for tick, row in enumerate(range(0, len(stamps_ns), EVERY)):
        feed.advance(int(stamps_ns[row]))
        for asset, lookback in ask(tick):
            one, start = series[asset], max(row + 1 - lookback, 0)
            values = feed.window(one, start, row + 1)
            assert (values[3] == np.arange(start, row + 1) / 4).all()
            parts = range(one.part_of(start), one.part_of(row) + 1)
            keys += [(one.info.series_id, part) for part in parts if one.span(part)[0] < one.span(part)[1]]
    return feed, keys


@pytest.mark.parametrize("share", [0.4, 0.7, 1.1])
@pytest.mark.parametrize("name", TRACES)
def test_it_hits_what_the_best_policy_hits(store: Store, name: str, share: float) -> None:
    ask, segments, least = TRACES[name]
    room = int(segments * SEGMENT_BYTES * share)
    feed, keys = played(store, ask, room, "next-use")
    feed.close()
    ones: Any = np.ones(len(keys))
    sizes = dict.fromkeys(keys, SEGMENT_BYTES)
    best, recent = belady(keys, ones, sizes, room), lru(keys, ones, sizes, room)
    stats = feed.stats()
    assert stats.hits + stats.misses == len(keys)
    assert stats.hits >= least * best
    assert stats.hits >= recent - 0.01 * len(keys)
    assert stats.misses > stats.bypasses


def test_lru_in_the_ring_is_lru_in_the_replay(store: Store) -> None:
    room = int(2 * ASSETS * SEGMENT_BYTES * 0.7)
    feed, keys = played(store, static, room, "lru")
    feed.close()
    ones: Any = np.ones(len(keys))
    assert feed.stats().hits == lru(keys, ones, dict.fromkeys(keys, SEGMENT_BYTES), room)


def test_a_series_asked_for_once_a_month_leaves_at_once(store: Store) -> None:
    feed, _ = played(store, monthly, 10**7, "next-use")
    with feed.ring.changed:
        now = feed.ring.log.serial
        feed.ring.drop_dead()
        kept = {series_id for series_id, _ in feed.ring.pages}
    feed.close()
    assert now > 0
    assert kept == {info.series_id for info in store.series()[:4]}
