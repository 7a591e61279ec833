"""When each partition came into RAM and left it, on the backtest's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazybars.journal import Journal, PageSpan
from lazybars.report.figures import Chart, axis, clock_axis, clock_ms, figure_json, new_york

__all__ = ["timeline_chart"]

# More rows than that are too thin, and more bars too many, to be seen.
_MOST_ROWS = 60
_MOST_BARS = 600
# A stay of no length on the clock is drawn as this share of the width, or it would not be seen.
_NARROWEST = 1 / 400
_HOUR_MS = 3_600_000.0
_COLORS = {"read ahead": "ring", "read ahead in part": "flight", "missed": "miss"}


@dataclass(slots=True)
class _Bar:
    """Stays of one kind in one row of the timeline, drawn as one bar."""

    row: int
    kind: str
    loaded_ns: int
    left_ns: int
    still_there: bool
    stays: int
    segments: int
    ahead: int
    nbytes: int


def _kind(span: PageSpan) -> str:
    """One of ``_COLORS``."""
    if span.ahead <= 0:
        return "missed"
    return "read ahead" if span.ahead >= span.segments else "read ahead in part"


def _bars(spans: Sequence[PageSpan], row_of: dict[int, int], end_ns: int, gap_ns: int | None) -> list[_Bar]:
    """One bar a stay; with a gap, stays of a row and kind that are no further apart are one bar."""
    bars: list[_Bar] = []
    for span in sorted(spans, key=lambda one: (row_of[one.start_ns], _kind(one), one.loaded_ns)):
        row, kind, there = row_of[span.start_ns], _kind(span), span.left_ns is None
        left = end_ns if span.left_ns is None else span.left_ns
        last = bars[-1] if bars and (bars[-1].row, bars[-1].kind) == (row, kind) else None
        if last and gap_ns is not None and span.loaded_ns - last.left_ns <= gap_ns:
            last.left_ns = max(last.left_ns, left)
            last.still_there |= there
            last.stays += 1
            last.segments += span.segments
            last.ahead += span.ahead
            last.nbytes += span.nbytes
        else:
            counts = (span.segments, span.ahead, span.nbytes)
            bars.append(_Bar(row, kind, span.loaded_ns, left, there, 1, *counts))
    return bars


def timeline_chart(journal: Journal) -> Chart | None:
    """The chart "timeline"; None where no partition came."""
    spans = journal.partitions
    if not spans:
        return None
    clock = [one.now_ns for one in journal.samples] + [one.loaded_ns for one in spans]
    clock += [one.left_ns for one in spans if one.left_ns is not None]
    first_ns, last_ns = min(clock), max(clock)
    bounds = sorted({(one.start_ns, one.end_ns) for one in spans})
    each = -(-len(bounds) // _MOST_ROWS)
    rows = [bounds[at : at + each] for at in range(0, len(bounds), each)]
    row_of = {start: row for row, some in enumerate(rows) for start, _ in some}
    gap_ns = None if each == 1 else 0
    bars = _bars(spans, row_of, last_ns, gap_ns)
    while len(bars) > _MOST_BARS:
        gap_ns = max((gap_ns or 0) * 2, (last_ns - first_ns) // 1000, 1)
        bars = _bars(spans, row_of, last_ns, gap_ns)
    return Chart(
        "timeline",
        _gantt(bars, rows, first_ns, last_ns),
        _merged_note(len(spans), bars, rows, each, gap_ns),
    )


def _merged_note(
    stays: int, bars: list[_Bar], rows: list[list[tuple[int, int]]], each: int, gap_ns: int | None
) -> str:
    total = sum(len(row) for row in rows)
    note = f"{total:,} partitions, {stays:,} stays in RAM"
    if each > 1:
        note += f"; each of the {len(rows)} rows is {each} neighbouring partitions"
    if len(bars) < stays:
        apart = f"no more than {gap_ns / 3.6e12:,.1f} hours apart" if gap_ns else "that touch"
        note += f"; stays of one row and colour {apart} are one bar, {len(bars)} bars in all"
    return note + "."


def _first_and_last_day(row: Sequence[tuple[int, int]]) -> str:
    first, last = new_york(row[0][0]).date(), new_york(max(row[-1][1] - 1, row[-1][0])).date()
    return f"{first}" if first == last else f"{first} to {last}"


def _told(bar: _Bar, row: Sequence[tuple[int, int]]) -> str:
    left = "still there at the end" if bar.still_there else f"left {new_york(bar.left_ns):%Y-%m-%d %H:%M}"
    return (
        f"<b>{_first_and_last_day(row)}</b><br>came {new_york(bar.loaded_ns):%Y-%m-%d %H:%M}, {left}"
        + (f"<br>{bar.stays:,} stays" if bar.stays > 1 else "")
        + f"<br>{bar.segments:,} segments, {bar.ahead:,} read ahead, {bar.nbytes / 1e6:,.1f} MB"
    )


def _gantt(bars: list[_Bar], rows: list[list[tuple[int, int]]], first_ns: int, last_ns: int) -> str:
    first_ms, last_ms = clock_ms(first_ns), clock_ms(last_ns)
    narrowest = max(last_ms - first_ms, 2 * _HOUR_MS) * _NARROWEST
    traces: list[dict[str, Any]] = []
    for kind, color in _COLORS.items():
        some = [bar for bar in bars if bar.kind == kind]
        came = np.array([clock_ms(bar.loaded_ns) for bar in some])
        left = np.array([clock_ms(bar.left_ns) for bar in some])
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": kind,
                "showlegend": True,
                "y": [bar.row for bar in some],
                "base": came,
                "width": 0.8 if len(rows) <= 40 else 1,
                "x": np.maximum(left - came, narrowest),
                "hovertext": [_told(bar, rows[bar.row]) for bar in some],
                "hoverinfo": "text",
                "marker": {"color": f"var(--{color})", "line": {"width": 0}},
            }
        )
    covered = [
        (row, max(some[0][0], first_ns), min(some[-1][1], last_ns))
        for row, some in enumerate(rows)
        if some[0][0] < last_ns and some[-1][1] > first_ns
    ]
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "the clock is in it",
            "x": [at for _, lo, hi in covered for at in (clock_ms(lo), clock_ms(hi), None)],
            "y": [at for row, _, _ in covered for at in (row, row, None)],
            "line": {"color": "var(--ink)", "width": 2},
            "hoverinfo": "skip",
        }
    )
    labelled = range(0, len(rows), -(-len(rows) // 20))
    return figure_json(
        traces,
        height=min(130 + 18 * len(rows), 640),
        barmode="overlay",
        hovermode="closest",
        xaxis=clock_axis(first_ms, last_ms),
        yaxis=axis(
            "partition",
            range=[len(rows) - 0.5, -0.5],
            tickvals=list(labelled),
            ticktext=[f"{new_york(rows[row][0][0]).date()}" for row in labelled],
            showgrid=len(rows) <= 40,
            zeroline=False,
        ),
    )
