"""The plot of a forecast: misses, stall and peak over the cap, a line for each partition size."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from lazybars.errors import ConfigError
from lazybars.forecast.dry_run import Forecast, Prospect

__all__ = ["write_chart"]

# M. Okabe and K. Ito's colours, which the colour-blind can tell apart.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_PAGES = (".html", ".htm")
_PICTURES = (".png", ".svg", ".pdf")
_PANELS = ("misses", "stall, s", "peak booked, MB")


def write_chart(forecast: Forecast, path: Path) -> None:
    """Write a page that needs no network (.html), or a picture (.png, .svg, .pdf), which takes kaleido.

    Raises
    ------
    ConfigError
        No cap works, the kind of file is not known, or it cannot be written.
    """
    if forecast.knee() is None:
        raise ConfigError("no plot: none of the caps works. Give a larger --memory")
    kind = path.suffix.lower()
    if kind not in (*_PAGES, *_PICTURES):
        raise ConfigError(f"no plot {str(path)!r}: its name has to end in {', '.join([*_PAGES, *_PICTURES])}")
    figure = _figure(forecast)
    try:
        if kind in _PAGES:
            path.write_text(figure.to_html(include_plotlyjs=True), "utf-8")
        else:
            figure.write_image(path, width=1000, height=900, scale=2)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ConfigError(
            f"the plot cannot be written to {str(path)!r}: {error}. Give a path in a directory that may be "
            "written to; a picture takes the package kaleido and a Chrome, a page (.html) does not"
        ) from error


def _figure(forecast: Forecast) -> Any:
    from plotly.subplots import make_subplots  # slow to import

    figure = make_subplots(rows=len(_PANELS), cols=1, shared_xaxes=True, vertical_spacing=0.05)
    kinds = list(dict.fromkeys(one.partition for one in forecast.prospects))
    for kind, color in zip(kinds, _COLORS, strict=False):
        shown = [one for one in forecast.prospects if one.partition == kind and one.works]
        needed = next(one.needed_mb for one in forecast.prospects if one.partition == kind)
        for row, values in enumerate(_values(shown), start=1):
            figure.add_scatter(
                x=[one.cap_bytes / 1e6 for one in shown],
                y=values,
                name=f"{kind}, works from {needed}",
                legendgroup=kind,
                showlegend=row == 1,
                mode="lines+markers",
                line={"color": color, "width": 2},
                hovertemplate="%{y:,.4~g}",
                row=row,
                col=1,
            )
    caps_mb = sorted({one.cap_bytes / 1e6 for one in forecast.prospects})
    figure.add_scatter(
        x=caps_mb,
        y=caps_mb,
        name="the cap",
        mode="lines",
        line={"color": "#888", "dash": "dot"},
        row=3,
        col=1,
    )
    knee = forecast.knee()
    assert knee is not None
    figure.add_vline(x=knee.cap_bytes / 1e6, line={"color": "#444", "dash": "dash", "width": 1})
    figure.add_annotation(
        x=knee.cap_bytes / 1e6,
        y=1,
        yref="y domain",
        yanchor="bottom",
        text=f"knee: {knee.cap_bytes / 1e6:,.1f} MB, {knee.partition}",
        showarrow=False,
    )
    for row in (1, 2):
        figure.update_yaxes(type="log", dtick=1, row=row, col=1)
    for row, title in enumerate(_PANELS, start=1):
        figure.update_yaxes(title_text=title, row=row, col=1)
    figure.add_annotation(
        x=0,
        y=-0.13,
        xref="paper",
        yref="paper",
        align="left",
        showarrow=False,
        text="<br>".join(textwrap.wrap(f"Assumed: {forecast.assumptions}", 110)),
        font={"size": 11, "color": "#666"},
    )
    figure.update_xaxes(title_text="memory cap, MB (10<sup>6</sup> bytes)", row=3, col=1)
    figure.update_layout(
        template="plotly_white",
        hovermode="x unified",
        title={"text": "What a run comes to at each memory cap and partition size"},
        height=900,
        margin={"t": 90, "b": 110},
    )
    return figure


def _values(shown: list[Prospect]) -> tuple[list[float], ...]:
    return (
        [one.misses for one in shown],
        [one.stall_s for one in shown],
        [one.peak_bytes / 1e6 for one in shown],
    )
