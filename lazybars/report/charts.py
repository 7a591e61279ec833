"""What a run's samples show: RAM against the cap, hit rate and stall over the backtest's clock."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lazybars.journal import Sample
from lazybars.report.figures import Chart, axis, clock_axis, clock_ms, figure_json

__all__ = ["sample_charts"]

# A chart is about a thousand pixels wide: more points than that only make the page heavy.
_MOST_SAMPLES = 1000

Floats = npt.NDArray[np.float64]


def sample_charts(samples: list[Sample], cap_bytes: int) -> list[Chart]:
    """The charts "ram", "hits" and "stall"; none where there is no sample."""
    if not samples:
        return []
    drawn = _thinned(samples)
    note = ""
    if len(drawn) < len(samples):
        note = (
            f"{len(drawn):,} of {len(samples):,} samples are drawn: of neighbours, the one with most bytes."
        )
    clock = np.array([clock_ms(one.now_ns) for one in drawn])
    return [
        Chart("ram", _ram(drawn, clock, cap_bytes), note),
        Chart("hits", _hits(drawn, clock), ""),
        Chart("stall", _stall(drawn, clock), ""),
    ]


def _thinned(samples: list[Sample]) -> list[Sample]:
    if len(samples) <= _MOST_SAMPLES:
        return samples
    edges = np.linspace(1, len(samples) - 1, _MOST_SAMPLES - 1).astype(int)
    highest = [
        max(samples[lo:hi], key=lambda one: max(one.booked_bytes, one.rss_bytes))
        for lo, hi in pairwise(edges.tolist())
    ]
    return [samples[0], *highest, samples[-1]]


def _line(clock: Floats, values: Floats, name: str, color: str, **more: Any) -> dict[str, Any]:
    # A line through one point, or between two gaps, is not seen.
    mode = "lines+markers" if len(clock) < 3 else "lines"
    return {
        "type": "scatter",
        "x": clock,
        "y": values.astype(np.float32),
        "name": name,
        "mode": mode,
        "line": {"color": f"var(--{color})", "width": 2},
        **more,
    }


def _column(samples: Iterable[Sample], field: str, unit: float = 1.0) -> Floats:
    return np.array([getattr(one, field) for one in samples], dtype=np.float64) / unit


def _ram(samples: list[Sample], clock: Floats, cap_bytes: int) -> str:
    booked, resident, in_flight, tables, rss = (
        _column(samples, f"{name}_bytes", 1e6) for name in ("booked", "resident", "in_flight", "table", "rss")
    )
    across = clock_axis(clock.min(), clock.max())
    parts = {
        "engine and reads, reserved": (booked - resident - in_flight - tables, "engine"),
        "tables": (tables, "tables"),
        "segments resident": (resident, "ring"),
        "in flight": (in_flight, "flight"),
    }
    traces: list[dict[str, Any]] = []
    height = np.zeros(len(clock))
    # Added up here, not by Plotly: it adds what has the same x, and two samples may.
    for name, (values, color) in parts.items():
        height = height + values
        traces.append(
            _line(
                clock,
                height,
                name,
                color,
                fill="tonexty" if traces else "tozeroy",
                fillcolor=f"var(--{color})",
                customdata=values.astype(np.float32),
                hovertemplate="%{customdata:,.1f} MB",
            )
        )
        traces[-1]["line"]["width"] = 0.5
    top = max(booked.max(), rss.max())
    if rss.any():
        traces.append(_line(clock, rss, "RSS over baseline", "ink", hovertemplate="%{y:,.1f} MB"))
    cap = cap_bytes / 1e6
    notes: list[dict[str, Any]] = []
    if cap > 4 * top > 0:
        # Drawn to the cap's scale, what is used would be a flat line.
        above = f"cap {cap:,.0f} MB, above this scale \u2191"
        corner = {"x": 1, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "right", "yanchor": "top"}
        notes.append({"text": above, **corner, "showarrow": False, "font": {"color": "var(--cap)"}})
    else:
        top = max(top, cap)
        ends = np.array(across["range"])
        traces.append(_line(ends, np.full(2, cap), "cap", "cap", mode="lines", hoverinfo="skip"))
        traces[-1]["line"]["dash"] = "dash"
    return figure_json(
        traces,
        height=380,
        xaxis=across,
        yaxis=axis("MB (10<sup>6</sup> bytes)", range=[0, top * 1.06 or 1]),
        annotations=notes,
    )


def _hits(samples: list[Sample], clock: Floats) -> str:
    hits = _column(samples, "hits")
    asked = hits + _column(samples, "misses") + _column(samples, "late")
    with np.errstate(invalid="ignore", divide="ignore"):
        so_far = 100 * hits / asked
        lately = 100 * np.diff(hits, prepend=0.0) / np.diff(asked, prepend=0.0)
    # From 0, unless all of it is so high that nothing would be told apart.
    lowest = np.nanmin(np.append(lately, 100))
    bottom = max(low for low in (0.0, 50.0, 90.0, 99.0) if low <= lowest)
    shown = {"hovertemplate": "%{y:.2f} %"}
    traces = [
        _line(clock, lately, "since the sample before", "faint", connectgaps=True, **shown),
        _line(clock, so_far, "so far", "ring", **shown),
    ]
    traces[0]["line"]["width"] = 1
    return figure_json(
        traces,
        height=280,
        xaxis=clock_axis(clock.min(), clock.max()),
        yaxis=axis("hit rate, %", range=[bottom, 100 + 0.04 * (100 - bottom)]),
    )


def _stall(samples: list[Sample], clock: Floats) -> str:
    stall = _column(samples, "stall_s")
    unit, scale = ("s", 1.0) if stall.max() >= 1 or not stall.any() else ("ms", 1e3)
    line = _line(clock, stall * scale, "stall so far", "late", hovertemplate=f"%{{y:,.3~f}} {unit}")
    return figure_json(
        [line],
        height=280,
        showlegend=True,
        xaxis=clock_axis(clock.min(), clock.max()),
        yaxis=axis(f"stall so far, {unit}", range=[0, stall.max() * scale * 1.06 or 1]),
    )
