"""RAM and latency of whole processes, beside what else one would use: ``python -m benchmarks.compare``.

Every cell (a contestant, with one cap, on one size) is a fresh process that walks the same clock through
the same generated bars and asks the same requests; what it answered is held against the bars themselves.
Each cell is a row of a CSV file, and a cell that has its row is not run again. The plots are made from
the CSV alone, and so is the section of RESULTS.md.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.contest.cells import Cell, Machine, describe_machine
from benchmarks.contest.clock import Size, Walk
from benchmarks.contest.records import UNMEASURED, Record, Records
from benchmarks.contest.section import BEGIN, END, section_of
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.results import put_between
from lazybars.errors import ConfigError
from lazybars.model import size_bytes

__all__ = ["HUGE", "cells_of", "main", "run"]

HUGE = Size(assets=500, days=2520)
_ONLY_LAZY = ("lazybars", "lazybars-lru", "lazybars-noprefetch", "lazybars-iterate")
_HERE = Path(__file__).parent
# Of the memory that is free before the first cell.
_RAM_SHARE = 0.8
_BAD = ("wrong", "failed")
_PIPE_WIDTH = 140
_FIGURES = ("bars", "calls", "CPU s", "wall s", "start-up s", "CPU us/call", "p50 us", "p99 us", "peak MB")


def cells_of(
    contestants: Mapping[str, Contestant],
    sizes: Iterable[Size],
    calls: Sequence[int] = (),
    caps: Sequence[int] = (),
) -> list[Cell]:
    """Every cell: the sizes from the first to the last, and for each all contestants.

    calls : of each size; what is usual for it where there are none.
    caps : in bytes, of each contestant that has any; its own where there are none.
    """
    return [
        Cell(name, one, cap, walk)
        for size in sizes
        for walk in (Walk(size, number) for number in (calls or (size.usual_calls,)))
        for name, one in contestants.items()
        for cap in ((caps or one.caps) if one.caps else (None,))
    ]


def run(
    cells: Sequence[Cell],
    machine: Machine,
    records: Records,
    *,
    again: bool = False,
    repeat: int = 1,
) -> list[Record]:
    """Run the cells that have no row yet, or all of them ``again``; gives the rows of all.

    repeat : how often each is run; the run that took the least CPU time is kept, or the first that was
        not "ok".
    """
    told: set[int] = set()
    rows = []
    for cell in cells:
        row = records.get(cell.key)
        if row is None or again or row.status in UNMEASURED:
            if id(cell.walk) not in told:
                told.add(id(cell.walk))
                machine.say(f"{cell.walk.size.bars:,} bars. {cell.walk}.")
            row = _best(cell, machine, repeat)
            records.put(row)
            machine.say(_line(row))
        rows.append(row)
    return rows


def _best(cell: Cell, machine: Machine, repeat: int) -> Record:
    best = cell.run(machine)
    for runs in range(2, repeat + 1):
        if best.status != "ok":
            break
        row = cell.run(machine)
        if row.status != "ok" or (row.cpu_s or 0) < (best.cpu_s or 0):
            best = row
        best = replace(best, runs=runs)
    return best


def _line(row: Record) -> str:
    if row.status != "ok":
        return f"  {row.label}: {row.status}, {row.cause}"
    return (
        f"  {row.label}: {row.cpu_s:.1f} s CPU, {row.wall_s:.1f} s, start-up {row.startup_s:.2f} s, "
        f"{row.call_us:.0f} us a call, {row.peak_rss_mb:.0f} MB"
    )


def _table(rows: Iterable[Record]) -> Table:
    title = "Seconds of the whole cell, start-up included; CPU us/call without it; peak RSS over the imports'"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("contestant")
    for name in _FIGURES:
        table.add_column(name, justify="right")
    table.add_column("status")
    for row in rows:
        figures = (row.cpu_s, row.wall_s, row.startup_s, row.call_us, row.p50_us, row.p99_us, row.peak_rss_mb)
        shown = ["" if figure is None else f"{figure:,.4g}" for figure in figures]
        table.add_row(row.label, f"{row.bars:,}", f"{row.calls:,}", *shown, row.status)
    return table


def _free_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable: give --ram")


def _work_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / "lazybars-compare"


def _plot(records: Records, folder: Path, say: Callable[[str], None]) -> None:
    from benchmarks.contest.plots import plot  # it brings matplotlib in

    for path in plot(list(records), folder):
        say(f"plotted {path}")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def compare(
    sizes: Annotated[str, typer.Option(help="Bars, or assets x days: 1e6,1e7,100x256.")] = "1e6",
    calls: Annotated[
        str,
        typer.Option(help="Calls of a cell, evenly spread over the clock; by default a stop in 50 minutes."),
    ] = "",
    only: Annotated[str, typer.Option(help="Contestants, by comma; all by default.")] = "",
    caps: Annotated[str, typer.Option(help="Caps, by comma: 96MB,128MB; each contestant's by default.")] = "",
    huge: Annotated[
        bool, typer.Option("--huge", help=f"{HUGE} = {HUGE.bars:,} bars, lazybars alone; 17 GB of disk.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The CSV; the plots go beside it.")] = _HERE
    / "results/compare.csv",
    workdir: Annotated[
        Path | None, typer.Option(help="Where the bars are kept. By default ~/.cache/lazybars-compare.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run cells that have a row once more.")] = False,
    repeat: Annotated[
        int, typer.Option(min=1, help="Run each cell so often and keep the run with the least CPU time.")
    ] = 1,
    plot: Annotated[bool, typer.Option("--plot", help="Only plot what is in the CSV.")] = False,
    section: Annotated[
        Path | None, typer.Option(help="Only put the section into this file: benchmarks/RESULTS.md.")
    ] = None,
    limit_s: Annotated[float, typer.Option(min=0.1, help="Wall seconds that a cell may take.")] = 1800.0,
    ram: Annotated[
        str, typer.Option(help="What a cell may allocate: 8GB. By default 80 % of the free memory.")
    ] = "",
    python_arcticdb: Annotated[
        Path | None, typer.Option(help="An interpreter that has arcticdb and pyarrow.")
    ] = None,
    python_zipline: Annotated[
        Path | None, typer.Option(help="An interpreter that has zipline-reloaded and pyarrow.")
    ] = None,
) -> None:
    """Compare RAM and latency of whole processes. Ends with 1 where an answer was wrong or a cell failed."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    records = Records(out)
    if (plot or section is not None) and not len(records):
        raise ConfigError(f"{out} has no rows to show: run cells first, or give --out")
    if section is not None:
        put_between(section, BEGIN, END, section_of(list(records)))
        return
    if plot:
        _plot(records, out.parent, console.print)
        return
    names = [name.strip() for name in only.split(",") if name.strip()] or list(
        _ONLY_LAZY if huge else CONTESTANTS
    )
    unknown = [name for name in names if name not in CONTESTANTS]
    if unknown:
        raise ConfigError(f"no contestant is called {', '.join(unknown)}: there are {', '.join(CONTESTANTS)}")
    chosen = [HUGE] if huge else [_size(text) for text in sizes.split(",")]
    cells = cells_of(
        {name: CONTESTANTS[name] for name in names},
        chosen,
        [_calls(text) for text in calls.split(",") if text],
        [size_bytes(cap, name="caps") for cap in caps.split(",") if cap],
    )
    interpreters = {"arcticdb": python_arcticdb, "zipline": python_zipline}
    for name, python in interpreters.items():
        if python is not None and shutil.which(python) is None:
            raise ConfigError(f"--python-{name} {python}: there is no such program")
    machine = Machine(
        folder=(workdir or _work_folder()).resolve(),
        limit_s=limit_s,
        ram_bytes=size_bytes(ram, name="ram") if ram else int(_free_bytes() * _RAM_SHARE),
        # Not resolved: the link of a virtual environment is what makes it one.
        interpreters={name: python.absolute() for name, python in interpreters.items() if python is not None},
        say=console.print,
    )
    disk_gb = shutil.disk_usage(_existing(machine.folder)).free / 1e9
    console.print(describe_machine())
    console.print(
        f"A cell may allocate {machine.ram_bytes / 1e9:.1f} GB and take {limit_s:g} s. The bars are kept in "
        f"{machine.folder}, where {disk_gb:.0f} GB are free."
    )
    before = list(records)
    rows = run(cells, machine, records, again=again, repeat=repeat)
    console.print(_table(rows))
    if list(records) != before:
        _plot(records, out.parent, console.print)
    if any(row.status in _BAD for row in rows):
        raise typer.Exit(1)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _size(text: str) -> Size:
    try:
        return Size.parse(text)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"--sizes {text!r}: give bars or assets x days, such as 1e6 or 20x128 ({error})"
        ) from error


def _calls(text: str) -> int:
    try:
        number = int(float(text))
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"--calls {text!r}: give a number") from error
    if number < 1:
        raise ConfigError(f"--calls {text!r}: at least 1")
    return number


def main() -> None:
    """The entry point: a setting that cannot be meant is one line and code 2."""
    # Asked to end, it ends the cell and removes what that left behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        app()
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
