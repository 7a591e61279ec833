"""The report of a sweep: one HTML page with everything inside, for reading without a network."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from lazybars.errors import ConfigError
from lazybars.report.figures import Chart
from lazybars.sweep.charts import heat_map, parallel_coordinates
from lazybars.sweep.job import TrialResult
from lazybars.sweep.trials import counted, label

__all__ = ["write_report"]

# A page with more rows is slow to open; the results themselves have them all.
_MOST_ROWS = 1000
_HEADS = ("Sharpe", "return", "drawdown", "final value", "trades", "peak RSS, MB", "wall, s", "CPU, s")
_MORE_HEADS = ("hit rate", "stall, s")
_FAILED_HEADS = ("status", "peak RSS, MB", "wall, s", "CPU, s", "cause")


def write_report(results: Sequence[TrialResult], path: str | os.PathLike[str]) -> Path:
    """Write the page, whole or not at all, and give its path; an older file there is replaced.

    Raises
    ------
    ConfigError
        There is nothing to report, or the file cannot be written there.
    """
    if not results:
        raise ConfigError("no trial has ended: there is nothing to report")
    target = Path(path)
    page = _page(results).encode("utf-8", "backslashreplace")
    beside = target.parent / f".lazybars-{secrets.token_hex(8)}.tmp"
    try:
        try:
            with beside.open("xb") as file:
                file.write(page)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the report cannot be written to {str(target)!r}: {error}") from error
    return target


def _page(results: Sequence[TrialResult]) -> str:
    heat, parallel = heat_map(results), parallel_coordinates(results)
    plotly = ""
    if heat or parallel:
        from plotly.offline import get_plotlyjs  # slow to import

        plotly = get_plotlyjs()
    body = [
        _section("Two parameters", _figure(heat, "No two parameters were varied.")),
        _section("All parameters", _figure(parallel, "No trial has figures to draw.")),
    ]
    ok = sorted((one for one in results if one.ok), key=lambda one: -(one.sharpe or 0.0))
    failed = [one for one in results if not one.ok]
    names = list(dict.fromkeys(name for result in results for name in result.parameters))
    if ok:
        heads = (*names, *_HEADS, *_MORE_HEADS)
        body.append(_section("Trials, best Sharpe first", _table(heads, [_cells(one, names) for one in ok])))
    if failed:
        heads = (*names, *_FAILED_HEADS)
        told = _table(heads, [_failed_cells(one, names) for one in failed], "causes")
        body.append(_section("Trials that did not end well", told))
    counts = Counter(result.status for result in results)
    spans = {(result.start, result.end) for result in results}
    said = [counted(len(results)), *(f"{count:,} {status}" for status, count in counts.most_common())]
    if len(spans) == 1:
        said.insert(0, " to ".join(_day(moment) for moment in spans.pop()))
    if ok:
        said.append(f"{sum(result.wall_s or 0 for result in results):,.0f} s of trials")
        if ok[0].sharpe is not None:
            with_ = ", ".join(f"{name}={label(value)}" for name, value in ok[0].parameters.items())
            said.append(f"best Sharpe {ok[0].sharpe:.2f}{' with ' if with_ else ''}{with_}")
    template = Template((files("lazybars.sweep") / "page.html").read_text("utf-8"))
    return template.substitute(
        title=escape(results[0].strategy.rpartition(":")[2]),
        subtitle=escape(" \u00b7 ".join(said)),
        body="\n".join(body),
        plotly=plotly,
    )


def _day(moment: str) -> str:
    return moment.replace("T00:00:00", "").replace("T", " ")


def _section(title: str, inside: str) -> str:
    return f'<section class="card"><h2>{title}</h2>{inside}</section>'


def _figure(chart: Chart | None, nothing: str) -> str:
    if chart is None:
        return f'<p class="soft">{nothing}</p>'
    note = f"<figcaption>{escape(chart.note)}</figcaption>" if chart.note else ""
    data = f'<script type="application/json" data-figure="{chart.name}">{chart.json}</script>'
    return f'<figure><div id="{chart.name}"></div>{note}</figure>{data}'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """The first rows; a column of trial numbers comes before the heads."""
    left = len(rows) - _MOST_ROWS
    note = f'<p class="soft">{left:,} more are not shown.</p>' if left > 0 else ""
    head = _row(("trial", *heads), "th")
    body = "\n".join(_row(cells, "td") for cells in rows[:_MOST_ROWS])
    table = f'<table class="{kind}"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>{note}'


def _cells(one: TrialResult, names: Sequence[str]) -> list[str]:
    return [
        *_told(one, names),
        _written(one.sharpe, ".2f"),
        _written(one.total_return, ".2%"),
        _written(one.max_drawdown, ".2%"),
        _written(one.final_value, ",.2f"),
        _written(one.trades, ",d"),
        *_cost(one),
        _written(one.hit_rate, ".1%"),
        _written(one.stall_s, ",.2f"),
    ]


def _failed_cells(one: TrialResult, names: Sequence[str]) -> list[str]:
    return [*_told(one, names), one.status, *_cost(one), one.error or ""]


def _told(one: TrialResult, names: Sequence[str]) -> list[str]:
    values = one.parameters
    return [str(one.number), *(label(values[name]) if name in values else "" for name in names)]


def _cost(one: TrialResult) -> list[str]:
    peak_mb = None if one.peak_rss_bytes is None else one.peak_rss_bytes / 1e6
    return [_written(peak_mb, ",.0f"), _written(one.wall_s, ",.1f"), _written(one.cpu_s, ",.1f")]


def _written(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)


def _row(cells: Iterable[str], kind: str) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"
