"""A text file's cells, all of them as text, as something to ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lazybars.importers.bench import Bench

__all__ = ["Cells", "listed"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Cells:
    """label : the file's name. relation, params : what to put after FROM on the bench, and its parameters."""

    bench: Bench
    relation: str
    params: dict[str, Any]
    label: str

    def one(self, select: str) -> tuple[Any, ...]:
        """The only row of an aggregate over all rows."""
        return self.bench.one(f"SELECT {select} FROM {self.relation}", self.params)

    def rows(self, select: str, rest: str = "") -> list[tuple[Any, ...]]:
        """The rows of ``SELECT select FROM the file rest``."""
        return self.bench.rows(f"SELECT {select} FROM {self.relation} {rest}", self.params)

    def wrong(self, test: str, text: str) -> list[tuple[int, str]]:
        """(row, text) of the first rows that a test hits; rows of data are counted from 1."""
        numbered = f"SELECT row_number() OVER () AS n, {text} AS t, {test} AS bad FROM {self.relation}"
        found = self.bench.rows(
            f"SELECT n, t FROM ({numbered}) WHERE bad ORDER BY n LIMIT {_SHOWN}", self.params
        )
        return [(n, t) for n, t in found]


def listed(wrong: list[tuple[int, str]]) -> str:
    """Rows and their text for a message."""
    return ", ".join(f"{text!r} in row {n}" for n, text in wrong)
