"""Repair by partitions equals Lumibot's repair of the whole frame, bit for bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NEW_YORK, bits, info_of, layout_of, repaired

from lazybars.grid import ArrayGrid
from lazybars.layout import Layout, obstacle
from lazybars.partition import Partitions
from lazybars.repair import Carry, Segment, repair
from lazybars.series import GridSeries, edge_rows

pytestmark = pytest.mark.usefixtures("quiet")

STEPS = {"minute": "min", "hour": "h", "day": "D"}
EXTRAS = ("bid", "ask", "bid_size", "ask_size", "dividend", "stock_splits", "vwap")


@st.composite
def frames(draw: st.DrawFn) -> tuple[str, pd.DataFrame, pd.DatetimeIndex]:
    """A timestep, a raw frame with gaps, and a universe's index that it is shown on."""
    timestep = draw(st.sampled_from(["minute", "minute", "hour", "day"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    step = pd.Timedelta(1, STEPS[timestep])
    rows = draw(st.integers(2, 40))
    # Mostly one step apart; now and then hours, which ends a session for bids and asks.
    jumps = rng.choice([1, 1, 1, 1, 2, 3, 119, 121, 200], rows - 1)
    stamps = pd.Timestamp("2024-03-07 09:30") + step * np.concatenate(([0], np.cumsum(jumps)))
    index = pd.DatetimeIndex(stamps, name="datetime").tz_localize(NEW_YORK, nonexistent="shift_forward")
    index = index[~index.duplicated()]
    if timestep == "minute":  # Data takes nothing after 23:59
        index = index[index.hour * 60 + index.minute < 23 * 60 + 59]
    rows = len(index)
    close = np.round(50 + rng.normal(0, 1, rows), 2)
    columns: dict[str, Any] = {
        "open": close + rng.normal(0, 0.1, rows),
        "high": close + 1,
        "low": close - 1,
        "close": close,
        "volume": rng.integers(0, 99, rows).astype(draw(st.sampled_from(["int64", "float64"]))),
    }
    for name in draw(st.lists(st.sampled_from(EXTRAS), unique=True)):
        columns[name] = np.round(rng.normal(10, 1, rows), 2)
        if name in ("dividend", "stock_splits"):
            columns[name][rng.random(rows) < 0.8] = 0.0
    order = draw(st.permutations(list(columns)))
    frame = pd.DataFrame({name: columns[name] for name in order}, index=index)
    for name in draw(st.lists(st.sampled_from(order), unique=True, max_size=4)):
        if frame[name].dtype == "float64":
            frame.loc[rng.random(rows) < draw(st.sampled_from([0.1, 0.5, 1.0])), name] = np.nan
    # The universe has rows of others, and lacks some of this one's: those lie off its grid.
    own = index[rng.random(rows) < draw(st.sampled_from([0.5, 1.0]))]
    others = index[0] + pd.to_timedelta(step * rng.integers(-3, 60, draw(st.integers(1, 30))))
    universe = own.union(others).unique().sort_values()
    return timestep, frame, universe.rename("datetime")


def by_partitions(timestep: str, frame: pd.DataFrame, universe: pd.DatetimeIndex, edges: list[int]) -> Any:
    """The segments of a frame cut at these instants, chained by their carries."""
    layout = layout_of(frame, timestep)
    info = info_of(frame, timestep)
    grid = ArrayGrid(universe.as_unit("ns").asi8)
    first_ns, last_ns = min(info.first_ns, grid.time_ns(0)), max(info.last_ns, grid.time_ns(grid.rows - 1))
    inner = sorted({edge for edge in edges if first_ns < edge <= last_ns})
    partitions = Partitions("1D", (first_ns, *inner, last_ns + 1))
    offset = grid.at_or_after(info.first_ns)
    rows = max(grid.at_or_before(info.last_ns) + 1 - offset, 0)
    series = GridSeries(info, layout, grid, partitions, edge_rows(grid, partitions), offset, rows)
    times_ns = frame.index.as_unit("ns").asi8
    carry, segments = Carry(), []
    for part, (start, end) in enumerate(pairwise(partitions.edges_ns)):
        lo, hi = times_ns.searchsorted([start, end])
        stored = {name: frame[name].to_numpy()[lo:hi] for name in frame.columns}
        segment = series.build(part, times_ns[lo:hi], stored, carry)
        carry = series.carry_after(segment, part, times_ns[lo:hi], stored, carry)
        segments.append(segment)
    return layout, segments


def joined(layout: Layout, segments: list[Segment], name: str, dtype: str) -> np.ndarray[Any, Any]:
    return np.concatenate([segment.column(layout, name) for segment in segments]).astype(dtype)


@given(case=frames(), cuts=st.lists(st.floats(0, 1), max_size=8))
@settings(max_examples=250, deadline=None)
def test_partitions_chained_by_carries_equal_lumibot_s_repair_of_the_whole_frame(
    case: tuple[str, pd.DataFrame, pd.DatetimeIndex], cuts: list[float]
) -> None:
    timestep, frame, universe = case
    assert obstacle(info_of(frame, timestep)) is None
    whole = repaired(frame, universe, timestep)
    first, last = min(frame.index[0], universe[0]).value, max(frame.index[-1], universe[-1]).value
    layout, segments = by_partitions(
        timestep, frame, universe, [int(first + c * (last - first)) for c in cuts]
    )
    assert [name for name, _ in layout.frame] == list(whole.columns)
    for name, dtype in layout.frame:
        assert dtype == str(whole[name].dtype), name
        assert bits(joined(layout, segments, name, dtype)) == bits(whole[name].to_numpy()), name


# ---- the steps one by one -------------------------------------------------------------------------


def bars(**columns: list[float]) -> pd.DataFrame:
    rows = max(map(len, columns.values()))
    values = {name: [1.0] * rows for name in ("open", "high", "low", "close", "volume")} | columns
    index = pd.date_range("2024-03-07 09:30", periods=rows, freq="min", tz=NEW_YORK, name="datetime")
    return pd.DataFrame(values, index=index)


def column(frame: pd.DataFrame, name: str, carry: Carry, timestep: str = "minute") -> list[float]:
    layout = layout_of(frame, timestep)
    times_ns = frame.index.as_unit("ns").asi8
    stored = {key: frame[key].to_numpy() for key in frame.columns}
    segment = repair(layout, times_ns, stored, times_ns, carry, intraday=timestep != "day")
    return segment.column(layout, name).tolist()


NAN = float("nan")
SHOWN = {"open": 4.0, "high": 4.0, "low": 4.0, "close": 4.0, "volume": 4.0, "return": 0.5}


def test_a_missing_close_is_filled_from_before_the_partition() -> None:
    carry = Carry(SHOWN, SHOWN, 1)
    assert column(bars(close=[NAN, 5.0, NAN]), "close", carry) == [4.0, 5.0, 5.0]


def test_a_missing_open_is_its_own_bar_s_close() -> None:
    assert column(bars(open=[NAN, 2.0], close=[3.0, 3.0]), "open", Carry()) == [3.0, 2.0]


def test_a_missing_volume_is_zero() -> None:
    assert column(bars(volume=[NAN, 7.0]), "volume", Carry(SHOWN, SHOWN, 1)) == [0.0, 7.0]


def test_the_first_return_of_a_partition_looks_back_over_its_edge() -> None:
    assert column(bars(close=[5.0, 10.0]), "return", Carry(SHOWN, SHOWN, 1)) == [0.25, 1.0]


def test_a_segment_without_rows_has_its_columns_all_the_same() -> None:
    frame = bars(bid=[1.0])
    layout = layout_of(frame, "minute")
    none = np.empty(0, dtype=np.int64)
    stored = {name: np.empty(0) for name in frame.columns}
    segment = repair(layout, none, stored, none, Carry(), intraday=True)
    assert segment.block.shape == (len(layout.rows), 0)
    assert segment.extras["bid"].shape == (0,)


def test_repair_leaves_the_stored_rows_as_they_were() -> None:
    frame = bars(close=[NAN, 5.0, NAN], bid=[NAN, 1.0, NAN], volume=[NAN, 1.0, 2.0])
    before = frame.copy(deep=True)
    column(frame, "close", Carry(SHOWN, {**SHOWN, "bid": 3.0}, frame.index[0].value - 60_000_000_000))
    pd.testing.assert_frame_equal(frame, before)
