"""Series that come one after another under one cap, and rows that are sliced where they lie."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lumibot.entities import Asset
from support import NEW_YORK, minutes, ns_of

from lazybars import CapTooSmall, open_store
from lazybars.adapters.growing import GrowingRun
from lazybars.adapters.vault import Wanted
from lazybars.budget import ENGINE_OVERHEAD_BYTES
from lazybars.config import Knobs
from lazybars.filled import Timetable, filling_of, stood_before
from lazybars.grid import SessionGrid
from lazybars.rows import RowGrid, census

USD = Asset("USD", "forex")
MIB = 1 << 20
Start = Callable[..., GrowingRun]


@pytest.fixture
def start(tmp_path: Path, nothing_left: Path) -> Iterator[Start]:
    runs: list[GrowingRun] = []

    def begin(memory: int = 200 * MIB, partition: str = "auto", store: Any = None) -> GrowingRun:
        knobs = Knobs.of(
            memory=memory, store=store, assets=None, partition=partition, policy="next-use", prefetch=True
        )
        run = GrowingRun(knobs, "vendor", ns_of("2024-12-31"), download_bytes=8 * MIB)
        run.advance(ns_of("2024-03-04 10:00"))
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.close()


def kept(run: GrowingRun, symbol: str, frame: pd.DataFrame, timestep: str = "minute") -> Any:
    wanted = Wanted(Asset(symbol), USD, timestep)
    first, last = frame.index[0].to_pydatetime(), frame.index[-1].to_pydatetime()
    return run.vault.keep(wanted, frame, first, last)


def holed(seed: int = 0, days: int = 30) -> pd.DataFrame:
    """Minute bars with holes, a whole-number column and one of booleans."""
    frame = minutes(days=days, rows=390, seed=seed, keep=0.7)
    rng = np.random.default_rng(seed)
    return frame.assign(trades=rng.integers(1, 99, len(frame)), odd=rng.random(len(frame)) < 0.5)


# ---- plain rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("partition", ["1D", "1W", "auto"])
def test_slices_and_searches_are_those_of_the_frame(start: Start, partition: str) -> None:
    frame = holed()
    run = start(partition=partition)
    rows = run.frame(kept(run, "A", frame))
    assert (len(rows), rows.columns) == (len(frame), list(frame.columns))
    ends = np.random.default_rng(1).integers(-len(frame), len(frame) + 9, (200, 2)).tolist()
    for a, b in [*ends, [0, 0], [0, len(frame)], [-5, len(frame)]]:
        pd.testing.assert_frame_equal(rows.rows(a, b), frame.iloc[a:b], check_freq=False)
    moments = [frame.index[0], frame.index[-1], *frame.index[::97]]
    shifts = [pd.Timedelta(0), pd.Timedelta("1s"), pd.Timedelta("-1s"), pd.Timedelta("3h")]
    for when in (moment + shift for moment in moments for shift in shifts):
        assert rows.count_until(when.value) == frame.index.searchsorted(when, side="right")
        assert rows.count_until(when.value, inclusive=False) == frame.index.searchsorted(when, side="left")
        pd.testing.assert_frame_equal(
            rows.tail_until(when.value, 50), frame[frame.index <= when].tail(50), check_freq=False
        )


def test_a_span_shows_the_rows_in_it_and_a_longer_one_grows(start: Start) -> None:
    frame, run = holed(), start(partition="1W")
    info = kept(run, "A", frame)
    first, last = frame.index[1234], frame.index[5678]
    rows = run.frame(info, (first.value, last.value), tz="UTC", name="Date")
    inside = frame.loc[first:last].tz_convert("UTC").rename_axis("Date")
    pd.testing.assert_frame_equal(rows.rows(0, len(rows)), inside, check_freq=False)
    assert run.frame(info) is rows
    pd.testing.assert_frame_equal(rows.rows(0, len(rows)), frame, check_freq=False)


@pytest.mark.parametrize("partition", ["1D", "1W", "auto"])
def test_a_timetable_has_a_row_for_each_of_its_times_filled_as_pandas_fills(
    start: Start, partition: str
) -> None:
    frame, run = minutes(days=7, keep=0.3), start(partition=partition)
    frame = frame.drop(frame.loc["2024-03-07"].index)  # a whole day is filled
    info, store = kept(run, "A", frame), run.vault.store
    opens = pd.DatetimeIndex([f"2024-03-{day:02d} 09:20" for day in (6, 7, 8, 11)], tz=NEW_YORK).as_unit("ns")
    window = SessionGrid(opens[0].value, opens.asi8, (opens + pd.Timedelta("150min")).asi8)
    before_ns, span_ns = (frame.index[9].value, opens[0].value - 1), (opens[0].value, frame.index[-1].value)
    stood, filling = stood_before(store, info, before_ns, None), filling_of(store, info, span_ns, window)
    table = Timetable(stood, before_ns, None, window, filling)
    rows = run.frame(info, timetable=table)

    times = pd.DatetimeIndex(window.times_ns(0, window.rows), tz="UTC").tz_convert(NEW_YORK)
    filled = frame.reindex(times)
    filled["volume"] = filled["volume"].fillna(0.0)
    filled["close"] = filled["close"].ffill()
    prices, first = ["open", "high", "low", "close"], frame.loc["2024-03-06"].iloc[0]
    lead = filled.index < first.name
    filled.loc[lead, prices] = first["open"]
    filled[prices] = filled[prices].apply(lambda column: column.fillna(filled["close"]))
    expected = pd.concat([frame[frame.index < opens[0]].iloc[9:], filled]).rename_axis("datetime")
    assert lead.any()
    assert len(rows) == len(expected)
    for a, b in [(0, len(expected)), *np.random.default_rng(1).integers(0, len(expected), (50, 2)).tolist()]:
        pd.testing.assert_frame_equal(rows.rows(a, b), expected.iloc[a:b], check_freq=False, check_exact=True)
    for when in [*expected.index[::41], frame.index[0], frame.index[-1]]:
        assert rows.count_until(when.value) == expected.index.searchsorted(when, side="right")
    # The clock of a run goes beyond the last row.
    assert table.day_of(table.rows) == table.time_ns(table.rows - 1)


# ---- many, one after another ------------------------------------------------------------------------------


def test_whatever_has_come_is_served_under_one_cap(start: Start) -> None:
    frames = {f"S{n:02d}": holed(n, days=20) for n in range(24)}
    run = start(memory=90 * MIB)
    seen = {}
    for symbol, frame in frames.items():
        seen[symbol] = run.frame(kept(run, symbol, frame))
        for known in seen:
            pd.testing.assert_frame_equal(
                seen[known].rows(900, 960), frames[known].iloc[900:960], check_freq=False
            )
        stats = run.stats()
        assert stats.resident_bytes + stats.in_flight_bytes + stats.table_bytes <= run.plan().split.ring_bytes
    for symbol, rows in seen.items():
        pd.testing.assert_frame_equal(rows.rows(0, len(rows)), frames[symbol], check_freq=False)
    stats, plan = run.stats(), run.plan()
    assert plan.series == len(frames)
    assert stats.evictions > 0
    assert stats.peak_bytes <= stats.cap_bytes
    assert plan.partition in ("1D", "1W"), "it went over to finer ones"


def test_a_series_that_grows_shows_its_new_rows(start: Start) -> None:
    frame, run = holed(days=20), start(partition="1W")
    middle = frame.iloc[2000:4000]
    for part in (middle, frame.iloc[4000:], frame.iloc[:2000]):
        rows = run.frame(kept(run, "A", part))
        rows.rows(0, 60)
    pd.testing.assert_frame_equal(rows.rows(0, len(rows)), frame, check_freq=False)


@pytest.mark.parametrize("partition", ["1D", "auto"])
def test_a_series_that_is_not_asked_for_yet_is_read_ahead_also_when_it_is_over(
    start: Start, partition: str
) -> None:
    run = start(partition=partition)
    rows = {symbol: run.frame(kept(run, symbol, holed(days=2))) for symbol in "AB"}
    run.advance(ns_of("2024-03-06 12:00"))
    for minute in range(40):
        run.advance(ns_of("2024-03-06 12:01") + minute * 60_000_000_000)
        assert len(rows["A"].rows(-9, len(rows["A"]))) == 9
    pd.testing.assert_frame_equal(rows["B"].rows(0, 9), holed(days=2).iloc[:9], check_freq=False)


def test_a_cap_that_holds_no_segment_says_which_would(start: Start) -> None:
    run = start(memory=ENGINE_OVERHEAD_BYTES + (24 + 4 + 8 + 2) * MIB, partition="1M")
    info = kept(run, "A", holed(days=25))
    with pytest.raises(CapTooSmall) as refused:
        run.frame(info)
    enough = start(memory=refused.value.needed_bytes, partition="1M")
    assert len(enough.frame(kept(enough, "A", holed(days=25)))) == info.rows


# ---- what is known ---------------------------------------------------------------------------------------


def test_an_answer_that_broke_off_is_covered_as_far_as_it_came(start: Start) -> None:
    frame, run = minutes(days=5), start()
    wanted = Wanted(Asset("A"), USD, "minute")
    asked = dt.datetime(2024, 3, 4, tzinfo=dt.timezone.utc), dt.datetime(2024, 3, 9, tzinfo=dt.timezone.utc)
    assert run.vault.missing(wanted, *asked) == [asked]
    run.vault.keep(wanted, frame.iloc[:300], *asked, complete=False)
    ((begin, end),) = run.vault.missing(wanted, *asked)
    assert (begin, end) == (frame.index[299].to_pydatetime(), asked[1])
    run.vault.keep(wanted, frame.iloc[300:], begin, end)
    assert run.vault.missing(wanted, *asked) == []


def test_only_what_is_over_is_known_to_be_empty_or_complete(start: Start) -> None:
    run, now = start(), dt.datetime.now(dt.timezone.utc)
    wanted, nothing = Wanted(Asset("A"), USD, "minute"), pd.DataFrame()
    begin, end = now - dt.timedelta(days=3), now + dt.timedelta(days=3)
    run.vault.keep(wanted, nothing, begin, end)
    ((since, until),) = run.vault.missing(wanted, begin, end)
    assert since == now.replace(hour=0, minute=0, second=0, microsecond=0)
    assert until == end
    run.vault.keep(wanted, nothing, begin, end, complete=False)
    assert run.vault.find(wanted) is None


def test_another_source_in_the_store_is_not_taken_for_this_one(start: Start, tmp_path: Path) -> None:
    frame = minutes(days=2)
    with open_store(tmp_path / "bars.duckdb") as store:
        store.write(frame, asset=Asset("A"), quote=USD, timestep="minute", source="another")
    run = start(store=tmp_path / "bars.duckdb")
    wanted = Wanted(Asset("A"), USD, "minute")
    assert run.vault.find(wanted) is None
    span = frame.index[0].to_pydatetime(), frame.index[-1].to_pydatetime()
    assert run.vault.missing(wanted, *span)


# ---- the census -------------------------------------------------------------------------------------------


def test_a_census_counts_days_and_spacings_as_pandas_does(start: Start) -> None:
    frame, run = holed(), start()
    info = kept(run, "A", frame)
    lo, hi = frame.index[100], frame.index[-100]
    shown = frame.loc[lo:hi]
    found = census(run.vault.store, info, lo.value, hi.value)
    by_day = pd.Series(shown.index, index=shown.index).groupby(shown.index.date)
    assert np.diff(found.starts).tolist() == by_day.size().tolist()
    assert list(found.first_ns) == [first.value for first in by_day.min()]
    assert list(found.last_ns) == [last.value for last in by_day.max()]
    gaps = pd.Series(shown.index).diff().iloc[1:]
    same_day = shown.index[1:].date == shown.index[:-1].date
    near = gaps[same_day | (gaps <= pd.Timedelta("1h"))].value_counts().sort_index()
    values, counts = found.spacings
    assert (values.tolist(), counts.tolist()) == ([gap.value for gap in near.index], near.tolist())
    grid = RowGrid(found)
    for when in shown.index[::53] + pd.Timedelta("30s"):
        true = shown.index.searchsorted(when, side="right") - 1
        assert grid.surely_before(when.value) <= true
        assert abs(grid.about(when.value) - true) < 390
