"""The budget: a cap is spent once, and its ledger adds up."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazybars.budget import Ledger, Split, smallest_cap, split
from lazybars.errors import CapTooSmall

MIB = 1 << 20
LEAST = smallest_cap(MIB)

# ---- the split ------------------------------------------------------------------------------------


@given(cap=st.integers(LEAST, 1 << 40))
@settings(max_examples=300)
def test_the_parts_add_up_to_the_cap(cap: int) -> None:
    share = split(cap)
    assert share.cap_bytes == cap
    assert share.reserved_bytes + share.heap_bytes + share.ring_bytes == cap
    assert min(share.engine_limit_bytes, share.engine_overhead_bytes, share.read_bytes) > 0
    assert share.ring_bytes >= MIB


@given(cap=st.integers(LEAST, 1 << 40), more=st.integers(32, 1 << 30))
@settings(max_examples=200)
def test_a_larger_cap_leaves_more_for_the_ring(cap: int, more: int) -> None:
    assert split(cap + more).ring_bytes > split(cap).ring_bytes


@pytest.mark.parametrize("memory", [128_000_000, 256_000_000, 1_000_000_000])
def test_most_of_a_comfortable_cap_is_the_ring_s(memory: int) -> None:
    assert split(memory).ring_bytes > 0.3 * memory


@given(ring=st.integers(MIB, 1 << 34))
@settings(max_examples=300)
def test_the_smallest_cap_leaves_what_was_asked_for(ring: int) -> None:
    assert split(smallest_cap(ring)).ring_bytes >= ring


@given(ring=st.integers(MIB, 1 << 30))
@settings(max_examples=200)
def test_no_smaller_cap_does(ring: int) -> None:
    cap = smallest_cap(ring)
    for less in (*range(1, 200), 1000, MIB, 10 * MIB):
        with suppress(CapTooSmall):
            assert split(cap - less).ring_bytes < ring


@given(columns=st.integers(1, 200), ring=st.integers(1, 1 << 30))
@settings(max_examples=200)
def test_more_columns_take_more_room_for_reading_them(columns: int, ring: int) -> None:
    share = split(smallest_cap(ring, columns), columns)
    wider = split(smallest_cap(ring, columns + 10), columns + 10)
    assert share.ring_bytes == wider.ring_bytes == max(ring, MIB)
    assert wider.read_rows <= share.read_rows
    assert (wider.engine_limit_bytes > share.engine_limit_bytes) == (columns + 10 > 5)


@given(ring=st.integers(MIB, 1 << 30), more=st.integers(1, 1 << 20))
@settings(max_examples=200)
def test_every_larger_cap_works_as_well(ring: int, more: int) -> None:
    assert split(smallest_cap(ring) + more).ring_bytes >= ring


@given(cap=st.integers(LEAST, 1 << 40), kept=st.integers(0, 1 << 34), columns=st.integers(1, 40))
@settings(max_examples=200)
def test_what_is_kept_of_a_file_comes_out_of_the_pool_as_far_as_scans_can_spare_it(
    cap: int, kept: int, columns: int
) -> None:
    share = split(cap + 40 * MIB, columns)
    limit, beside = share.pool(kept)
    assert limit + kept == share.engine_limit_bytes + beside
    assert limit >= share.engine_limit_bytes - 3 * MIB
    assert beside == max(kept - 3 * MIB, 0)


@pytest.mark.parametrize("cap", [1, 1000, 30 * MIB, LEAST - 1])
def test_too_small_a_cap_is_refused_with_the_arithmetic_and_one_that_works(cap: int) -> None:
    with pytest.raises(CapTooSmall, match="the engine takes") as refused:
        split(cap)
    needed = refused.value.needed_bytes
    assert str(needed) in str(refused.value)
    assert split(needed).ring_bytes >= MIB
    with pytest.raises(CapTooSmall):
        split(needed - 1)


# ---- the ledger -----------------------------------------------------------------------------------


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Split(1000, 300, 200, 100, 400))


def test_a_new_ledger_has_booked_nothing_but_what_is_reserved(ledger: Ledger) -> None:
    assert (ledger.booked_bytes, ledger.free_bytes, ledger.peak_bytes) == (0, 400, 600)


def test_a_read_is_in_flight_then_resident_then_gone(ledger: Ledger) -> None:
    ledger.book(150)
    assert (ledger.in_flight_bytes, ledger.resident_bytes, ledger.free_bytes) == (150, 0, 250)
    ledger.settle(150)
    assert (ledger.in_flight_bytes, ledger.resident_bytes, ledger.free_bytes) == (0, 150, 250)
    ledger.release(150)
    assert (ledger.booked_bytes, ledger.free_bytes) == (0, 400)


def test_a_read_that_is_cancelled_gives_its_bytes_back(ledger: Ledger) -> None:
    ledger.book(150)
    ledger.cancel(150)
    assert ledger.booked_bytes == 0


def test_tables_take_from_what_the_segments_have(ledger: Ledger) -> None:
    ledger.table(50)
    assert ledger.free_bytes == 350
    ledger.table(-50)
    assert ledger.free_bytes == 400


def test_spare_room_is_not_free_for_segments_that_are_kept() -> None:
    ledger = Ledger(Split(1000, 300, 200, 100, 400), spare_bytes=150)
    assert ledger.free_bytes == 250
    ledger.book(250)
    assert (ledger.free_bytes, ledger.booked_bytes) == (0, 250)


def test_the_peak_remembers_the_most_that_was_booked(ledger: Ledger) -> None:
    ledger.book(150)
    ledger.table(100)
    ledger.cancel(150)
    ledger.table(-100)
    assert ledger.peak_bytes == 600 + 250
