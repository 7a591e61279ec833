"""What is wrong with bars one by one: prices that cannot be, spikes, splits, and prices that stand still."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lazybars.model import SeriesInfo
from lazybars.quality.spans import Span
from lazybars.store import Storage
from lazybars.store.schema import identifier

__all__ = ["Stale", "Tally", "split_days", "tests_of"]

# Yahoo's adjusted prices break the order of high and low by up to 3e-14 of the price.
_ORDER_TOLERANCE = 1e-9
# New shares for one old one, or old ones for one new.
_SPLITS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100)
_NEAR_SPLIT = 0.04
_STAYS_WITHIN = 1.25
_NEW_YORK = "CAST(timezone('America/New_York', make_timestamptz({us})) AS DATE)"


def tests_of(info: SeriesInfo, spike: float) -> dict[str, str]:
    """SQL predicates over ``bar`` by the check that they are for; params: $days, of splits that are known."""
    ratio = "CASE WHEN c_before > 0 AND o > 0 THEN greatest(o / c_before, c_before / o) END"
    near = " OR ".join(
        f"{ratio} BETWEEN {split / (1 + _NEAR_SPLIT):.4f} AND {split * (1 + _NEAR_SPLIT):.4f}"
        for split in _SPLITS
    )
    stays = " AND ".join(
        f"coalesce({other}, o) BETWEEN o / {_STAYS_WITHIN} AND o * {_STAYS_WITHIN}"
        for other in ("c", "c_after")
    )
    day, day_before = (_NEW_YORK.format(us=us) for us in ("us", "us_before"))
    tests = {
        "duplicate times": "us = us_before",
        "missing prices": "o IS NULL OR h IS NULL OR l IS NULL OR c IS NULL",
        "zero prices": "o = 0 OR h = 0 OR l = 0 OR c = 0",
        "negative prices": "least(o, h, l, c) < 0",
        "negative volume": "v < 0",
        "price order": f"h < greatest(o, l, c) - {_ORDER_TOLERANCE} * abs(h) "
        f"OR l > least(o, h, c) + {_ORDER_TOLERANCE} * abs(l)",
        # Against both neighbours: a price that stays where it went is no spike.
        "spikes": "least(o, h, l, c, c_before, c_after) > 0 AND "
        f"coalesce(h > (1 + {spike!r}) * greatest(c_before, c_after) "
        f"OR l < least(c_before, c_after) / (1 + {spike!r}), false)",
    }
    if info.asset.asset_type == "stock":
        # A split takes effect overnight, and the date is asked for only where the prices look like one.
        tests["unadjusted splits"] = (
            f"CASE WHEN ({near}) AND {stays} THEN {day} <> {day_before} AND NOT list_contains($days::DATE[], "
            f"{day}) ELSE false END"
        )
    return tests


def split_days(store: Storage, info: SeriesInfo) -> list[Any]:
    """The New York dates of the splits that any series of the asset has in a column stock_splits."""
    days: set[Any] = set()
    for other in store.series():
        physical = [column.physical for column in other.columns if column.name == "stock_splits"]
        if other.asset == info.asset and physical:
            split = identifier(physical[0])
            found = store.sql(
                f"SELECT DISTINCT {_NEW_YORK.format(us='epoch_us(ts)')} AS day FROM bars "
                f"WHERE series_id = ? AND {split} NOT IN (0, 1)",
                [other.series_id],
            )
            days.update(found.column(0).to_pylist())
    return sorted(days)


@dataclass(slots=True)
class Tally:
    """How often each test hits, and where first, span by span."""

    tests: dict[str, str]
    days: list[Any]
    counts: dict[str, int] = field(default_factory=dict)
    firsts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, span: Span) -> None:
        params = {"days": self.days} if "unadjusted splits" in self.tests else {}
        tests = ", ".join(f"{test} AS t{i}" for i, test in enumerate(self.tests.values()))
        # count(*), as count_if gives a HUGEINT, which Arrow makes a decimal of, and JSON nothing.
        hits = ", ".join(
            f"count(*) FILTER (t{i}) AS n{i}, min(us) FILTER (t{i}) AS us{i}" for i in range(len(self.tests))
        )
        (row,) = span.rows(f"SELECT {hits} FROM (SELECT us, {tests} FROM bar WHERE inside)", params)
        for i, name in enumerate(self.tests):
            if row[f"n{i}"]:
                self.counts[name] = self.counts.get(name, 0) + row[f"n{i}"]
                if name not in self.firsts:
                    hit = span.rows(
                        "SELECT * FROM bar WHERE inside AND us = $us LIMIT 1", {"us": row[f"us{i}"]}
                    )
                    self.firsts[name] = hit[0]


@dataclass(slots=True)
class Stale:
    """Runs of bars that repeat the close before them, with no volume.

    least : bars of a run that counts. runs : how many there are. first : when the first begins (us), its
    bars and its close. longest : bars of the longest.
    """

    least: int
    runs: int = 0
    longest: int = 0
    first: tuple[int, int, float] | None = None
    _open: tuple[int, int, float] | None = None

    def add(self, span: Span) -> None:
        """The runs of one span; one that reaches its end may go on in the next."""
        found = span.rows(
            "SELECT min(us) AS us, count(*) AS n, any_value(c) AS c, n_run = 0 AS begins, n_run = n_runs AS "
            "ends FROM (SELECT us, c, flat, n_run, max(n_run) OVER () AS n_runs FROM "
            "(SELECT us, c, flat, coalesce(sum(CASE WHEN flat THEN 0 ELSE 1 END) OVER (ORDER BY us), 0) AS "
            "n_run FROM (SELECT us, c, coalesce(c = c_before AND coalesce(v, 0) = 0, false) AS flat FROM bar "
            "WHERE inside))) WHERE flat GROUP BY n_run, n_runs HAVING n >= $least OR begins OR ends "
            "ORDER BY us",
            {"least": self.least},
        )
        runs = [(row["us"], row["n"], row["c"], row["begins"], row["ends"]) for row in found]
        held = self._open
        if held is not None and runs and runs[0][3]:
            us, n, close, _, ends = runs.pop(0)
            held = (held[0], held[1] + n, held[2])
            if ends:
                self._open = held
                return
        if held is not None:
            self._close(held)
        self._open = None
        for us, n, close, _, ends in runs:
            if ends:
                self._open = (us, n, close)
            else:
                self._close((us, n, close))

    def done(self) -> None:
        """The series has ended."""
        if self._open is not None:
            self._close(self._open)
        self._open = None

    def _close(self, run: tuple[int, int, float]) -> None:
        if run[1] < self.least:
            return
        self.runs += 1
        self.longest = max(self.longest, run[1])
        self.first = self.first or run
