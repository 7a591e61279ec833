"""What a sweep costs, beside single runs: ``python -m benchmarks.sweeps``.

Every figure comes from fresh processes that are watched from outside. Each is a row of a CSV file, and
what has its row is not measured again. The section of RESULTS.md is made from the CSV alone.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.contest.clock import Size
from benchmarks.results import describe_machine
from benchmarks.sweeping.parts import Bench, grid
from benchmarks.sweeping.rows import Row, Rows
from benchmarks.sweeping.section import put_section, wrong
from lazybars.errors import ConfigError

__all__ = ["main"]

_HERE = Path(__file__).parent
PARTS = ("single", "sweep", "total", "short")
_TOTALS = (1, 2, 4, 8)
_TRIAL_MB = 128
_MEMORY_MB = 512
_WORKERS = 2

_SHORT = Size(assets=2, days=3)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def sweeps(
    size: Annotated[str, typer.Option(help="Bars of single and sweep, or assets x days.")] = "10x20",
    trials: Annotated[int, typer.Option(min=2, help="How many they try.")] = 4,
    total_size: Annotated[str, typer.Option(help="Bars of total; as size by default.")] = "",
    short: Annotated[int, typer.Option(min=10, help="How many short trials.")] = 10,
    only: Annotated[str, typer.Option(help=f"Parts, by comma: {','.join(PARTS)}.")] = "",
    most: Annotated[int | None, typer.Option(help="Measure so many rows at most, and stop.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure what has a row once more.")] = False,
    out: Annotated[Path, typer.Option(help="The CSV.")] = _HERE / "results/sweeps.csv",
    workdir: Annotated[Path, typer.Option(help="Where the bars are kept.")] = Path(
        "~/.cache/lazybars-sweeps"
    ),
    section: Annotated[
        Path | None, typer.Option(help="Only put the section into this file: benchmarks/RESULTS.md.")
    ] = None,
) -> None:
    """Measure sweeps. Ends with 1 where two sides of one trial do not end alike."""
    rows = Rows(out)
    if section is not None:
        put_section(section, list(rows))
        typer.echo(f"{section}: {len(list(rows))} rows")
        return
    wanted = [name.strip() for name in only.split(",") if name.strip()] or list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        raise ConfigError(f"no part is called {', '.join(unknown)}: there are {', '.join(PARTS)}")
    folder = workdir.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    typer.echo(describe_machine())
    work = _work(folder, Size.parse(size), Size.parse(total_size or size), trials, short)
    for row, measure in work:
        if row.part not in wanted or (rows.get(row) is not None and not again):
            continue
        if most is not None and (most := most - 1) < 0:
            break
        measured = measure()
        rows.put(measured)
        typer.echo(_line(measured))
    if bad := wrong(list(rows)):
        typer.echo("\n".join(bad), err=True)
        raise typer.Exit(1)


def _work(
    folder: Path, size: Size, total: Size, trials: int, short: int
) -> list[tuple[Row, Callable[[], Row]]]:
    """Every measurement, in order, beside the row that it gives."""
    bench, whole, brief = Bench(folder, size), Bench(folder, total), Bench(folder, _SHORT)
    tried = grid(trials)
    return [
        *(
            (bench.row("single", "eager", at, 1), partial(bench.single, at, one))
            for at, one in enumerate(tried)
        ),
        *(
            (bench.row("sweep", "lazy", trials, workers), partial(bench.sweep, tried, workers, _MEMORY_MB))
            for workers in (1, _WORKERS)
        ),
        *(
            (whole.row("total", side, count, count), partial(whole.total, side, grid(count), _TRIAL_MB))
            for side in ("lazy", "eager")
            for count in _TOTALS
        ),
        (
            brief.row("short", "lazy", short, _WORKERS),
            partial(brief.short, short, _WORKERS, _WORKERS * _TRIAL_MB),
        ),
    ]


def _line(row: Row) -> str:
    told = [
        f"{name} {value:,.1f} {unit}"
        for name, value, unit in (
            ("wall", row.wall_s, "s"),
            ("CPU", row.cpu_s, "s"),
            ("peak PSS", row.peak_mb, "MB"),
            ("over baseline", row.over_mb, "MB"),
            ("grown", row.added_mb, "MB"),
        )
        if value is not None
    ]
    what = f"{row.part}, {row.side}, {row.bars:,} bars, {row.number} trials, {row.workers} at a time"
    if row.part == "single":
        what = f"{row.part}, {row.side}, {row.bars:,} bars, trial {row.number}"
    return f"{what}: {', '.join(told)}{'; ' if row.note else ''}{row.note}"


def main() -> None:
    """The entry point: a setting that cannot be meant is one line and code 2."""
    # Asked to end, it ends the processes that it started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        app()
    except (ConfigError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
