"""``lazybars import``: argv to :func:`lazybars.importers.import_files`, and what comes of it as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lazybars.errors import ConfigError
from lazybars.importers import KINDS, Kind, Lot, Outcome, Wishes, files_of, import_files
from lazybars.importers.parts import quote_key
from lazybars.model import AssetKey
from lazybars.store import open_store

__all__ = ["import_command"]

KindName = Literal[
    "alpaca", "ccxt", "csv", "databento", "feather", "ibkr", "monthly", "polygon", "thetadata", "yahoo"
]
AssetType = Literal["stock", "index", "crypto", "forex", "future", "cont_future", "crypto_future", "option"]
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "bar": "|"}


def import_command(
    kind: Annotated[
        KindName, typer.Argument(help="A cache of Lumibot's, feather, or csv.", show_default=False)
    ],
    paths: Annotated[list[str], typer.Argument(help="Files, patterns or directories.", metavar="PATH...")],
    store: Annotated[str | None, typer.Option(help="The store; made where there is none.")] = None,
    symbol: Annotated[
        str | None,
        typer.Option(
            help="Whose bars, of a file of many only theirs; by default its name, or its column of symbols."
        ),
    ] = None,
    asset_type: Annotated[AssetType | None, typer.Option(help="Stock, where the file does not say.")] = None,
    quote: Annotated[
        str | None,
        typer.Option(help="The quote asset: USD, or with its type USDT:crypto.", metavar="SYMBOL[:TYPE]"),
    ] = None,
    timestep: Annotated[
        Literal["minute", "hour", "day"] | None, typer.Option(help="By default the most common spacing.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Who the bars are from; by default the kind and what the file says.")
    ] = None,
    tz: Annotated[str | None, typer.Option(help="The zone of times without one.", metavar="ZONE")] = None,
    date_format: Annotated[
        str | None,
        typer.Option(help="csv: how times are written, %d/%m/%Y %H:%M or 'epoch ms'.", metavar="FORMAT"),
    ] = None,
    decimal: Annotated[str | None, typer.Option(help="csv: the decimal sign, . or ,")] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="csv: what stands between columns; or tab, space.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="csv: what each column is: datetime,open,high,low,close,volume; - leaves one out."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be imported.")] = False,
) -> None:
    """Import bars from the files of another program to a store.

    What was found out about a text file is shown before it is used. A file that cannot be taken leaves
    nothing behind; the next one follows. Importing twice changes nothing.
    """
    if store is None and not dry_run:
        raise ConfigError("say where to: --store bars.duckdb, or --dry-run to look only")
    wishes = Wishes(
        symbol,
        asset_type,
        _quote(quote),
        timestep,
        source,
        tz,
        date_format,
        decimal,
        None if delimiter is None else _DELIMITERS.get(delimiter, delimiter),
        None if columns is None else tuple(name.strip() for name in columns.split(",")),
    )
    found = [path for given in paths for path in files_of(KINDS[kind], given)]
    outcomes = _take(KINDS[kind], found, None if dry_run else store, wishes)
    _show(outcomes)
    if any(one.status == "failed" for one in outcomes):
        raise typer.Exit(1)


def _take(kind: Kind, paths: Sequence[Path], store: str | None, wishes: Wishes) -> list[Outcome]:
    """Import with a progress bar by bytes; what was found out is printed before it is used."""
    sizes = {path: path.stat().st_size for path in paths}
    bars = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with (
        open_store(store) if store is not None else nullcontext() as opened,
        Progress(*bars, console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("importing" if store else "looking", total=sum(sizes.values()))
        return import_files(
            kind,
            paths,
            opened,
            wishes,
            found=_announcer(),
            done=lambda path: progress.advance(task, sizes[path]),
        )


def _announcer() -> Callable[[Lot], None]:
    """Prints what was found out about a file, once for files that are alike."""
    last = [""]

    def show(lot: Lot) -> None:
        if lot.note and lot.note != last[0]:
            Console().print(f"[bold]{escape(lot.path.name)}[/bold]: {escape(lot.label)}", highlight=False)
            Console().print(escape(lot.note), highlight=False, soft_wrap=True)
        elif lot.note:
            typer.echo(f"{lot.path.name}: {lot.label}, alike")
        last[0] = lot.note

    return show


def _show(outcomes: Sequence[Outcome]) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for name in ("file", "series", "status", "rows", "bars", "written", "replaced", "notes"):
        table.add_column(
            name,
            justify="right" if name in ("rows", "bars", "written", "replaced") else "left",
            overflow="fold",
        )
    for one in outcomes:
        if one.status == "skipped":
            continue
        counts = [f"{n:,}" for n in (one.rows, one.bars, one.written, one.replaced)]
        style = "red" if one.status == "failed" else None
        cells = (
            one.path.name,
            one.series,
            one.status,
            *(counts if one.status != "failed" else [""] * 4),
            _notes(one),
        )
        table.add_row(*map(escape, cells), style=style)
    if table.row_count:
        Console().print(table)
    passed = Counter(one.detail for one in outcomes if one.status == "skipped")
    for why, count in passed.items():
        typer.echo(f"passed over {count} {'file' if count == 1 else 'files'}: {why}")
    counted = Counter(one.status for one in outcomes)
    typer.echo(", ".join(f"{count} {status}" for status, count in counted.items()))


def _notes(one: Outcome) -> str:
    if one.status == "failed":
        return " ".join(one.detail.split())
    notes = [f"{rows:,} {why}" for why, rows in one.repaired.items()]
    if one.empty_ranges:
        ranges = "range" if one.empty_ranges == 1 else "ranges"
        notes.append(f"{one.empty_ranges:,} {ranges} known to be empty")
    if one.left_out:
        notes.append(f"without {', '.join(one.left_out)}")
    return "; ".join(notes)


def _quote(text: str | None) -> AssetKey | None:
    if text is None:
        return None
    symbol, _, asset_type = text.partition(":")
    if not symbol:
        raise ConfigError(f"--quote {text}: give SYMBOL or SYMBOL:TYPE")
    return AssetKey(symbol.upper(), asset_type) if asset_type else quote_key(symbol.upper())
