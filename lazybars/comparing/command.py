"""``lazybars compare``: argv to two runs of a strategy's file, and what comes of them as tables."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from lazybars.budget import split
from lazybars.comparing.job import Side
from lazybars.comparing.outcome import Outcome, differences
from lazybars.comparing.show import show, show_failure
from lazybars.errors import ConfigError, StoreMissing
from lazybars.model import size_bytes
from lazybars.sweep.named import reference
from lazybars.sweep.spans import span_of
from lazybars.sweep.trials import value_of

__all__ = ["compare_command"]

_DIFFERENT, _FAILED, _INTERRUPTED = 1, 2, 130


def compare_command(
    strategy: Annotated[
        str,
        typer.Argument(
            help="A file that backtests when it is run; with --start and --end, strategy.py[:Class] or "
            "module:Class."
        ),
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The file's own arguments, after --.", metavar="[-- ARGS]...")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="The data source class that is wrapped, as PolygonDataBacktesting. By default whatever "
            "the file uses; with --start, PandasDataBacktesting on frames from --store.",
            metavar="CLASS",
        ),
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="The strategy, where the file has several.", metavar="NAME")
    ] = None,
    start: Annotated[str | None, typer.Option(help="From when, as 2023-01-03 or 2023-01-03T09:30.")] = None,
    end: Annotated[str | None, typer.Option(help="Until when.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="The store. By default a private one, of what the file brings.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(help="Of the strategy, with --start; JSON, or text.", metavar="NAME=VALUE"),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="The cash to start with, with --start.")] = None,
    memory: Annotated[str, typer.Option(help="The cap of the lazy side.")] = "256MB",
) -> None:
    """Run STRATEGY on its bare data source and wrapped, each in a fresh process, and compare.

    A file that backtests when it is run stays as it is: the source class that it hands to Strategy.backtest
    or run_backtest, or the instance that it hands to BacktestingBroker, is wrapped in the second run. What
    it prints is not shown, and no window opens; benchmark and risk-free rate are looked up only where the
    file itself names them.

    The exit code is 0 where orders, fills, cash and portfolio values are equal, 1 where anything
    differs, and 2 where a side failed.
    """
    side = _side(strategy, arguments, source, class_name, start, end, store, parameter, budget, memory)
    console = Console()
    # Ended from outside, a comparison takes its processes and their files with it.
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        code = _compare(side, console)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted: nothing was compared", style="red", highlight=False)
        code = _INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    raise typer.Exit(code)


def _compare(side: Side, console: Console) -> int:
    from lazybars.comparing.running import scratch  # POSIX only

    errors = Console(stderr=True)
    with scratch() as runner:
        outcomes: dict[str, Outcome] = {}
        for which, one in (("bare", side), ("lazy", side.wrapped())):
            with errors.status(f"running {os.path.basename(side.strategy)}, {which}"):
                outcomes[which] = runner.run(one)
        failed = [which for which, outcome in outcomes.items() if outcome.error is not None]
        for which in failed:
            show_failure(errors, which, outcomes[which])
        if failed:
            return _FAILED
        bare, lazy = outcomes["bare"], outcomes["lazy"]
        found = differences(bare.backtests, lazy.backtests)
        show(console, bare, lazy, found)
        if not found:
            console.print("Bare and lazy came to the same.", style="bold green")
            return 0
        console.print("Bare and lazy differ.", style="bold red")
        with errors.status("running it bare once more, to see whether it does the same twice"):
            again = runner.run(side)
        console.print(_cause(bare, again), highlight=False, markup=False)
    return _DIFFERENT


def _cause(bare: Outcome, again: Outcome) -> str:
    if again.error is None and differences(bare.backtests, again.backtests):
        return (
            "The bare side differs from itself when it is run again: the strategy depends on more than its "
            "bars (chance, the wall clock, files that it writes), and nothing can be said of lazybars until "
            "that is fixed, by a seed for instance."
        )
    return "The bare side does the same when it is run again."


def _side(
    strategy: str,
    arguments: list[str] | None,
    source: str | None,
    class_name: str | None,
    start: str | None,
    end: str | None,
    store: Path | None,
    parameter: list[str] | None,
    budget: float | None,
    memory: str,
) -> Side:
    """The bare side, once all that can be said against the arguments is said."""
    if os.name != "posix":
        raise ConfigError("a comparison needs Linux or macOS (on Windows: WSL)")
    split(size_bytes(memory))  # before anything is started
    of_class = start is not None or end is not None
    if of_class and (start is None or end is None):
        raise ConfigError("give --start and --end, or neither: then the file runs its own backtest")
    if not of_class and (class_name is not None or parameter or budget is not None):
        raise ConfigError("--class, --parameter and --budget go with --start and --end")
    if of_class and arguments:
        raise ConfigError(f"{' '.join(arguments)}: a strategy's class takes no arguments, but --parameter")
    if of_class and source is None and store is None:
        raise ConfigError("give --store, from which both sides have their bars, or --source")
    if source is None and of_class and not os.path.exists(os.fspath(store or "")):
        raise StoreMissing(f"there is no store {store}")
    named = reference(strategy if class_name is None else f"{strategy}:{class_name}")
    if not of_class and not os.path.isfile(named):
        raise ConfigError(f"{named} is no file: give the path of a strategy's Python file")
    span = None if start is None or end is None else span_of(start, end)
    return Side(
        strategy=named,
        arguments=tuple(arguments or ()),
        lazy=False,
        memory_bytes=size_bytes(memory),
        source=source,
        store=None if store is None else os.path.abspath(store),
        start=None if span is None else span.start.isoformat(),
        end=None if span is None else span.end.isoformat(),
        parameters=_parameters(parameter or []),
        budget=budget,
    )


def _parameters(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not name or not equals:
            raise ConfigError(f"--parameter {one}: give NAME=VALUE")
        if name in found:
            raise ConfigError(f"--parameter {one}: {name} is given twice")
        found[name] = value_of(text)
    return found


def _terminated(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
