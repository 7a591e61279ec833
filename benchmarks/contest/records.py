"""The CSV file: one row a cell, kept after every cell, so that a run that was stopped goes on."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

__all__ = ["UNMEASURED", "Record", "Records"]

# Statuses that say nothing of the contestant: such a cell is tried again.
UNMEASURED = ("not installed",)


@dataclass(frozen=True, slots=True)
class Record:
    """One cell. What was not measured is None, an empty field.

    contestant : its name. cap_mb : its cap, where it has one. bars, assets, days, calls : the task.
    cpu_s, wall_s : of the whole cell from behind the imports, start-up included; user and system
        time of all threads. startup_s, startup_cpu_s : until the first bar could be asked.
    p50_us, p99_us : wall time of a single call.
    peak_rss_mb : VmHWM at the end less RSS behind the imports. anon_mb : what of the growth was neither
        file nor page cache when the last call was answered.
    import_s : wall time of the imports, in no other figure. load : runnable processes before the cell.
    runs : how often it was run; the row is the run that took the least CPU time.
    checksum : of all closes. status : "ok", "wrong", "refused", "out of memory", "cap too small",
        "timeout", "failed" or "not installed"; cause says why.
    """

    contestant: str
    bars: int
    cap_mb: float | None
    assets: int
    days: int
    calls: int
    machine: str
    versions: str
    date: str
    cpu_s: float | None
    wall_s: float | None
    startup_s: float | None
    startup_cpu_s: float | None
    p50_us: float | None
    p99_us: float | None
    peak_rss_mb: float | None
    anon_mb: float | None
    import_s: float | None
    load: float | None
    runs: int
    checksum: str
    status: str
    cause: str

    @property
    def key(self) -> tuple[str, float | None, int, int, int]:
        return self.contestant, self.cap_mb, self.assets, self.days, self.calls

    @property
    def label(self) -> str:
        """The contestant with its cap."""
        if self.cap_mb is None:
            return self.contestant
        return (
            f"{self.contestant} {self.cap_mb:g} MB"
            if self.cap_mb < 1000
            else (f"{self.contestant} {self.cap_mb / 1000:g} GB")
        )

    @property
    def call_us(self) -> float | None:
        """CPU microseconds a call, start-up left out."""
        if self.cpu_s is None or self.startup_cpu_s is None:
            return None
        return (self.cpu_s - self.startup_cpu_s) / self.calls * 1e6


_NAMES = [field.name for field in fields(Record)]
_READ: dict[str, Callable[[str], Any]] = {
    "int": int,
    "str": str,
    "float | None": lambda text: float(text) if text else None,
}


class Records:
    """The rows of a CSV file, by cell."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[tuple[str, float | None, int, int, int], Record] = {}
        if path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                if reader.fieldnames != _NAMES:
                    raise ValueError(
                        f"{path} has other columns than this comparison writes: give another --out"
                    )
                for row in reader:
                    record = Record(
                        **{field.name: _READ[str(field.type)](row[field.name]) for field in fields(Record)}
                    )
                    self._rows[record.key] = record

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: tuple[str, float | None, int, int, int]) -> Record | None:
        return self._rows.get(key)

    def put(self, record: Record) -> None:
        """Keep a row, in place of the one that its cell had, and save the file: all of it or none."""
        self._rows[record.key] = record
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(self.path.name + ".part")
        with fresh.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_NAMES)
            for one in self._rows.values():
                writer.writerow([_text(getattr(one, name)) for name in _NAMES])
        os.replace(fresh, self.path)


def _text(value: object) -> object:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
