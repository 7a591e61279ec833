"""The feed under trouble: slow reads, failing reads, too little room, interrupts, and its end."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import PREFETCH, Faltering, minutes, ns_of, prefetchers, settled, write_store

from lazybars import CapTooSmall, LazyBars, PrefetchFailed, SegmentFacts, Store, iterate, open_store
from lazybars.budget import Split
from lazybars.eviction import POLICIES, NextUse, Policy, policy_named
from lazybars.feed import Feed
from lazybars.partition import Partitions
from lazybars.ring import PAGE_OVERHEAD_BYTES, State
from lazybars.series import StoredSeries

pytestmark = pytest.mark.usefixtures("quiet", "nothing_left")

FRAMES = {name: minutes(days=4, rows=60, seed=seed, keep=0.8) for seed, name in enumerate("ABC")}
START, END = ns_of("2024-03-04"), ns_of("2024-03-08")
Make = Callable[..., tuple[Feed, dict[str, StoredSeries]]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("feed") / "bars.duckdb", FRAMES)


@pytest.fixture
def store(path: Path, nothing_left: Path) -> Iterator[Faltering]:
    with open_store(path, read_only=True) as opened:
        yield Faltering(opened)


@pytest.fixture
def make(store: Faltering) -> Iterator[Make]:
    """Feeds over the store, days at a time; closed at the end."""
    made: list[Feed] = []

    def feed(
        *,
        ring_bytes: int = 10**6,
        spare_bytes: int = 0,
        prefetch: bool = False,
        policy: Policy | None = None,
    ) -> tuple[Feed, dict[str, StoredSeries]]:
        partitions = Partitions.covering("1D", START, END - 1)
        series = {}
        for name, frame in FRAMES.items():
            edges = frame.index.as_unit("ns").asi8.searchsorted(partitions.edges_ns).tolist()
            series[name] = StoredSeries(store.find(name, "minute"), partitions, edges)
        made.append(
            Feed(
                store,
                list(series.values()),
                partitions,
                Split(ring_bytes, 0, 0, 0, ring_bytes),
                policy or NextUse(),
                now_ns=START,
                prefetch=prefetch,
                close=lambda: None,
                start_rss_bytes=0,
                spare_bytes=spare_bytes,
            )
        )
        return made[-1], series

    yield feed
    store.on_scan = lambda: None
    for one in made:
        one.close()


def rows(name: str, start: int, end: int) -> np.ndarray[Any, Any]:
    return FRAMES[name].to_numpy()[start:end].T


def in_prefetch() -> bool:
    return threading.current_thread().name == PREFETCH


def states(feed: Feed) -> set[State]:
    with feed.ring.changed:
        return {page.state for page in feed.ring.pages.values()}


class Once:
    """Raises an error at the first call in a thread that it is meant for."""

    def __init__(self, error: BaseException, *, prefetch: bool) -> None:
        self.error: BaseException | None = error
        self.prefetch = prefetch

    def __call__(self) -> None:
        if self.error is not None and in_prefetch() is self.prefetch:
            error, self.error = self.error, None
            raise error


def within(seconds: float, ask: Callable[[], Any]) -> Any:
    """The answer to a question that may hang; the thread that does is left behind."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:
            answers.append(error)

    asking = threading.Thread(target=run, daemon=True)
    asking.start()
    asking.join(seconds)
    assert not asking.is_alive(), f"no answer within {seconds} s"
    return answers[0]


def largest(feed: Feed, series: dict[str, StoredSeries]) -> int:
    """Bytes of the largest segment."""
    spans = [one.span(part) for one in series.values() for part in range(4)]
    one = next(iter(series.values()))
    return max(one.segment_bytes(hi - lo) for lo, hi in spans) + PAGE_OVERHEAD_BYTES


# ---- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("ring_bytes", [5_000, 10**6])
def test_windows_are_the_stored_rows_whatever_the_room(make: Make, prefetch: bool, ring_bytes: int) -> None:
    feed, series = make(prefetch=prefetch, ring_bytes=ring_bytes)
    feed.start()
    rng = np.random.default_rng(1)
    for now_ns in np.sort(rng.integers(START, END, 60)):
        feed.advance(int(now_ns))
        name = str(rng.choice(list(FRAMES)))
        end = int(rng.integers(1, series[name].rows + 1))
        start = int(rng.integers(max(0, end - 100), end))
        np.testing.assert_array_equal(feed.window(series[name], start, end), rows(name, start, end))


def test_a_window_is_the_caller_s_own(make: Make) -> None:
    feed, series = make()
    feed.window(series["A"], 0, 5)[:] = -1
    np.testing.assert_array_equal(feed.window(series["A"], 0, 5), rows("A", 0, 5))


def test_threads_that_want_one_segment_cause_one_read(make: Make, store: Faltering) -> None:
    feed, series = make()
    store.on_scan = lambda: time.sleep(0.1)
    with ThreadPoolExecutor(8) as pool:
        windows = list(pool.map(lambda _: feed.window(series["A"], 0, 10), range(8)))
    assert all((window == rows("A", 0, 10)).all() for window in windows)
    assert sum(store.scans.values()) == 1


def test_threads_share_the_room_for_what_is_not_kept(make: Make, store: Faltering) -> None:
    one = largest(*make())
    feed, series = make(ring_bytes=2 * one, spare_bytes=one)
    feed.window(series["A"], 0, 10)
    store.on_scan = lambda: time.sleep(0.01)
    asked = [name for _ in range(6) for name in "BC"]
    with ThreadPoolExecutor(4) as pool:
        windows = list(pool.map(lambda name: feed.window(series[name], 0, 10), asked))
    for name, window in zip(asked, windows, strict=True):
        np.testing.assert_array_equal(window, rows(name, 0, 10))
    assert feed.stats().peak_bytes <= feed.stats().cap_bytes
    assert feed.stats().in_flight_bytes == 0


def test_threads_of_a_strategy_may_ask_for_anything_at_once(make: Make) -> None:
    feed, series = make(prefetch=True, ring_bytes=20_000)
    feed.start()

    def ask(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        right = True
        for _ in range(40):
            name = str(rng.choice(list(FRAMES)))
            start = int(rng.integers(0, series[name].rows - 1))
            end = min(start + int(rng.integers(1, 60)), series[name].rows)
            right &= bool((feed.window(series[name], start, end) == rows(name, start, end)).all())
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))
    assert feed.stats().in_flight_bytes == 0 or settled(lambda: feed.stats().in_flight_bytes == 0)


# ---- hits, misses, late ---------------------------------------------------------------------------


def test_what_was_read_ahead_is_a_hit(make: Make, store: Faltering) -> None:
    feed, series = make(prefetch=True)
    feed.start()
    assert settled(lambda: feed.stats().prefetched >= 3 and feed.stats().in_flight_bytes == 0)
    for one in series.values():
        feed.window(one, 0, 10)
    stats = feed.stats()
    assert (stats.hits, stats.misses, stats.late) == (3, 0, 0)
    assert stats.hit_rate == 1.0
    assert list(store.scans) == [PREFETCH]


def test_the_next_partition_is_read_once_the_clock_is_well_inside_its_own(make: Make) -> None:
    feed, _ = make(prefetch=True)
    feed.start()
    assert settled(lambda: feed.stats().prefetched == 3 and feed.stats().in_flight_bytes == 0)
    feed.advance(feed.schedule.partitions.edges_ns[1] - 1)
    assert settled(lambda: feed.stats().prefetched == 6 and feed.stats().in_flight_bytes == 0)


def test_threads_take_short_turns_only_while_something_is_read_ahead(make: Make, store: Faltering) -> None:
    before_s = sys.getswitchinterval()
    during: list[float] = []
    store.on_scan = lambda: during.append(sys.getswitchinterval())
    feed, _ = make(prefetch=True)
    other, _ = make(prefetch=True)
    feed.start()
    other.start()
    assert settled(lambda: feed.stats().prefetched >= 3 and feed.stats().in_flight_bytes == 0)
    assert settled(lambda: other.stats().prefetched >= 3 and other.stats().in_flight_bytes == 0)
    feed.stop_reading_ahead()
    other.stop_reading_ahead()
    assert during
    assert max(during) < before_s
    assert sys.getswitchinterval() == before_s


def test_without_prefetch_the_first_look_is_a_miss_and_the_next_a_hit(make: Make) -> None:
    feed, series = make()
    feed.window(series["A"], 0, 10)
    assert (feed.stats().hits, feed.stats().misses) == (0, 1)
    feed.window(series["A"], 5, 10)
    assert (feed.stats().hits, feed.stats().misses) == (1, 1)


def test_a_miss_of_a_slow_read_is_time_stalled(make: Make, store: Faltering) -> None:
    feed, series = make()
    store.on_scan = lambda: time.sleep(0.1)
    feed.window(series["A"], 0, 10)
    assert 0.1 <= feed.stats().stall_s < 5


def test_a_segment_that_is_still_loading_is_waited_for_and_counted_as_late(
    make: Make, store: Faltering
) -> None:
    feed, series = make(prefetch=True)
    scanning, release = threading.Event(), threading.Event()

    def hold() -> None:
        scanning.set()
        release.wait(10)

    store.on_scan = hold
    feed.start()
    assert scanning.wait(10)
    threading.Timer(0.1, release.set).start()
    window = feed.window(series["A"], 0, 10)
    np.testing.assert_array_equal(window, rows("A", 0, 10))
    stats = feed.stats()
    assert (stats.late, stats.misses) == (1, 0)
    assert 0.05 <= stats.stall_s < 5


def test_a_slow_prefetch_does_not_hold_up_what_is_resident(make: Make, store: Faltering) -> None:
    feed, series = make(prefetch=True)
    feed.window(series["A"], 0, 10)
    scanning, release = threading.Event(), threading.Event()

    def hold() -> None:
        scanning.set()
        release.wait(10)

    store.on_scan = hold
    feed.start()
    feed.advance(feed.schedule.partitions.edges_ns[1] - 1)  # late enough for the next partition
    assert scanning.wait(10)
    began = time.perf_counter()
    feed.window(series["A"], 0, 10)
    assert time.perf_counter() - began < 1
    release.set()


def test_a_further_partition_is_read_ahead_where_reads_are_late_again_not_where_one_was(make: Make) -> None:
    feed, _ = make(prefetch=True)
    ahead = feed._prefetcher
    assert ahead is not None

    def depth_after(part: int, *waits_s: float, rested: bool = True) -> int:
        with feed.ring.changed:
            ahead._rested = rested
            for waited_s in waits_s:
                ahead.came_late(part, waited_s)
        return ahead.depth

    assert depth_after(0, 5.0) == 1, "nobody could have read the run's first partition before"
    assert depth_after(3, 0.5) == 1, "once: the machine may have been busy"
    assert depth_after(30, 0.5) == 1, "the one before is long ago"
    assert depth_after(32, 0.04, 0.04) == 1, "not for long"
    assert depth_after(34, 0.06, 0.06) == 2, "for long, and soon after another one"
    assert depth_after(34, 0.5) == 2, "a partition counts once"
    assert depth_after(35, 0.5) == 3
    assert depth_after(36, 0.5, rested=False) == 3, "reading had no rest: it could not have begun sooner"
    assert depth_after(37, 0.5) == 4


def test_reading_has_rested_once_all_that_may_be_read_ahead_is_there(make: Make, store: Faltering) -> None:
    feed, _ = make(prefetch=True)
    ahead = feed._prefetcher
    assert ahead is not None
    scanning, release = threading.Event(), threading.Event()

    def hold() -> None:
        scanning.set()
        release.wait(10)

    store.on_scan = hold
    feed.start()
    assert scanning.wait(10)
    feed.advance(feed.schedule.partitions.edges_ns[1] - 1)  # late enough for the next partition
    assert not ahead._rested
    release.set()
    assert settled(lambda: ahead._rested)


# ---- too little room ------------------------------------------------------------------------------


def test_what_would_push_out_rows_in_use_is_served_without_being_kept(make: Make) -> None:
    one = largest(*make())
    feed, series = make(ring_bytes=2 * one, spare_bytes=one)
    feed.advance(ns_of("2024-03-04 10:00"))
    for name in ("A", "B", "A"):
        np.testing.assert_array_equal(feed.window(series[name], 0, 10), rows(name, 0, 10))
    stats = feed.stats()
    assert (stats.misses, stats.bypasses, stats.hits) == (2, 1, 1)
    assert stats.in_flight_bytes == 0


def test_rows_that_are_served_without_being_kept_stay_under_the_cap_too(make: Make) -> None:
    one = largest(*make())
    feed, series = make(ring_bytes=2 * one, spare_bytes=one)
    feed.advance(ns_of("2024-03-04 10:00"))
    for name in ("A", "B", "C", "A"):
        feed.window(series[name], 0, 10)
    assert feed.stats().peak_bytes <= feed.stats().cap_bytes


def test_a_feed_with_room_for_two_segments_never_books_more_than_the_cap(make: Make) -> None:
    one = largest(*make())
    feed, series = make(ring_bytes=3 * one, spare_bytes=one, prefetch=True)
    feed.start()
    for now_ns in range(START, END, 7200 * 10**9):
        feed.advance(now_ns)
        for name, its in series.items():
            row = min(max(its.row_at(now_ns), 1), its.rows)
            np.testing.assert_array_equal(feed.window(its, row - 1, row), rows(name, row - 1, row))
    assert feed.stats().evictions > 0
    assert feed.stats().peak_bytes <= feed.stats().cap_bytes


@pytest.mark.parametrize("policy", POLICIES)
def test_reading_ahead_comes_to_rest_where_not_all_fits(make: Make, store: Faltering, policy: str) -> None:
    one = largest(*make())
    feed, series = make(ring_bytes=3 * one, spare_bytes=one, prefetch=True, policy=policy_named(policy))
    feed.start()
    feed.advance(ns_of("2024-03-04 10:00"))
    for its in series.values():
        feed.window(its, 0, 10)

    def at_rest() -> bool:
        before = sum(store.scans.values())
        time.sleep(0.2)
        return sum(store.scans.values()) == before

    assert settled(at_rest, within_s=3)


# ---- reads that fail ------------------------------------------------------------------------------


def test_a_failed_prefetch_is_raised_where_the_bars_are_needed_and_the_next_call_reads_anew(
    make: Make, store: Faltering
) -> None:
    feed, series = make(prefetch=True)
    cause = OSError("the disk is gone")
    store.on_scan = Once(cause, prefetch=True)
    feed.start()
    assert settled(lambda: State.FAILED in states(feed) and State.LOADING not in states(feed))
    with pytest.raises(PrefetchFailed, match="the disk is gone") as failed:
        feed.window(series["A"], 0, 10)
    assert failed.value.__cause__ is cause
    np.testing.assert_array_equal(feed.window(series["A"], 0, 10), rows("A", 0, 10))


def test_a_failed_prefetch_that_nobody_needs_is_nobody_s_error(make: Make, store: Faltering) -> None:
    feed, series = make(prefetch=True)
    store.on_scan = Once(OSError("the disk is gone"), prefetch=True)
    feed.start()
    assert settled(lambda: State.FAILED in states(feed) and State.LOADING not in states(feed))
    last = series["A"].rows
    np.testing.assert_array_equal(feed.window(series["A"], last - 5, last), rows("A", last - 5, last))


def test_whoever_waits_for_a_read_that_fails_is_told(make: Make, store: Faltering) -> None:
    feed, series = make(prefetch=True)
    scanning, release = threading.Event(), threading.Event()
    cause = OSError("the disk is gone")

    def hold_and_fail() -> None:
        scanning.set()
        release.wait(10)
        raise cause

    store.on_scan = hold_and_fail
    feed.start()
    assert scanning.wait(10)
    threading.Timer(0.05, release.set).start()
    with pytest.raises(PrefetchFailed) as failed:
        feed.window(series["A"], 0, 10)
    assert failed.value.__cause__ is cause


def test_a_read_that_fails_in_the_strategy_s_thread_is_raised_as_it_is(make: Make, store: Faltering) -> None:
    feed, series = make()
    store.on_scan = Once(OSError("the disk is gone"), prefetch=False)
    with pytest.raises(OSError, match="the disk is gone"):
        feed.window(series["A"], 0, 10)
    assert feed.stats().in_flight_bytes == 0
    np.testing.assert_array_equal(feed.window(series["A"], 0, 10), rows("A", 0, 10))


def test_ctrl_c_in_a_read_leaves_a_feed_that_works(make: Make, store: Faltering) -> None:
    for prefetch in (False, True):
        feed, series = make(prefetch=prefetch)
        store.on_scan = Once(KeyboardInterrupt(), prefetch=False)
        with pytest.raises(KeyboardInterrupt):
            feed.window(series["A"], 0, 10)
        assert feed.stats().in_flight_bytes == 0
        np.testing.assert_array_equal(feed.window(series["A"], 0, 10), rows("A", 0, 10))


def test_ctrl_c_while_waiting_is_heard_and_leaves_a_feed_that_works(make: Make, store: Faltering) -> None:
    # Lumibot imports polars, whose handler of SIGINT has waits for a lock resumed instead of broken off.
    pytest.importorskip("polars")
    # A test run in the background may have been started with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    feed, series = make(prefetch=True)
    scanning, release = threading.Event(), threading.Event()

    def hold() -> None:
        scanning.set()
        release.wait(5)

    store.on_scan = hold
    feed.start()
    assert scanning.wait(10)
    me = threading.get_ident()
    threading.Timer(0.1, lambda: signal.pthread_kill(me, signal.SIGINT)).start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        feed.window(series["A"], 0, 10)
    waited = time.perf_counter() - began
    signal.signal(signal.SIGINT, before)
    release.set()
    np.testing.assert_array_equal(feed.window(series["A"], 0, 10), rows("A", 0, 10))
    assert waited < 3


class Moody:
    """A policy of a user's own that raises at one of the times that it is asked in a thread."""

    name = "moody"

    def __init__(self, *, in_thread: bool, at: int) -> None:
        self.in_thread = in_thread
        self.left = at

    def rank(self, segment: SegmentFacts) -> tuple[float, ...]:
        if in_prefetch() is self.in_thread:
            self.left -= 1
            if self.left == 0:
                raise ZeroDivisionError("a fault in a policy")
        return (segment.next_use_ns, segment.used)


@pytest.mark.parametrize("in_thread", [True, False])
@pytest.mark.parametrize("at", [1, 2, 5, 9])
def test_a_policy_that_raises_leaves_no_call_waiting_for_ever(make: Make, in_thread: bool, at: int) -> None:
    one = largest(*make())
    policy = Moody(in_thread=in_thread, at=at)
    feed, series = make(ring_bytes=3 * one, spare_bytes=one, prefetch=True, policy=policy)
    if in_thread:
        feed.start()
    told = 0
    for now_ns in range(START + 36_000 * 10**9, END, 86_400 * 10**9):
        feed.advance(now_ns)
        for name in (*"ABC", *"ABC"):
            row = series[name].row_at(now_ns)
            answer = within(5, lambda name=name, row=row: feed.window(series[name], row, row + 5))
            if isinstance(answer, BaseException):
                told += 1
                assert isinstance(answer, ZeroDivisionError) or isinstance(
                    answer.__cause__, ZeroDivisionError
                )
                answer = feed.window(series[name], row, row + 5)
            np.testing.assert_array_equal(answer, rows(name, row, row + 5))
    assert told <= 1
    assert settled(lambda: feed.stats().in_flight_bytes == 0, within_s=2)


# ---- through Lumibot, which swallows exceptions ---------------------------------------------------


@pytest.fixture
def source(store: Faltering) -> Iterator[Any]:
    """A wrapped source whose prefetch has failed for the day that the clock stands in."""
    from lumibot.backtesting import PandasDataBacktesting

    def fail_ahead() -> None:
        if in_prefetch():
            raise OSError("the disk is gone")

    store.on_scan = fail_ahead
    wrapped = LazyBars(PandasDataBacktesting, store=store, partition="1D", memory="128MB")
    made = wrapped(
        pd.Timestamp(START, tz="America/New_York").to_pydatetime(),
        pd.Timestamp(END, tz="America/New_York").to_pydatetime(),
        show_progress_bar=False,
    )
    made.load_data()
    made._update_datetime(pd.Timestamp("2024-03-04 10:00", tz="America/New_York").to_pydatetime())
    feed = made._lazy_run._feed
    assert settled(lambda: State.FAILED in states(feed) and State.LOADING not in states(feed))
    yield made
    made.shutdown()


def asset(symbol: str = "A") -> Any:
    from lumibot.entities import Asset

    return Asset(symbol)


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "get_last_price": lambda s: s.get_last_price(asset()),
    "get_last_prices": lambda s: s.get_last_prices([asset()]),
    "get_quote": lambda s: s.get_quote(asset()),
    "get_historical_prices": lambda s: s.get_historical_prices(asset(), 5, "minute"),
    "get_historical_prices resampled": lambda s: s.get_historical_prices(asset(), 2, "5 minutes"),
    "get_historical_prices with a timeshift": lambda s: s.get_historical_prices(
        asset(), 2, "minute", timeshift=pd.Timedelta(minutes=3).to_pytimedelta()
    ),
    "get_bars": lambda s: s.get_bars(asset(), 5, "minute"),
    "get_bars of several": lambda s: s.get_bars([asset(), asset("B")], 5, "minute"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_failed_prefetch_is_no_none(source: Any, question: str) -> None:
    with pytest.raises(PrefetchFailed) as failed:
        QUESTIONS[question](source)
    assert isinstance(failed.value.__cause__, OSError)


@pytest.mark.parametrize("question", QUESTIONS)
def test_after_the_failure_the_answer_is_there(source: Any, question: str) -> None:
    for _ in range(2):
        try:
            answer = QUESTIONS[question](source)
        except PrefetchFailed:
            continue
        break
    else:
        answer = QUESTIONS[question](source)
    assert answer is not None
    close = FRAMES["A"]["close"].loc[:"2024-03-04 09:59"].iloc[-1]
    if question == "get_historical_prices":
        assert answer.df["close"].iloc[-1] == close


def test_ctrl_c_in_a_question_leaves_a_source_that_works(source: Any, store: Faltering) -> None:
    with pytest.raises(PrefetchFailed):
        source.get_historical_prices(asset(), 5, "minute")
    store.on_scan = Once(KeyboardInterrupt(), prefetch=False)
    with pytest.raises(KeyboardInterrupt):
        source.get_historical_prices(asset(), 5, "minute")
    assert len(source.get_historical_prices(asset(), 5, "minute").df) == 5


# ---- the end --------------------------------------------------------------------------------------


def lazy_source(**knobs: Any) -> Any:
    from lumibot.backtesting import PandasDataBacktesting
    from lumibot.entities import Data

    data = [Data(asset(name), frame.copy()) for name, frame in FRAMES.items()]
    window = (FRAMES["A"].index[0].to_pydatetime(), FRAMES["A"].index[-1].to_pydatetime())
    made = LazyBars(PandasDataBacktesting, **knobs)(*window, pandas_data=data, show_progress_bar=False)
    made.load_data()
    return made


def test_shutdown_ends_the_thread_and_removes_the_private_store(nothing_left: Path) -> None:
    made = lazy_source()
    assert prefetchers()
    assert [*nothing_left.glob("lazybars-*/bars.duckdb")]
    made.shutdown()
    assert not prefetchers()
    assert not [*nothing_left.iterdir()]


def test_a_forgotten_source_ends_its_thread_and_removes_the_private_store(nothing_left: Path) -> None:
    made = lazy_source()
    assert prefetchers()
    del made
    gc.collect()
    assert settled(lambda: not prefetchers())
    assert settled(lambda: not [*nothing_left.iterdir()])


def test_the_next_partition_is_read_as_soon_as_no_lookback_reaches_back() -> None:
    from lumibot.backtesting import PandasDataBacktesting
    from lumibot.entities import Data

    frame = minutes(days=15, rows=120)
    window = (frame.index[0].to_pydatetime(), frame.index[-1].to_pydatetime())
    made = LazyBars(PandasDataBacktesting, partition="1W")(
        *window, pandas_data=[Data(asset(), frame)], show_progress_bar=False
    )
    made.load_data()
    feed = made._lazy_run._feed

    def ahead(now: str) -> int:
        """What has been read ahead by when 60 bars were asked for and nothing more is read."""
        made._update_datetime(pd.Timestamp(now, tz="America/New_York").to_pydatetime())
        assert len(made.get_historical_prices(asset(), 60, "minute").df) == 60
        settled(lambda: feed.stats().in_flight_bytes > 0, within_s=0.2)
        assert settled(lambda: feed.stats().in_flight_bytes == 0)
        return int(feed.stats().prefetched)

    friday = ahead("2024-03-08 11:00")
    assert ahead("2024-03-11 09:40") == friday  # of the 60 bars 50 are last week's
    assert ahead("2024-03-11 12:00") == friday + 1
    made.shutdown()


def test_loading_again_leaves_one_thread() -> None:
    made = lazy_source()
    made.load_data()
    made.load_data()
    assert len(prefetchers()) == 1
    made.shutdown()


def test_closing_a_feed_ends_its_thread_even_in_the_middle_of_a_read(make: Make, store: Faltering) -> None:
    feed, _ = make(prefetch=True)
    scanning = threading.Event()

    def slow() -> None:
        scanning.set()
        time.sleep(0.1)

    store.on_scan = slow
    feed.start()
    assert scanning.wait(10)
    feed.close()
    assert not prefetchers()
    feed.close()


def test_a_forgotten_feed_ends_its_thread(store: Faltering, path: Path) -> None:
    ticks = iterate(path, lookback=5, partition="1D")
    next(ticks)
    assert prefetchers()
    del ticks
    gc.collect()
    assert settled(lambda: not prefetchers())


@pytest.mark.parametrize("mistake", ["start", "cap", "assets"])
def test_an_error_in_a_constructor_leaves_no_thread_and_no_open_store(path: Path, mistake: str) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "start": {"start": "2030-01-01", "end": "2029-01-01"},
        "cap": {"memory": 1000},
        "assets": {"assets": ["NOBODY"]},
    }
    before = threading.active_count()
    with pytest.raises(Exception, match=r".") as raised:
        iterate(path, **wrong[mistake])
    del raised
    assert threading.active_count() == before
    with open_store(path):  # for writing: no reader is left
        pass


def test_a_source_that_cannot_be_made_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, nothing_left: Path
) -> None:
    def fails(self: Store, *args: Any, **kwargs: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(Store, "write", fails)
    with pytest.raises(OSError, match="the disk is full"):
        lazy_source()
    assert not prefetchers()
    gc.collect()
    assert not [*nothing_left.iterdir()]


def test_a_cap_that_is_too_small_leaves_nothing(nothing_left: Path) -> None:
    with pytest.raises(CapTooSmall):
        lazy_source(memory=1_000_000)
    gc.collect()
    assert not prefetchers()
    assert not [*nothing_left.iterdir()]
