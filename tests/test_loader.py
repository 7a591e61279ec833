"""The loader: segments out of a real store, whatever order its rows lie in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import NEW_YORK, Faltering, bits, minutes, repaired

from lazybars import Store, open_store
from lazybars.grid import ArrayGrid
from lazybars.layout import Layout
from lazybars.loader import Loader
from lazybars.partition import Partitions
from lazybars.series import GridSeries, edge_rows

pytestmark = pytest.mark.usefixtures("quiet")


def with_gaps(seed: int) -> pd.DataFrame:
    """Minute bars with missing rows, NaN in places, and bids that end with the session."""
    frame = minutes(days=10, rows=40, seed=seed, keep=0.7)
    rng = np.random.default_rng(seed)
    frame["bid"] = np.where(rng.random(len(frame)) < 0.3, frame["close"] - 0.01, np.nan)
    frame["dividend"] = np.where(rng.random(len(frame)) < 0.02, 0.5, 0.0)
    for name in ("open", "close", "volume"):
        frame.loc[rng.random(len(frame)) < 0.2, name] = np.nan
    return frame


FRAMES = {
    "PLAIN": minutes(days=10, rows=40, seed=1),
    "SPARSE": minutes(days=10, rows=40, seed=2, keep=0.3),
    "LATE": minutes(days=4, rows=40, seed=3, start="2024-03-11", keep=0.9),
    "GAPS": with_gaps(4),
    "OTHER": with_gaps(5),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series in the order of FRAMES, with others in between, and rows in anything but order."""
    path = tmp_path_factory.mktemp("loader") / "bars.duckdb"
    with open_store(path) as opened:
        for symbol, frame in FRAMES.items():
            half = len(frame) // 2
            opened.write(frame.iloc[half:], asset=symbol, timestep="minute")
            for n in range(3):
                opened.write(minutes(days=1, rows=2), asset=f"{symbol}{n}", timestep="minute")
        for symbol, frame in FRAMES.items():
            half = len(frame) // 2
            opened.write(frame.iloc[:half], asset=symbol, timestep="minute")
            shuffled = frame.iloc[np.random.default_rng(0).permutation(len(frame))[: half // 2]]
            opened.write(shuffled, asset=symbol, timestep="minute")
        assert not opened.is_compact
    return path


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_store(path, read_only=True) as opened:
        yield opened


class Universe:
    """The series of a store on the union of their instants, in partitions of a kind."""

    def __init__(self, store: Store, kind: str) -> None:
        index = FRAMES["PLAIN"].index[:0]
        for frame in FRAMES.values():
            index = index.union(frame.index)
        # Some rows of the store lie off the grid, and the grid has rows that no series has.
        self.index = index[np.arange(len(index)) % 17 != 5].union(index[::50] + pd.Timedelta(seconds=30))
        grid = ArrayGrid(self.index.as_unit("ns").asi8)
        infos = {symbol: store.find(symbol, "minute") for symbol in FRAMES}
        first_ns = min(info.first_ns for info in infos.values())
        last_ns = max(info.last_ns for info in infos.values())
        self.partitions = Partitions.covering(kind, first_ns, last_ns)
        edges = edge_rows(grid, self.partitions)
        self.series: dict[str, GridSeries] = {}
        for symbol, info in infos.items():
            offset = grid.at_or_after(info.first_ns)
            rows = grid.at_or_before(info.last_ns) + 1 - offset
            layout = Layout.of(info)
            self.series[symbol] = GridSeries(info, layout, grid, self.partitions, edges, offset, rows)

    def expected(self, symbol: str) -> pd.DataFrame:
        return repaired(FRAMES[symbol], self.index, "minute")


def loaded(loader: Loader, universe: Universe, part: int, symbols: list[str]) -> dict[str, Any]:
    chosen = [universe.series[symbol] for symbol in symbols]
    return {one.info.asset.symbol: segment for one, segment in loader.load(part, chosen)}


def assert_is(universe: Universe, symbol: str, part: int, segment: Any, whole: pd.DataFrame) -> None:
    one = universe.series[symbol]
    lo, hi = one.span(part)
    assert segment.block.shape[1] == hi - lo
    for name, dtype in one.layout.frame:
        got = segment.column(one.layout, name).astype(dtype)
        assert bits(got) == bits(whole[name].to_numpy()[lo:hi]), (symbol, part, name)


@pytest.mark.parametrize("kind", ["1D", "1W", "1M"])
@pytest.mark.parametrize("batch_rows", [1, 100, 1_000_000])
def test_a_walk_from_the_start_gives_lumibot_s_rows(store: Store, kind: str, batch_rows: int) -> None:
    universe = Universe(store, kind)
    wholes = {symbol: universe.expected(symbol) for symbol in FRAMES}
    loader = Loader(store, universe.partitions, batch_rows)
    for part in range(len(universe.partitions)):
        segments = loaded(loader, universe, part, list(FRAMES))
        assert list(segments) == list(FRAMES), "in the order of series ids"
        for symbol, segment in segments.items():
            assert_is(universe, symbol, part, segment, wholes[symbol])


@pytest.mark.parametrize("seed", range(3))
def test_parts_in_any_order_equal_those_of_the_walk(store: Store, seed: int) -> None:
    universe = Universe(store, "1D")
    wholes = {symbol: universe.expected(symbol) for symbol in FRAMES}
    loader = Loader(store, universe.partitions, 1000)
    rng = np.random.default_rng(seed)
    for _ in range(12):
        part = int(rng.integers(len(universe.partitions)))
        symbols = [symbol for symbol in FRAMES if rng.random() < 0.7]
        for symbol, segment in loaded(loader, universe, part, symbols).items():
            assert_is(universe, symbol, part, segment, wholes[symbol])


@pytest.mark.parametrize("symbol", FRAMES)
def test_the_first_part_asked_for_may_be_any(store: Store, symbol: str) -> None:
    universe = Universe(store, "1D")
    whole = universe.expected(symbol)
    for part in range(len(universe.partitions)):
        segments = loaded(Loader(store, universe.partitions, 1000), universe, part, [symbol])
        assert_is(universe, symbol, part, segments[symbol], whole)


def test_only_the_latest_carries_are_kept(store: Store) -> None:
    universe = Universe(store, "1D")
    loader = Loader(store, universe.partitions, 1000)
    for part in range(len(universe.partitions)):
        loaded(loader, universe, part, ["PLAIN"])
    (carries,) = loader._carries.values()
    assert len(carries) <= 4


def test_series_that_lie_apart_are_read_by_scans_of_their_own(store: Store) -> None:
    universe = Universe(store, "1W")
    counting = Faltering(store)
    loader = Loader(counting, universe.partitions, 1_000_000)
    loaded(loader, universe, 1, ["PLAIN", "SPARSE", "LATE"])
    assert sum(counting.scans.values()) == 3


def test_neighbouring_series_are_read_by_one_scan(tmp_path: Path) -> None:
    with open_store(tmp_path / "bars.duckdb") as store:
        for symbol, frame in FRAMES.items():
            store.write(frame, asset=symbol, timestep="minute")
        universe = Universe(store, "1W")
        counting = Faltering(store)
        loader = Loader(counting, universe.partitions, 1_000_000)
        loaded(loader, universe, 0, ["PLAIN", "SPARSE", "LATE"])
        assert sum(counting.scans.values()) == 1


def test_after_a_jump_what_was_before_comes_from_one_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path / "bars.duckdb") as store:
        for symbol, frame in FRAMES.items():
            store.write(frame, asset=symbol, timestep="minute")
        universe = Universe(store, "1D")
        symbols = ["PLAIN", "SPARSE", "LATE"]
        wholes = {symbol: universe.expected(symbol) for symbol in symbols}
        queries: list[int] = []
        asked = store.last_before
        monkeypatch.setattr(
            store,
            "last_before",
            lambda series_id, *rest: queries.append(series_id) or asked(series_id, *rest),
        )
        loader = Loader(store, universe.partitions, 1_000_000)
        for symbol, segment in loaded(loader, universe, 11, symbols).items():
            assert_is(universe, symbol, 11, segment, wholes[symbol])
        assert queries == [], "every series has a row shortly before"


def test_a_compacted_store_gives_the_same(path: Path, tmp_path: Path) -> None:
    with open_store(shutil.copy(path, tmp_path / "copy.duckdb")) as store:
        store.compact()
        universe = Universe(store, "1D")
        loader = Loader(store, universe.partitions, 1000)
        for symbol, segment in loaded(loader, universe, 4, list(FRAMES)).items():
            assert_is(universe, symbol, 4, segment, universe.expected(symbol))


def test_a_part_before_the_series_has_no_rows(store: Store) -> None:
    universe = Universe(store, "1D")
    segments = loaded(Loader(store, universe.partitions, 1000), universe, 0, ["LATE"])
    assert segments["LATE"].block.shape[1] == 0


def test_times_around_a_change_of_the_clock_fall_into_their_local_days(tmp_path: Path) -> None:
    index = pd.date_range("2024-03-08", "2024-03-12", freq="10min", tz=NEW_YORK, name="datetime")
    close = np.arange(len(index), dtype="float64")
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "volume"), close), index=index)
    with open_store(tmp_path / "bars.duckdb") as store:
        info = store.write(frame, asset="A", timestep="minute").series
        grid = ArrayGrid(index.as_unit("ns").asi8)
        partitions = Partitions.covering("1D", info.first_ns, info.last_ns)
        edges = edge_rows(grid, partitions)
        one = GridSeries(info, Layout.of(info), grid, partitions, edges, 0, grid.rows)
        loader = Loader(store, partitions, 1000)
        counts = [segment.block.shape[1] for part in range(5) for _, segment in loader.load(part, [one])]
    assert counts == [144, 144, 138, 144, 1]
