"""The pictures, from the rows of the CSV alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter

from .records import Record

__all__ = ["plot"]

_WIDTH, _DPI = 10.0, 120
_OTHERS = {
    "eager": "#000000",
    "duckdb": "#d95f02",
    "duckdb-tick": "#fdae6b",
    "polars": "#1b9e77",
    "arcticdb": "#7570b3",
    "zipline": "#e7298a",
}
_VARIANTS = {"lazybars-lru": ":", "lazybars-noprefetch": "--", "lazybars-iterate": "-."}
_MARKERS = "oDs^vP*Xd<>ph"
_SPARE = ("#66a61e", "#a6761d", "#666666", "#e41a1c")
_LEAST_US = 0.1
_NUMBER = FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")

Style = dict[str, Any]


def plot(rows: Sequence[Record], folder: Path) -> list[Path]:
    """Write ram.png, time.png, latency.png and, where some size was walked with several numbers of calls,
    calls.png; gives their paths. Rows that are not "ok" are named below the picture that they miss in."""
    folder.mkdir(parents=True, exist_ok=True)
    pace, _ = Counter(_pace(row) for row in rows).most_common(1)[0]
    usual = [row for row in rows if _pace(row) == pace]
    styles = _styles(rows)
    what = f"60 bars of an asset each {pace:,g} minutes"
    # How often bars are asked for moves the RAM little, so a size that was walked at another pace counts too.
    of_usual = {(row.label, row.bars) for row in usual}
    peaks = [row for row in rows if row in usual or (row.label, row.bars) not in of_usual]
    figures = {
        "ram": _lines(peaks, styles, "bars", _peak, "Peak RAM over the imports'; 60 bars a call", "MB"),
        "time": _lines(usual, styles, "bars", _cpu, f"CPU of the whole cell, start-up included; {what}", "s"),
        "latency": _latency(usual, styles, f"A call, start-up left out; {what}"),
    }
    walked = _several_calls(rows)
    if walked:
        title = (
            f"CPU of the whole cell, start-up included; {walked[0].bars:,} bars of {walked[0].assets} assets"
        )
        figures["calls"] = _lines(walked, styles, "calls", _cpu, title, "s")
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=_DPI)
    return paths


def _pace(row: Record) -> float:
    """Minutes from one call for an asset to the next, in two digits: not every pace divides every history."""
    return float(f"{row.bars / row.calls:.2g}")


def _peak(row: Record) -> float | None:
    return row.peak_rss_mb


def _cpu(row: Record) -> float | None:
    return row.cpu_s


def _several_calls(rows: Sequence[Record]) -> list[Record]:
    """The rows of the largest size that has contestants with more than one number of calls, and of those."""
    sizes = sorted({(row.bars, row.assets, row.days) for row in rows}, reverse=True)
    for size in sizes:
        of_size = [row for row in rows if (row.bars, row.assets, row.days) == size and row.status == "ok"]
        walked = Counter(row.label for row in of_size)
        if max(walked.values(), default=0) > 1:
            return [row for row in of_size if walked[row.label] > 1]
    return []


def _styles(rows: Sequence[Record]) -> dict[str, Style]:
    """By label, in the order of the rows: the caps of lazybars in blue, from light to dark."""
    labels = {row.label: row for row in rows}
    caps = sorted({row.cap_mb for row in rows if row.contestant == "lazybars" and row.cap_mb is not None})
    blues = mpl.colormaps["Blues"]
    spare = iter(_SPARE * len(labels))
    styles: dict[str, Style] = {}
    for number, (label, row) in enumerate(labels.items()):
        line = _VARIANTS.get(row.contestant, "-")
        if row.contestant == "lazybars" and row.cap_mb is not None:
            color: Any = blues(0.4 + 0.55 * caps.index(row.cap_mb) / max(len(caps) - 1, 1))
        elif row.contestant in _VARIANTS:
            color = "#17becf"
        else:
            color = _OTHERS.get(row.contestant) or next(spare)
        styles[label] = {"color": color, "linestyle": line, "marker": _MARKERS[number % len(_MARKERS)]}
    return styles


def _lines(
    rows: Sequence[Record],
    styles: dict[str, Style],
    over: str,
    of: Callable[[Record], float | None],
    title: str,
    unit: str,
) -> Figure:
    figure = Figure(figsize=(_WIDTH, 6.4), layout="constrained")
    axes = figure.subplots()
    drawn: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        value = of(row)
        if row.status == "ok" and value is not None:
            drawn.setdefault(row.label, []).append((getattr(row, over), value))
    # The legend in the order in which the lines end.
    for label, points in sorted(drawn.items(), key=lambda item: -max(item[1])[1]):
        axes.plot(*zip(*sorted(points), strict=True), label=label, markersize=5, **styles[label])
    axes.set(xscale="log", yscale="log", xlabel=over, ylabel=unit)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xticks(sorted({x for points in drawn.values() for x, _ in points}))
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(_NUMBER)
    axes.yaxis.set_major_formatter(_NUMBER)
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.5)))
    axes.grid(True, which="major", alpha=0.3)
    if drawn:
        figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    _note_missing(figure, rows)
    return figure


def _latency(rows: Sequence[Record], styles: dict[str, Style], title: str) -> Figure:
    """A panel a size: a bar is the mean of the CPU time, the marks are wall times of single calls."""
    done = [row for row in rows if row.status == "ok" and row.call_us is not None]
    sizes = sorted({(row.bars, row.assets) for row in done}) or [(0, 0)]
    labels = list(reversed(dict.fromkeys(row.label for row in done)))
    figure = Figure(
        figsize=(max(_WIDTH, 2.2 + 3.6 * len(sizes)), 1.9 + 0.3 * len(labels)), layout="constrained"
    )
    panels = figure.subplots(1, len(sizes), sharey=True, sharex=True, squeeze=False)[0]
    for axes, (bars, assets) in zip(panels, sizes, strict=True):
        for row in (row for row in done if (row.bars, row.assets) == (bars, assets)):
            at = labels.index(row.label)
            axes.barh(at, row.call_us, color=styles[row.label]["color"], height=0.6, zorder=2)
            marks = {"color": "#555555", "linestyle": "none", "markersize": 6, "zorder": 3}
            axes.plot(row.p50_us, at, marker="|", markeredgewidth=2, **marks)
            axes.plot(row.p99_us, at, marker="x", **marks)
        axes.set(xscale="log", xlabel="us")
        axes.set_title(f"{bars:,} bars, {assets} assets", fontsize=10)
        axes.xaxis.set_major_formatter(_NUMBER)
        axes.grid(True, axis="x", alpha=0.3)
    panels[0].set_xlim(left=_LEAST_US)
    panels[0].set_yticks(range(len(labels)), labels, fontsize=9)
    figure.suptitle(
        f"{title}\nbar: mean CPU time, |: median and x: 99th percentile of the wall time", fontsize=11
    )
    _note_missing(figure, rows)
    return figure


def _note_missing(figure: Figure, rows: Sequence[Record]) -> None:
    """Say what is not in the picture."""
    missing: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        if row.status != "ok":
            missing.setdefault((row.status, row.bars), []).append(row.label)
    if missing:
        text = "\n".join(
            f"{status}, {bars:,} bars: {', '.join(labels)}" for (status, bars), labels in missing.items()
        )
        figure.supxlabel(text, fontsize=8, color="#aa0000", x=0.01, ha="left")
