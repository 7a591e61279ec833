"""The streaming iterator, against pandas: closed bars only, the last so many of each asset."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NEW_YORK, Faltering, minutes, prefetchers, write_store

from lazybars import CapTooSmall, ConfigError, StoreMissing, UnknownSeries, Window, iterate, open_store

pytestmark = pytest.mark.usefixtures("nothing_left")

FIELDS = ("open", "high", "low", "close", "volume")
LENGTH = {"minute": pd.Timedelta("1min"), "hour": pd.Timedelta("1h"), "day": pd.Timedelta("1D")}
Frames = Mapping[str, pd.DataFrame]

# Gaps, a late listing, a delisting, a week without bars, and bars around the clock's change in March.
FRAMES: Frames = {
    "WHOLE": minutes(days=8, rows=40, seed=1),
    "GAPS": minutes(days=8, rows=40, seed=2, keep=0.4),
    "LATE": minutes(days=2, rows=40, seed=3, start="2024-03-12"),
    "GONE": minutes(days=2, rows=40, seed=4),
    "HALTED": pd.concat([minutes(days=1, seed=5), minutes(days=1, seed=6, start="2024-03-13")]),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("iterate") / "bars.duckdb", FRAMES)


def clock(frames: Frames, start: Any = None, end: Any = None) -> pd.DatetimeIndex:
    """Every instant at which any asset has a bar."""
    index = pd.DatetimeIndex([], tz=NEW_YORK)
    for frame in frames.values():
        index = index.union(frame.index)
    return index[(index >= (start or index[0])) & (index <= (end or index[-1]))]


def closed(frame: pd.DataFrame, now: pd.Timestamp, lookback: int, timestep: str = "minute") -> pd.DataFrame:
    """The last so many bars that had closed by then."""
    return frame[frame.index + LENGTH[timestep] <= now].tail(lookback)


def assert_window(window: Window, expected: pd.DataFrame) -> None:
    assert len(window) == len(expected)
    assert window.timestamp.tolist() == expected.index.as_unit("ns").asi8.tolist()
    for name in FIELDS:
        assert getattr(window, name).tolist() == expected[name].tolist()


def assert_walk(ticks: Any, frames: Frames, lookback: int, timestep: str = "minute", **span: Any) -> int:
    """Every window of every tick; returns how many there were."""
    count = 0
    expected = iter(clock(frames, **span))
    for tick in ticks:
        now = next(expected)
        assert tick.now == now
        assert list(tick) == list(frames)
        for symbol, frame in frames.items():
            assert_window(tick[symbol], closed(frame, now, lookback, timestep))
            count += 1
    assert next(expected, None) is None, "the clock stopped early"
    return count


# ---- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("partition", "prefetch"), [("auto", True), ("1D", True), ("1D", False)])
def test_every_window_is_that_of_pandas(path: Path, partition: str, prefetch: bool) -> None:
    ticks = iterate(path, list(FRAMES), lookback=7, partition=partition, prefetch=prefetch)
    assert assert_walk(ticks, FRAMES, 7) > 1000


@pytest.mark.parametrize("lookback", [1, 41, 200, 100_000])
def test_a_lookback_may_reach_over_partitions_and_behind_the_first_bar(path: Path, lookback: int) -> None:
    chosen = {name: FRAMES[name] for name in ("GAPS", "HALTED")}
    ticks = iterate(path, list(chosen), "2024-03-11", lookback=lookback, partition="1D")
    start = pd.Timestamp("2024-03-11", tz=NEW_YORK)
    assert_walk(ticks, chosen, lookback, start=start)


@given(
    seed=st.integers(0, 10**6),
    lookback=st.integers(1, 60),
    partition=st.sampled_from(["1D", "1W", "auto"]),
    policy=st.sampled_from(["next-use", "lru", "fifo"]),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
@settings(max_examples=10, deadline=None)
def test_any_universe_any_knobs(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    lookback: int,
    partition: str,
    policy: str,
    cut: list[float],
) -> None:
    rng = np.random.default_rng(seed)
    frames = {
        f"S{n}": minutes(
            days=int(rng.integers(1, 4)),
            rows=int(rng.integers(1, 12)),
            seed=seed + n,
            start=str(rng.choice(["2024-03-07", "2024-03-08", "2024-03-11"])),
            keep=float(rng.choice([0.3, 1.0])),
        )
        for n in range(int(rng.integers(1, 4)))
    }
    path = write_store(tmp_path_factory.mktemp("any") / "bars.duckdb", frames)
    whole = clock(frames)
    start, end = (whole[0] + (whole[-1] - whole[0]) * share for share in cut)
    start, end = start.round("us"), end.round("us")
    ticks = iterate(path, list(frames), start, end, lookback=lookback, partition=partition, policy=policy)
    assert_walk(ticks, frames, lookback, start=start, end=end)


@pytest.mark.parametrize(("timestep", "freq"), [("hour", "h"), ("day", "D")])
def test_hours_and_days(tmp_path: Path, timestep: str, freq: str) -> None:
    start = "2024-03-01" if timestep == "day" else "2024-03-08 09:00"
    index = pd.date_range(start, periods=60, freq=freq, tz=NEW_YORK, name="datetime")
    close = np.arange(60.0)
    whole = pd.DataFrame(dict.fromkeys(FIELDS, close), index=index)
    frames = {"A": whole, "B": whole.iloc[np.arange(60) % 7 != 3]}
    path = write_store(tmp_path / "bars.duckdb", frames, timestep)
    ticks = iterate(path, ["A", "B"], lookback=5, timestep=timestep, partition="1W")
    now_and_windows = [(tick.now, tick["A"], tick["B"]) for tick in ticks]
    assert [now for now, _, _ in now_and_windows] == list(index)
    for now, a, b in now_and_windows:
        since = pd.Timestamp(now)
        assert_window(a, closed(frames["A"], since, 5, timestep))
        assert_window(b, closed(frames["B"], since, 5, timestep))


def test_the_bar_that_is_forming_is_not_shown(path: Path) -> None:
    for tick in iterate(path, "WHOLE", lookback=3):
        if len(tick["WHOLE"]):
            assert tick["WHOLE"].timestamp[-1] + LENGTH["minute"].value <= tick.now_ns


def test_missing_volume_is_nan(tmp_path: Path) -> None:
    frame = minutes(days=1, rows=5).drop(columns="volume")
    path = write_store(tmp_path / "bars.duckdb", {"A": frame})
    *_, last = (tick["A"] for tick in iterate(path, lookback=2))
    assert np.isnan(last.volume).all()
    assert last.close.tolist() == frame["close"].iloc[-3:-1].tolist()


def test_windows_cannot_be_written_to(path: Path) -> None:
    for n, tick in enumerate(iterate(path, "WHOLE", lookback=45, partition="1D")):
        if n in (1, 30, 60, 90):  # within a partition, and over the edges of some
            for name in (*FIELDS, "timestamp"):
                with pytest.raises(ValueError, match="read-only"):
                    getattr(tick["WHOLE"], name)[...] = 0


def test_windows_stay_right_for_as_long_as_they_are_held(path: Path) -> None:
    ticks = iterate(path, "GAPS", lookback=9, partition="1D", memory="84MB")
    kept = [(pd.Timestamp(tick.now), tick["GAPS"]) for tick in ticks]
    for now, window in kept:
        assert_window(window, closed(FRAMES["GAPS"], now, 9))


# ---- what is asked for ----------------------------------------------------------------------------

MONDAY = pd.Timestamp("2024-03-11", tz=NEW_YORK)
BOUNDS = {
    "a date": (dt.date(2024, 3, 11), dt.date(2024, 3, 12)),
    "a text": ("2024-03-11", "2024-03-12"),
    "a text with a time": ("2024-03-11T00:00", "2024-03-12T23:59"),
    "a text with a zone": ("2024-03-11T04:00+00:00", "2024-03-13T03:59+00:00"),
    "a time of New York": (dt.datetime(2024, 3, 11), dt.datetime(2024, 3, 12, 23, 59)),
    "a time with a zone": (
        dt.datetime(2024, 3, 11, 4, tzinfo=dt.timezone.utc),
        dt.datetime(2024, 3, 13, 3, 59, tzinfo=dt.timezone.utc),
    ),
    "a stamp of pandas": (MONDAY, MONDAY + pd.Timedelta("1D 23h 59min")),
}


@pytest.mark.parametrize("kind", BOUNDS)
def test_start_and_end_may_be(path: Path, kind: str) -> None:
    start, end = BOUNDS[kind]
    ticks = [pd.Timestamp(tick.now) for tick in iterate(path, "WHOLE", start, end)]
    frame = FRAMES["WHOLE"]
    assert ticks == list(frame.index[(frame.index >= MONDAY) & (frame.index < MONDAY + pd.Timedelta("2D"))])


def test_start_and_end_are_included(path: Path) -> None:
    index = FRAMES["WHOLE"].index
    assert [pd.Timestamp(t.now) for t in iterate(path, "WHOLE", index[3], index[5])] == list(index[3:6])


def test_a_span_without_bars_has_no_ticks(path: Path) -> None:
    assert list(iterate(path, start="2024-03-09", end="2024-03-10")) == []
    assert list(iterate(path, start="2030-01-01", end="2030-01-02")) == []
    assert list(iterate(path, start="2001-01-01", end="2001-01-02")) == []


def test_without_assets_all_of_the_timestep_are_walked(path: Path) -> None:
    with iterate(path) as ticks:
        assert ticks.symbols == tuple(FRAMES)


def test_an_asset_may_be_given_as_lumibot_s(path: Path) -> None:
    from lumibot.entities import Asset

    with iterate(path, [Asset("GAPS")]) as ticks:
        assert ticks.symbols == ("GAPS",)


def test_an_open_store_is_left_open(path: Path) -> None:
    with open_store(path, read_only=True) as store:
        for ticks in (iterate(store), iterate(store, "GAPS")):
            next(ticks)
            ticks.close()
        assert len(store.series()) == len(FRAMES)


def test_two_iterations_of_one_store_may_run_at_once(path: Path) -> None:
    for one, other in zip(
        iterate(path, "WHOLE", lookback=2), iterate(path, "WHOLE", lookback=2), strict=True
    ):
        assert one.now == other.now
        assert one["WHOLE"].close.tolist() == other["WHOLE"].close.tolist()


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "an unknown asset": ({"assets": ["NOBODY"]}, UnknownSeries, "NOBODY"),
    "a lookback of nothing": ({"lookback": 0}, ConfigError, "lookback"),
    "a lookback that is no number": ({"lookback": True}, ConfigError, "lookback"),
    "an unknown timestep": ({"timestep": "week"}, ConfigError, "timestep"),
    "a timestep that is not stored": ({"timestep": "day"}, ConfigError, "day"),
    "a start that is no time": ({"start": "yesterday"}, ConfigError, "start"),
    "an end of another kind": ({"end": 20240301}, ConfigError, "end"),
    "a start behind the end": ({"start": "2024-03-12", "end": "2024-03-11"}, ConfigError, "behind"),
    "a cap that is too small": ({"memory": "1MB"}, CapTooSmall, "memory"),
    "a cap that is no size": ({"memory": "much"}, ConfigError, "memory"),
    "an unknown partition": ({"partition": "1H"}, ConfigError, "partition"),
    "an unknown policy": ({"policy": "best"}, ConfigError, "policy"),
    "prefetch that is neither": ({"prefetch": 1}, ConfigError, "prefetch"),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_is_refused_before_the_first_tick_to_ask_for(path: Path, what: str) -> None:
    knobs, kind, said = WRONG[what]
    with pytest.raises(kind, match=said):
        iterate(path, **knobs)
    with open_store(path):  # nothing holds it
        pass


def test_a_store_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing):
        iterate(tmp_path / "none.duckdb")


def test_a_cap_that_is_said_to_be_enough_is(path: Path) -> None:
    def walk(memory: int) -> None:
        assert_walk(iterate(path, memory=memory, partition="25Y", lookback=5), FRAMES, 5)

    with pytest.raises(CapTooSmall) as first:
        walk(1)
    with pytest.raises(CapTooSmall) as last:
        walk(first.value.needed_bytes - 1)
    walk(max(first.value.needed_bytes, last.value.needed_bytes))


# ---- its course -----------------------------------------------------------------------------------


def test_closing_early_ends_the_walk_and_the_thread(path: Path) -> None:
    ticks = iterate(path)
    next(ticks)
    assert prefetchers()
    ticks.close()
    assert not prefetchers()
    assert next(ticks, None) is None
    ticks.close()


def test_leaving_the_with_block_closes(path: Path) -> None:
    with iterate(path) as ticks:
        next(ticks)
    assert not prefetchers()
    with open_store(path):
        pass


def test_the_end_of_the_walk_ends_the_thread_and_leaves_the_last_tick_good(path: Path) -> None:
    ticks = iterate(path, "LATE", lookback=3)
    *_, last = ticks
    assert not prefetchers()
    assert next(ticks, None) is None
    assert_window(last["LATE"], FRAMES["LATE"].iloc[-4:-1])
    ticks.close()
    with open_store(path):  # for writing: it was let go of
        pass


def test_without_prefetch_there_is_no_thread(path: Path) -> None:
    with iterate(path, prefetch=False) as ticks:
        next(ticks)
        assert not prefetchers()


def test_several_threads_may_read_one_tick(path: Path) -> None:
    for n, tick in enumerate(iterate(path, lookback=50, partition="1D", memory="84MB")):
        if n % 40:
            continue
        now = pd.Timestamp(tick.now)
        with ThreadPoolExecutor(4) as pool:
            windows = dict(zip(FRAMES, pool.map(tick.__getitem__, FRAMES), strict=True))
        for symbol, window in windows.items():
            assert_window(window, closed(FRAMES[symbol], now, 50))


def test_the_figures_say_what_was_done(path: Path) -> None:
    ticks = iterate(path, ["WHOLE"], lookback=5, partition="1D", memory="100MB", prefetch=False)
    for tick in ticks:
        tick["WHOLE"]
    stats = ticks.stats()
    assert stats.cap_bytes == 100_000_000
    assert stats.calls == len(FRAMES["WHOLE"])
    assert stats.misses == 8, "one a day"
    assert stats.hits > stats.calls
    assert (stats.prefetched, stats.late, stats.in_flight_bytes) == (0, 0, 0)
    assert 0 < stats.resident_bytes < stats.peak_bytes <= stats.cap_bytes
    ticks.close()
    assert ticks.stats().resident_bytes == 0


def test_the_plan_counts_the_bars(path: Path) -> None:
    with iterate(path, partition="1D") as ticks:
        plan = ticks.plan()
    assert (plan.series, plan.partition) == (len(FRAMES), "1D")
    assert plan.rows == sum(map(len, FRAMES.values()))
    assert plan.needed_cap_bytes <= plan.comfortable_cap_bytes <= plan.split.cap_bytes
    assert str(plan.series) in str(plan)


def test_ctrl_c_leaves_an_iterator_that_goes_on(path: Path) -> None:
    with open_store(path, read_only=True) as opened:
        store = Faltering(opened)

        def interrupt() -> None:
            if threading.current_thread() is threading.main_thread():
                store.on_scan = lambda: None
                raise KeyboardInterrupt

        store.on_scan = interrupt
        ticks = iterate(store, "LATE", prefetch=False)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            next(ticks)
        assert [pd.Timestamp(tick.now) for tick in ticks] == list(FRAMES["LATE"].index)
