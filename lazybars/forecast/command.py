"""``lazybars plan``: argv to :func:`lazybars.forecast.forecast`, and what comes of it as a table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from lazybars.forecast.chart import write_chart
from lazybars.forecast.dry_run import KNEE_RULE, Forecast, Prospect, forecast
from lazybars.report.units import megabytes, percent, seconds

__all__ = ["plan_command"]

_HOURS_S = 7200


def plan_command(
    store: Annotated[str, typer.Argument(help="The store.")],
    assets: Annotated[
        list[str] | None,
        typer.Option(help="Symbols, SPY,QQQ or once for each; by default the whole store."),
    ] = None,
    timestep: Annotated[Literal["minute", "hour", "day"], typer.Option(help="Of the bars.")] = "minute",
    start: Annotated[str | None, typer.Option(help="From when, as 2023-01-03.")] = None,
    end: Annotated[str | None, typer.Option(help="Until when, that day included.")] = None,
    lookback: Annotated[int, typer.Option(help="Bars that each asset is asked for at each tick.")] = 60,
    cadence: Annotated[
        str | None, typer.Option(help="How far apart ticks are: 5min, 1h, 1D. By default every bar.")
    ] = None,
    memory: Annotated[
        list[str] | None,
        typer.Option(help="A cap, 128MB,256MB or once for each; by default eight that suit the store."),
    ] = None,
    partition: Annotated[
        list[str] | None, typer.Option(help="A partition size, or several. By default 1D,1W,1M.")
    ] = None,
    delay_ms: Annotated[float, typer.Option(help="What a slow disk adds to each scan.")] = 0.0,
    rows_per_s: Annotated[
        float | None, typer.Option(help="Bars read a second; by default as benchmarks/RESULTS.md measured.")
    ] = None,
    prefetch: Annotated[bool, typer.Option(help="Whether a thread reads ahead.")] = True,
    plot: Annotated[
        Path | None, typer.Option(help="Draw it there: a page (.html), or a picture (.png) with kaleido.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Predict a run over STORE at several caps and partition sizes, without reading a bar.

    What the run asks for follows from the store's summary of each day. The last line recommends the cap
    from which more RAM buys next to nothing.
    """
    chosen: dict[str, Any] = {} if rows_per_s is None else {"rows_per_s": rows_per_s}
    predicted = forecast(
        store,
        assets=_parts(assets),
        timestep=timestep,
        start=start,
        end=end,
        lookback=lookback,
        cadence=cadence,
        caps=_parts(memory),
        partitions=_parts(partition) or ("1D", "1W", "1M"),
        prefetch=prefetch,
        read_delay_s=delay_ms / 1e3,
        **chosen,
    )
    if as_json:
        typer.echo(json.dumps(_as_json(predicted), indent=2, allow_nan=False))
    else:
        _show(predicted)
    if plot is not None:
        write_chart(predicted, plot)


def _parts(given: list[str] | None) -> list[str] | None:
    """What was given once for each, or between commas; None for nothing."""
    return [part for one in given for part in one.split(",") if part] if given else None


def _show(predicted: Forecast) -> None:
    knee = predicted.knee()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for head in (
        "cap,\nMB",
        "partition",
        "works",
        "working\nset, MB",
        "reads",
        "misses",
        "hit rate",
        "stall",
    ):
        justify: Literal["left", "right"] = "left" if head in ("partition", "works") else "right"
        table.add_column(head, justify=justify, overflow="fold")
    table.add_column("peak,\nMB", justify="right", overflow="fold")
    for one in sorted(predicted.prospects, key=lambda one: one.cap_bytes):
        table.add_row(*_cells(one), style="bold" if one == knee else None)
    Console().print(table)
    typer.echo(
        f"{predicted.series:,} series, {predicted.rows:,} {predicted.timestep} bars; "
        f"{predicted.lookback} bars of each are asked for at {predicted.ticks:,} ticks"
    )
    typer.echo(f"Assumed: {predicted.assumptions}")
    typer.echo(_advice(predicted, knee))


def _cells(one: Prospect) -> tuple[str, ...]:
    cap, working_set = f"{one.cap_bytes / 1e6:,.1f}", f"{one.working_set_bytes / 1e6:,.1f}"
    if not one.works:
        return cap, one.partition, f"needs {one.needed_mb}", working_set
    stall = f"{one.stall_s / 3600:,.1f} h" if one.stall_s > _HOURS_S else seconds(one.stall_s)
    figures = f"{one.reads:,}", f"{one.misses:,}", percent(one.hit_rate), stall
    return cap, one.partition, "yes", working_set, *figures, f"{one.peak_bytes / 1e6:,.1f}"


def _advice(predicted: Forecast, knee: Prospect | None) -> str:
    if knee is None:
        least = min(predicted.prospects, key=lambda one: one.needed_cap_bytes)
        return (
            f"None of these caps works: give at least {least.needed_cap_bytes} bytes ({least.needed_mb}), "
            f"with partitions of {least.partition}."
        )
    return (
        f'Recommended: memory={knee.cap_bytes} ({megabytes(knee.cap_bytes)}), partition="{knee.partition}": '
        f"{KNEE_RULE}."
    )


def _as_json(predicted: Forecast) -> dict[str, Any]:
    knee = predicted.knee()
    return {
        "series": predicted.series,
        "rows": predicted.rows,
        "ticks": predicted.ticks,
        "lookback": predicted.lookback,
        "timestep": predicted.timestep,
        "assumptions": predicted.assumptions,
        "knee_rule": KNEE_RULE,
        "knee": None if knee is None else {"cap_bytes": knee.cap_bytes, "partition": knee.partition},
        "prospects": [
            {**dataclasses.asdict(one), "hit_rate": one.hit_rate if one.asked else None}
            for one in predicted.prospects
        ],
    }
