"""The dry run, against real runs: what the ring counts and books, what is needed, and what is advised."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from support import Faltering, minutes, write_store

from lazybars import CapTooSmall, ConfigError, UnknownSeries, cli, iterate, open_store
from lazybars.budget import smallest_cap
from lazybars.demo.universes import Generated
from lazybars.forecast import Forecast, Prospect, forecast
from lazybars.stats import Stats

pytestmark = pytest.mark.usefixtures("nothing_left")

MINUTE = pd.Timedelta("1min")
Frames = Mapping[str, pd.DataFrame]

# Thursday to Tuesday without a gap: what the day summaries say of them is exact.
WHOLE: Frames = {f"A{n:02}": minutes(days=4, rows=390, seed=n, start="2024-03-07") for n in range(60)}
# Gaps, a late listing, a delisting, and a week without bars.
TORN: Frames = {
    "WHOLE": minutes(days=8, rows=40, seed=1),
    "GAPS": minutes(days=8, rows=40, seed=2, keep=0.4),
    "LATE": minutes(days=2, rows=40, seed=3, start="2024-03-12"),
    "GONE": minutes(days=2, rows=40, seed=4),
    "HALTED": pd.concat([minutes(days=1, seed=5), minutes(days=1, seed=6, start="2024-03-13")]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forecast")


@pytest.fixture(scope="module")
def whole_path(folder: Path) -> Path:
    return write_store(folder / "whole.duckdb", WHOLE)


@pytest.fixture(scope="module")
def torn_path(folder: Path) -> Path:
    return write_store(folder / "torn.duckdb", TORN)


@pytest.fixture
def whole(whole_path: Path, nothing_left: Path) -> Iterator[Faltering]:
    with open_store(whole_path, read_only=True) as store:
        yield Faltering(store)


def ticks_of(frames: Frames, every: str | None = None) -> pd.DatetimeIndex:
    """Every instant at which any asset has a bar, or so far apart from a day's first to its last."""
    index = pd.DatetimeIndex(sorted(set().union(*(frame.index for frame in frames.values()))))
    if every is None:
        return index
    days = [index[index.normalize() == day] for day in index.normalize().unique()]
    return pd.DatetimeIndex(np.concatenate([pd.date_range(d[0], d[-1], freq=every) for d in days]))


def walk(store: Any, frames: Frames, cap: int, kind: str, lookback: int, every: str) -> Stats:
    """A real run without reading ahead: every asset's last closed bars, at every tick."""
    running = iterate(store, lookback=lookback, partition=kind, memory=cap, prefetch=False)
    feed = running._feed
    edges = {name: frame.index.as_unit("ns").asi8 for name, frame in frames.items()}
    for now_ns in ticks_of(frames, every).as_unit("ns").asi8.tolist():
        feed.advance(now_ns)
        for name, times in edges.items():
            end = int(times.searchsorted(now_ns - MINUTE.value, side="right"))
            if end:
                feed.window(running._series[name], max(end - lookback, 0), end)
    stats = running.stats()
    running.close()
    return stats


def one(store: Any, cap: int, kind: str, **knobs: Any) -> Prospect:
    (found,) = forecast(store, caps=[cap], partitions=[kind], **knobs).prospects
    return found


# ---- against a run ----------------------------------------------------------------------------------


def largest(kind: str) -> int:
    """Bytes of a segment of WHOLE: 48 a bar, and the page's own."""
    return {"1D": 1, "1W": 2}[kind] * 390 * 48 + 720


@pytest.mark.parametrize(
    ("kind", "every", "lookback", "ring_bytes"),
    [
        ("1D", "30min", 60, 20_000_000),  # everything fits
        ("1D", "30min", 60, 3_000_000),  # what a tick asks for, two days at most
        ("1D", "1h", 500, 4_100_000),  # three days
        ("1W", "1h", 60, 4_900_000),
        ("1D", "30min", 60, 1_150_000),  # a day of most of the assets
        ("1D", "30min", 60, 1_900_000),  # a day of all, but not two
        ("1D", "1h", 500, 2_600_000),
    ],
)
def test_without_gaps_every_count_is_that_of_the_run(
    whole: Faltering, kind: str, every: str, lookback: int, ring_bytes: int
) -> None:
    cap = smallest_cap(ring_bytes)
    found = one(whole, cap, kind, lookback=lookback, cadence=every, prefetch=False)
    stats = walk(whole, WHOLE, cap, kind, lookback, every)
    assert (found.hits, found.misses) == (stats.hits, stats.misses)
    assert found.reads == sum(whole.scans.values())
    assert found.bypasses == stats.bypasses
    assert found.evictions == stats.evictions
    # Where the ring is full, a part of a segment's place may be left over.
    assert 0 <= found.peak_bytes - stats.peak_bytes < largest(kind)
    assert found.peak_bytes == stats.peak_bytes or found.evictions > 0


@pytest.mark.parametrize("ring_bytes", [1_600_000, 3_000_000])
def test_in_weeks_the_run_learns_of_the_roll_over_within_two_ticks(whole: Faltering, ring_bytes: int) -> None:
    """The ring takes a week's bars as evenly spread, nights included; then it sees what is not asked for."""
    cap = smallest_cap(ring_bytes)
    found = one(whole, cap, "1W", lookback=60, cadence="1h", prefetch=False)
    stats = walk(whole, WHOLE, cap, "1W", 60, "1h")
    assert found.asked == stats.hits + stats.misses
    assert 0 <= stats.misses - found.misses <= 2 * len(WHOLE)
    assert abs(found.peak_bytes - stats.peak_bytes) < largest("1W")


def test_with_gaps_the_counts_are_near_those_of_the_run(tmp_path: Path) -> None:
    """Where the missing bars lie is not known: 60 bars reach back some minutes more or less."""
    frames = {f"G{n:02}": minutes(days=3, rows=390, seed=n, keep=0.97) for n in range(60)}
    cap = smallest_cap(1_150_000)
    with open_store(write_store(tmp_path / "gaps.duckdb", frames)) as store:
        found = one(store, cap, "1D", lookback=75, cadence="30min", prefetch=False)
        stats = walk(store, frames, cap, "1D", 75, "30min")
    assert found.asked == pytest.approx(stats.hits + stats.misses, rel=0.02)
    assert found.misses == pytest.approx(stats.misses, rel=0.02)
    assert abs(found.peak_bytes - stats.peak_bytes) < largest("1D")


def test_half_of_a_cycle_fits_and_half_of_it_misses(whole: Faltering) -> None:
    """Two days of 60 assets, over and over, in a ring for 30 of them: the arithmetic by hand."""
    size = largest("1W")
    spare_and_tables = size + 8 * 2 * (60 + 6) + 2048 * 60
    cap = smallest_cap(30 * size + spare_and_tables)
    found = one(whole, cap, "1W", lookback=1, prefetch=False, end="2024-03-08")
    assert found.ring_bytes == 30 * size
    assert found.asked == 60 * (2 * 390 - 1)  # at the first tick no bar has closed
    assert found.misses == 60 + 30 * (2 * 390 - 2)
    assert found.bytes_read == found.misses * size
    assert found.bypasses == found.misses - 30


@pytest.mark.parametrize("kind", ["1D", "1W", "1M"])
@pytest.mark.parametrize("prefetch", [True, False])
def test_an_iteration_over_torn_bars_reads_as_many_segments(
    torn_path: Path, kind: str, prefetch: bool
) -> None:
    found = one(torn_path, 2**27, kind, lookback=20, prefetch=prefetch)
    with iterate(torn_path, lookback=20, partition=kind, memory=2**27, prefetch=prefetch) as ticks:
        for tick in ticks:
            for symbol in tick:
                _ = tick[symbol]
        stats = ticks.stats()
        assert found.needed_cap_bytes == ticks.plan().needed_cap_bytes
    parts = {"1D": "D", "1W": "W-SUN", "1M": "M"}[kind]
    spans = {name: frame.index.tz_localize(None).to_period(parts) for name, frame in TORN.items()}
    assert found.reads == sum(span.nunique() for span in spans.values())
    if prefetch:
        # The thread may let go of a segment a bar too early, and read it again; where the disk was slow
        # for a moment it reads further ahead than foretold.
        assert 0 <= stats.misses + stats.prefetched - found.reads <= 2
        assert found.peak_bytes >= stats.peak_bytes - found.working_set_bytes
    else:
        assert found.peak_bytes == stats.peak_bytes
        assert found.misses == stats.misses


def test_a_slow_disk_delays_each_scan_of_the_run(whole: Faltering) -> None:
    cap = smallest_cap(3_000_000)
    knobs: dict[str, Any] = {"lookback": 60, "cadence": "1h", "prefetch": False}
    quick = one(whole, cap, "1D", **knobs)
    slow = one(whole, cap, "1D", read_delay_s=0.25, **knobs)
    walk(whole, WHOLE, cap, "1D", 60, "1h")
    assert slow.stall_s - quick.stall_s == pytest.approx(0.25 * sum(whole.scans.values()))
    assert slow.misses == quick.misses


def test_what_is_read_ahead_is_not_waited_for(whole_path: Path) -> None:
    roomy = one(whole_path, 2**28, "1D")
    assert (roomy.misses, roomy.reads) == (60, 60 * 4)  # the first day is
    assert roomy.stall_s < roomy.read_s
    alone = one(whole_path, 2**28, "1D", prefetch=False)
    assert alone.misses == alone.reads == roomy.reads
    assert alone.stall_s == alone.read_s
    # Reading takes longer than asking where a scan has to wait for a second.
    slow = one(whole_path, 2**28, "1D", read_delay_s=1.0, cadence="1D")
    assert slow.stall_s == pytest.approx(slow.read_s, rel=0.01)
    # 23,400 bars a day, in one scan of 2.7 ms.
    assert roomy.read_s == pytest.approx(4 * 2.7e-3 + 60 * 4 * 390 * 0.23e-6)
    assert one(whole_path, 2**28, "1D", rows_per_s=1e6).read_s == pytest.approx(4 * 2.7e-3 + 0.0936)


# ---- no bar is read ---------------------------------------------------------------------------------


def test_no_bar_is_read(torn_path: Path, tmp_path: Path) -> None:
    """Not even if there is none: the day summaries are all that it takes."""
    before = forecast(torn_path)
    emptied = tmp_path / "emptied.duckdb"
    emptied.write_bytes(torn_path.read_bytes())
    with duckdb.connect(str(emptied)) as con:
        con.execute("DELETE FROM bars")
    after = forecast(emptied)
    assert after == before


# ---- the clock --------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", ["1min", "7min", "1h"])
def test_the_clock_walks_from_a_day_s_first_bar_to_its_last(torn_path: Path, every: str) -> None:
    assert forecast(torn_path, cadence=every).ticks == len(ticks_of(TORN, every))


@pytest.mark.parametrize("name", TORN)
def test_of_one_series_every_bar_is_a_tick(torn_path: Path, name: str) -> None:
    assert forecast(torn_path, assets=name).ticks == len(TORN[name])


def test_without_gaps_every_minute_is_a_tick(whole_path: Path) -> None:
    assert forecast(whole_path).ticks == forecast(whole_path, cadence="1min").ticks == 4 * 390


def test_moments_with_a_bar_are_estimated_where_bars_are_missing(tmp_path: Path) -> None:
    frames = {f"G{n}": minutes(days=20, rows=390, seed=n, keep=0.3) for n in range(3)}
    path = write_store(tmp_path / "thin.duckdb", frames)
    slots, share = 20 * 390, 1 - 0.7**3
    spread = (slots * share * (1 - share)) ** 0.5
    assert forecast(path).ticks == pytest.approx(len(ticks_of(frames)), abs=4 * spread)


def test_a_day_or_a_week_apart_the_clock_stops_once_in_it(whole_path: Path) -> None:
    days = forecast(whole_path, cadence="1D", lookback=1)
    assert days.ticks == 4
    # Each of the first bars but the very first is asked for the last bar of the day before.
    assert one(whole_path, 2**28, "1D", cadence="1D", lookback=1).asked == 3 * 60
    assert forecast(whole_path, cadence="7D").ticks == 1  # Thursday
    assert forecast(whole_path, cadence="3D").ticks == 2  # and Monday


def test_start_and_end_bound_the_clock_but_not_the_windows(whole_path: Path) -> None:
    found = forecast(whole_path, start="2024-03-08", end="2024-03-08", caps=[2**28], partitions=["1D"])
    assert found.ticks == 390
    # The day itself and, for the first 60 ticks, the day before.
    assert found.prospects[0].reads == 2 * 60
    assert found.prospects[0].asked == 60 * (60 + 389)
    after = forecast(whole_path, start="2025-01-01", end="2025-01-02", caps=[2**28], partitions=["1D"])
    assert (after.ticks, after.prospects[0].reads, after.prospects[0].asked) == (0, 0, 0)
    assert np.isnan(after.prospects[0].hit_rate)


@pytest.mark.parametrize("timestep", ["hour", "day"])
def test_coarser_bars(tmp_path: Path, timestep: str) -> None:
    freq = {"hour": "1h", "day": "1D"}[timestep]
    frame = pd.DataFrame(
        dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0),
        index=pd.date_range("2024-01-01", "2024-03-31 23:00", freq=freq, tz="America/New_York"),
    )
    path = write_store(tmp_path / "coarse.duckdb", {"A": frame, "B": frame}, timestep)
    found = forecast(path, timestep=timestep, lookback=5, caps=[2**27], partitions=["1M"])
    assert found.ticks == len(frame)
    assert found.prospects[0].reads == 6


# ---- what works -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "kind"), [("whole", "1D"), ("long", "25Y")])
def test_the_cap_that_it_says_is_needed_is_the_smallest_that_works(
    whole_path: Path, tmp_path: Path, frames: str, kind: str
) -> None:
    path = whole_path
    if frames == "long":  # one segment is larger than the least ring there is
        path = write_store(tmp_path / "long.duckdb", {"A": minutes(days=70, rows=390)})
    too_small = one(path, smallest_cap(0) - 1, kind)
    needed = too_small.needed_cap_bytes
    assert not too_small.works
    assert str(needed) in too_small.why
    assert one(path, needed, kind).works
    assert not one(path, needed - 1, kind).works
    with pytest.raises(CapTooSmall) as refused:
        iterate(path, partition=kind, memory=needed - 1)
    assert refused.value.needed_bytes == needed
    with iterate(path, partition=kind, memory=needed, prefetch=False) as ticks:
        assert next(ticks).now_ns > 0
    assert float(too_small.needed_mb.removesuffix(" MB")) * 1e6 >= needed


def test_by_default_the_caps_lead_from_one_that_works_to_one_that_reads_nothing_twice(
    whole_path: Path,
) -> None:
    found = forecast(whole_path)
    caps = sorted({one.cap_bytes for one in found.prospects})
    assert 4 <= len(caps) <= 8
    assert any(one.works for one in found.prospects if one.cap_bytes == caps[0])
    pages = {"1D": 4 * 60, "1W": 2 * 60, "1M": 60}
    assert {one.partition: one.reads for one in found.prospects if one.cap_bytes == caps[-1]} == pages
    for kind in pages:
        reads = [one.reads for one in found.prospects if one.partition == kind and one.works]
        assert reads == sorted(reads, reverse=True)


def test_one_bar(tmp_path: Path) -> None:
    path = write_store(tmp_path / "one.duckdb", {"A": minutes(days=1, rows=1)})
    found = forecast(path)
    assert (found.series, found.rows, found.ticks) == (1, 1, 1)
    # When it has closed, the clock has stopped for good.
    assert all(one.works and one.asked == one.reads == 0 for one in found.prospects)
    assert found.knee() is not None


def test_no_bars(tmp_path: Path) -> None:
    path = write_store(tmp_path / "none.duckdb", {})
    with pytest.raises(ConfigError, match="no minute bars"):
        forecast(path)


def test_an_unknown_asset(torn_path: Path) -> None:
    with pytest.raises(UnknownSeries, match="NOPE"):
        forecast(torn_path, assets=["WHOLE", "NOPE"])


@pytest.mark.parametrize(
    "knobs",
    [
        {"timestep": "second"},
        {"lookback": 0},
        {"lookback": True},
        {"lookback": 1.5},
        {"cadence": "10s"},
        {"cadence": "0min"},
        {"cadence": "soon"},
        {"cadence": "5min", "timestep": "hour"},
        {"partitions": []},
        {"partitions": "1D"},
        {"partitions": ["auto"]},
        {"caps": [0]},
        {"caps": ["many"]},
        {"caps": []},
        {"caps": "64MB"},
        {"assets": []},
        {"start": "2024-03-08", "end": "2024-03-04"},
        {"start": "yesterday"},
        {"read_delay_s": -1.0},
        {"read_delay_s": float("nan")},
        {"rows_per_s": 0.0},
    ],
)
def test_what_cannot_be_meant_is_refused(torn_path: Path, knobs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        forecast(torn_path, **knobs)


def test_numbers_beyond_all_measure_are_no_trouble(torn_path: Path) -> None:
    one_day = one(torn_path, 2**100, "1D", lookback=10**30, read_delay_s=1e9)
    whole = one(torn_path, 2**27, "1D", lookback=max(map(len, TORN.values())), read_delay_s=1e9)
    assert dataclasses.replace(one_day, cap_bytes=0, ring_bytes=0) == dataclasses.replace(
        whole, cap_bytes=0, ring_bytes=0
    )


# ---- the knee ---------------------------------------------------------------------------------------


def prospects(*costs: tuple[int, str, float]) -> Forecast:
    """A forecast of so many seconds at each cap and partition size; NaN where it does not work."""
    made = tuple(
        Prospect(cap, kind, cost == cost, "", 1, 1, read_s=cost if cost == cost else 0.0)
        for cap, kind, cost in costs
    )
    return Forecast(1, 1, 1, 1, "minute", "", made)


NOT = float("nan")


@pytest.mark.parametrize(
    ("costs", "knee"),
    [
        ([(1, "1D", 9.0), (2, "1D", 1.05), (3, "1D", 1.0)], (2, "1D")),
        ([(1, "1D", 9.0), (2, "1D", 1.06), (3, "1D", 1.0)], (3, "1D")),
        ([(1, "1D", NOT), (2, "1D", 1.0), (3, "1D", 1.0)], (2, "1D")),
        ([(1, "1D", 1.04), (1, "1W", 1.01), (2, "1M", 1.0)], (1, "1W")),
        ([(1, "1D", 5.0)], (1, "1D")),
        ([(1, "1D", NOT)], None),
    ],
)
def test_the_knee_is_the_smallest_cap_within_a_twentieth_of_the_best(
    costs: Sequence[tuple[int, str, float]], knee: tuple[int, str] | None
) -> None:
    found = prospects(*costs).knee()
    assert (None if found is None else (found.cap_bytes, found.partition)) == knee


def test_waiting_counts_as_much_as_reading() -> None:
    read = dataclasses.replace(prospects((1, "1D", 2.0)).prospects[0], stall_s=1.5)
    assert read.cost_s == 3.5


def test_at_the_knee_nothing_is_read_twice_and_below_it_much(whole_path: Path) -> None:
    caps = [smallest_cap(ring) for ring in range(1_100_000, 5_000_000, 400_000)]
    found = forecast(whole_path, caps=caps, partitions=["1D"], cadence="10min")
    knee = found.knee()
    assert knee is not None
    assert knee.reads == 60 * 4
    below = [one for one in found.prospects if one.cap_bytes < knee.cap_bytes]
    assert below
    assert all(one.cost_s > 1.05 * knee.cost_s for one in below)
    assert all(a.misses >= b.misses for a, b in pairwise(found.prospects))


# ---- the command line -------------------------------------------------------------------------------

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "120")

    def run(*argv: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lazybars", "plan", *map(str, argv)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_the_table_and_the_advice(whole_path: Path, command: Command) -> None:
    code, out, _ = command(whole_path, "--memory", "30MB,62MB", "--memory", "256MB", "--partition", "1D,1W")
    assert code == 0
    found = forecast(whole_path, caps=["30MB", "62MB", "256MB"], partitions=["1D", "1W"])
    rows = [line.split() for line in out.splitlines() if re.match(r" *\d+\.\d +1[DW]", line)]
    assert [(row[0], row[1]) for row in rows] == [
        (cap, kind) for cap in ("30.0", "62.0", "256.0") for kind in ("1D", "1W")
    ]
    assert rows[0][2:5] == ["needs", *found.prospects[0].needed_mb.split()]
    assert rows[4][2] == "yes"
    assert rows[4][4:6] == ["240", "60"]
    knee = found.knee()
    assert knee is not None
    assert f"memory={knee.cap_bytes} " in out
    assert f'partition="{knee.partition}"' in out
    assert "million bars read a second" in out


def test_the_cap_that_is_advised_where_none_works_does(whole_path: Path, command: Command) -> None:
    code, out, _ = command(whole_path, "--memory", "1MB")
    assert code == 0
    advised = re.search(r"at least (\d+) bytes .* partitions of (\w+)", out)
    assert advised is not None
    with iterate(whole_path, memory=int(advised[1]), partition=advised[2], prefetch=False) as ticks:
        assert next(ticks).now_ns > 0


def test_json_and_the_plot(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "Zürich <b>.duckdb"
    with open_store(path) as store:
        for bars in Generated(assets=5, days=8).bars():
            store.write(bars.table(), asset=bars.symbol, timestep="minute")
    plot = tmp_path / "Bild.html"
    code, out, _ = command(path, "--json", "--plot", plot, "--lookback", "30", "--delay-ms", "2.5")
    assert code == 0
    said = json.loads(out)
    found = forecast(path, lookback=30, read_delay_s=0.0025)
    knee = found.knee()
    assert knee is not None
    assert said["knee"] == {"cap_bytes": knee.cap_bytes, "partition": knee.partition}
    assert [row["misses"] for row in said["prospects"]] == [one.misses for one in found.prospects]
    assert "2.5 of delay" in said["assumptions"]
    page = plot.read_text("utf-8")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page), "it would need a network"
    assert f"knee: {knee.cap_bytes / 1e6:,.1f} MB" in page


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--assets", "NOPE"), "NOPE"),
        (("--memory", "plenty"), "plenty"),
        (("--partition", "2D"), "2D"),
        (("--cadence", "5s"), "5s"),
        (("--plot", "no/such/folder/plot.html"), "no/such/folder/plot.html"),
        (("--plot", "plot.docx"), ".html, .htm, .png"),
        (("--plot", "."), ".html, .htm, .png"),
        (("--memory", ","), "caps=[]"),
        (("--assets", ","), "assets is empty"),
        (("--memory", "1MB", "--plot", "plot.html"), "larger --memory"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_2(
    torn_path: Path, command: Command, argv: Sequence[str], said: str
) -> None:
    code, _, err = command(torn_path, *argv)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_no_store(tmp_path: Path, command: Command) -> None:
    code, _, err = command(tmp_path / "missing.duckdb")
    assert code == 2
    assert "missing.duckdb" in err
    assert not (tmp_path / "missing.duckdb").exists()
