"""Partitions of time: whole New York days, weeks, months and years, without a gap."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NEW_YORK, ns_of

from lazybars.errors import ConfigError
from lazybars.partition import KINDS, Partitions, new_york_date

FIRST, LAST = ns_of("1998-01-01"), ns_of("2031-12-31")
instants = st.integers(FIRST, LAST)
PERIODS = {"1D": "D", "1W": "W-SUN", "1M": "M", "3M": "Q-DEC", "1Y": "Y-DEC"}


def local(ns: int) -> pd.Timestamp:
    return pd.Timestamp(ns, tz="UTC").tz_convert(NEW_YORK)


@pytest.mark.parametrize("kind", PERIODS)
@given(ns=instants)
@settings(max_examples=60, deadline=None)
def test_a_partition_is_the_calendar_period_of_its_instants(kind: str, ns: int) -> None:
    partitions = Partitions.covering(kind, ns, ns)
    period = local(ns).tz_localize(None).to_period(PERIODS[kind])
    assert partitions.bounds_ns(0) == (ns_of(period.start_time), ns_of((period + 1).start_time))
    assert len(partitions) == 1


@pytest.mark.parametrize("kind", KINDS)
@given(a=instants, b=instants, c=instants)
@settings(max_examples=40, deadline=None)
def test_partitions_cover_their_span_without_gap_or_overlap(kind: str, a: int, b: int, c: int) -> None:
    first, last = min(a, b), max(a, b)
    if kind == "1D":
        last = min(last, first + 500 * 86_400_000_000_000)
    partitions = Partitions.covering(kind, first, last)
    assert list(partitions.edges_ns) == sorted(set(partitions.edges_ns))
    assert partitions.bounds_ns(0)[0] <= first < partitions.bounds_ns(0)[1]
    start, end = partitions.bounds_ns(len(partitions) - 1)
    assert start <= last < end
    inside = min(max(c, first), last)
    start, end = partitions.bounds_ns(partitions.of(inside))
    assert start <= inside < end


@pytest.mark.parametrize("kind", KINDS)
@given(first=instants)
@settings(max_examples=40, deadline=None)
def test_every_edge_is_a_new_york_midnight(kind: str, first: int) -> None:
    for edge in Partitions.covering(kind, first, first + 40 * 86_400_000_000_000).edges_ns:
        assert local(edge) == local(edge).normalize()


@pytest.mark.parametrize(
    ("kind", "start", "hours"),
    [
        ("1D", "2024-03-10", 23),
        ("1D", "2024-11-03", 25),
        ("1W", "2024-03-04", 167),
        ("1W", "2024-10-28", 169),
        ("1M", "2024-03-01", 31 * 24 - 1),
        ("1M", "2024-11-01", 30 * 24 + 1),
        ("1Y", "2024-01-01", 366 * 24),
    ],
)
def test_partitions_in_which_the_clock_is_changed_are_an_hour_shorter_or_longer(
    kind: str, start: str, hours: int
) -> None:
    noon = ns_of(f"{start} 12:00")
    begin, end = Partitions.covering(kind, noon, noon).bounds_ns(0)
    assert begin == ns_of(start)
    assert end - begin == hours * 3_600_000_000_000


@pytest.mark.parametrize(("kind", "years"), [("5Y", 5), ("25Y", 25)])
def test_partitions_of_years_begin_at_multiples(kind: str, years: int) -> None:
    partitions = Partitions.covering(kind, ns_of("1999-12-31 23:59"), ns_of("2026-01-01"))
    starts = [local(edge) for edge in partitions.edges_ns]
    assert all(start.year % years == 0 and start.dayofyear == 1 for start in starts)
    assert starts[0].year <= 1999
    assert starts[-1].year > 2026


def test_instants_outside_belong_to_the_first_and_the_last_partition() -> None:
    partitions = Partitions.covering("1D", ns_of("2024-03-04"), ns_of("2024-03-08"))
    assert len(partitions) == 5
    assert partitions.of(ns_of("1990-01-01")) == 0
    assert partitions.of(ns_of("2030-01-01")) == 4


def test_an_edge_belongs_to_the_partition_that_begins_there() -> None:
    partitions = Partitions.covering("1D", ns_of("2024-03-04"), ns_of("2024-03-08"))
    edge = ns_of("2024-03-06")
    assert partitions.of(edge) == 2
    assert partitions.of(edge - 1) == 1


def test_the_date_of_an_instant_is_new_york_s() -> None:
    assert new_york_date(pd.Timestamp("2024-01-02 04:59:59", tz="UTC").value) == dt.date(2024, 1, 1)
    assert new_york_date(pd.Timestamp("2024-01-02 05:00:00", tz="UTC").value) == dt.date(2024, 1, 2)


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match='"auto"') as refused:
        Partitions.covering("2D", 0, 0)
    assert all(kind in str(refused.value) for kind in KINDS)
