"""The report as a reader's browser shows it, against the journal that it was written from."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lazybars.errors import ConfigError
from lazybars.journal import Journal, PageSpan, Regret, Sample, SeriesCounts
from lazybars.report import write_report
from lazybars.report.units import percent, seconds
from lazybars.stats import Stats

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
RESERVED = 58_720_256
MINUTE_NS = 60 * 10**9
ODD = "<b>A&B</b> \"quoted\" 'too' </script><script>document.title='caught'</script> $title &amp;"
# What the page holds once it is drawn, written into it so that --dump-dom gives it.
PROBE = """
<script>
const text = (one) => one.textContent.trim();
const rows = () => [...document.querySelectorAll("#series tbody tr")].filter((one) => !one.hidden)
  .map((one) => [...one.cells].map(text));
const found = {title: document.title, shown: document.querySelector("main").innerText, tiles: {}, charts: {},
  background: getComputedStyle(document.body).backgroundColor, rows: rows(), sorted: {}, sought: [],
  loaded: performance.getEntriesByType("resource").map((one) => one.name),
  bold: document.querySelectorAll("td b").length, wide: document.documentElement.scrollWidth - innerWidth};
for (const one of document.querySelectorAll(".tile")) {
  const of = [...one.querySelectorAll("dt")].map((dt) => [text(dt), text(dt.nextSibling)]);
  found.tiles[one.id] = {value: text(one.querySelector("b")), ...Object.fromEntries(of)};
}
for (const one of document.querySelectorAll(".js-plotly-plot")) {
  const list = (some) => some && Array.from(some);
  found.charts[one.id] = {drawn: one.querySelectorAll("svg.main-svg").length,
    bars: one.querySelectorAll(".bars .point path").length,
    size: [one.clientWidth, one.clientHeight], ink: one._fullLayout.font.color,
    yrange: one._fullLayout.yaxis.range, note: text(one.parentElement),
    traces: one._fullData.map((of) => ({name: of.name, x: list(of.x), y: list(of.y), base: list(of.base),
      customdata: list(of.customdata), told: list(of.hovertext)}))};
}
document.querySelectorAll("#series th button").forEach((one) => {
  one.click();
  const first = rows();
  one.click();
  found.sorted[text(one)] = [first, rows()];
});
const field = document.querySelector("input[type=search]");
if (field) {
  field.value = "s00";
  field.dispatchEvent(new Event("input"));
  found.sought = rows().map((one) => one[0]);
}
const probe = document.createElement("pre");
probe.id = "probe";
probe.textContent = JSON.stringify(found);
document.body.append(probe);
</script>
"""


@dataclass(frozen=True)
class Rendered:
    """A page after its scripts have run: what the probe found, and what the console said."""

    found: dict[str, Any]
    console: list[str]

    def traces(self, chart: str) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.found["charts"][chart]["traces"]}


Browse = Callable[..., Rendered]


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Browse:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser here: looked for {', '.join(BROWSERS)}")

    def render(page: Path, *flags: str) -> Rendered:
        folder = tmp_path_factory.mktemp("browser")
        copy = folder / "probed.html"
        copy.write_bytes(page.read_bytes().replace(b"</body>", PROBE.encode() + b"</body>"))
        done = subprocess.run(
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={folder / 'profile'}",
                "--window-size=1280,900",
                "--enable-logging=stderr",
                *flags,
                "--dump-dom",
                copy.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        probed = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S)
        assert probed, done.stderr
        found = json.loads(html.unescape(probed[1]))
        return Rendered(found, [line for line in done.stderr.splitlines() if "CONSOLE" in line])

    return render


# ---- journals -------------------------------------------------------------------------------------


def journal_of(
    assets: int = 40, parts: int = 12, samples: int = 300, *, days: int = 7, seed: int = 1
) -> Journal:
    """A run as it might have been: each partition read ahead of the clock, or missed now and then."""
    rng = np.random.default_rng(seed)
    edges = pd.date_range(
        "2024-01-01", periods=parts + 1, freq=f"{days}D", tz="America/New_York"
    ).asi8.tolist()
    start, end = edges[0] + 34_200 * 10**9, edges[-1]
    segment = 1950 * 5 * 8
    ahead = [0, *rng.choice([assets, assets, assets, assets // 2, 0], parts - 1).tolist()]
    spans = []
    for part in range(parts):
        lo, hi = edges[part], edges[part + 1]
        came = max(start, lo - (hi - lo) // 4) if ahead[part] else max(start, lo)
        left = hi + (hi - lo) // 8
        spans.append(
            PageSpan(lo, hi, came, left if left < end else None, assets, int(ahead[part]), assets * segment)
        )
    taken = []
    hits = misses = late = 0
    stall = 0.0
    for now in (np.linspace(start, end, samples) // MINUTE_NS * MINUTE_NS).astype(np.int64).tolist():
        there = [one for one in spans if one.loaded_ns <= now < (one.left_ns or end + 1)]
        resident = sum(one.nbytes for one in there)
        flight = int(rng.integers(0, 2)) * segment
        tables = 4_000_000 + len(taken) * 1000
        missed = sum(one.segments - one.ahead for one in spans if one.loaded_ns <= now) - misses
        misses += missed
        hits += assets * 50
        late += int(rng.integers(0, 2))
        stall += missed * 0.0007
        booked = RESERVED + resident + flight + tables
        rss = int(booked * 0.9)
        taken.append(
            Sample(now, 0.05 * len(taken), booked, resident, flight, tables, rss, hits, misses, late, stall)
        )
    series = [
        SeriesCounts(
            f"S{k:03d} minute USD", *(int(n) for n in rng.integers(1, 5000, 4)), float(s), 60 * k, k % 7
        )
        for k, s in enumerate(rng.exponential(0.02, assets).round(3))
    ]
    last = taken[-1] if taken else Sample(0, 0.0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0)
    stats = Stats(
        cap_bytes=128_000_000,
        resident_bytes=last.resident_bytes,
        in_flight_bytes=0,
        table_bytes=last.table_bytes,
        pinned_bytes=1_500_000,
        peak_bytes=max((one.booked_bytes for one in taken), default=0),
        peak_rss_bytes=max((one.rss_bytes for one in taken), default=0),
        calls=hits // 2,
        hits=hits,
        misses=misses,
        late=late,
        prefetched=sum(ahead),
        evictions=assets * (parts - 1),
        bypasses=7,
        stall_s=stall,
        eager={"ODD minute": "a text column"},
        held={"pandas_data": 812_300_000},
    )
    plan = f"{assets} series\ncap 128.0 MB = engine 54.5 + reads 4.2"
    regret = Regret(hits + misses + late, 1.0, 0.9871, 0.9923, 0.4512)
    return Journal("A run", f"{days}D", "next-use", plan, stats, taken, series, spans, regret)


def local_ms(ns: list[int]) -> np.ndarray:
    """New York's wall clock, by pandas, in milliseconds as if it were UTC."""
    stamps = pd.to_datetime(ns, utc=True).tz_convert("America/New_York").tz_localize(None)
    return stamps.asi8 / 1e6


@pytest.fixture(scope="module")
def journal() -> Journal:
    return journal_of()


@pytest.fixture(scope="module")
def page(journal: Journal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(journal, tmp_path_factory.mktemp("report") / "run.html")


@pytest.fixture(scope="module")
def rendered(page: Path, browse: Browse) -> Rendered:
    return browse(page)


# ---- what the page shows --------------------------------------------------------------------------


def test_the_page_draws_its_charts_and_says_nothing_to_the_console(rendered: Rendered) -> None:
    assert rendered.console == []
    charts = rendered.found["charts"]
    assert {name: len(one["traces"]) for name, one in charts.items()} == {
        "ram": 6,
        "hits": 2,
        "stall": 1,
        "timeline": 4,
    }
    assert all(one["drawn"] and min(one["size"]) > 150 for one in charts.values())
    assert rendered.found["wide"] <= 0, "the page must be scrolled sideways"


def test_a_fault_in_a_script_would_be_seen(page: Path, browse: Browse, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_bytes(page.read_bytes().replace(b"</main>", b"</main><script>nothing.there()</script>"))
    assert any("nothing is not defined" in line for line in browse(broken).console)


def test_the_head_shows_the_runs_numbers(rendered: Rendered, journal: Journal) -> None:
    stats, tiles = journal.stats, rendered.found["tiles"]
    wall = journal.samples[-1].wall_s
    asked = stats.hits + stats.late + stats.misses
    assert tiles["peak"] == {
        "value": f"{stats.peak_rss_bytes / 1e6:.1f} MB",
        "cap": "128.0 MB",
        "of the cap": f"{stats.peak_rss_bytes / 1.28e6:.1f} %",
        "peak booked": f"{stats.peak_bytes / 1e6:.1f} MB",
    }
    assert tiles["rate"] == {
        "value": f"{100 * stats.hits / asked:.1f} %",
        "hits": f"{stats.hits:,}",
        "late": f"{stats.late:,}",
        "misses": f"{stats.misses:,}",
        "best possible": "99.2 %",
        "LRU": "45.1 %",
    }
    assert tiles["stalled"]["value"] == f"{stats.stall_s * 1e3:.2f} ms"
    assert tiles["stalled"]["wall time"] == f"{wall:.2f} s"
    assert tiles["stalled"]["of wall time"] == f"{100 * stats.stall_s / wall:.1f} %"
    assert tiles["calls"]["value"] == f"{stats.calls:,}"
    assert tiles["calls"]["bypasses"] == "7"
    shown = rendered.found["shown"]
    for said in (
        "ODD minute",
        "a text column",
        "pandas_data",
        "812.3 MB",
        "1.5 MB",
        "engine 54.5 + reads 4.2",
    ):
        assert said in shown


def test_the_charts_are_drawn_from_the_samples(rendered: Rendered, journal: Journal) -> None:
    at = local_ms([one.now_ns for one in journal.samples])
    zones = {pd.Timestamp(one.now_ns, tz="America/New_York").utcoffset() for one in journal.samples}
    assert len(zones) == 2, "the run crosses the change of the clocks"
    ram = rendered.traces("ram")
    for name, field in (("tables", "table"), ("segments resident", "resident"), ("in flight", "in_flight")):
        wanted = [getattr(one, f"{field}_bytes") / 1e6 for one in journal.samples]
        np.testing.assert_allclose(ram[name]["customdata"], wanted, rtol=1e-6)
    np.testing.assert_allclose(ram["engine and reads, reserved"]["y"], RESERVED / 1e6, rtol=1e-6)
    booked = [one.booked_bytes / 1e6 for one in journal.samples]
    np.testing.assert_allclose(ram["in flight"]["y"], booked, rtol=1e-6, err_msg="the top of the stack")
    np.testing.assert_allclose(
        ram["RSS over baseline"]["y"], [one.rss_bytes / 1e6 for one in journal.samples], rtol=1e-6
    )
    assert ram["cap"]["y"] == [128.0, 128.0]
    for chart in ("ram", "hits", "stall"):
        for name, trace in rendered.traces(chart).items():
            if name != "cap":
                np.testing.assert_array_equal(trace["x"], at)
    rate = [100 * one.hits / (one.hits + one.misses + one.late) for one in journal.samples]
    np.testing.assert_allclose(rendered.traces("hits")["so far"]["y"], rate, rtol=1e-6)
    stall = [1e3 * one.stall_s for one in journal.samples]
    np.testing.assert_allclose(rendered.traces("stall")["stall so far"]["y"], stall, rtol=1e-6)


def test_the_timeline_has_a_bar_for_each_stay(rendered: Rendered, journal: Journal) -> None:
    traces = rendered.traces("timeline")
    wanted = {"read ahead": 0, "read ahead in part": 0, "missed": 0}
    for span in journal.partitions:
        kind = "missed" if span.ahead == 0 else "read ahead in part"
        wanted["read ahead" if span.ahead == span.segments else kind] += 1
    assert min(wanted.values()) > 0
    assert {name: len(traces[name]["y"]) for name in wanted} == wanted
    assert rendered.found["charts"]["timeline"]["bars"] == len(journal.partitions)
    end = max(one.now_ns for one in journal.samples)
    bars = {
        (row, base, base + x)
        for name in wanted
        for row, base, x in zip(*(traces[name][of] for of in ("y", "base", "x")), strict=True)
    }
    came = local_ms([one.loaded_ns for one in journal.partitions])
    left = local_ms([end if one.left_ns is None else one.left_ns for one in journal.partitions])
    assert bars == set(zip(range(len(came)), came, left, strict=True))
    assert "still there at the end" in str([traces[name]["told"] for name in wanted])


def test_the_series_can_be_sorted_and_found(rendered: Rendered, journal: Journal) -> None:
    by_stall = sorted(journal.series, key=lambda one: -one.stall_s)
    rows = rendered.found["rows"]
    assert [row[6] for row in rows] == [f"{one.stall_s:.3f}" for one in by_stall]
    labelled = {one.label: one for one in journal.series}
    assert {row[0] for row in rows} == set(labelled)
    for row in rows:
        one = labelled[row[0]]
        rate = 100 * one.hits / (one.hits + one.misses + one.late)
        counts = (one.hits, one.late, one.misses, one.bypasses)
        assert row[1:6] == [*(f"{count:,}" for count in counts), f"{rate:.2f}"]
        assert row[7:9] == [f"{one.reach_rows:,}", str(one.cadence_ticks or "\u2013")]
    once, twice = rendered.found["sorted"]["misses"]
    misses = sorted(one.misses for one in journal.series)
    assert [row[3] for row in once] == [f"{count:,}" for count in reversed(misses)]
    assert [row[3] for row in twice] == [f"{count:,}" for count in misses]
    once, twice = rendered.found["sorted"]["series"]
    assert [row[0] for row in once] == sorted(labelled)
    assert [row[0] for row in twice] == sorted(labelled, reverse=True)
    ticks = [one.cadence_ticks for one in journal.series]
    asked, never = sorted(filter(None, ticks)), ["\u2013"] * ticks.count(0)
    once, twice = rendered.found["sorted"]["cadence, ticks"]
    assert never
    assert [row[8] for row in once] == [*(str(one) for one in reversed(asked)), *never]
    assert [row[8] for row in twice] == [*(str(one) for one in asked), *never]
    assert sorted(rendered.found["sought"]) == [f"S00{k} minute USD" for k in range(10)]


def test_a_large_run_stays_small_and_hides_no_miss(tmp_path: Path, browse: Browse) -> None:
    journal = journal_of(assets=500, parts=2000, samples=2500, days=1)
    page = write_report(journal, tmp_path / "large.html")
    from plotly.offline import get_plotlyjs

    assert page.stat().st_size - len(get_plotlyjs().encode()) < 700_000
    rendered = browse(page)
    assert rendered.console == []
    assert len(rendered.found["rows"]) == 500
    chart = rendered.found["charts"]["timeline"]
    assert 0 < chart["bars"] <= 600
    assert "2,000 partitions, 2,000 stays" in chart["note"]
    assert f"{chart['bars']} bars in all" in chart["note"]
    stays = {}
    for name, trace in rendered.traces("timeline").items():
        if trace["told"]:
            counted = [re.search(r"([\d,]+) stays", told) for told in trace["told"]]
            stays[name] = sum(int(one[1].replace(",", "")) if one else 1 for one in counted)
    assert stays["missed"] == sum(one.ahead == 0 for one in journal.partitions)
    assert stays["read ahead"] == sum(one.ahead == one.segments for one in journal.partitions)
    assert sum(stays.values()) == 2000
    drawn = rendered.traces("ram")["in flight"]
    assert len(drawn["y"]) == 1000
    assert "1,000 of 2,500 samples are drawn" in rendered.found["charts"]["ram"]["note"]
    assert max(drawn["y"]) == pytest.approx(max(one.booked_bytes for one in journal.samples) / 1e6)
    ends = local_ms([journal.samples[at].now_ns for at in (0, -1)])
    assert [drawn["x"][0], drawn["x"][-1]] == ends.tolist()


def test_one_partition_that_comes_and_goes_thousands_of_times_is_a_few_bars(
    tmp_path: Path, browse: Browse
) -> None:
    week = journal_of(assets=3, parts=2)
    lo, hi = week.partitions[0].start_ns, week.partitions[0].end_ns
    times = np.linspace(lo, hi, 5001).astype(np.int64).tolist()
    spans = [PageSpan(lo, hi, at, at + 10**9, 1, 0, 800) for at in times[:-1]]
    rendered = browse(write_report(dataclasses.replace(week, partitions=spans), tmp_path / "run.html"))
    chart = rendered.found["charts"]["timeline"]
    assert 0 < chart["bars"] <= 600
    assert "1 partitions, 5,000 stays" in chart["note"]


def test_a_cap_far_above_what_is_used_does_not_flatten_the_chart(tmp_path: Path, browse: Browse) -> None:
    run = journal_of()
    run = dataclasses.replace(run, stats=dataclasses.replace(run.stats, cap_bytes=64_000_000_000))
    rendered = browse(write_report(run, tmp_path / "run.html"))
    assert "cap" not in rendered.traces("ram")
    assert "cap 64,000 MB, above this scale" in rendered.found["charts"]["ram"]["note"]
    assert rendered.found["charts"]["ram"]["yrange"][1] < 2 * run.stats.peak_bytes / 1e6


def test_a_peak_over_the_cap_is_not_glossed_over(tmp_path: Path) -> None:
    run = journal_of(samples=0)
    over = dataclasses.replace(run.stats, cap_bytes=50_000_000, peak_rss_bytes=60_000_000)
    text = write_report(dataclasses.replace(run, stats=over), tmp_path / "run.html").read_text()
    assert 'class="meter over"' in text
    assert "<dd>120.0 %</dd>" in text


def test_text_is_only_ever_text(tmp_path: Path, browse: Browse) -> None:
    run = journal_of(assets=3)
    run = dataclasses.replace(
        run,
        title=ODD,
        partition=ODD,
        policy=ODD,
        plan=ODD,
        series=[dataclasses.replace(run.series[0], label=ODD)],
        stats=dataclasses.replace(run.stats, eager={ODD: ODD}, held={ODD: 1}),
    )
    rendered = browse(write_report(run, tmp_path / "run.html"))
    assert rendered.console == []
    assert rendered.found["title"] == ODD
    assert rendered.found["rows"][0][0] == ODD
    assert rendered.found["bold"] == 0
    # Heading, kind and policy, kind again, plan, series, eager and why, held.
    assert rendered.found["shown"].count(ODD) == 9


# ---- runs of which little is known ----------------------------------------------------------------


def zeros() -> Journal:
    nan = float("nan")
    return Journal(
        title="",
        partition="1D",
        policy="lru",
        plan="",
        stats=Stats(*[0] * 14, 0.0, {}, {}),
        samples=[Sample(0, 0.0, *[0] * 8, 0.0)] * 2,
        series=[SeriesCounts("", 0, 0, 0, 0, 0.0, 0, 0)],
        partitions=[PageSpan(0, 0, 0, None, 0, 0, 0)],
        regret=Regret(0, 0.0, nan, nan, nan),
    )


SPARSE = {
    "no samples": lambda: dataclasses.replace(journal_of(samples=0), regret=None),
    "nothing at all": lambda: dataclasses.replace(
        journal_of(samples=0), regret=None, partitions=[], series=[], plan=""
    ),
    "one sample": lambda: journal_of(samples=1),
    "all zero": zeros,
    "a part replayed": lambda: dataclasses.replace(journal_of(5, 3, 9), regret=Regret(5, 0.4, 0.9, 0.8, 0.3)),
}


@pytest.mark.parametrize("what", SPARSE)
def test_a_sparse_run_gives_a_sound_page(what: str, tmp_path: Path, browse: Browse) -> None:
    run = SPARSE[what]()
    rendered = browse(write_report(run, tmp_path / "run.html"))
    assert rendered.console == []
    shown = rendered.found["shown"]
    assert not re.search(r"\b(nan|inf|none|null|undefined|infinity|invalid)\b", shown, re.I)
    assert set(rendered.found["charts"]) == (
        ({"ram", "hits", "stall"} if run.samples else set()) | ({"timeline"} if run.partitions else set())
    )
    assert ("The run took no samples." in shown) == (not run.samples)
    if what == "a part replayed":
        assert rendered.found["tiles"]["rate"]["first 40.0 % of the run"] == "90.0 %"


@pytest.mark.parametrize(("rate", "said"), [
    (0.0, "0.0 %"), (1.0, "100.0 %"), (0.5, "50.0 %"), (0.9996, "99.96 %"), (0.99999, "99.999 %"),
    (0.9999999, "over 99.999 %"), (0.0004, "0.04 %"), (1e-9, "under 0.001 %"), (float("nan"), "\u2013"),
    (12.5, "1,250.0 %"),
])  # fmt: skip
def test_a_share_is_not_rounded_to_all_or_nothing(rate: float, said: str) -> None:
    assert percent(rate) == said


@pytest.mark.parametrize(("time_s", "said"), [
    (0.0, "0.00 s"), (2e-6, "2.0 \u00b5s"), (0.0123, "12.30 ms"), (1.5, "1.50 s"), (119.0, "119.00 s"),
    (3725.4, "62 min 5 s"), (float("nan"), "\u2013"),
])  # fmt: skip
def test_a_duration_has_the_unit_that_suits_it(time_s: float, said: str) -> None:
    assert seconds(time_s) == said


# ---- light, dark, alone ---------------------------------------------------------------------------


def test_the_page_follows_the_readers_theme(rendered: Rendered, page: Path, browse: Browse) -> None:
    dark = browse(page, "--blink-settings=preferredColorScheme=0")
    assert dark.console == []
    assert dark.found["background"] != rendered.found["background"]
    inks = [one.found["charts"]["ram"]["ink"] for one in (dark, rendered)]
    assert inks[0] != inks[1]
    assert not any("var(" in ink for ink in inks)


def test_the_page_asks_for_nothing_from_outside(page: Path, rendered: Rendered) -> None:
    class Links(HTMLParser):
        found: list[tuple[str, str | None]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("link", "iframe", "object", "embed", "img", "base")
            self.found += [one for one in attrs if one[0] in ("src", "href", "srcset", "action", "data")]

    text = page.read_text()
    links = Links()
    links.feed(text)
    assert links.found == []
    assert "default-src 'none'" in text
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert rendered.found["loaded"] == []


# ---- the file -------------------------------------------------------------------------------------


def test_an_older_report_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "Ber\u00efcht \u2603"
    folder.mkdir()
    path = folder / "r\u00e9sum\u00e9.html"
    path.write_text("older")
    reader = path.open()
    assert write_report(journal_of(samples=0), str(path)) == path
    with reader:
        assert reader.read() == "older", "whoever reads the older one reads it whole"
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert list(folder.iterdir()) == [path]


def test_a_report_can_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = write_report(journal_of(samples=0), tmp_path / "run.html")
    finally:
        os.umask(before)
    plain = tmp_path / "plain"
    old = os.umask(0o022)
    plain.touch()
    os.umask(old)
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_missing_directory_is_named_with_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "not there" / "run.html"
    with pytest.raises(ConfigError, match="not there") as raised:
        write_report(journal_of(samples=0), path)
    assert isinstance(raised.value.__cause__, FileNotFoundError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["taken", "x" * 300, "nul\0", "file/run.html", ""])
def test_a_path_that_cannot_be_written_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_text("a file")
    with pytest.raises(ConfigError):
        write_report(journal_of(samples=0), tmp_path / name)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "taken"]


def test_a_failed_write_keeps_the_older_report(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "run.html"
    path.write_text("older")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ConfigError, match="cannot be written") as raised:
            write_report(journal_of(samples=0), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(raised.value.__cause__, OSError)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_no_unicode_does_not_stop_the_report(tmp_path: Path) -> None:
    path = write_report(
        dataclasses.replace(journal_of(samples=0), title="lone \udc80"), tmp_path / "run.html"
    )
    assert "lone \\udc80" in path.read_text("utf-8")


def test_plotly_is_imported_only_when_there_is_a_chart_to_draw() -> None:
    code = "import sys, lazybars.report; print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
