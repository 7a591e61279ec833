"""The command ``lazybars``: argv to the public API, and what comes back as tables."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import lazybars
from lazybars.comparing.command import compare_command
from lazybars.errors import ConfigError, LazyBarsError
from lazybars.forecast.command import plan_command
from lazybars.importers.command import import_command
from lazybars.model import AssetKey, SeriesInfo
from lazybars.quality.command import verify_command
from lazybars.store import open_store
from lazybars.sweep.command import sweep_command

if TYPE_CHECKING:
    from lazybars.intake import Intake

__all__ = ["app", "main"]

AssetType = Literal["stock", "index", "crypto", "forex", "future", "cont_future", "crypto_future"]
Timestep = Literal["minute", "hour", "day"]
Mode = Literal["upsert", "append", "replace"]

_NEW_YORK = ZoneInfo("America/New_York")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)

app = typer.Typer(
    name="lazybars",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The entry point. An error of lazybars is one line and code 2; LAZYBARS_DEBUG=1 shows where it arose."""
    try:
        app()
    except LazyBarsError as error:
        if os.environ.get("LAZYBARS_DEBUG", "") not in ("", "0"):
            raise
        _complain(str(error))
        sys.exit(2)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lazybars {lazybars.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Bars in a store on disk, for backtests in a bounded amount of RAM."""


# ---- ingest ---------------------------------------------------------------------------------------


@app.command()
def ingest(
    store: Annotated[
        str, typer.Argument(help="The store; made where there is none. With a slash at its end: of Parquet.")
    ],
    files: Annotated[
        list[str],
        typer.Argument(help="Parquet, CSV or Feather files, patterns or directories."),
    ],
    symbol: Annotated[
        str | None,
        typer.Option(help="The symbol. By default the file's name: SPY.parquet, vendor__SPY__1min.parquet."),
    ] = None,
    symbol_column: Annotated[
        str | None, typer.Option(help="The column that holds the symbol, in files of many.", metavar="NAME")
    ] = None,
    timestep: Annotated[
        Timestep | None, typer.Option(help="By default the file's name, or the most common spacing.")
    ] = None,
    asset_type: Annotated[AssetType, typer.Option(help="Of all the files.")] = "stock",
    quote: Annotated[
        str | None,
        typer.Option(help="The quote asset: USD, or with type USDT:crypto.", metavar="SYMBOL[:TYPE]"),
    ] = None,
    tz: Annotated[
        str | None, typer.Option(help="The zone of times without one; New York by default.", metavar="ZONE")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help='Who the bars are from. By default the file\'s name, or "user".')
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="What happens to bars that are there: replaced, refused, or the series anew.")
    ] = "upsert",
    again: Annotated[bool, typer.Option("--again", help="Also files that are in the store already.")] = False,
) -> None:
    """Write the bars of FILES to STORE.

    A file that cannot be stored leaves nothing behind; the next one follows. What was ingested
    before and has not changed since is passed over, so an interrupted ingest goes on where it stopped.
    """
    from lazybars.intake import Intake, Labels  # it brings pandas in, by way of pyarrow.dataset

    if symbol is not None and symbol_column is not None:
        raise ConfigError("give --symbol or --symbol-column, not both")
    labels = Labels(symbol, symbol_column, timestep, asset_type, _quote(quote), source, mode, tz)
    intake = Intake(labels, again)
    paths = intake.files(files)
    try:
        rows = _take(intake, store, paths) if paths else 0
    except KeyboardInterrupt:
        _complain("interrupted: what was written whole is kept, and the same command goes on from there")
        raise
    _show_intake(intake)
    if intake.skipped:
        typer.echo(f"{len(intake.skipped)} files are in the store already; --again writes them once more")
    if rows:
        typer.echo(f"{rows:,} bars in the store, {_sized(_disk_bytes(store), rows)}")
    if intake.failed:
        for label, reason in intake.failed.items():
            _complain(reason if label in reason else f"{label}: {reason}")
        raise typer.Exit(1)


def _take(intake: Intake, store: str, paths: list[Path]) -> int:
    """Ingest with a progress bar by bytes; gives the rows of the whole store."""
    sizes = {path: path.stat().st_size for path in paths}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with (
        open_store(store) as opened,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("ingesting", total=sum(sizes.values()))
        intake.take(opened, paths, lambda path: progress.advance(task, sizes[path]))
        return sum(info.rows for info in opened.series())


def _disk_bytes(store: str) -> int:
    with open_store(store, read_only=True) as opened:
        return opened.bytes_on_disk


def _show_intake(intake: Intake) -> None:
    if not intake.written:
        return
    table = _table(
        file="left", series="left", read="right", written="right", replaced="right", repaired="right"
    )
    for path, summary in intake.written:
        guess = " (by its spacing)" if path in intake.guessed else ""
        table.add_row(
            escape(path.name),
            escape(summary.series.label + guess),
            f"{summary.rows_read:,}",
            f"{summary.rows_written:,}",
            f"{summary.rows_replaced:,}",
            escape(", ".join(f"{rows:,} {why}" for why, rows in summary.repaired.items())) or "0",
        )
    Console().print(table)


def _quote(text: str | None) -> AssetKey | None:
    if text is None:
        return None
    symbol, _, asset_type = text.partition(":")
    known = get_args(AssetType)
    if not symbol or asset_type not in ("", *known):
        raise ConfigError(f"--quote {text}: give SYMBOL or SYMBOL:TYPE, with one of {', '.join(known)}")
    return AssetKey(symbol.upper(), asset_type or "forex")


# ---- info -----------------------------------------------------------------------------------------


@app.command()
def info(
    store: Annotated[str, typer.Argument(help="The store.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show what STORE holds: series, ranges, bytes."""
    with open_store(store, read_only=True) as opened:
        series, disk_bytes = opened.series(), opened.bytes_on_disk
    rows = sum(one.rows for one in series)
    if as_json:
        typer.echo(json.dumps(_as_json(store, series, disk_bytes, rows), indent=2))
        return
    table = _table(series="left", rows="right", first="left", last="left", source="left", columns="left")
    for one in series:
        shown = "%Y-%m-%d" if one.timestep == "day" else "%Y-%m-%d %H:%M"
        table.add_row(
            escape(one.label),
            f"{one.rows:,}",
            _moment(one.first_ns).strftime(shown),
            _moment(one.last_ns).strftime(shown),
            escape(one.source),
            escape(", ".join(column.name for column in one.columns)),
        )
    Console().print(table)
    typer.echo(f"{len(series)} series, {rows:,} bars, {_sized(disk_bytes, rows)}; times are New York's")


def _as_json(store: str, series: list[SeriesInfo], disk_bytes: int, rows: int) -> dict[str, Any]:
    return {
        "path": store,
        "bytes_on_disk": disk_bytes,
        "rows": rows,
        "bytes_a_bar": disk_bytes / rows if rows else None,
        "series": [
            {
                "symbol": one.asset.symbol,
                "asset_type": one.asset.asset_type,
                "quote": None if one.quote is None else one.quote.symbol,
                "timestep": one.timestep,
                "source": one.source,
                "rows": one.rows,
                "first": _moment(one.first_ns).isoformat(),
                "last": _moment(one.last_ns).isoformat(),
                "columns": {column.name: column.dtype for column in one.columns},
            }
            for one in series
        ],
    }


def _moment(ns: int) -> dt.datetime:
    return (_EPOCH + dt.timedelta(microseconds=ns // 1000)).astimezone(_NEW_YORK)


# ---- demo -----------------------------------------------------------------------------------------


@app.command()
def demo(
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the generated bars.")] = False,
    memory: Annotated[str, typer.Option(help="The cap of the lazy runs.")] = "128MB",
) -> None:
    """Run one strategy twice, eager and lazy, on real daily and generated minute bars; compare."""
    from lazybars.demo.run import run_demo

    raise typer.Exit(run_demo(quick=quick, memory=memory))


# ---- import ---------------------------------------------------------------------------------------

app.command("import")(import_command)


# ---- verify ---------------------------------------------------------------------------------------

app.command("verify")(verify_command)


# ---- sweep ----------------------------------------------------------------------------------------

app.command("sweep")(sweep_command)


# ---- compare --------------------------------------------------------------------------------------

app.command("compare")(compare_command)


# ---- plan -----------------------------------------------------------------------------------------

app.command("plan")(plan_command)


# ---- what the commands share ------------------------------------------------------------------------


def _table(**justify: Literal["left", "right"]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for name, side in justify.items():
        table.add_column(name, justify=side, overflow="fold")
    return table


def _sized(disk_bytes: int, rows: int) -> str:
    return f"{disk_bytes / 1e6:,.1f} MB" + (f", {disk_bytes / rows:,.1f} bytes a bar" if rows else "")


def _complain(message: str) -> None:
    Console(stderr=True).print(f"[red]{escape(' '.join(message.split()))}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
