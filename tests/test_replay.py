"""The regret report's arithmetic: Belady's rule against every possible choice, LRU against a queue."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazybars.access import AccessLog, Habit, Trace
from lazybars.replay import Key, replay

pages = st.integers(0, 4)
ticks = st.lists(st.lists(pages, min_size=1, max_size=4), min_size=1, max_size=5)


def traced(sweeps: Sequence[Sequence[int]], limit_bytes: int = 1 << 20) -> Trace:
    trace = Trace(limit_bytes)
    for sweep in sweeps:
        trace.add([(page, 0) for page in sweep], 1)
    return trace


def rates(
    sweeps: Sequence[Sequence[int]], room: int, sizes: dict[int, int] | None = None
) -> tuple[float, float]:
    asked = sum(map(len, sweeps))
    found = replay(
        traced(sweeps), room, lambda key: 1 if sizes is None else sizes[key[0]], accesses=asked, hits=0
    )
    assert (found.accesses, found.share) == (asked, 1.0)
    return found.best_rate * asked, found.lru_rate * asked


def best_of_all(flat: Sequence[int], room: int) -> int:
    """The most hits that any sequence of choices gives."""

    @cache
    def most(at: int, kept: frozenset[int]) -> int:
        if at == len(flat):
            return 0
        page = flat[at]
        hit = page in kept
        choices = [kept] if hit else [kept, *[kept - {out} | {page} for out in kept if len(kept) >= room]]
        if not hit and len(kept) < room:
            choices.append(kept | {page})
        return hit + max(most(at + 1, choice) for choice in choices)

    return most(0, frozenset())


@given(sweeps=ticks, room=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_no_choice_of_pages_hits_more_than_the_best(sweeps: list[list[int]], room: int) -> None:
    flat = [page for sweep in sweeps for page in sweep]
    assert rates(sweeps, room)[0] == pytest.approx(best_of_all(flat, room))


@given(sweeps=ticks, room=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_lru_drops_what_was_used_longest_ago(sweeps: list[list[int]], room: int) -> None:
    flat = [page for sweep in sweeps for page in sweep]
    hits = sum(
        page in flat[:at] and len(set(flat[at - 1 - flat[:at][::-1].index(page) : at])) <= room
        for at, page in enumerate(flat)
    )
    assert rates(sweeps, room)[1] == pytest.approx(hits)


@given(sweeps=ticks, room=st.integers(1, 9), sizes=st.lists(st.integers(1, 4), min_size=5, max_size=5))
@settings(max_examples=200, deadline=None)
def test_pages_of_different_sizes_never_hit_more_than_if_all_were_as_small_as_the_smallest(
    sweeps: list[list[int]], room: int, sizes: list[int]
) -> None:
    best, lru = rates(sweeps, room, dict(enumerate(sizes)))
    flat = [page for sweep in sweeps for page in sweep]
    assert 0 <= lru <= best_of_all(flat, max(room // min(sizes), 1)) + 1e-9
    assert best <= best_of_all(flat, max(room // min(sizes), 1)) + 1e-9


def test_what_does_not_fit_is_never_kept() -> None:
    assert rates([[0], [0], [0]], 3, {0: 4}) == (0, 0)


@given(sweep=st.lists(pages, min_size=1, max_size=5), times=st.integers(9, 60), room=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_many_like_ticks_are_replayed_as_if_each_one_were(sweep: list[int], times: int, room: int) -> None:
    """Within what a cycle that does not divide the number of replayed ticks leaves over."""
    short = Trace()
    short.add([(page, 0) for page in sweep], times)
    asked = times * len(sweep)
    got = replay(short, room, lambda key: 1, accesses=asked, hits=0)
    best, lru = rates([sweep] * times, room)
    assert got.accesses == asked
    assert got.lru_rate * asked == pytest.approx(lru)
    assert got.best_rate == pytest.approx(best / asked, abs=1 / len(sweep))


def test_a_trace_that_is_full_says_how_much_of_the_run_it_is() -> None:
    sweeps = [[one % 5, one // 5 % 5, one // 25 % 5] for one in range(125)]
    trace = traced(sweeps, limit_bytes=2000)
    found = replay(trace, 3, lambda key: 1, accesses=375, hits=100)
    assert 0 < found.accesses == trace.accesses < 375
    assert found.share == found.accesses / 375
    assert "the first" in str(found)
    assert found.hit_rate == 100 / 375


def test_a_run_that_asked_for_nothing_has_nothing_to_regret() -> None:
    found = replay(Trace(), 10, lambda key: 1, accesses=0, hits=0)
    assert (found.hit_rate, found.best_rate, found.lru_rate, found.share) == (0, 0, 0, 1)


# ---- the log it comes from -------------------------------------------------------------------------


class Page:
    def __init__(self, key: Key) -> None:
        self.key = key
        self.used = 0
        self.habit = Habit()


class Heard:
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.times: dict[Key, int] = {}
        self.latest: dict[Key, int] = {}
        self.stray: list[int] = []

    def asked(self, page: Page, tick: int, stride: int, times: int) -> None:
        self.times[page.key] = self.times.get(page.key, 0) + times
        self.latest[page.key] = max(self.latest.get(page.key, 0), tick)

    def strayed(self, tick: int) -> None:
        self.stray.append(tick)


@given(
    sweeps=st.lists(st.lists(pages, max_size=4), min_size=1, max_size=12).flatmap(
        lambda some: st.lists(st.sampled_from(some), min_size=1, max_size=30)
    ),
    settled=st.lists(st.integers(0, 100)),
)
@settings(max_examples=300, deadline=None)
def test_whenever_it_is_asked_the_log_has_told_all(sweeps: list[list[int]], settled: list[int]) -> None:
    heard = Heard()
    log = AccessLog(heard)
    known = {page: Page((page, 0)) for page in range(5)}
    asked = 0
    for tick, sweep in enumerate(sweeps):
        for page in sweep:
            log.touched.append(known[page])
            asked += 1
            if asked in settled:
                log.settle()
                assert sum(heard.times.values()) == asked
                assert known[page].used == max(one.used for one in known.values())
        log.advance()
        assert log.accesses == asked
        assert log.tick == tick + 1
    log.settle()
    flat = [(page, 0) for sweep in sweeps for page in sweep]
    assert heard.times == {key: flat.count(key) for key in set(flat)}
    assert heard.latest == {key: max(t for t, s in enumerate(sweeps) if key[0] in s) for key in set(flat)}
    trace = log.whole_trace()
    played = []
    for which, times in trace.runs:
        numbers = trace.ticks[which]
        played += list(zip(numbers[::2], numbers[1::2], strict=True)) * times
    assert played == flat


def test_a_tick_that_asks_for_others_than_the_last_one_strays() -> None:
    heard = Heard()
    log = AccessLog(heard)
    known = [Page((series, 0)) for series in range(4)]
    for order in ([0, 1, 2], [0, 1, 2], [0, 1], [0, 1], [0, 3, 1], [3, 0]):
        for series in order:
            log.touched.append(known[series])
        log.settle()
        log.advance()
    # The first tick has nothing to follow; leaving out the last is no straying.
    assert heard.stray == [0, 4, 5]


@pytest.mark.parametrize(
    ("asked", "now", "expected"),
    [([], 7, 7), ([5], 6, 6), ([3, 5], 6, 7), ([0, 10, 20], 21, 30), ([0, 1, 390, 391], 392, 392)],
)
def test_a_habit_goes_on(asked: list[int], now: int, expected: int) -> None:
    habit = Habit()
    for tick in asked:
        habit.asked(tick, 1, 1)
    assert habit.next_tick(now) == expected


def test_the_longer_it_is_overdue_the_later_it_is_expected() -> None:
    habit = Habit()
    habit.asked(10, 1, 5)
    expected = [habit.next_tick(tick) - tick for tick in range(12, 40)]
    assert expected == sorted(expected)
    assert expected[0] > 1
