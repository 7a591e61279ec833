"""The report's tables: what each series was asked, and what is held outside the cap."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from lazybars.journal import SeriesCounts
from lazybars.report.units import megabytes, share
from lazybars.stats import Stats

__all__ = ["outside_tables", "series_table"]

_COLUMNS = (
    "series",
    "hits",
    "late",
    "misses",
    "bypasses",
    "hit rate, %",
    "stall, s",
    "lookback, rows",
    "cadence, ticks",
)
_SORTED = _COLUMNS.index("stall, s")


def series_table(series: list[SeriesCounts]) -> str:
    """Every series, the ones that cost most first; the page sorts and searches it."""
    if not series:
        return '<section class="card"><h2>Series</h2><p class="soft">No series was asked for.</p></section>'
    ranked = sorted(series, key=lambda one: (-one.stall_s, -one.misses - one.late, one.label))
    longest_s = max(one.stall_s for one in series)
    heads = "".join(
        f"<th{' class=text' if at == 0 else ''}{' aria-sort=descending' if at == _SORTED else ''}>"
        f"<button>{name}</button></th>"
        for at, name in enumerate(_COLUMNS)
    )
    rows = "".join(_row(one, longest_s) for one in ranked)
    return (
        '<section class="card" id="series"><div class="bars"><div><h2>Series</h2>'
        f'<span class="soft">{len(series):,} series, longest stall first; click a head to sort.'
        '<span class="key hit"></span>hit<span class="key lt"></span>late<span class="key ms"></span>miss'
        '</span></div><input type="search" placeholder="find a series" aria-label="find a series"></div>'
        f'<div class="scroll"><table class="sortable"><thead><tr>{heads}<th></th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _row(one: SeriesCounts, longest_s: float) -> str:
    asked = one.hits + one.late + one.misses
    rate = f"{100 * one.hits / asked:.2f}" if asked else "\u2013"
    label = escape(one.label)
    numbers = (one.hits, one.late, one.misses, one.bypasses)
    parts = zip(("hit", "lt", "ms"), (one.hits, one.late, one.misses), strict=True)
    mix = "".join(f'<i class="{kind}" style="--n:{count}"></i>' for kind, count in parts if count > 0)
    width = share(one.stall_s, longest_s)
    bar = f' class="bar" style="--w:{100 * width:.1f}%"' if width > 0 else ""
    return (
        f'<tr><td class="text" title="{label}">{label}</td>'
        + "".join(f"<td>{number:,}</td>" for number in numbers)
        + f"<td>{rate}</td><td{bar}>{one.stall_s:,.3f}</td><td>{one.reach_rows:,}</td>"
        + f"<td>{one.cadence_ticks or '&ndash;'}</td>"
        + f'<td><div class="mix">{mix}</div></td></tr>'
    )


def outside_tables(stats: Stats) -> str:
    """What the cap does not bound: series held whole, and bars that others hold."""
    held = {name: megabytes(nbytes) for name, nbytes in stats.held.items()}
    held["frames handed out and still alive"] = megabytes(stats.pinned_bytes)
    return (
        '<section class="card"><h2>Outside the cap</h2>'
        '<p class="soft">What lazybars cannot bound.</p>'
        + (
            _two_columns("series held whole in RAM", "why", stats.eager)
            or '<p class="soft">No series is held whole in RAM.</p>'
        )
        + _two_columns("held by others", "bytes", held)
        + "</section>"
    )


def _two_columns(left: str, right: str, items: Mapping[str, str]) -> str:
    if not items:
        return ""
    rows = "".join(
        f'<tr><td class="text wrap">{escape(name)}</td><td class="text wrap">{escape(said)}</td></tr>'
        for name, said in items.items()
    )
    return (
        f'<div class="scroll"><table><thead><tr><th class="text">{left}</th>'
        f'<th class="text">{right}</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
