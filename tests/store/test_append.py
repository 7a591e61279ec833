"""Bars as they arrive: against a dict, with a log of what they replaced, while others read."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_faults import run
from test_modes import MINUTE, MONDAY_NS, frame_at, held

from lazybars.errors import BadInput, ConfigError, StoreBusy, StoreClosed, StoreLocked, StoreReadOnly
from lazybars.model import AssetKey
from lazybars.store import open_store

UTC = dt.timezone.utc


def at(minute: int) -> dt.datetime:
    return dt.datetime.fromtimestamp((MONDAY_NS + minute * MINUTE) // 10**9, UTC)


def bar(minute: int, price: float, **extra) -> dict:
    return {
        "timestamp": at(minute), "open": price, "high": price, "low": price, "close": price, **extra
    }  # fmt: skip


@pytest.mark.parametrize(
    "bars",
    [
        [bar(0, 1), bar(1, 2.5)],
        frame_at([0, 1], [1, 2.5]),
        frame_at([0, 1], [1, 2.5]).tz_convert("America/New_York").tz_localize(None),
        pl.from_pandas(frame_at([0, 1], [1, 2.5]).reset_index(names="time")),
        pa.table(frame_at([0, 1], [1, 2.5]).reset_index(names="time")),
        ({**bar(0, 1), "timestamp": at(0).isoformat()}, {**bar(1, 2.5), "timestamp": at(1).isoformat()}),
        [{**bar(0, 1), "timestamp": pd.Timestamp(at(0))}, {**bar(1, 2.5), "timestamp": pd.Timestamp(at(1))}],
        [{**bar(1, np.float64(2.5))}, {**bar(0, np.float32(1))}, {**bar(0, 77)}],
    ],
    ids=["mappings", "pandas", "naive", "polars", "arrow", "text", "pandas times", "unsorted and twice"],
)
def test_any_kind_of_bars(store, bars):
    summary = store.append(bars, asset="A", timestep="minute")
    assert held(store) == {0: 1.0, 1: 2.5}
    assert (summary.rows_read, summary.rows_written, summary.rows_replaced) == (len(bars), 2, 0)
    assert store.coverage("A", "minute") == [(at(0), at(1))]
    assert store.verify() == []


def test_one_bar_after_the_other_equals_one_write(store, bars):
    frame = bars(rows=200, start="2024-01-02 23:50").iloc[np.r_[0:5, 8:20, 100:103]]
    store.write(frame.iloc[:3], asset="A", timestep="minute")
    for i in range(3, len(frame)):
        store.append(frame.iloc[i : i + 1], asset="A", timestep="minute")
    store.write(frame, asset="W", timestep="minute")
    pd.testing.assert_frame_equal(store.get_historical_prices("A"), store.get_historical_prices("W"))
    days = [store.series_days(store.find(name, "minute").series_id) for name in "AW"]
    assert all(np.array_equal(a, b) for a, b in zip(*days, strict=True))
    assert store.verify() == []
    assert store.revisions().num_rows == 0


def test_a_revised_bar_replaces_the_earlier_one_and_is_logged(store):
    store.write(frame_at([0, 1, 2], [1, 2, 3], bid=[1.5, np.nan, 3.5]), asset="A", timestep="minute")
    summary = store.append(
        [bar(1, 20, bid=21.0), bar(2, 3, bid=3.5), bar(3, 4, bid=4.5)], asset="A", timestep="minute"
    )
    assert (summary.rows_read, summary.rows_written, summary.rows_replaced) == (3, 2, 1)
    assert held(store) == {0: 1, 1: 20, 2: 3, 3: 4}
    assert {c.name: c.has_null for c in store.find("A", "minute").columns}["bid"] is False
    store.append(bar(1, 21), asset="A", timestep="minute")
    log = store.revisions("A", "minute").to_pylist()
    assert [(row["timestamp"], row["close"], json.loads(row["extras"])) for row in log] == [
        (at(1), 2.0, {"bid": None}),
        (at(1), 20.0, {"bid": 21.0}),
    ]
    assert log[0]["revised_at"] <= log[1]["revised_at"] <= dt.datetime.now(UTC)
    assert store.sql("SELECT asset_symbol AS a, close FROM revisions ORDER BY revised_at").to_pylist() == [
        {"a": "A", "close": 2.0},
        {"a": "A", "close": 20.0},
    ]
    assert np.isnan(held(store, "bid")[1])
    assert store.find("A", "minute").rows == 4
    assert store.verify() == []
    assert store.revisions("A", "minute", limit=1).num_rows == 1
    with pytest.raises(ConfigError, match="timestep"):
        store.revisions("A")
    store.compact()
    assert store.revisions().num_rows == 2
    store.delete("A", "minute")
    assert store.revisions().num_rows == 0


def test_a_revision_keeps_the_order_on_disk(store):
    store.write(frame_at(range(300_000), np.arange(300_000.0)), asset="A", timestep="minute")
    store.append(bar(150_000, -1.0), asset="A", timestep="minute")
    got = store.read("A", "minute").read_all()
    assert (np.diff(got.column(0).cast("int64").to_numpy()) > 0).all()
    assert got.column("close")[150_000].as_py() == -1.0
    assert store.verify() == []


def test_dtypes_stay_where_the_values_allow(store):
    store.write(frame_at([0], [1], volume=[7], n=[5]), asset="A", timestep="minute")
    store.append(bar(1, 2, volume=8.0, n=6), asset="A", timestep="minute")
    got = store.get_historical_prices("A")
    assert (got["volume"].dtype, got["n"].dtype, got["open"].dtype) == ("int64", "int64", "float64")
    store.append(bar(2, 3, volume=8.5, n=6.5), asset="A", timestep="minute")
    got = store.get_historical_prices("A")
    assert got["volume"].tolist() == [7, 8, 8.5]
    assert got["n"].tolist() == [5, 6, 6.5]
    store.append(bar(3, 3, volume=None, n=None), asset="A", timestep="minute")
    assert store.get_historical_prices("A")["n"].isna().tolist() == [False, False, False, True]
    store.append(
        {**bar(0, 9), "timestamp": at(4) + dt.timedelta(microseconds=7)}, asset="A", timestep="minute"
    )
    assert store.get_historical_prices("A").index[-1] == at(4) + dt.timedelta(microseconds=7)
    assert store.verify() == []


def test_all_that_names_an_asset_is_kept(store):
    assets = [
        AssetKey("SPY", "option", "2024-01-19", 457.5, "CALL", 100.0),
        AssetKey("SPY", "option", "2024-01-19", 457.5, "PUT", 100.0),
        AssetKey("ES", "future", "2024-03-15", multiplier=12.5),
        AssetKey("ES", "cont_future", auto_expiry="front"),
        AssetKey('O\'Neil "日"; --'),
    ]
    quote = AssetKey("USDT", "crypto")
    store.append_all({asset: bar(0, 1) for asset in assets}, timestep="minute", quote=quote, source="feed")
    found = store.series()
    assert [info.asset for info in found] == assets
    assert {(info.quote, info.timestep, info.source, info.rows) for info in found} == {
        (quote, "minute", "feed", 1)
    }
    assert len({info.series_id for info in found}) == len(assets)


def test_many_assets_in_one_transaction(store):
    assets = {AssetKey(f"S{n}", "crypto"): bar(0, n + 1) for n in range(30)}
    assets[AssetKey("X", "crypto")] = [bar(0, 1, bid=2.0), bar(1, 1, bid=2.0)]
    summaries = store.append_all(assets, timestep="minute", quote="USD", source="feed")
    assert [one.series.asset for one in summaries] == list(assets)
    assert [one.rows_written for one in summaries] == [1] * 30 + [2]
    assert store.version == 1
    for n in range(30):
        got = store.get_historical_prices(AssetKey(f"S{n}", "crypto"), source="feed")
        assert got["close"].tolist() == [n + 1]
    bad = {**assets, AssetKey("S7", "crypto"): {**bar(1, 5), "high": 1.0}}
    with pytest.raises(BadInput, match=r"1 where high is below low.*Of S7 minute: high is below low"):
        store.append_all(bad, timestep="minute", quote="USD", source="feed")
    assert store.version == 1
    assert sum(info.rows for info in store.series()) == 32
    assert store.append_all({}, timestep="minute") == []
    with pytest.raises(ConfigError, match="A is given twice"):
        store.append_all({"a": bar(0, 1), "A": bar(0, 1)}, timestep="minute")
    assert store.verify() == []


def test_what_cannot_be_appended(store, tmp_path):
    for bars, match in (
        ("a.parquet", "write"),
        (tmp_path, "write"),
        (7, "a int"),
        ([], "a list"),
        ({}, "no timestamp column"),
        (frame_at([], []), "no rows.*mark_empty"),
        ({"open": 1, "high": 1, "low": 1, "close": 1}, "no timestamp column"),
        ({**bar(0, 1), "timestamp": None}, "no timestamp column"),
        ({**bar(0, 1), "timestamp": 1_700_000_000}, "unit='s'"),
        ({**bar(0, 1), "close": "x"}, "'close' cannot be stored"),
        ({**bar(0, 1), "close": float("inf")}, "infinite"),
        ([bar(0, 1), {**bar(1, 1), "timestamp": dt.datetime(2024, 1, 1, 12, 1)}], "zone in some"),
        ({"timestamp": at(0), "open": 1, "high": 1, "low": 1}, "no column close"),
        ({**bar(0, 1), "bid": object()}, "'bid' cannot be stored"),
    ):
        with pytest.raises(BadInput, match=match):
            store.append(bars, asset="A", timestep="minute")
    assert store.series() == []
    store.write(frame_at([0], [1], note=["text"]), asset="A", timestep="minute")
    with pytest.raises(BadInput, match="'note' is stored as"):
        store.append(bar(1, 1, note=5), asset="A", timestep="minute")
    assert held(store) == {0: 1}
    store.close()
    with open_store(store.path, read_only=True) as reader, pytest.raises(StoreReadOnly, match="to append"):
        reader.append(bar(1, 1), asset="A", timestep="minute")


def test_an_append_ends_what_was_known_to_be_empty(store):
    store.mark_empty("A", "minute", at(0), at(9))
    store.append(bar(4, 1), asset="A", timestep="minute")
    assert store.missing("A", "minute", at(0), at(9)) == []
    assert len(store.known_empty("A", "minute")) == 2
    assert store.verify() == []


steps = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "append", "write", "delete", "compact"]),
        st.lists(
            st.tuples(st.sampled_from("AB"), st.integers(0, 3000), st.integers(1, 4), st.booleans()),
            min_size=1,
            max_size=6,
        ),
    ),
    min_size=1,
    max_size=7,
)


@given(steps)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_equals_dicts(sequence):
    """Values, revisions and the books, over two series with an extra column in some bars."""
    truth: dict[str, dict[int, tuple]] = {"A": {}, "B": {}}
    log: list[tuple] = []
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "s") as store:
        for what, rows in sequence:
            incoming: dict[str, dict[int, tuple]] = {}
            for name, minute, price, extra in rows:
                incoming.setdefault(name, {}).setdefault(minute, (float(price), 9.0 if extra else None))
            given_bars = {
                name: [
                    bar(minute, price, **({"bid": bid} if bid else {}))
                    for minute, (price, bid) in bars.items()
                ]
                for name, bars in incoming.items()
            }
            if what == "compact":
                store.compact()
            elif what == "delete":
                for name, bars in incoming.items():
                    if truth[name]:
                        store.delete(name, "minute", at(min(bars)), at(max(bars)))
                        left = {m: v for m, v in truth[name].items() if not min(bars) <= m <= max(bars)}
                        truth[name] = left
                        if not left:
                            log = [entry for entry in log if entry[0] != name]
            elif what == "write":
                for name, bars in incoming.items():
                    frame = frame_at(list(bars), [p for p, _ in bars.values()])
                    store.write(frame, asset=name, timestep="minute")
                    truth[name] |= {m: (p, None) for m, (p, _) in bars.items()}
            else:
                store.append_all(given_bars, timestep="minute")
                for name, bars in incoming.items():
                    for minute, value in bars.items():
                        before = truth[name].get(minute)
                        if before is not None and before != value:
                            log.append((name, minute, before[0]))
                    truth[name] |= bars
            for name, bars in truth.items():
                if bars:
                    got = store.read(name, "minute").read_all().to_pydict()
                    bids = got.get("bid", [None] * len(bars))
                    prices = list(zip(got["close"], bids, strict=True))
                    assert dict(zip(got["timestamp"], prices, strict=True)) == {
                        at(minute): value for minute, value in sorted(bars.items())
                    }
            seen = [
                (row["asset_symbol"], row["timestamp"], row["close"]) for row in store.revisions().to_pylist()
            ]
            assert sorted(seen) == sorted((name, at(minute), price) for name, minute, price in log)
            assert store.verify() == []


# ---------------------------------------------------------------- followers


def test_versions_and_what_changed(store):
    assert store.version == 0
    store.append(bar(0, 1), asset="A", timestep="minute")
    store.append(bar(0, 1), asset="B", timestep="minute")
    assert store.version == 2
    assert [info.asset.symbol for info in store.changed_since(0)] == ["A", "B"]
    assert [info.asset.symbol for info in store.changed_since(1)] == ["B"]
    store.compact()
    assert (store.version, store.changed_since(2)) == (2, [])
    with pytest.raises(BadInput):
        store.append({**bar(1, 1), "low": 5}, asset="A", timestep="minute")
    assert store.version == 2
    path = store.path
    store.close()
    with open_store(path, read_only=True) as again:
        assert again.version == 2


def test_waiting_ends_with_a_write_or_with_the_time(store):
    assert store.wait_for_bars(0, 0.0) == 0
    assert store.wait_for_bars(0, 0.02) == 0
    for timeout_s in (-1, float("nan")):
        with pytest.raises(ConfigError, match="timeout_s"):
            store.wait_for_bars(0, timeout_s)
    got = []
    thread = threading.Thread(target=lambda: got.append(store.wait_for_bars(0)))
    thread.start()
    time.sleep(0.05)
    assert not got
    store.append(bar(0, 1), asset="A", timestep="minute")
    thread.join(10)
    assert got == [1]
    assert store.wait_for_bars(0, 0) == 1


def test_closing_ends_a_wait(store):
    got = []

    def wait():
        with pytest.raises(StoreClosed) as caught:
            store.wait_for_bars(0)
        got.append(caught.value)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    store.close()
    thread.join(10)
    assert len(got) == 1


def test_every_bar_reaches_a_follower_once_and_in_order(store):
    """A reader on a thread of its own, while bars are appended and the file is compacted."""
    store.append(bar(0, 0), asset="A", timestep="minute")
    seen: list[float] = []

    def follow():
        version, last = 0, -1
        while len(seen) < 60:
            version = store.wait_for_bars(version, 10)
            fresh = store.scan(1, 1, (MONDAY_NS + (last + 1) * MINUTE), 2**62, ["close"])
            seen.extend(fresh.column("close").to_pylist())
            last = len(seen) - 1

    thread = threading.Thread(target=follow)
    thread.start()
    for n in range(1, 60):
        store.append(bar(n, n), asset="A", timestep="minute")
        if n % 20 == 0:
            store.compact()
    thread.join(30)
    assert seen == [float(n) for n in range(60)]


WRITER = """
import datetime as dt, sys, time
from lazybars.store import open_store
start = dt.datetime(2024, 1, 1, 12, tzinfo=dt.timezone.utc)
for n in range(int(sys.argv[2])):
    with open_store(sys.argv[1], wait_s=30) as store:
        when = start + dt.timedelta(minutes=n + 1)
        bar = {"timestamp": when, "open": n, "high": n, "low": n, "close": n}
        store.append(bar, asset="A", timestep="minute")
        print(n, flush=True)
        time.sleep(float(sys.argv[3]))
"""


def test_a_follower_in_another_process_than_the_writer(tmp_path):
    path = tmp_path / "bars.duckdb"
    with open_store(path) as store:
        store.append(bar(0, -1), asset="A", timestep="minute")
    with open_store(path, read_only=True) as reader:
        version, deadline = reader.version, time.monotonic() + 60
        process = run(WRITER, path, 4, 0, wait=False)
        while reader.find("A", "minute").rows < 5:
            assert time.monotonic() < deadline
            version = reader.wait_for_bars(version, 30)
        assert reader.get_historical_prices("A")["close"].tolist() == [-1, 0, 1, 2, 3]
        assert version == 5
        process.communicate()


def wait_in_vain(reader) -> None:
    while True:
        reader.wait_for_bars(99, 0.3)


def test_a_writer_that_keeps_the_file_is_named(tmp_path):
    path = tmp_path / "bars.duckdb"
    with open_store(path) as store:
        store.append(bar(0, -1), asset="A", timestep="minute")
    with open_store(path, read_only=True) as reader:
        process = run(WRITER, path, 1, 1.5, wait=False)
        with pytest.raises(StoreLocked, match=f"PID {process.pid}"):
            wait_in_vain(reader)
        process.communicate()
        assert reader.wait_for_bars(1, 30) == 2
        assert reader.find("A", "minute").rows == 2
        half = reader.read("A", "minute")
        with pytest.raises(StoreBusy, match="1 open reader"):
            reader.wait_for_bars(2, 0.5)
        assert half.read_all().num_rows == 2


def test_a_lock_can_be_waited_for(tmp_path):
    path = tmp_path / "bars.duckdb"
    with open_store(path):
        pass
    process = run(WRITER, path, 1, 0.5, wait=False)
    process.stdout.readline()
    with pytest.raises(StoreLocked, match=r"wait_s|read_only=True in every process"):
        open_store(path)
    with open_store(path, wait_s=30) as store:
        assert store.find("A", "minute").rows == 1
    with pytest.raises(ConfigError, match="wait_s"):
        open_store(path, wait_s=-1)
    process.communicate()
