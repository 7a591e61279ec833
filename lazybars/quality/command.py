"""``lazybars verify``: argv to :func:`lazybars.quality.check`, and what it finds as a table."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lazybars.quality import CHECKS, Finding, check
from lazybars.quality.finding import shown
from lazybars.store import open_store

__all__ = ["verify_command"]

_NEW_YORK = ZoneInfo("America/New_York")


def verify_command(
    store: Annotated[str, typer.Argument(help="The store.")],
    asset: Annotated[
        list[str] | None, typer.Option(help="Only this symbol; may be given several times.", metavar="SYMBOL")
    ] = None,
    calendar: Annotated[
        str,
        typer.Option(
            help="The exchange's: XNYS, XLON, CME_Equity, 24/7; auto goes by the asset.", metavar="NAME"
        ),
    ] = "auto",
    spike: Annotated[
        float, typer.Option(help="A price this far from both neighbours, as a share of them, is a spike.")
    ] = 0.5,
    stale: Annotated[
        int | None,
        typer.Option(help="Bars of one close without volume; by default 120 minutes, 24 hours, 5 days."),
    ] = None,
    gap: Annotated[int, typer.Option(help="The shortest gap that counts, in bars.")] = 1,
    skip: Annotated[
        list[str] | None, typer.Option(help=f"A check to leave out: {', '.join(CHECKS)}.", metavar="CHECK")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Check the bars of STORE: gaps, impossible prices, spikes, splits that nobody booked, stale prices.

    The exit code is 0 where nothing is found, 1 where something is, and 2 where it could not be checked.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        open_store(store, read_only=True) as opened,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        series = opened.series()
        if asset is not None:
            series = [
                one for one in series if one.asset.symbol.upper() in {symbol.upper() for symbol in asset}
            ]
        task = progress.add_task("checking", total=len(series))
        found = check(
            opened,
            assets=asset,
            calendar=calendar,
            spike=spike,
            stale_bars=stale,
            gap_bars=gap,
            skip=skip or (),
            done=lambda info: progress.advance(task),
        )
    rows = sum(one.rows for one in series)
    if as_json:
        findings = [
            {**dataclasses.asdict(one), "first": one.first and one.first.isoformat()} for one in found
        ]
        checks = [name for name in CHECKS if name not in (skip or ())]
        report = {
            "path": store,
            "series": len(series),
            "rows": rows,
            "checks": checks,
            "findings": findings,
        }
        typer.echo(json.dumps(report, indent=2))
    else:
        _show(found)
        typer.echo(f"{len(series)} series, {rows:,} bars: {_verdict(found)}")
    if found:
        raise typer.Exit(1)


def _show(found: list[Finding]) -> None:
    if not found:
        return
    table = Table(show_edge=False, pad_edge=False)
    for name in ("check", "series", "source", "count", "first", "example"):
        table.add_column(name, justify="right" if name == "count" else "left", overflow="fold")
    for one in found:
        first = "" if one.first_ns is None else shown(one.first_ns, _NEW_YORK)
        table.add_row(*map(escape, (one.check, one.series, one.source, f"{one.count:,}", first, one.example)))
    Console().print(table)


def _verdict(found: list[Finding]) -> str:
    if not found:
        return "nothing found"
    checks = sorted({one.check for one in found}, key=CHECKS.index)
    return f"{len(found)} findings ({', '.join(checks)}); times are New York's"
