"""The result of the demonstration, side by side."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from lazybars.demo.outcome import Outcome

__all__ = ["show"]


def show(
    console: Console, eager: Outcome, lazy: Outcome, alone: Outcome | None, found: dict[str, list[str]]
) -> None:
    """Print one universe: what must be equal, what it cost, then what differs in full.

    Parameters
    ----------
    alone
        The control, Lumibot on next to no bars; None where the universe is itself next to none.
    found
        What `lazybars.demo.outcome.differences` gave.
    """
    table = Table(show_edge=False, pad_edge=False)
    table.add_column()
    table.add_column("eager", justify="right", no_wrap=True)
    table.add_column("lazy", justify="right", no_wrap=True)
    table.add_column()
    for name, subject, one, other in (
        ("trades", "trades", f"{len(eager.fills):,}", f"{len(lazy.fills):,}"),
        ("final value", "final value", f"{eager.final_value:,.2f}", f"{lazy.final_value:,.2f}"),
        ("value at each iteration", "values", eager.values_hash[:12], lazy.values_hash[:12]),
        (f"{eager.frames:,} frames served", "frames", eager.frames_hash[:12], lazy.frames_hash[:12]),
    ):
        table.add_row(name, one, other, "[bold red]DIFFERENT" if found[subject] else "[green]equal")
    table.add_section()
    _add_times(table, eager, lazy)
    if eager.peak_bytes and lazy.peak_bytes:
        _add_memory(table, eager, lazy, alone)
    _add_ring(table, lazy)
    console.print(table)
    if alone is not None:
        console.print(
            "Lumibot alone is what its broker, orders and records add to a process: an eager run of the "
            f"same strategy on a few hourly bars, with {len(alone.fills):,} fills. The rest is for the bars.",
            style="dim",
        )
    for subject, told in found.items():
        for line in told:
            console.print(f"{subject}: {line}", style="red", highlight=False, markup=False)
    console.print()


def _add_times(table: Table, eager: Outcome, lazy: Outcome) -> None:
    table.add_row(
        "start-up", _s(eager.start_up_s), _s(lazy.start_up_s), _ratio(lazy.start_up_s, eager.start_up_s)
    )
    table.add_row("total time", _s(eager.total_s), _s(lazy.total_s), _ratio(lazy.total_s, eager.total_s))
    one, other = eager.history_s / eager.frames, lazy.history_s / lazy.frames
    table.add_row("request for history", f"{one * 1e6:.0f} us", f"{other * 1e6:.0f} us", _ratio(other, one))


def _add_memory(table: Table, eager: Outcome, lazy: Outcome, alone: Outcome | None) -> None:
    one, other = eager.added_bytes, lazy.added_bytes
    table.add_row("peak RSS over baseline", _mb(one), _mb(other), _ratio(other, one))
    if alone is not None:
        own = alone.added_bytes
        table.add_row("  less Lumibot alone", _mb(one - own), _mb(other - own), f"which takes {_mb(own)}")


def _add_ring(table: Table, lazy: Outcome) -> None:
    figures = lazy.lazy
    table.add_row(
        "lazybars' ledger, peak", "", _mb(figures["peak_bytes"]), f"cap {_mb(figures['cap_bytes'])}"
    )
    read = f"{figures['misses']:,} misses, {figures['late']:,} late"
    table.add_row("hit rate", "", f"{figures['hit_rate']:.2%}", read)
    table.add_row("stall", "", _s(figures["stall_s"]), f"{figures['prefetched']:,} read ahead")


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def _s(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _ratio(lazy: float, eager: float) -> str:
    return f"{lazy / eager:.1%} of eager"
