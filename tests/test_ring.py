"""The ring: never over its ledger, and what it lets go of is what is needed latest."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support import settled

from lazybars.budget import Ledger, Split
from lazybars.eviction import NEVER, NextUse
from lazybars.repair import Segment
from lazybars.ring import Page, Ring, State

ROOM = 100


class Clockwork:
    """When each page is needed next, set by the test."""

    def __init__(self) -> None:
        self.next_use: dict[int, float] = {}

    def __call__(self, page: Page) -> float:
        return self.next_use.get(page.key[0], 0.0)


def segment(value: float = 1.0) -> Segment:
    block = np.full((2, 3), value)
    block.flags.writeable = False
    return Segment(block, {})


def page(number: int, nbytes: int = 10) -> Page:
    return Page((number, 0), 0, 3, nbytes)


@pytest.fixture
def clockwork() -> Clockwork:
    return Clockwork()


@pytest.fixture
def ring(clockwork: Clockwork) -> Ring:
    return Ring(Ledger(Split(ROOM, 0, 0, 0, ROOM)), NextUse(), clockwork)


def resident(ring: Ring, number: int, nbytes: int = 10) -> Page:
    """A page that was booked, read and kept."""
    new = page(number, nbytes)
    with ring.changed:
        ring.log.serial += 1
        assert ring.begin(new, spare_nearer=True)
        ring.finish(new, segment(number))
    return new


# ---- one thing at a time --------------------------------------------------------------------------


def test_a_page_is_booked_before_it_is_read(ring: Ring) -> None:
    new = page(1, 30)
    with ring.changed:
        assert ring.begin(new, spare_nearer=True)
    assert (ring.ledger.in_flight_bytes, ring.ledger.resident_bytes) == (30, 0)
    assert new.state is State.LOADING
    with ring.changed:
        ring.finish(new, segment())
    assert (ring.ledger.in_flight_bytes, ring.ledger.resident_bytes) == (0, 30)
    assert new.state is State.READY


def test_the_page_needed_latest_makes_room(ring: Ring, clockwork: Clockwork) -> None:
    clockwork.next_use = {1: 5.0, 2: 9.0, 3: 7.0, 4: 1.0}
    kept = [resident(ring, number, 33) for number in (1, 2, 3)]
    resident(ring, 4, 33)
    assert [one.state for one in kept] == [State.READY, State.GONE, State.READY]
    assert ring.evictions == 1


def test_a_newcomer_needed_later_than_the_residents_is_refused(ring: Ring, clockwork: Clockwork) -> None:
    clockwork.next_use = {1: 5.0, 2: 6.0, 3: 7.0}
    kept = [resident(ring, number, 50) for number in (1, 2)]
    with ring.changed:
        assert not ring.begin(page(3, 50), spare_nearer=True)
    assert [one.state for one in kept] == [State.READY, State.READY]
    assert ring.ledger.booked_bytes == 100
    assert (3, 0) not in ring.pages


def test_of_equals_the_resident_stays(ring: Ring, clockwork: Clockwork) -> None:
    """Else two that are needed alike would push each other out for ever."""
    clockwork.next_use = {1: 5.0, 2: 5.0}
    resident(ring, 1, 100)
    newcomer = page(2, 100)
    newcomer.used = ring.log.serial
    with ring.changed:
        assert not ring.begin(newcomer, spare_nearer=True)


def test_nothing_leaves_for_a_newcomer_that_is_refused_after_all(ring: Ring, clockwork: Clockwork) -> None:
    clockwork.next_use = {1: 9.0, 2: 1.0, 3: 5.0}
    kept = [resident(ring, number, 50) for number in (1, 2)]
    with ring.changed:
        assert not ring.begin(page(3, 80), spare_nearer=True)
    assert [one.state for one in kept] == [State.READY, State.READY]


def test_a_page_larger_than_the_ring_is_refused(ring: Ring) -> None:
    for spare_nearer in (True, False):
        with ring.changed:
            assert not ring.begin(page(1, ROOM + 1), spare_nearer=spare_nearer)


def test_without_regard_for_the_residents_only_what_cannot_fit_is_refused(
    ring: Ring, clockwork: Clockwork
) -> None:
    clockwork.next_use = {1: 1.0, 2: 9.0}
    resident(ring, 1, 100)
    with ring.changed:
        assert ring.begin(page(2, 100), spare_nearer=False)


def test_a_page_that_is_still_loading_is_never_evicted(ring: Ring, clockwork: Clockwork) -> None:
    clockwork.next_use = {1: NEVER, 2: 0.0}
    loading = page(1, 100)
    with ring.changed:
        assert ring.begin(loading, spare_nearer=True)
        assert not ring.begin(page(2, 10), spare_nearer=True)
        ring.drop_dead()
        ring.clear()
    assert loading.state is State.LOADING
    assert ring.pages == {(1, 0): loading}


def test_a_failed_read_gives_its_bytes_back_and_keeps_its_cause_until_it_is_told(ring: Ring) -> None:
    new, cause = page(1, 40), OSError("gone")
    with ring.changed:
        ring.begin(new, spare_nearer=True)
        ring.fail(new, cause)
    assert ring.ledger.booked_bytes == 0
    assert ring.pages[1, 0].error is cause
    with ring.changed:
        ring.forget(new)
        ring.forget(new)
    assert not ring.pages


def test_forgetting_a_page_leaves_the_one_that_took_its_place(ring: Ring) -> None:
    failed = page(1)
    with ring.changed:
        ring.begin(failed, spare_nearer=True)
        ring.fail(failed, OSError())
        ring.forget(failed)
    newer = resident(ring, 1)
    with ring.changed:
        ring.forget(failed)
    assert ring.pages[1, 0] is newer


def test_what_is_never_used_again_is_dropped(ring: Ring, clockwork: Clockwork) -> None:
    clockwork.next_use = {1: NEVER, 2: 10.0**18}
    dead, alive = resident(ring, 1), resident(ring, 2)
    with ring.changed:
        ring.drop_dead()
    assert (dead.state, alive.state) == (State.GONE, State.READY)


def test_a_ring_that_is_never_full_forgets_what_was_dropped(ring: Ring, clockwork: Clockwork) -> None:
    """A long run drops far more pages than it ever holds."""

    def alive() -> int:
        gc.collect()
        return sum(type(one) is Page for one in gc.get_objects())

    before = alive()
    for number in range(200):
        new = resident(ring, number)
        with ring.changed:
            ring.log.advance()
            ring.log.touched.append(new)
        del new
        clockwork.next_use[number] = NEVER
        with ring.changed:
            ring.drop_dead()
    assert not ring.pages
    assert alive() - before < 10


def test_a_reader_keeps_its_rows_through_an_eviction(ring: Ring) -> None:
    held = resident(ring, 7)
    taken = held.segment
    assert taken is not None
    window = taken.block[:, 1:3]
    with ring.changed:
        ring.evict(held)
    assert held.segment is None
    assert (window == 7.0).all()
    assert ring.ledger.resident_bytes == 0


def test_readers_meet_whole_segments_while_others_evict(ring: Ring) -> None:
    """One thread turns the ring over as fast as it can, the other reads without the lock."""
    pages = {number: resident(ring, number) for number in range(10)}
    stop = threading.Event()
    torn: list[int] = []

    def turn_over() -> None:
        number = 10
        while not stop.is_set():
            with ring.changed:
                ring.evict(pages.pop(number - 10))
            pages[number] = resident(ring, number)
            number += 1

    turning = threading.Thread(target=turn_over)
    turning.start()
    try:
        for _ in range(20_000):
            for one in list(pages.values()):
                taken = one.segment
                if taken is not None and not (taken.block == one.key[0]).all():
                    torn.append(one.key[0])
    finally:
        stop.set()
        turning.join()
    assert not torn


def test_whoever_waits_for_a_page_is_woken_when_it_is_there(ring: Ring) -> None:
    new = page(1)
    seen: list[State] = []
    with ring.changed:
        ring.begin(new, spare_nearer=True)

    def wait() -> None:
        with ring.changed:
            while new.state is State.LOADING:
                ring.changed.wait(10)
            seen.append(new.state)

    waiting = threading.Thread(target=wait)
    waiting.start()
    with ring.changed:
        ring.finish(new, segment())
    waiting.join(10)
    assert settled(lambda: seen == [State.READY])


# ---- anything in any order, against a dict --------------------------------------------------------


class RingMachine(RuleBasedStateMachine):
    """``model`` holds, for each page in the ring, its bytes, its next use and its state."""

    def __init__(self) -> None:
        super().__init__()
        self.clockwork = Clockwork()
        self.ring = Ring(Ledger(Split(ROOM, 0, 0, 0, ROOM)), NextUse(), self.clockwork)
        self.model: dict[int, tuple[int, State]] = {}
        self.tables = 0
        self.held: list[tuple[int, Segment]] = []

    def of(self, state: State) -> list[int]:
        return [number for number, (_, its) in self.model.items() if its is state]

    def bytes_of(self, numbers: list[int]) -> int:
        return sum(self.model[number][0] for number in numbers)

    @rule(
        number=st.integers(0, 12),
        nbytes=st.integers(1, 60),
        use=st.integers(0, 12).map(float) | st.just(NEVER),
        spare=st.booleans(),
    )
    def begin(self, number: int, nbytes: int, use: float, spare: bool) -> None:
        if number in self.model:
            return
        self.clockwork.next_use[number] = use
        new = Page((number, 0), 0, 3, nbytes)
        ring, uses = self.ring, self.clockwork.next_use
        free = ROOM - self.tables - self.bytes_of([*self.model])
        new.used = ring.log.serial = ring.log.serial + 1
        before = set(self.of(State.READY))
        with ring.changed:
            kept = ring.begin(new, spare_nearer=spare)
        gone = [one for one in before if (one, 0) not in ring.pages]
        # The newcomer is the latest used, so that of equal next uses it leaves first.
        later = [one for one in before if uses[one] > use] if spare else [*before]
        if not kept:
            assert not gone
            # All that may leave is looked at from the farthest: those before it decide.
            assert free + self.bytes_of(later) < nbytes
            return
        assert set(gone) <= set(later)
        if free >= nbytes:
            assert not gone
        else:
            nearest = min(gone, key=lambda one: uses[one])
            assert free + self.bytes_of(gone) >= nbytes
            assert free + self.bytes_of([one for one in gone if uses[one] > uses[nearest]]) < nbytes
            assert all(uses[one] <= uses[nearest] for one in before - set(gone))
        for one in gone:
            del self.model[one]
        self.model[number] = (nbytes, State.LOADING)

    @precondition(lambda self: self.of(State.LOADING))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.of(State.LOADING)))
        rows = segment(number)
        with self.ring.changed:
            self.ring.finish(self.ring.pages[number, 0], rows)
        self.model[number] = (self.model[number][0], State.READY)
        self.held.append((number, rows))

    @precondition(lambda self: self.of(State.LOADING))
    @rule(data=st.data())
    def fail_and_forget(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.of(State.LOADING)))
        failed = self.ring.pages[number, 0]
        with self.ring.changed:
            self.ring.fail(failed, OSError())
            self.ring.forget(failed)
        del self.model[number]

    @precondition(lambda self: self.of(State.READY))
    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.of(State.READY)))
        with self.ring.changed:
            self.ring.evict(self.ring.pages[number, 0])
        del self.model[number]

    @rule(number=st.integers(0, 12), use=st.integers(0, 12).map(float) | st.just(NEVER))
    def the_clock_moves(self, number: int, use: float) -> None:
        with self.ring.changed:
            self.ring.log.advance()
        self.clockwork.next_use[number] = use

    @rule()
    def drop_dead(self) -> None:
        with self.ring.changed:
            self.ring.drop_dead()
        for number in self.of(State.READY):
            if self.clockwork.next_use[number] == NEVER:
                del self.model[number]

    @rule()
    def clear(self) -> None:
        with self.ring.changed:
            self.ring.clear()
        for number in self.of(State.READY):
            del self.model[number]

    @rule(nbytes=st.integers(0, 20))
    def tables_change(self, nbytes: int) -> None:
        if nbytes - self.tables <= self.ring.ledger.free_bytes:
            self.ring.ledger.table(nbytes - self.tables)
            self.tables = nbytes

    @invariant()
    def the_ring_holds_what_the_model_holds(self) -> None:
        assert {key[0]: (p.nbytes, p.state) for key, p in self.ring.pages.items()} == self.model
        for one in self.ring.pages.values():
            assert (one.segment is not None) == (one.state is State.READY)

    @invariant()
    def the_ledger_adds_up_and_is_never_over(self) -> None:
        ledger = self.ring.ledger
        assert ledger.resident_bytes == self.bytes_of(self.of(State.READY))
        assert ledger.in_flight_bytes == self.bytes_of(self.of(State.LOADING))
        assert 0 <= ledger.booked_bytes <= ROOM
        assert ledger.booked_bytes <= ledger.peak_bytes <= ROOM

    @invariant()
    def what_readers_took_stays_as_it_was(self) -> None:
        assert all((rows.block == number).all() for number, rows in self.held)


RingMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestRingAgainstADict = RingMachine.TestCase
