"""The CSV file of the sweeps' figures: a row a measurement, kept as soon as it is made."""

from __future__ import annotations

import csv
import datetime as dt
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.results import describe_machine

__all__ = ["Row", "Rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. What was not measured is None, an empty field.

    part : "single", a trial alone; "sweep", all trials; "total", some trials at once; "short", many
        short ones. side : "eager" or "lazy". number : of the trial, in "single"; else the trials in all.
    workers : trials at a time. memory_mb : of the whole sweep.
    wall_s : of the processes from start to end, Python's own start included. cpu_s : of the trials.
    peak_mb : the most PSS of all processes together. over_mb : the most over their baselines (see
        `benchmarks.sweeping.pss`). added_mb : the largest growths of RSS over the imports of as many
        trials as ran at a time, as each trial told its own, added up.
    outcome : a digest a trial of all figures that have to be equal. note : what else there is to say.
    load : runnable processes of the machine as it began.
    """

    part: str
    side: str
    assets: int
    days: int
    number: int
    workers: int
    memory_mb: float | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_mb: float | None = None
    over_mb: float | None = None
    added_mb: float | None = None
    outcome: str = ""
    note: str = ""
    load: float | None = None
    date: str = ""
    machine: str = ""

    @property
    def key(self) -> tuple[str, str, int, int, int, int]:
        return self.part, self.side, self.assets, self.days, self.number, self.workers

    @property
    def bars(self) -> int:
        """About: one in a hundred is missing."""
        return self.assets * self.days * 390


_NAMES = [field.name for field in fields(Row)]
_READ: dict[str, Callable[[str], Any]] = {
    "int": int,
    "str": str,
    "float | None": lambda text: float(text) if text else None,
}


class Rows:
    """The rows of a CSV file, by what was measured."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[tuple[str, str, int, int, int, int], Row] = {}
        if path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                if reader.fieldnames != _NAMES:
                    raise ValueError(
                        f"{path} has other columns than this benchmark writes: give another --out"
                    )
                for told in reader:
                    row = Row(**{one.name: _READ[str(one.type)](told[one.name]) for one in fields(Row)})
                    self._rows[row.key] = row

    def __iter__(self) -> Iterator[Row]:
        return iter(list(self._rows.values()))

    def get(self, row: Row) -> Row | None:
        """The row that was measured of the same."""
        return self._rows.get(row.key)

    def put(self, row: Row) -> None:
        """Keep a row, in place of an older one of the same, with date and machine; save all or nothing."""
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
        row = replace(row, date=now, machine=describe_machine())
        self._rows[row.key] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(self.path.name + ".part")
        with fresh.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_NAMES)
            for _, one in sorted(self._rows.items()):
                writer.writerow([_text(getattr(one, name)) for name in _NAMES])
        os.replace(fresh, self.path)


def _text(value: object) -> object:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
