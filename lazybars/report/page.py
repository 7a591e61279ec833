"""The page: what a journal says, as HTML around the charts, and the file that it becomes."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from lazybars.errors import ConfigError
from lazybars.journal import Journal
from lazybars.report.charts import sample_charts
from lazybars.report.figures import Chart, new_york
from lazybars.report.tables import outside_tables, series_table
from lazybars.report.timeline import timeline_chart
from lazybars.report.units import megabytes, percent, seconds, share

__all__ = ["write_report"]

_GLOSSARY = {
    "partition": "A fixed span of time (a day, a week, ...). Bars are read a partition at a time.",
    "segment": "One series' bars of one partition, in RAM. Bars are kept and let go of by the segment.",
    "hit": "A question found its segment in RAM.",
    "late": "A question found its segment still loading, and waited for it.",
    "miss": "A question found no segment, and read it itself.",
    "bypass": "A segment was read for one question and not kept: what it would push out is needed sooner.",
    "stall": "Wall time that the strategy waited for bars, late or missed.",
    "lookback": "How far back a question reaches, in rows: a series' longest one lately.",
    "cadence": "Ticks of the backtest's clock between a series' requests.",
    "hit rate": "Hits over segments asked for: hits, late and misses.",
    "read ahead": "Read in the background before the backtest's clock came to it.",
    "cap": "The most RAM that lazybars may add to the process: its memory setting.",
    "booked": "Bytes entered against the cap before they are read. The engine's share always is.",
    "RSS over baseline": "RAM that the operating system sees in use, less what was in use at the start.",
    "best possible": "Belady's rule: the run's own requests again, over as much RAM, with the future known "
    "but nothing read before it is asked for. Reading ahead can do better.",
    "LRU": "The same requests with the least recently used segment let go of first.",
}


def write_report(journal: Journal, path: str | os.PathLike[str]) -> Path:
    """Write a run's report, whole or not at all, and give its path.

    One HTML file with everything inside; opening it loads nothing else. An older file at `path` is
    replaced.

    Raises
    ------
    ConfigError
        The file cannot be written there; the cause is the system's error.
    """
    target = Path(path)
    page = _page(journal).encode("utf-8", "backslashreplace")
    # Beside the target, so that replacing it is one step; made by open(), so that the umask holds.
    beside = target.parent / f".lazybars-{secrets.token_hex(8)}.tmp"
    try:
        try:
            with beside.open("xb") as file:
                file.write(page)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the report ({len(page) / 1e6:.1f} MB) cannot be written to {str(target)!r}: {error}. "
            "Give the path of a file in a directory that exists, that may be written to and has room."
        ) from error
    return target


def _page(journal: Journal) -> str:
    charts = {one.name: one for one in sample_charts(journal.samples, journal.stats.cap_bytes)}
    timeline = timeline_chart(journal)
    plotly = ""
    if charts or timeline:
        from plotly.offline import get_plotlyjs  # slow to import

        plotly = get_plotlyjs()
    sections = [
        _tiles(journal),
        _section(
            "RAM against the cap",
            "What is booked, stacked; what the operating system sees (RSS); the cap. Drag to zoom, "
            "double-click to see all.",
            _figure(charts.get("ram"), "The run took no samples."),
        ),
        '<div class="pair">',
        _section("Hit rate", "", _figure(charts.get("hits"), "The run took no samples.")),
        _section("Stall", "", _figure(charts.get("stall"), "The run took no samples.")),
        "</div>",
        series_table(journal.series),
        _section(
            "Partitions in RAM",
            f"When each partition of {escape(journal.partition)} came and left, on the backtest's clock; "
            "each row is named by its first day.",
            _figure(timeline, "No partition came into RAM."),
        ),
        '<div class="pair">',
        _section(
            "The plan", "What the run was to need, said before bar one.", f"<pre>{escape(journal.plan)}</pre>"
        ),
        outside_tables(journal.stats),
        "</div>",
        _section("Words", "", _definitions(_GLOSSARY.items(), "words")),
        '<p class="note foot">1 MB is 1,000,000 bytes. Dates and times are those of New York.</p>',
    ]
    template = Template((files("lazybars.report") / "page.html").read_text("utf-8"))
    return template.substitute(
        title=escape(journal.title),
        subtitle=_subtitle(journal),
        body="\n".join(sections),
        plotly=plotly,
    )


def _subtitle(journal: Journal) -> str:
    parts = [f"partitions of {escape(journal.partition)}", f"policy {escape(journal.policy)}"]
    if journal.samples:
        first, last = (new_york(journal.samples[at].now_ns) for at in (0, -1))
        parts.insert(0, f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}")
    return " &middot; ".join(parts)


def _section(title: str, said: str, inside: str) -> str:
    below = f'<p class="soft">{said}</p>' if said else ""
    return f'<section class="card"><h2>{title}</h2>{below}{inside}</section>'


def _figure(chart: Chart | None, nothing: str) -> str:
    if chart is None:
        return f'<p class="soft">{nothing}</p>'
    note = f"<figcaption>{escape(chart.note)}</figcaption>" if chart.note else ""
    data = f'<script type="application/json" data-figure="{chart.name}">{chart.json}</script>'
    return f'<figure><div id="{chart.name}"></div>{note}</figure>{data}'


def _definitions(items: Iterable[tuple[str, str]], kind: str = "") -> str:
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(said)}</dd>" for name, said in items)
    return f'<dl class="{kind}">{inside}</dl>'


# ---- the head -------------------------------------------------------------------------------------


def _tiles(journal: Journal) -> str:
    return f'<div class="tiles">{_ram(journal)}{_hits(journal)}{_stall(journal)}{_calls(journal)}</div>'


def _tile(ident: str, name: str, value: str, items: Iterable[tuple[str, str]], meter: str = "") -> str:
    head = f'<span class="name">{name}</span><b>{value}</b>{meter}'
    return f'<div class="card tile" id="{ident}">{head}{_definitions(items)}</div>'


def _ram(journal: Journal) -> str:
    stats = journal.stats
    used = share(stats.peak_rss_bytes, stats.cap_bytes)
    over = " over" if used > 1 else ""
    width = 0 if math.isnan(used) else min(100 * used, 100)
    meter = f'<div class="meter{over}"><i style="--w:{width:.1f}%"></i></div>'
    measured = stats.peak_rss_bytes > 0
    items = [
        ("cap", megabytes(stats.cap_bytes)),
        ("of the cap", percent(used) if measured else "\u2013"),
        ("peak booked", megabytes(stats.peak_bytes)),
    ]
    value = megabytes(stats.peak_rss_bytes) if measured else "not measured"
    return _tile("peak", "Peak RSS over baseline", value, items, meter)


def _hits(journal: Journal) -> str:
    stats, regret = journal.stats, journal.regret
    items = [("hits", f"{stats.hits:,}"), ("late", f"{stats.late:,}"), ("misses", f"{stats.misses:,}")]
    if regret is None:
        items.append(("best possible, LRU", "not replayed"))
    else:
        if regret.share <= 0.999:
            items.append((f"first {percent(regret.share)} of the run", percent(regret.hit_rate)))
        items += [
            ("best possible", percent(regret.best_rate)),
            ("LRU", percent(regret.lru_rate)),
        ]
    return _tile("rate", "Hit rate", percent(stats.hit_rate), items)


def _stall(journal: Journal) -> str:
    stats = journal.stats
    wall_s = journal.samples[-1].wall_s if journal.samples else math.nan
    asked = stats.late + stats.misses
    items = [
        ("wall time", seconds(wall_s)),
        ("of wall time", percent(share(stats.stall_s, wall_s))),
        ("per late or miss", seconds(share(stats.stall_s, asked))),
    ]
    return _tile("stalled", "Stall", seconds(stats.stall_s), items)


def _calls(journal: Journal) -> str:
    stats = journal.stats
    items = [
        ("segments asked for", f"{stats.hits + stats.late + stats.misses:,}"),
        ("segments read ahead", f"{stats.prefetched:,}"),
        ("let go of", f"{stats.evictions:,}"),
        ("bypasses", f"{stats.bypasses:,}"),
    ]
    return _tile("calls", "Calls", f"{stats.calls:,}", items)
