"""One measured line: what it is, what it is held against, and its target beside it."""

from __future__ import annotations

import csv
import datetime as dt
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path

from lazybars.errors import ConfigError

__all__ = ["Result", "describe_machine", "put_between", "save", "table"]

_PACKAGES = ("lumibot", "pandas", "numpy", "pyarrow", "duckdb")


@dataclass(frozen=True, slots=True)
class Result:
    """A figure with its target.

    unit : of ``lazy`` and ``other``. against : whose figure ``other`` is.
    figure : what the target speaks of; the ratio lazy over other, or ``lazy`` itself.
    low, high : the smallest and largest figure of a single round, where there were several.
    at_least : the target is a floor, not a ceiling.
    """

    what: str
    unit: str
    lazy: float
    against: str
    other: float
    figure: float
    target: float | None = None
    at_least: bool = False
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.figure >= self.target if self.at_least else self.figure <= self.target


def describe_machine() -> str:
    """Cores, memory, system and versions, without a name."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{os.cpu_count()} cores, {memory_bytes / 2**30:.0f} GB, {platform.system()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def save(results: Sequence[Result], path: Path, universe: str) -> None:
    """Append a run to a CSV file; every line says when, where and over which bars it was measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Result)]
    fresh = not path.exists()
    run = [dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"), universe, describe_machine()]
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(["run", "universe", "machine", *names, "met"])
        for result in results:
            writer.writerow([*run, *(getattr(result, name) for name in names), result.met])


def put_between(path: Path, begin: str, end: str, made: str) -> None:
    """Put text between two marks in a file, in place of what is there; ConfigError without the marks."""
    text = path.read_text("utf-8")
    at, until = text.find(begin), text.find(end)
    if not 0 <= at < until:
        raise ConfigError(f"{path} has no place for the section: put {begin} and {end} into it")
    path.write_text(f"{text[: at + len(begin)]}\n{made}{text[until:]}", "utf-8")


def table(results: Iterable[Result]) -> list[str]:
    """The lines of a Markdown table, which reads as plain text too."""
    rows = [("what", "lazy", "other", "figure", "rounds", "target", "met")]
    for one in results:
        bound = "" if one.target is None else f"{'>=' if one.at_least else '<='} {one.target:g}"
        spread = "" if one.low is None or one.high is None else f"{one.low:.3g} to {one.high:.3g}"
        met = {True: "yes", False: "NO", None: ""}[one.met]
        rows.append(
            (
                one.what + (f" ({one.note})" if one.note else ""),
                f"{one.lazy:,.4g} {one.unit}",
                f"{one.other:,.4g} {one.unit} {one.against}",
                f"{one.figure:.3g}",
                spread,
                bound,
                met,
            )
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]
