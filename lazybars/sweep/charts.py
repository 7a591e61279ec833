"""What the results of a sweep show: a heat map over two parameters, and parallel coordinates.

Names and values of parameters are the user's: they come into a figure escaped, for Plotly takes some
text as markup.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from html import escape
from typing import Any

from lazybars.report.figures import Chart, axis, figure_json
from lazybars.sweep.job import TrialResult
from lazybars.sweep.trials import canonical, label

__all__ = ["RATED", "heat_map", "parallel_coordinates", "varied"]

# A figure, its name, how a value is written, whether more is better, and its colours.
RATED = {
    "sharpe": ("Sharpe", ".2f", True, "RdBu"),
    "total_return": ("return", ".2%", True, "RdBu"),
    "max_drawdown": ("drawdown", ".2%", False, "YlOrRd"),
}
# Of a line, by its Sharpe: bad, neither, good, as in the heat map, but to be seen on any ground.
_LINES = [[0, "#d1495b"], [0.5, "#9aa6b8"], [1, "#2b6cb0"]]
# Values of a parameter that are each written beside its axis.
_MOST_TICKS = 12
# A menu of many pairs is no help, and each is a chart in the page.
_MOST_PARAMETERS = 6


def varied(results: Sequence[TrialResult]) -> dict[str, list[Any]]:
    """The values of each parameter that has several, in order: numbers by size, others as they came."""
    values: dict[str, dict[str, Any]] = {}
    for result in results:
        for name, value in result.parameters.items():
            values.setdefault(name, {}).setdefault(canonical(value), value)
    found = {name: list(known.values()) for name, known in values.items() if len(known) > 1}
    return {name: sorted(known) if _are_numbers(known) else known for name, known in found.items()}


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def heat_map(results: Sequence[TrialResult]) -> Chart | None:
    """A map for each pair of parameters and each of `RATED`, to choose from a menu; None without a pair.

    A cell is the best over the other parameters.
    """
    axes = dict(itertools.islice(varied(results).items(), _MOST_PARAMETERS))
    if len(axes) < 2:
        return None
    traces: list[dict[str, Any]] = []
    titles: list[tuple[str, str, str]] = []
    for (x, xs), (y, ys) in itertools.combinations(axes.items(), 2):
        for figure in RATED:
            traces.append(_map(results, figure, (x, xs), (y, ys), visible=not traces))
            titles.append((escape(x), escape(y), RATED[figure][0]))
    buttons = [
        {
            "label": f"{figure}: {x} \u00d7 {y}",
            "method": "update",
            "args": [
                {"visible": [at == shown for at in range(len(traces))]},
                {"xaxis.title.text": x, "yaxis.title.text": y},
            ],
        }
        for shown, (x, y, figure) in enumerate(titles)
    ]
    menu = {
        "buttons": buttons,
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "bgcolor": "var(--card)",
        "bordercolor": "var(--line)",
        "font": {"color": "var(--ink)"},
    }
    note = "" if len(axes) == 2 else "A cell shows the best trial over the other parameters."
    layout = {
        "height": 460,
        "hovermode": "closest",
        "margin": {"l": 64, "r": 16, "t": 48, "b": 44},
        "updatemenus": [menu],
        "xaxis": axis(titles[0][0], type="category"),
        "yaxis": axis(titles[0][1], type="category"),
    }
    return Chart("heat", figure_json(traces, **layout), note)


def _map(
    results: Sequence[TrialResult],
    figure: str,
    x: tuple[str, list[Any]],
    y: tuple[str, list[Any]],
    *,
    visible: bool,
) -> dict[str, Any]:
    shown, written, more_is_better, colours = RATED[figure]
    columns = {canonical(value): at for at, value in enumerate(x[1])}
    rows = {canonical(value): at for at, value in enumerate(y[1])}
    cells: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    better = max if more_is_better else min
    for result in results:
        value = getattr(result, figure)
        if value is None or x[0] not in result.parameters or y[0] not in result.parameters:
            continue
        row = cells[rows[canonical(result.parameters[y[0]])]]
        column = columns[canonical(result.parameters[x[0]])]
        known = row[column]
        row[column] = value if known is None else better(known, value)
    return {
        "type": "heatmap",
        "x": [escape(label(value)) for value in x[1]],
        "y": [escape(label(value)) for value in y[1]],
        "z": cells,
        "visible": visible,
        "colorscale": colours,
        "colorbar": {"title": {"text": shown}, "tickformat": written, "outlinewidth": 0},
        "hovertemplate": f"%{{x}}, %{{y}}: %{{z:{written}}}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        **({"zmid": 0} if more_is_better else {}),
    }


def parallel_coordinates(results: Sequence[TrialResult]) -> Chart | None:
    """A line a trial that ended well, through its parameters to its figures; None without one."""
    drawn = [result for result in results if all(getattr(result, figure) is not None for figure in RATED)]
    axes = varied(drawn)
    drawn = [result for result in drawn if axes.keys() <= result.parameters.keys()]
    if not drawn or not axes:
        return None
    dimensions = [_dimension(name, known, drawn) for name, known in axes.items()]
    for figure, (shown, written, _, _) in RATED.items():
        values = [getattr(result, figure) for result in drawn]
        dimensions.append({"label": shown, "values": values, "tickformat": _fine(written, values)})
    sharpe = [result.sharpe or 0.0 for result in drawn]
    trace = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": {
            "color": sharpe,
            "colorscale": _LINES,
            "cmid": 0,
            "showscale": True,
            "colorbar": {"title": {"text": "Sharpe"}, "outlinewidth": 0},
        },
        "labelfont": {"color": "var(--ink)"},
        "tickfont": {"color": "var(--soft)"},
        "rangefont": {"color": "var(--faint)"},
    }
    left = len(results) - len(drawn)
    note = f"Without these figures, and not drawn: {left:,}." if left else ""
    margin = {"l": 64, "r": 16, "t": 64, "b": 32}
    return Chart("parallel", figure_json([trace], height=420, margin=margin), note)


def _fine(written: str, values: Sequence[float]) -> str:
    """A format with digits enough to tell the marks of an axis from each other."""
    apart = (max(values) - min(values)) * (100 if written.endswith("%") else 1) / 5
    digits = min(max(math.ceil(-math.log10(apart)), 2), 6) if apart > 0 else 2
    return f".{digits}{written[-1]}"


def _dimension(name: str, known: list[Any], drawn: Sequence[TrialResult]) -> dict[str, Any]:
    values = [result.parameters[name] for result in drawn]
    if _are_numbers(known) and all(math.isfinite(value) for value in known):
        ticks = {"tickvals": known, "ticktext": list(map(label, known))} if len(known) <= _MOST_TICKS else {}
        return {"label": escape(name), "values": values, **ticks}
    places = {canonical(value): at for at, value in enumerate(known)}
    return {
        "label": escape(name),
        "values": [places[canonical(value)] for value in values],
        "tickvals": list(range(len(known))),
        "ticktext": [label(value) for value in known],  # the one place where Plotly takes text as it is
    }
