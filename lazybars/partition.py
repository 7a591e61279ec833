"""Fixed-size partitions of time: whole days, weeks, months or years in New York.

A partition begins and ends at a New York midnight, so that no trading session straddles two
partitions and the per-day summary of a store gives the exact row count of each.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from lazybars.errors import ConfigError

__all__ = ["KINDS", "NEW_YORK", "Partitions", "new_york_date"]

NEW_YORK = ZoneInfo("America/New_York")
# Some 146 years from 1970, either way.
_FOREVER_NS = 1 << 62
# Smallest first: `auto` takes the largest that the cap can hold.
KINDS = ("1D", "1W", "1M", "3M", "1Y", "5Y", "25Y")


def new_york_date(ns: int) -> dt.date:
    """The New York calendar date of an instant."""
    return dt.datetime.fromtimestamp(ns // 1_000_000_000, NEW_YORK).date()


def _midnight_ns(day: dt.date) -> int:
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).timestamp()) * 1_000_000_000


def _floor(kind: str, day: dt.date) -> dt.date:
    if kind == "1D":
        return day
    if kind == "1W":
        return day - dt.timedelta(days=day.weekday())
    if kind == "1M":
        return day.replace(day=1)
    if kind == "3M":
        return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    years = int(kind[:-1])
    return dt.date(max(day.year // years * years, 1), 1, 1)


def _following(kind: str, start: dt.date) -> dt.date:
    if kind == "1D":
        return start + dt.timedelta(days=1)
    if kind == "1W":
        return start + dt.timedelta(days=7)
    if kind in ("1M", "3M"):
        month = start.month - 1 + int(kind[0])
        return dt.date(start.year + month // 12, month % 12 + 1, 1)
    return dt.date(start.year + int(kind[:-1]), 1, 1)


@dataclass(frozen=True, slots=True)
class Partitions:
    """The partitions that cover a span of time.

    kind : one of ``KINDS``.
    edges_ns : ascending; partition ``k`` is ``[edges_ns[k], edges_ns[k + 1])``.
    """

    kind: str
    edges_ns: tuple[int, ...]

    @classmethod
    def covering(cls, kind: str, first_ns: int, last_ns: int) -> Partitions:
        """Partitions of a kind from the one that holds ``first_ns`` to the one with ``last_ns``."""
        if kind not in KINDS:
            raise ConfigError(f'partition={kind!r}: choose one of {", ".join(KINDS)} or "auto"')
        start = _floor(kind, new_york_date(first_ns))
        edges = [_midnight_ns(start)]
        while edges[-1] <= last_ns:
            start = _following(kind, start)
            edges.append(_midnight_ns(start))
        return cls(kind, tuple(edges))

    @classmethod
    def without_end(cls, kind: str, first_ns: int, last_ns: int) -> Partitions:
        """Partitions of a kind, the first of which has no beginning and the last one no end.

        For rows that are not known yet: whenever they turn out to be, they lie in one of them.
        """
        return cls(kind, (-_FOREVER_NS, *cls.covering(kind, first_ns, last_ns).edges_ns, _FOREVER_NS))

    def __len__(self) -> int:
        return len(self.edges_ns) - 1

    def of(self, ns: int) -> int:
        """The partition at an instant, clamped to the first and the last one."""
        return min(max(bisect_right(self.edges_ns, ns) - 1, 0), len(self) - 1)

    def bounds_ns(self, part: int) -> tuple[int, int]:
        """Start (inclusive) and end (exclusive) of a partition."""
        return self.edges_ns[part], self.edges_ns[part + 1]
