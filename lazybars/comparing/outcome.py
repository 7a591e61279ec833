"""What one side of a comparison came to, and where two sides part."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from lazybars.sweep.job import Reply

__all__ = ["FIELDS", "Backtest", "Difference", "Outcome", "differences"]

# What is compared, and what a row of it says. Every row begins with its time.
FIELDS = {
    "orders": (
        "time",
        "symbol",
        "side",
        "quantity",
        "type",
        "class",
        "limit price",
        "stop price",
        "stop limit price",
        "trail price",
        "trail percent",
        "time in force",
        "quote",
        "children",
    ),
    "order events": ("time", "symbol", "side", "order", "status", "type", "price", "quantity"),
    "fills": ("time", "symbol", "side", "quantity", "price", "cost"),
    "cash": ("time", "cash"),
    "portfolio values": ("time", "value"),
}
_LEADING = {"orders": 3, "order events": 3, "fills": 3, "cash": 1, "portfolio values": 1}


@dataclass(frozen=True, slots=True)
class Backtest:
    """One backtest of a side.

    strategy, source : names of the classes. wrapped : whether lazybars served it.
    rows : of each subject of `FIELDS`, in the order in which they came about; a row has its fields.
    start_up_s : from the start of the file, or the end of the backtest before, to the first iteration;
        None where there was none.
    figures : of ``source.lazy.stats()``, with "hit_rate", "eager" and "held"; empty where it is bare.
    """

    strategy: str
    source: str
    wrapped: bool
    rows: dict[str, list[list[Any]]]
    start_up_s: float | None
    figures: dict[str, Any]

    def last(self, subject: str) -> Any:
        """What the last row of a subject ends with; None where there is no row."""
        rows = self.rows[subject]
        return rows[-1][-1] if rows else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One side. Where ``error`` is not None it failed, and that says why.

    wall_s, cpu_s : from the start of the file to the end of its last backtest; CPU time of all threads.
    added_bytes : peak RSS less that after importing lazybars and Lumibot's source; 0 where it is unknown.
    """

    backtests: tuple[Backtest, ...] = ()
    error: str | None = None
    traceback: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    added_bytes: int = 0

    @classmethod
    def of(cls, reply: Reply) -> Outcome:
        """From what the process of the side replied, or what was said for it."""
        if reply["status"] != "ok":
            return cls(error=str(reply["error"]), traceback=reply.get("traceback", ""))
        return cls(
            tuple(Backtest(**one) for one in reply["backtests"]),
            None,
            "",
            reply["file_wall_s"],
            reply["file_cpu_s"],
            reply["added_rss_bytes"],
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two sides part in one subject of one backtest.

    when : the time of the first row that differs, the earlier one of the two; None where there is none.
    said : one line, with what is bare and what is lazy.
    rows : how many rows differ, those that only one side has included.
    """

    backtest: int
    subject: str
    when: dt.datetime | None
    said: str
    rows: int


def differences(bare: Sequence[Backtest], lazy: Sequence[Backtest]) -> list[Difference]:
    """All that differs, what parted first in time first; rows are equal where their bits are."""
    found = []
    if len(bare) != len(lazy):
        said = f"{len(bare)} bare, {len(lazy)} lazy"
        found.append(Difference(-1, "backtests", None, said, abs(len(bare) - len(lazy))))
    for number, (one, other) in enumerate(zip(bare, lazy, strict=False)):
        for subject in FIELDS:
            difference = _difference(number, subject, one.rows[subject], other.rows[subject])
            if difference is not None:
                found.append(difference)
    last = dt.datetime.max.replace(tzinfo=dt.timezone.utc)
    return sorted(found, key=lambda one: (one.backtest, last if one.when is None else one.when))


def _difference(number: int, subject: str, bare: list[Any], lazy: list[Any]) -> Difference | None:
    # As text, so that NaN is equal to NaN, and 0.0 is not -0.0.
    parted = [
        (at, one, other)
        for at, (one, other) in enumerate(zip_longest(bare, lazy))
        if one is None or other is None or json.dumps(one) != json.dumps(other)
    ]
    if not parted:
        return None
    at, one, other = parted[0]
    times = [_moment(row[0]) for row in (one, other) if row is not None]
    return Difference(number, subject, min(times), _told(subject, at, one, other), len(parted))


def _moment(text: str) -> dt.datetime:
    when = dt.datetime.fromisoformat(text)
    return when if when.tzinfo is not None else when.replace(tzinfo=dt.timezone.utc)


def _told(subject: str, at: int, bare: list[Any] | None, lazy: list[Any] | None) -> str:
    """One line about the first rows that differ: whole ones where one is missing, else their fields."""
    number = f"{_SINGULAR[subject]} {at + 1}"
    if bare is None or lazy is None:
        which, row = ("lazy", lazy) if bare is None else ("bare", bare)
        assert row is not None
        return f"{number} is there only {which}: {_row(subject, row)}"
    parts = [
        f"{name} {_value(one)} bare, {_value(other)} lazy"
        for name, one, other in zip(FIELDS[subject], bare, lazy, strict=True)
        if json.dumps(one) != json.dumps(other)
    ]
    same = [str(value) for value in bare[: _LEADING[subject]]]
    return f"{number} ({' '.join(same)}): {'; '.join(parts)}"


_SINGULAR = {
    "orders": "order",
    "order events": "event",
    "fills": "fill",
    "cash": "iteration",
    "portfolio values": "iteration",
}


def _row(subject: str, row: list[Any]) -> str:
    leading = _LEADING[subject]
    rest = zip(FIELDS[subject][leading:], row[leading:], strict=True)
    told = [f"{name} {_value(value)}" for name, value in rest if value not in (None, [], "")]
    return " ".join([*map(str, row[:leading]), *told])


def _value(value: Any) -> str:
    return "none" if value is None else str(value)
