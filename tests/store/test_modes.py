"""Upsert, append, replace, delete; what is repaired; what the catalog then says."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lazybars.errors import BadInput, ConfigError, UnknownSeries
from lazybars.store import open_store

UTC = dt.timezone.utc
MINUTE = 60_000_000_000
MONDAY_NS = pd.Timestamp("2024-01-01T12:00Z").value


def frame_at(minutes, prices, **extra):
    index = pd.DatetimeIndex(MONDAY_NS + np.array(minutes, "i8") * MINUTE, tz="UTC")
    price = np.array(prices, float)
    return pd.DataFrame({"open": price, "high": price, "low": price, "close": price, **extra}, index=index)


def held(store, column="close"):
    got = store.get_historical_prices("A")
    return dict(
        zip(
            ((got.index.as_unit("ns").asi8 - MONDAY_NS) // MINUTE).tolist(), got[column].tolist(), strict=True
        )
    )


def test_upsert_replaces_the_same_times_and_keeps_the_rest(store):
    store.write(frame_at([0, 1, 2, 5], [1, 2, 3, 4]), asset="A", timestep="minute")
    summary = store.write(frame_at([1, 3, 5], [20, 30, 40]), asset="A", timestep="minute")
    assert (summary.rows_read, summary.rows_written, summary.rows_replaced) == (3, 3, 2)
    assert held(store) == {0: 1, 1: 20, 2: 3, 3: 30, 5: 40}
    assert summary.series.rows == 5
    assert store.verify() == []


def test_append_refuses_what_is_there(store):
    store.write(frame_at([0, 1], [1, 2]), asset="A", timestep="minute")
    with pytest.raises(BadInput, match="1 of its timestamps"):
        store.write(frame_at([1, 2], [9, 9]), asset="A", timestep="minute", mode="append")
    assert held(store) == {0: 1, 1: 2}
    assert store.write(frame_at([2], [3]), asset="A", timestep="minute", mode="append").rows_written == 1
    assert held(store) == {0: 1, 1: 2, 2: 3}


def test_replace_gives_up_the_whole_series(store):
    store.write(frame_at([0, 1, 9], [1, np.nan, 2], bid=1), asset="A", timestep="minute")
    summary = store.write(frame_at([5], [7]), asset="A", timestep="minute", mode="replace")
    assert summary.rows_replaced == 3
    assert held(store) == {5: 7}
    assert [(c.name, c.has_null) for c in summary.series.columns] == [
        (n, False) for n in ("open", "high", "low", "close")
    ]
    assert len(store.coverage("A", "minute")) == 1
    assert store.verify() == []


def test_a_rejected_write_leaves_the_series_alone(store):
    store.write(frame_at([0, 1], [1, 2]), asset="A", timestep="minute")
    before = store.series()
    for mode in ("upsert", "replace"):
        with pytest.raises(BadInput):
            store.write(frame_at([1, 2], [5, np.inf]), asset="A", timestep="minute", mode=mode)
        with pytest.raises(BadInput, match="'bid'"):
            store.write(frame_at([1, 2], [5, 6], bid=[[1], [2]]), asset="A", timestep="minute", mode=mode)
    assert store.series() == before
    assert held(store) == {0: 1, 1: 2}


def test_unsorted_and_duplicate_rows_are_repaired_and_counted(store):
    frame = frame_at([3, 1, 1, 2, 3], [30, 10, 11, 20, 31])
    summary = store.write(frame, asset="A", timestep="minute")
    assert held(store) == {1: 10, 2: 20, 3: 30}
    assert summary.repaired == {"unsorted rows": 1, "duplicate timestamps": 2}
    assert (summary.rows_read, summary.rows_written) == (5, 3)


def test_unsorted_input_larger_than_one_sort(tmp_path):
    rng = np.random.default_rng(3)
    minutes = rng.permutation(400_000)
    minutes = np.concatenate([minutes, minutes[:1000]])
    prices = rng.random(len(minutes))
    with open_store(tmp_path / "s", memory="64MB") as store:
        summary = store.write(frame_at(minutes, prices), asset="A", timestep="minute")
        assert summary.repaired["duplicate timestamps"] == 1000
        got = store.get_historical_prices("A")
        assert np.array_equal(got["close"].to_numpy()[minutes[:400_000]], prices[:400_000])
        assert store.verify() == []


def test_has_null_is_exact_after_the_only_null_is_replaced(store):
    nulls = lambda: {c.name: c.has_null for c in store.find("A", "minute").columns}  # noqa: E731
    store.write(frame_at([0, 1, 2], [1, 2, 3], bid=[1, np.nan, 3]), asset="A", timestep="minute")
    assert nulls()["bid"] is True
    store.write(frame_at([1], [2], bid=[2.0]), asset="A", timestep="minute")
    assert nulls()["bid"] is False
    store.write(frame_at([3], [2]), asset="A", timestep="minute")
    assert nulls()["bid"] is True
    store.delete("A", "minute", start=pd.Timestamp(MONDAY_NS + 3 * MINUTE, tz="UTC"))
    assert nulls()["bid"] is False
    # The NULL is in a row that is dropped as a duplicate.
    store.write(frame_at([8, 8], [1, 1], bid=[1.0, np.nan]), asset="A", timestep="minute")
    assert nulls()["bid"] is False
    assert store.verify() == []


def test_dtypes_are_promoted_as_numpy_does(store):
    store.write(frame_at([0], [1], n=np.array([1], "int32"), k=[1]), asset="A", timestep="minute")
    store.write(frame_at([1], [1], n=np.array([2.5], "float32"), k=[2]), asset="A", timestep="minute")
    assert held(store, "n") == {0: 1.0, 1: 2.5}
    got = store.get_historical_prices("A")
    assert (got["n"].dtype, got["k"].dtype) == (np.promote_types("int32", "float32"), "int64")
    store.write(frame_at([2], [1]), asset="A", timestep="minute")
    assert store.get_historical_prices("A")["k"].dtype == "float64"
    with pytest.raises(BadInput, match="'k' is stored as"):
        store.write(frame_at([2], [1], k=["text"]), asset="A", timestep="minute")
    assert store.verify() == []


def test_coverage_and_missing(store):
    at = lambda m: dt.datetime(2024, 1, 1, 12, tzinfo=UTC) + dt.timedelta(minutes=m)  # noqa: E731
    assert store.missing("A", "minute", at(0), at(9)) == [(at(0), at(9))]
    store.write(frame_at([0, 1, 2], [1, 1, 1]), asset="A", timestep="minute")
    store.write(frame_at([10, 20], [1, 1]), asset="A", timestep="minute")
    assert store.coverage("A", "minute") == [(at(0), at(2)), (at(10), at(20))]
    assert store.missing("A", "minute", at(-5), at(30)) == [
        (at(-5), at(0)),
        (at(2), at(10)),
        (at(20), at(30)),
    ]
    assert store.missing("A", "minute", at(11), at(20)) == []
    store.write(frame_at([3, 9], [1, 1]), asset="A", timestep="minute")
    assert store.coverage("A", "minute") == [(at(0), at(20))]
    assert store.delete("A", "minute", at(1), at(3)) == 3
    assert store.coverage("A", "minute")[0] == (at(0), at(1) - dt.timedelta(microseconds=1))
    with pytest.raises(ConfigError, match="start <= end"):
        store.missing("A", "minute", at(1), at(0))


def test_delete(store):
    store.write(frame_at(range(10), range(10)), asset="A", timestep="minute")
    assert store.delete("A", "minute", end=pd.Timestamp(MONDAY_NS + 4 * MINUTE, tz="UTC")) == 5
    assert held(store) == {i: i for i in range(5, 10)}
    assert store.verify() == []
    assert store.delete("A", "minute", start="2030-01-01") == 0
    assert store.delete("A", "minute") == 5
    assert store.series() == []
    with pytest.raises(UnknownSeries, match="empty"):
        store.delete("A", "minute")
    assert store.verify() == []


writes = st.lists(
    st.tuples(
        st.sampled_from(["upsert", "replace", "append", "delete", "compact"]),
        st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 99)), min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)


@given(writes)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_of_writes_equals_a_dict(steps):
    truth: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "s") as store:
        for mode, rows in steps:
            incoming: dict[int, float] = {}
            for minute, price in rows:
                incoming.setdefault(minute, price)
            if mode == "compact":
                store.compact()
            elif mode == "delete":
                first, last = min(incoming), max(incoming)
                bounds = [pd.Timestamp(MONDAY_NS + m * MINUTE, tz="UTC") for m in (first, last)]
                if truth:
                    gone = [m for m in truth if first <= m <= last]
                    assert store.delete("A", "minute", *bounds) == len(gone)
                    truth = {m: p for m, p in truth.items() if m not in gone}
            else:
                frame = frame_at([m for m, _ in rows], [p for _, p in rows])
                if mode == "append" and truth.keys() & incoming.keys():
                    with pytest.raises(BadInput):
                        store.write(frame, asset="A", timestep="minute", mode=mode)
                else:
                    summary = store.write(frame, asset="A", timestep="minute", mode=mode)
                    assert summary.rows_written == len(incoming)
                    truth = {**({} if mode == "replace" else truth), **incoming}
            assert (held(store) if truth else {}) == dict(sorted(truth.items()))
            assert store.verify() == []
            if truth:
                info = store.find("A", "minute")
                assert (info.rows, info.first_ns, info.last_ns) == (
                    len(truth),
                    MONDAY_NS + min(truth) * MINUTE,
                    MONDAY_NS + max(truth) * MINUTE,
                )
