"""Plotly figures as JSON: what all charts of a report have in common.

Times are the backtest's clock as New York shows it; bytes are in MB of 10^6. Colours are named by the
page's CSS variables, which the page fills in: it knows whether it is light or dark. No name of an asset
comes into a figure, for Plotly takes some text as markup.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lazybars.partition import NEW_YORK

__all__ = ["Chart", "axis", "clock_axis", "clock_ms", "figure_json", "new_york"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_EPOCH_LOCAL = dt.datetime(1970, 1, 1)
_HOUR_MS = 3_600_000.0


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure in Plotly's JSON, safe inside a script element, and what to say below it."""

    name: str
    json: str
    note: str


def new_york(ns: int) -> dt.datetime:
    """An instant as New York's clock shows it."""
    return (_EPOCH + dt.timedelta(microseconds=ns // 1000)).astimezone(NEW_YORK)


def clock_ms(ns: int) -> float:
    """An instant for a date axis: Plotly knows no zones, so New York's time is given as if it were UTC."""
    return (new_york(ns).replace(tzinfo=None) - _EPOCH_LOCAL) / dt.timedelta(milliseconds=1)


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis of the page's looks."""
    return {
        "title": {"text": title, "standoff": 8},
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zerolinecolor": "var(--line)",
        "automargin": True,
        **more,
    }


def clock_axis(first_ms: float, last_ms: float) -> dict[str, Any]:
    """The backtest's clock; an hour to either side where there is one moment only."""
    room = 0.0 if last_ms > first_ms else _HOUR_MS
    return axis(
        "backtest clock, New York",
        type="date",
        range=[first_ms - room, last_ms + room],
        hoverformat="%a %Y-%m-%d %H:%M",
    )


def figure_json(traces: Sequence[dict[str, Any]], **layout: Any) -> str:
    """A figure, checked by Plotly against its schema, in JSON without a `<`."""
    import plotly.graph_objects as go  # slow to import

    base: dict[str, Any] = {
        "template": {},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--soft)", "size": 12, "family": "system-ui, sans-serif"},
        "margin": {"l": 64, "r": 16, "t": 8, "b": 44},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)", "size": 12},
        },
        "hovermode": "x unified",
        **layout,
    }
    text: str = go.Figure({"data": list(traces), "layout": base}).to_json()
    return text.replace("<", "\\u003c")
