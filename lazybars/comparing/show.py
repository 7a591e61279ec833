"""The two sides of a comparison, side by side on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lazybars.comparing.outcome import FIELDS, Backtest, Difference, Outcome
from lazybars.report.units import megabytes, percent, seconds, share

__all__ = ["show", "show_failure"]

_FIGURES = ("cash", "portfolio values")
_WORTH_SAYING_BYTES = 1_000_000


def show(console: Console, bare: Outcome, lazy: Outcome, found: list[Difference]) -> None:
    """Print what is equal and what is not, where the sides part, and what lazybars gains or costs."""
    several = max(len(bare.backtests), len(lazy.backtests)) > 1
    for number, (one, other) in enumerate(zip(bare.backtests, lazy.backtests, strict=False)):
        title = f"{one.strategy} on {one.source}" + (f" ({number + 1})" if several else "")
        console.print(escape(title), style="bold")
        console.print(_equality(one, other, [part for part in found if part.backtest == number]))
        console.print()
    _show_differences(console, found, several)
    console.print(_gains(bare, lazy))
    for note in _notes(bare, lazy):
        console.print(note, style="dim", markup=False, highlight=False)


def show_failure(console: Console, which: str, side: Outcome) -> None:
    """Say which side failed, why, and where in the user's file."""
    if side.traceback:
        console.print(side.traceback.rstrip(), markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"The {which} side failed: {side.error}", style="red", markup=False, highlight=False, soft_wrap=True
    )


def _table() -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column()
    table.add_column("bare", justify="right", overflow="fold")
    table.add_column("lazy", justify="right", overflow="fold")
    table.add_column()
    return table


def _equality(bare: Backtest, lazy: Backtest, found: list[Difference]) -> Table:
    table = _table()
    parted = {one.subject: one for one in found}
    for subject in FIELDS:
        cells = [
            _figure(side.last(subject)) if subject in _FIGURES else f"{len(side.rows[subject]):,}"
            for side in (bare, lazy)
        ]
        name = subject
        if subject in _FIGURES:
            name += f" at {len(bare.rows[subject]):,} iterations, the last"
        verdict = "[green]equal"
        if subject in parted:
            verdict = f"[bold red]DIFFERENT[/] in {parted[subject].rows:,}"
        table.add_row(name, *cells, verdict)
    return table


def _figure(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, (int, float)) else str(value)


def _show_differences(console: Console, found: list[Difference], several: bool) -> None:
    for at, one in enumerate(found):
        where = f"backtest {one.backtest + 1}, " if several and one.backtest >= 0 else ""
        first = "they part here first: " if at == 0 and one.when is not None else ""
        console.print(
            f"{first}{where}{one.subject}: {one.said}",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if found:
        console.print()


def _gains(bare: Outcome, lazy: Outcome) -> Table:
    table = _table()
    if bare.added_bytes and lazy.added_bytes:
        _add(table, "peak RSS over baseline", bare.added_bytes, lazy.added_bytes, megabytes)
    starts = bare.backtests[0].start_up_s, lazy.backtests[0].start_up_s
    if starts[0] is not None and starts[1] is not None:
        _add(table, "start-up, to the first iteration", starts[0], starts[1], seconds)
    _add(table, "wall time of the file", bare.wall_s, lazy.wall_s, seconds)
    _add(table, "CPU time of the file", bare.cpu_s, lazy.cpu_s, seconds)
    for number, one in enumerate(lazy.backtests):
        if not one.figures or not one.figures["calls"]:
            continue
        which = f" ({number + 1})" if len(lazy.backtests) > 1 else ""
        figures = one.figures
        cap = f"cap {megabytes(figures['cap_bytes'])}"
        table.add_row(f"lazybars' ledger, peak{which}", "", megabytes(figures["peak_bytes"]), cap)
        asked = f"{figures['misses']:,} misses, {figures['late']:,} late"
        table.add_row(f"hit rate{which}", "", percent(figures["hit_rate"]), asked)
        ahead = f"{figures['prefetched']:,} read ahead"
        table.add_row(f"stall{which}", "", seconds(figures["stall_s"]), ahead)
    return table


def _add(table: Table, name: str, bare: Any, lazy: Any, written: Any) -> None:
    table.add_row(name, written(bare), written(lazy), f"{percent(share(lazy, bare))} of bare")


def _notes(bare: Outcome, lazy: Outcome) -> list[str]:
    """What keeps the gain small: few bars, what is served whole, and what the file itself holds."""
    notes: dict[str, None] = {}
    if lazy.added_bytes > bare.added_bytes:
        own_bytes = max((one.figures.get("peak_bytes", 0) for one in lazy.backtests), default=0)
        notes[
            f"The bars of this run are few: lazybars' own {megabytes(own_bytes)}, most of it the engine's, "
            "are more than they take. It gains with their number."
        ] = None
    for one in lazy.backtests:
        for label, reason in one.figures.get("eager", {}).items():
            notes[f"not bounded: {label}: {reason}"] = None
        for label, held_bytes in one.figures.get("held", {}).items():
            if held_bytes >= _WORTH_SAYING_BYTES:
                notes[
                    f"{megabytes(held_bytes)} of the lazy peak are {label}: with bars in a store (lazybars "
                    "ingest, then LazyBars(..., store=...)) there are none"
                ] = None
    return list(notes)
