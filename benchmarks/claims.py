"""What a store in DuckDB was proposed for, claim by claim, measured: ``python -m benchmarks.claims``.

The rows go to a CSV file, and from that file alone the section of RESULTS.md between its two markers is
made. RAM is the peak of a fresh process over what it had after its imports; times are wall time, the store
on one thread, both sides by turns, and the median of the rounds.
"""

from __future__ import annotations

import csv
import datetime as dt
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from lazybars import Store, open_store

from .kept import Form, Kept, Span, masked, peak_bytes
from .market import MinuteMarket
from .results import describe_machine

__all__ = ["Claim", "load", "main", "measured", "section", "with_section"]

_HERE = Path(__file__).parent
_BEGIN, _END = "<!-- claims: made by python -m benchmarks.claims -->", "<!-- claims: end -->"
_ROUNDS = 5
_FORMS: tuple[Form, ...] = ("CSV", "Feather, uncompressed", "Feather, lz4")
_SESSIONS = {"a day": 1, "a week": 5, "a month": 21}


@dataclass(frozen=True, slots=True)
class Claim:
    """One row: a claim, what was measured for it, and whether that is as much as was claimed.

    claim : in its own words. what : the work. unit : of ``ours`` and ``theirs``. against : whose figure
    ``theirs`` is. figure : what the claim speaks of, with its own sign: "%" less or "x" as fast or as much.
    least : what the claim asks for at the least, in the same; None where it names no number.
    """

    claim: str
    what: str
    unit: str
    ours: float
    against: str
    theirs: float
    figure: float
    sign: str
    least: float | None
    bars: int
    date: str
    machine: str

    @property
    def met(self) -> str:
        return "" if self.least is None else "yes" if self.figure >= self.least else "**no**"


def measured(kept: Kept, symbols: int, rounds: int, say: Callable[[str], None]) -> Iterator[Claim]:
    """Every row, one after the other. symbols : among how many one is looked up."""
    date, machine = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d"), describe_machine()
    rows, _ = kept.bytes_on_disk("Feather, lz4")

    def claim(words: str, what: str, unit: str, ours: float, against: str, theirs: float, sign: str,
              least: float | None, bars: int = rows) -> Claim:  # fmt: skip
        figure = 100 * (1 - ours / theirs) if sign == "%" else theirs / ours
        say(f"{words}: {what}, against {against}: {figure:.3g} {sign}")
        return Claim(words, what, unit, ours, against, theirs, figure, sign, least, bars, date, machine)

    words = "50 to 80 % less memory"
    backtest_bytes = peak_bytes(kept, "backtest", "lazy")
    yield claim(words, "a backtest's bars, cap 72 MB", "MB", backtest_bytes / 1e6, "eager Lumibot",
                peak_bytes(kept, "backtest", "other") / 1e6, "%", 50)  # fmt: skip
    for work in ("month of an asset", "month of all"):
        lazy, other = (peak_bytes(kept, work, side) / 1e6 for side in ("lazy", "other"))
        yield claim(words, work, "MB", lazy, "whole Feather files", other, "%", 50)

    tenth = max(len(kept.symbols) // 10, 1)
    yield claim("10 times larger data in the same RAM", f"a backtest's bars, {len(kept.symbols)} assets",
                "MB", backtest_bytes / 1e6, f"eager Lumibot with {tenth}",
                peak_bytes(kept, "backtest", "other", tenth) / 1e6, "x", 1)  # fmt: skip

    ours = kept.path.stat().st_size / rows
    for form in _FORMS:
        count, other_bytes = kept.bytes_on_disk(form)
        yield claim("60 to 90 % less storage", "the same bars", "bytes a bar", ours, form,
                    other_bytes / count, "%", 60)  # fmt: skip

    with open_store(kept.path, read_only=True) as store:
        for what, sessions in _SESSIONS.items():
            for against, (lazy_s, other_s) in _ranges(kept, store, sessions, rounds).items():
                yield claim("10 to 100 times faster time ranges", f"{what} of an asset", "ms",
                            lazy_s * 1e3, against, other_s * 1e3, "x", 10)  # fmt: skip
    lazy_s, other_s = _look_up(kept.market.folder / "many.duckdb", symbols, rounds)
    yield claim("near-instant asset look-up", f"among {symbols:,} assets", "us", lazy_s * 1e6,
                "walking over a dictionary's keys", other_s * 1e6, "x", None, symbols)  # fmt: skip


def _ranges(kept: Kept, store: Store, sessions: int, rounds: int) -> dict[str, tuple[float, float]]:
    """(ours, theirs) in seconds a query, for each that a range of time is held against."""
    asked = kept.asked(sessions)
    own = {symbol: kept.read(symbol) for symbol in {symbol for symbol, _ in asked}}

    def of_all(symbol: str, span: Span) -> pd.DataFrame:
        frame = kept.frame
        return frame[(frame["asset"] == symbol) & (frame.index >= span[0]) & (frame.index <= span[1])]

    others: dict[str, Callable[[str, Span], pd.DataFrame]] = {
        "scan of a frame of all": of_all,
        "Feather file": lambda symbol, span: masked(kept.read(symbol), span),
        "scan of the asset's own frame": lambda symbol, span: masked(own[symbol], span),
    }

    def lazy(symbol: str, span: Span) -> pd.DataFrame:
        return store.get_historical_prices(symbol, *span)

    out = {}
    for against, other in others.items():
        got, expected = lazy(*asked[0]), other(*asked[0])
        np.testing.assert_array_equal(got.to_numpy(), expected[list(got.columns)].to_numpy())
        out[against] = _by_turns(lazy, other, asked, rounds)
    return out


def _by_turns(
    ours: Callable[..., Any], theirs: Callable[..., Any], asked: Sequence[Any], rounds: int
) -> tuple[float, float]:
    """Median seconds a call of either side."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for side, call in enumerate((ours, theirs)):
            began = time.perf_counter()
            for one in asked:
                call(*one)
            took[side].append((time.perf_counter() - began) / len(asked))
    return statistics.median(took[0]), statistics.median(took[1])


def _look_up(path: Path, symbols: int, rounds: int) -> tuple[float, float]:
    """(ours, theirs) in seconds a look-up; theirs is the walk that the proposal found in Lumibot."""
    names = [f"S{number}" for number in range(symbols)]
    bar = {"timestamp": dt.datetime(2024, 1, 2, tzinfo=dt.timezone.utc), "volume": 1.0}
    bar |= dict.fromkeys(("open", "high", "low", "close"), 1.0)
    with open_store(path) as store:
        store.append_all(dict.fromkeys(names, bar), timestep="day")
        held = {(info.asset, "USD"): info for info in store.series()}

        def ours(symbol: str) -> None:
            assert store.find(symbol, "day").asset.symbol == symbol

        def theirs(symbol: str) -> None:
            assert next(info for (asset, _), info in held.items() if asset.symbol == symbol)

        asked = [(names[at],) for at in np.random.default_rng(0).integers(0, symbols, 200)]
        return _by_turns(ours, theirs, asked, rounds)


# ---- the file, and the section made of it -----------------------------------------------------------


def _save(claims: Sequence[Claim], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Claim)])
        for one in claims:
            values = [getattr(one, field.name) for field in fields(Claim)]
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])


def load(path: Path) -> list[Claim]:
    """The rows of a CSV that :func:`main` wrote."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = ("ours", "theirs", "figure")
    return [
        Claim(
            **{
                **row,
                **{name: float(row[name]) for name in numbers},
                "least": float(row["least"]) if row["least"] else None,
                "bars": int(row["bars"]),
            }
        )
        for row in rows
    ]


def section(claims: Sequence[Claim]) -> str:
    """Markdown: when, where and over how many bars, and a table of a line for each row."""
    lines = [
        f"Measured {claims[0].date} over {claims[0].bars:,} generated minute bars; {claims[0].machine}.",
        "",
        "| claimed | measured | lazybars | instead | figure | met |",
        "|---|---|---|---|---|---|",
    ]
    for one in claims:
        figure = f"{one.figure:.0f} % less" if one.sign == "%" else f"{one.figure:.3g} times"
        ours, theirs = (f"{value:,.3g} {one.unit}" for value in (one.ours, one.theirs))
        lines.append(
            f"| {one.claim} | {one.what} | {ours} | {theirs}, {one.against} | {figure} | {one.met} |"
        )
    return "\n".join(lines)


def with_section(text: str, made: str) -> str:
    """A text with what stands between the two markers replaced; ValueError where they are not there once."""
    if text.count(_BEGIN) != 1 or text.count(_END) != 1:
        raise ValueError(f"the markers {_BEGIN} and {_END} have to be there once each")
    before, _, rest = text.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{made}\n\n{_END}{rest.partition(_END)[2]}"


def main(
    assets: Annotated[int, typer.Option(help="How many assets.")] = 10,
    days: Annotated[int, typer.Option(help="How many sessions of minute bars of each.")] = 2520,
    symbols: Annotated[int, typer.Option(help="Among how many one is looked up.")] = 5000,
    rounds: Annotated[int, typer.Option(help="Rounds of everything that is timed.")] = _ROUNDS,
    out: Annotated[Path, typer.Option(help="The CSV.")] = _HERE / "results/claims.csv",
    results: Annotated[Path, typer.Option(help="The page with the section.")] = _HERE / "RESULTS.md",
    only_section: Annotated[bool, typer.Option("--section", help="Only make the section anew.")] = False,
) -> None:
    """Measure every claim, and write them to the CSV and to the page."""
    if not only_section:
        folder = Path(tempfile.mkdtemp(prefix="lazybars-claims-"))
        try:
            kept = Kept(MinuteMarket(folder, assets, days))
            claims: list[Claim] = []
            for one in measured(kept, symbols, rounds, typer.echo):
                claims.append(one)
                _save(claims, out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    results.write_text(with_section(results.read_text(), section(load(out))))


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(main)
    app()
