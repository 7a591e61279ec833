"""Grids: ordinals and instants, against the array that a grid stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NEW_YORK, ns_of

from lazybars.grid import ArrayGrid, Grid, Int64s, SessionGrid

STEP_NS = 60_000_000_000
SECOND_NS = 1_000_000_000


def array(values: Any) -> Int64s:
    return np.array(values, dtype=np.int64)


def by_hand(anchor_ns: int, sessions: list[tuple[int, int]]) -> list[int]:
    """Every whole minute from the anchor that lies in a session."""
    found = []
    for open_ns, close_ns in sessions:
        steps = range(-(-(open_ns - anchor_ns) // STEP_NS) - 2, (close_ns - anchor_ns) // STEP_NS + 2)
        found += [ns for k in steps if open_ns <= (ns := anchor_ns + k * STEP_NS) <= close_ns]
    return found


@st.composite
def universes(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    """Days around a change of the clock, with sessions that begin off the minute as well."""
    first = pd.Timestamp(draw(st.sampled_from(["2024-03-08", "2024-11-01", "2024-06-03"])), tz=NEW_YORK)
    sessions = []
    for day in draw(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True).map(sorted)):
        midnight = (first + pd.DateOffset(days=day)).value
        open_ns = midnight + draw(st.integers(0, 12 * 3600)) * SECOND_NS
        sessions.append((open_ns, open_ns + draw(st.integers(0, 40 * 60)) * SECOND_NS))
    return sessions[0][0], sessions


def agree(grid: Grid, times: list[int], asked: list[int]) -> None:
    """The grid answers as a search of the array does."""
    assert grid.rows == len(times)
    assert grid.times_ns(0, grid.rows).tolist() == times
    assert [grid.time_ns(row) for row in range(grid.rows)] == times
    for ns in {*asked, *(t + d for t in times[:40] + times[-3:] for d in (-1, 0, 1))}:
        assert grid.at_or_before(ns) == sum(t <= ns for t in times) - 1
        assert grid.at_or_after(ns) == sum(t < ns for t in times)


@given(universe=universes(), data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_session_grid_is_the_minutes_from_open_to_close(
    universe: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    anchor, sessions = universe
    opens, closes = zip(*sessions, strict=True)
    grid = SessionGrid(anchor, array(opens), array(closes))
    times = by_hand(anchor, sessions)
    near = st.integers(min(opens) - 2 * STEP_NS, max(closes) + 2 * STEP_NS)
    agree(grid, times, data.draw(st.lists(near, max_size=10)))


@given(universe=universes(), data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_stretch_of_a_session_grid_is_that_of_the_array(
    universe: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    anchor, sessions = universe
    opens, closes = zip(*sessions, strict=True)
    grid = SessionGrid(anchor, array(opens), array(closes))
    times = grid.times_ns(0, grid.rows).tolist()
    start = data.draw(st.integers(0, grid.rows))
    end = data.draw(st.integers(0, grid.rows))
    assert grid.times_ns(start, end).tolist() == times[start:end]


@given(times=st.lists(st.integers(0, 10**6), min_size=1, max_size=40, unique=True).map(sorted))
@settings(max_examples=60, deadline=None)
def test_an_array_grid_is_its_array(times: list[int]) -> None:
    agree(ArrayGrid(array(times)), times, [-1, 0, 10**6 + 1])


@pytest.mark.parametrize(("day", "hours"), [("2024-03-10", 23), ("2024-11-03", 25)])
def test_a_whole_day_in_which_the_clock_is_changed_has_its_own_length(day: str, hours: int) -> None:
    open_ns = ns_of(day)
    close_ns = ns_of(pd.Timestamp(day) + pd.Timedelta(days=1)) - STEP_NS
    grid = SessionGrid(open_ns, array([open_ns]), array([close_ns]))
    assert grid.rows == hours * 60
    expected = pd.date_range(pd.Timestamp(day, tz=NEW_YORK), periods=hours * 60, freq="min")
    assert grid.times_ns(0, grid.rows).tolist() == expected.as_unit("ns").asi8.tolist()


def test_a_week_with_a_change_of_the_clock_opens_at_the_same_local_time() -> None:
    days = pd.bdate_range("2024-03-07", "2024-03-13")
    opens = [ns_of(day + pd.Timedelta("9h30min")) for day in days]
    closes = [ns_of(day + pd.Timedelta("15h59min")) for day in days]
    grid = SessionGrid(opens[0], array(opens), array(closes))
    times = pd.DatetimeIndex(grid.times_ns(0, grid.rows), tz="UTC").tz_convert(NEW_YORK)
    assert grid.rows == 390 * len(days)
    assert {time.strftime("%H:%M") for time in times[::390]} == {"09:30"}


def test_sessions_without_a_whole_minute_are_left_out() -> None:
    opens = array([0, 10 * STEP_NS + 1, 20 * STEP_NS])
    closes = array([STEP_NS, 10 * STEP_NS + 2, 21 * STEP_NS])
    grid = SessionGrid(0, opens, closes)
    assert grid.first_ns.tolist() == [0, 20 * STEP_NS]
    assert grid.times_ns(0, grid.rows).tolist() == [0, STEP_NS, 20 * STEP_NS, 21 * STEP_NS]


def test_a_grid_is_small() -> None:
    opens = array(
        [ns_of(day + pd.Timedelta("9h30min")) for day in pd.bdate_range("2014-01-01", "2023-12-31")]
    )
    grid = SessionGrid(int(opens[0]), opens, opens + 389 * STEP_NS)
    assert grid.rows == 390 * len(opens) > 1_000_000
    assert grid.nbytes < grid.rows / 2, "a tenth of the index that it stands for"
