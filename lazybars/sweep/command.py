"""``lazybars sweep``: argv to :func:`lazybars.sweep`, and what comes of it as tables."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lazybars.errors import ConfigError
from lazybars.sweep.entry import sweep
from lazybars.sweep.job import TrialResult
from lazybars.sweep.trials import counted, label, value_of

__all__ = ["sweep_command"]

_INTERRUPTED = 130


def sweep_command(
    strategy: Annotated[str, typer.Argument(help="strategy.py, strategy.py:Class or module:Class.")],
    store: Annotated[str, typer.Option(help="The store.")],
    start: Annotated[str, typer.Option(help="From when, as 2023-01-03 or 2023-01-03T09:30.")],
    end: Annotated[str, typer.Option(help="Until when.")],
    grid: Annotated[
        list[str] | None,
        typer.Option(help="A parameter and its values; once for each.", metavar="NAME=VALUE,VALUE,..."),
    ] = None,
    memory: Annotated[str, typer.Option(help="For all trials together.")] = "512MB",
    workers: Annotated[
        int | None, typer.Option(help="Trials at a time. By default one a CPU, or as many as fit.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="A file of JSON lines; what is in it is not run again.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run again what did not end well.")] = False,
    slack: Annotated[
        str, typer.Option(help="What a trial's process may hold beyond its share of the memory.")
    ] = "256MB",
    timeout: Annotated[float | None, typer.Option(help="Seconds that a trial may take.")] = None,
    asset: Annotated[
        list[str] | None, typer.Option(help="A symbol of the universe; by default the whole store.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="The cash that each trial starts with.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report there.")] = None,
    top: Annotated[int, typer.Option(help="How many of the best trials are shown.")] = 10,
) -> None:
    """Run STRATEGY once for each combination of parameters, each in a process of its own.

    Ctrl-C keeps what is done; with --results the same command goes on from there. The exit code is
    1 where a trial did not end well.
    """
    axes = _axes(grid or [])
    began = time.monotonic()
    # Ended from outside, a sweep takes its trials and their files with it.
    before = signal.signal(signal.SIGTERM, _terminated)
    done: Sequence[TrialResult] = []
    interrupted = False
    try:
        with sweep(
            strategy,
            start,
            end,
            store=store,
            trials=axes or [{}],
            memory=memory,
            workers=workers,
            results=results,
            retry=retry,
            slack=slack,
            trial_timeout_s=timeout,
            assets=asset or None,
            backtest={} if budget is None else {"budget": budget},
        ) as running:
            done = running.results
            for _ in running:
                pass
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.signal(signal.SIGTERM, before)
    _show(done, top)
    typer.echo(_summary(done, time.monotonic() - began))
    if report is not None and done:
        typer.echo(f"report: {running.report(report)}")
    if interrupted:
        cure = "the same command goes on from there" if results else "--results FILE would let it go on"
        Console(stderr=True).print(f"interrupted: {cure}", style="red", highlight=False)
        raise typer.Exit(_INTERRUPTED)
    if not all(result.ok for result in done):
        if results and not retry:
            typer.echo("with --retry the same command runs again what did not end well", err=True)
        raise typer.Exit(1)


def _terminated(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _axes(grid: list[str]) -> dict[str, list[Any]]:
    axes: dict[str, list[Any]] = {}
    for one in grid:
        name, equals, text = one.partition("=")
        if not name or not equals or not text:
            raise ConfigError(f"--grid {one}: give NAME=VALUE,VALUE,...")
        if name in axes:
            raise ConfigError(f"--grid {one}: {name} is given twice")
        axes[name] = _values(text)
    return axes


def _values(text: str) -> list[Any]:
    """A JSON list, or values between commas: each is JSON where it can be, else text."""
    if text.startswith("["):
        try:
            found: list[Any] = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"--grid ...={text} is no JSON list: {error}") from error
        return found
    return [value_of(part) for part in text.split(",")]


def _show(results: Sequence[TrialResult], top: int) -> None:
    names = list(dict.fromkeys(name for result in results for name in result.parameters))
    ok = sorted((one for one in results if one.ok), key=lambda one: -(one.sharpe or 0.0))
    if ok:
        table = _table(*names, "Sharpe", "return", "drawdown", "final value", "trades", "wall, s")
        for one in ok[:top]:
            figures = (
                f"{one.sharpe or 0:.2f}",
                f"{one.total_return or 0:.2%}",
                f"{one.max_drawdown or 0:.2%}",
                f"{one.final_value or 0:,.2f}",
                f"{one.trades or 0:,}",
                f"{one.wall_s or 0:.1f}",
            )
            table.add_row(*_told(one, names), *figures)
        Console().print(table)
    failed = [one for one in results if not one.ok]
    if failed:
        table = _table(*names, "status", "error")
        for one in failed[:top]:
            table.add_row(*_told(one, names), one.status, escape(one.error or ""))
        Console().print(table)


def _told(one: TrialResult, names: Sequence[str]) -> list[str]:
    return [escape(label(one.parameters[name])) if name in one.parameters else "" for name in names]


def _table(*heads: str) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for head in heads:
        table.add_column(
            escape(head), justify="left" if head in ("status", "error") else "right", overflow="fold"
        )
    return table


def _summary(results: Sequence[TrialResult], wall_s: float) -> str:
    counts = Counter(result.status for result in results)
    said = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
    return f"{counted(len(results))} in {wall_s:.1f} s{': ' if said else ''}{said}"
