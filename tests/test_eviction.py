"""Eviction: what each policy keeps, and that next-use keeps what an oracle would."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazybars.budget import Ledger, Split
from lazybars.errors import ConfigError
from lazybars.eviction import NEVER, POLICIES, Fifo, Lru, NextUse, Policy, SegmentFacts, policy_named
from lazybars.repair import Segment
from lazybars.ring import Page, Ring

ROWS = Segment(np.empty((0, 0)), {})


def facts(*, loaded: int = 0, used: int = 0, next_use_ns: float = 0.0) -> SegmentFacts:
    return SegmentFacts(1, 1, loaded, used, next_use_ns)


def hits_of(policy: Policy, trace: Sequence[int], room: int) -> int:
    """Hits of a ring with room for so many pages of one byte, asked as the feed asks it."""
    now = 0

    def next_use(page: Page) -> float:
        return next((float(t) for t in range(now + 1, len(trace)) if trace[t] == page.key[0]), NEVER)

    ring = Ring(Ledger(Split(room, 0, 0, 0, room)), policy, next_use)
    hits = 0
    for now, asked in enumerate(trace):  # noqa: B007 - next_use reads the clock
        with ring.changed:
            ring.log.advance()
            ring.log.serial += 1
            page = ring.pages.get((asked, 0))
            if page is not None:
                page.used = ring.log.serial
                hits += 1
                continue
            page = Page((asked, 0), 0, 1, 1)
            page.loaded = page.used = ring.log.serial
            if ring.begin(page, spare_nearer=True):
                ring.finish(page, ROWS)
            assert ring.ledger.resident_bytes <= room
    return hits


def belady_hits(trace: Sequence[int], room: int) -> int:
    """L. A. Belady's rule, written down once more: of all, the newcomer included, the farthest leaves."""
    kept: set[int] = set()
    hits = 0
    for now, asked in enumerate(trace):
        hits += asked in kept
        kept.add(asked)
        if len(kept) > room:
            later = trace[now + 1 :]
            kept.remove(max(kept, key=lambda k: later.index(k) if k in later else len(trace)))
    return hits


def best_hits(trace: tuple[int, ...], room: int) -> int:
    """The most hits that any way of keeping pages can have: every choice is tried."""

    @cache
    def best(now: int, kept: frozenset[int]) -> int:
        if now == len(trace):
            return 0
        asked = trace[now]
        choices = {kept} | {(kept - {gone}) | {asked} for gone in kept}
        if len(kept) < room or asked in kept:
            choices = {kept | {asked}}
        return (asked in kept) + max(best(now + 1, choice) for choice in choices)

    return best(0, frozenset())


# ---- against the oracles --------------------------------------------------------------------------


@given(trace=st.lists(st.integers(0, 4), max_size=14), room=st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_next_use_has_as_many_hits_as_any_policy_can(trace: list[int], room: int) -> None:
    assert hits_of(NextUse(), trace, room) == best_hits(tuple(trace), room)


@pytest.mark.parametrize("room", [1, 5, 20, 39])
def test_on_a_cycle_next_use_equals_belady(room: int) -> None:
    trace = [*range(40)] * 10
    assert hits_of(NextUse(), trace, room) == belady_hits(trace, room) == room * 9


@pytest.mark.parametrize("policy", [Lru(), Fifo()])
@pytest.mark.parametrize("room", [1, 20, 39])
def test_on_a_cycle_one_page_too_long_the_others_never_hit(policy: Policy, room: int) -> None:
    assert hits_of(policy, [*range(40)] * 10, room) == 0


@pytest.mark.parametrize("name", POLICIES)
def test_with_room_for_all_every_policy_misses_only_once(name: str) -> None:
    assert hits_of(policy_named(name), [*range(40)] * 3, 40) == 80


@given(trace=st.lists(st.integers(0, 6), max_size=40), room=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_lru_keeps_the_pages_used_last(trace: list[int], room: int) -> None:
    kept: list[int] = []
    hits = 0
    for asked in trace:
        hits += asked in kept
        kept = [*(k for k in kept if k != asked), asked][-room:]
    assert hits_of(Lru(), trace, room) == hits


@given(trace=st.lists(st.integers(0, 6), max_size=40), room=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_fifo_keeps_the_pages_loaded_last(trace: list[int], room: int) -> None:
    kept: list[int] = []
    hits = 0
    for asked in trace:
        hits += asked in kept
        kept = kept if asked in kept else [*kept, asked][-room:]
    assert hits_of(Fifo(), trace, room) == hits


# ---- ranks ----------------------------------------------------------------------------------------


def test_next_use_lets_go_first_of_what_is_never_used_again() -> None:
    policy = NextUse()
    assert policy.rank(facts(next_use_ns=NEVER)) > policy.rank(facts(next_use_ns=10.0**18, used=99))


def test_next_use_lets_go_among_equals_of_what_was_used_last() -> None:
    assert NextUse().rank(facts(used=2)) > NextUse().rank(facts(used=1))


def test_lru_looks_at_use_and_fifo_at_loading() -> None:
    old, new = facts(loaded=1, used=9), facts(loaded=2, used=3)
    assert Lru().rank(new) > Lru().rank(old)
    assert Fifo().rank(old) > Fifo().rank(new)


# ---- names and objects ----------------------------------------------------------------------------


def test_policies_go_by_their_names() -> None:
    assert {name: type(policy_named(name)) for name in POLICIES} == {
        "next-use": NextUse,
        "lru": Lru,
        "fifo": Fifo,
    }
    assert all(policy_named(name).name == name for name in POLICIES)


def test_an_object_that_ranks_is_a_policy() -> None:
    class Biggest:
        name = "biggest part"

        def rank(self, segment: SegmentFacts) -> tuple[float, ...]:
            return (segment.part,)

    policy = Biggest()
    assert policy_named(policy) is policy


@pytest.mark.parametrize("policy", ["belady", "", "LRU"])
def test_an_unknown_name_is_refused_with_those_there_are(policy: str) -> None:
    with pytest.raises(ConfigError, match="next-use, lru, fifo"):
        policy_named(policy)


def test_an_object_without_rank_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank"):
        policy_named(object())  # type: ignore[arg-type]
