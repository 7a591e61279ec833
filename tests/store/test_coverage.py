"""What is known, known to be empty, and missing, against a plain set of minutes."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_modes import MINUTE, MONDAY_NS, frame_at

from lazybars.errors import BadInput, ConfigError, StoreReadOnly, UnknownSeries
from lazybars.store import open_store

US = dt.timedelta(microseconds=1)


def at(minute: float) -> pd.Timestamp:
    return pd.Timestamp(MONDAY_NS + round(minute * MINUTE), tz="UTC")


def inside(ranges, horizon=range(-5, 65)) -> set[int]:
    """The whole minutes that lie in closed ranges."""
    return {m for m in horizon if any(start <= at(m) <= end for start, end in ranges)}


def test_covers_says_what_the_source_was_asked_for(store):
    store.write(frame_at([3, 4], [1, 1]), asset="A", timestep="minute", covers=(at(0), at(9)))
    assert store.coverage("A", "minute") == [(at(0), at(9))]
    assert store.missing("A", "minute", at(-2), at(12)) == [(at(-2), at(0)), (at(9), at(12))]
    assert store.known_empty("A", "minute") == []
    with pytest.raises(BadInput, match="beyond covers"):
        store.write(frame_at([20, 31], [1, 1]), asset="A", timestep="minute", covers=(at(20), at(30)))
    for covers in ((at(9), at(0)), at(9), (None, at(0))):
        with pytest.raises(ConfigError, match="covers"):
            store.write(frame_at([3], [1]), asset="A", timestep="minute", covers=covers)
    assert store.find("A", "minute").rows == 2


def test_no_rows_are_no_answer(store):
    with pytest.raises(BadInput, match=r"no rows.*mark_empty\(\)"):
        store.write(frame_at([], []), asset="A", timestep="minute", covers=(at(0), at(9)))
    assert store.missing("A", "minute", at(0), at(9)) == [(at(0), at(9))]


def test_a_series_may_be_known_to_be_empty_before_it_has_bars(store):
    store.mark_empty("A", "minute", at(0), at(9), source="vendor")
    assert store.series() == []
    assert store.assets() == []
    assert store.sql("SELECT * FROM assets").num_rows == 0
    assert store.sql("SELECT asset_symbol AS a, source AS s FROM empty_ranges").to_pylist() == [
        {"a": "A", "s": "vendor"}
    ]
    with pytest.raises(UnknownSeries):
        store.find("A", "minute")
    assert store.missing("A", "minute", at(0), at(9)) == []
    assert store.missing("A", "minute", at(0), at(9), source="other") == [(at(0), at(9))]
    assert store.known_empty("A", "minute") == store.coverage("A", "minute") == [(at(0), at(9))]
    assert store.verify() == []
    store.write(frame_at([4], [1.5], bid=[1]), asset="A", timestep="minute", source="vendor")
    assert store.get_historical_prices("A")["bid"].dtype == "int64"
    assert store.known_empty("A", "minute") == [(at(0), at(4) - US), (at(4) + US, at(9))]
    assert store.coverage("A", "minute") == [(at(0), at(9))]
    assert store.delete("A", "minute") == 1
    assert store.missing("A", "minute", at(0), at(9)) == [(at(0), at(9))]
    assert store.sql("SELECT * FROM known_ranges").num_rows == 0
    assert store.sql("SELECT * FROM series_catalog").num_rows == 0


def test_mark_empty_refuses_where_there_are_bars(store, tmp_path):
    store.write(frame_at([0, 5], [1, 1]), asset="A", timestep="minute")
    with pytest.raises(BadInput, match=r"A minute has 1 bars.*delete\(\) them first"):
        store.mark_empty("A", "minute", at(4), at(6))
    store.mark_empty("A", "minute", at(1), at(4))
    assert store.known_empty("A", "minute") == [(at(1), at(4))]
    assert store.coverage("A", "minute") == [(at(0), at(5))]
    store.close()
    with open_store(store.path, read_only=True) as reader, pytest.raises(StoreReadOnly):
        reader.mark_empty("A", "minute", at(1), at(4))


def test_a_range_ends_with_its_last_bar(store):
    """Between a bar and the next there is nothing to download, whatever the end asked for."""
    minutes = pd.date_range("2024-01-02", "2024-01-02 23:59", freq="1min", tz="America/New_York")
    price = np.ones(len(minutes))
    frame = pd.DataFrame({"open": price, "high": price, "low": price, "close": price}, index=minutes)
    store.write(frame, asset="BTC", timestep="minute")
    assert store.missing("BTC", "minute", "2024-01-02", "2024-01-02") == []
    assert len(store.missing("BTC", "minute", "2024-01-02", "2024-01-03 00:00:00")) == 1
    days = frame.iloc[:3].set_axis(pd.date_range("2024-11-01", periods=3, freq="1D", tz="America/New_York"))
    store.write(days, asset="BTC", timestep="day")
    more = days.set_axis(pd.date_range("2024-11-04", periods=3, freq="1D", tz="America/New_York"))
    store.write(more, asset="BTC", timestep="day")  # 25 hours after the last: the clock was put back
    assert len(store.coverage("BTC", "day")) == 1
    assert store.missing("BTC", "day", "2024-11-01", "2024-11-06") == []


def test_one_deleted_minute_is_missing(store):
    store.write(frame_at(range(10), range(10)), asset="A", timestep="minute")
    assert store.delete("A", "minute", at(5), at(5)) == 1
    assert store.missing("A", "minute", at(0), at(9)) == [(at(5) - US, at(5) + US)]
    store.write(frame_at([30], [1]), asset="A", timestep="minute")
    assert len(store.coverage("A", "minute")) == 3
    store.write(frame_at([5], [1]), asset="A", timestep="minute")
    assert store.coverage("A", "minute") == [(at(0), at(9)), (at(30), at(30))]


def test_a_deleted_day_stays_missing_when_the_next_is_written_again(store):
    days = pd.date_range("2024-01-02", "2024-01-05", freq="D", tz="America/New_York", name="datetime")
    frame = frame_at(range(4), range(4)).set_axis(days)
    store.write(frame, asset="D", timestep="day")
    wanted = (dt.date(2024, 1, 2), dt.date(2024, 1, 5))
    store.delete("D", "day", dt.date(2024, 1, 3), dt.date(2024, 1, 3))
    (gap,) = store.missing("D", "day", *wanted)
    store.write(frame.iloc[2:3], asset="D", timestep="day")
    store.append(frame.iloc[2:3] + 1, asset="D", timestep="day")
    assert store.missing("D", "day", *wanted) == [gap]
    assert gap[0] < days[1] < gap[1]
    store.append(frame.iloc[1:2], asset="D", timestep="day")
    assert store.missing("D", "day", *wanted) == []


@pytest.mark.parametrize(
    ("timestep", "first", "second", "closed"),
    [
        ("hour", ("02 09:00", "02 09:45"), ("02 10:30", "02 12:00"), False),
        ("hour", ("02 09:00", "02 09:40"), ("02 09:50", "02 12:00"), True),
        ("hour", ("02 09:00", "02 09:30"), ("02 10:30", "02 12:00"), True),
        ("minute", ("02 09:00", "02 09:30"), ("02 09:31", "02 09:40"), True),
        ("minute", ("02 09:00", "02 09:30:40"), ("02 09:31:10", "02 10:00"), False),
        ("minute", ("02 09:00", "02 23:59:59"), ("03 00:00", "03 10:00"), True),
        ("day", ("02 00:00", "02 16:00"), ("03 09:30", "04 16:00"), False),
        ("day", ("02 00:00", "02 23:59:59"), ("03 00:00", "04 16:00"), True),
        ("day", ("08 00:00", "10 00:00"), ("11 00:00", "12 00:00"), True),  # 23 hours
    ],
)
def test_what_was_asked_for_joins_where_no_bar_can_lie_between(store, timestep, first, second, closed):
    spans = [
        [pd.Timestamp(f"2024-03-{at}", tz="America/New_York") for at in span] for span in (first, second)
    ]
    for symbol, order in (("FORTH", spans), ("BACK", spans[::-1])):
        for span in order:
            store.mark_empty(symbol, timestep, *span)
        gaps = store.missing(symbol, timestep, spans[0][0], spans[1][1])
        assert gaps == ([] if closed else [(spans[0][1], spans[1][0])])


def test_several_sources_are_known_apart(store):
    store.write(frame_at([0, 1], [1, 1]), asset="A", timestep="minute", source="x")
    assert store.missing("A", "minute", at(0), at(1), source="y") == [(at(0), at(1))]
    assert store.missing("A", "day", at(0), at(1)) == [(at(0), at(1))]


spans = st.tuples(st.integers(0, 59), st.integers(0, 59)).map(sorted)
steps = st.lists(
    st.tuples(
        st.sampled_from(["upsert", "replace", "covers", "empty", "delete", "compact"]),
        spans,
        st.lists(st.integers(0, 59), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=8,
)


@given(steps)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_equals_sets_of_minutes(sequence):
    bars: set[int] = set()
    known: set[int] = set()
    empty: set[int] = set()
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "s") as store:
        for what, (first, last), minutes in sequence:
            span = set(range(first, last + 1))
            if what == "compact":
                store.compact()
            elif what == "empty":
                if bars & span:
                    with pytest.raises(BadInput):
                        store.mark_empty("A", "minute", at(first), at(last))
                else:
                    store.mark_empty("A", "minute", at(first), at(last))
                    known, empty = known | span, empty | span
            elif what == "delete":
                if known:
                    assert store.delete("A", "minute", at(first), at(last)) == len(bars & span)
                    bars, known, empty = bars - span, known - span, empty - span
            else:
                covers = None
                if what == "covers":
                    minutes = [m for m in minutes if m in span] or [first]
                    covers = (at(first), at(last))
                if what == "replace":
                    bars, known, empty = set(), set(), set()
                mode = "replace" if what == "replace" else "upsert"
                frame = frame_at(minutes, [1.0] * len(minutes))
                store.write(frame, asset="A", timestep="minute", mode=mode, covers=covers)
                reached = set(range(min(minutes), max(minutes) + 1))
                bars |= set(minutes)
                known |= span if covers else reached
                empty -= reached
            if known:
                assert inside(store.coverage("A", "minute")) == known
                assert inside(store.known_empty("A", "minute")) == empty
                missing = store.missing("A", "minute", at(0), at(59))
                assert set(range(60)) - known <= inside(missing)
                # A gap may begin and end with a known minute, and holds none between.
                for start, end in missing:
                    assert not {m for m in known if start < at(m) < end}
                assert bool(missing) == bool(set(range(60)) - known)
            assert store.verify() == []
