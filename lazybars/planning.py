"""Before bar one: the partition that fits, and what the run needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from lazybars.budget import Split, reserved_bytes, smallest_cap
from lazybars.errors import CapTooSmall
from lazybars.partition import KINDS, Partitions
from lazybars.ring import PAGE_OVERHEAD_BYTES
from lazybars.series import Series

__all__ = ["Demand", "Plan", "choose"]

# The current partition and the next one are resident at once while the clock crosses over.
_RESIDENT_PARTS = 2
# Larger partitions would save nothing, but the first read of a run would be waited for.
_ROWS_AT_ONCE = 600_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run needs, from metadata alone. All in bytes unless the name says otherwise.

    working_set_bytes : the universe in the partition that holds most, and in the one after it;
        with so much in the ring nothing is read twice (lookbacks within a partition).
    largest_segment_bytes : one series in the partition that holds most of it.
    spare_bytes : room kept for serving one segment that is not kept, and for reading it.
    needed_cap_bytes : the smallest `memory` that works at all.
    comfortable_cap_bytes : the smallest `memory` that holds the working set.
    """

    split: Split
    partition: str
    partitions: int
    series: int
    rows: int
    table_bytes: int
    working_set_bytes: int
    largest_segment_bytes: int
    spare_bytes: int
    needed_cap_bytes: int
    comfortable_cap_bytes: int

    def __str__(self) -> str:
        mb = 1e6
        engine = self.split.engine_limit_bytes + self.split.engine_overhead_bytes + self.split.heap_bytes
        return (
            f"{self.series} series, {self.rows:,} rows, {self.partitions} partitions of {self.partition}\n"
            f"cap {self.split.cap_bytes / mb:.1f} MB = engine {engine / mb:.1f}"
            f" + reads {self.split.read_bytes / mb:.1f} + ring and tables {self.split.ring_bytes / mb:.1f}\n"
            f"working set {self.working_set_bytes / mb:.1f} MB, tables {self.table_bytes / mb:.1f} MB; "
            f"works from {self.needed_cap_bytes / mb:.1f} MB, "
            f"comfortable from {self.comfortable_cap_bytes / mb:.1f} MB"
        )


def _segment(one: Series, part: int) -> int:
    lo, hi = one.span(part)
    return one.segment_bytes(hi - lo) + PAGE_OVERHEAD_BYTES if hi > lo else 0


@dataclass(slots=True)
class Demand:
    """What some series need of some partitions; they may come one after the other.

    totals : bytes of all segments of a partition, for those that have any. counts : rows of them.
    largest_bytes, largest_rows : of the segment that has most. columns : the most stored columns of one.
    """

    partitions: Partitions
    totals: dict[int, int] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    largest_bytes: int = 0
    largest_rows: int = 0
    columns: int = 0
    series: int = 0
    rows: int = 0

    @classmethod
    def of(cls, series: Sequence[Series], partitions: Partitions) -> Demand:
        """What some series need of all of the partitions."""
        demand = cls(partitions)
        for one in series:
            demand.add(one, range(len(partitions)))
        return demand

    def add(self, one: Series, parts: range | None = None) -> None:
        """Count a series in; ``parts`` are those that it may have rows in."""
        if parts is None:
            of = self.partitions.of
            parts = range(of(one.info.first_ns), of(one.info.last_ns) + 1)
        for part in parts:
            if nbytes := _segment(one, part):
                lo, hi = one.span(part)
                self.totals[part] = self.totals.get(part, 0) + nbytes
                self.counts[part] = self.counts.get(part, 0) + hi - lo
                self.largest_bytes = max(self.largest_bytes, nbytes)
                self.largest_rows = max(self.largest_rows, hi - lo)
        self.columns = max(self.columns, len(one.physical))
        self.series += 1
        self.rows += one.rows

    def remove(self, one: Series) -> None:
        """Take a series out that was counted in; what is called largest stays."""
        of = self.partitions.of
        for part in range(of(one.info.first_ns), of(one.info.last_ns) + 1):
            if nbytes := _segment(one, part):
                lo, hi = one.span(part)
                self.totals[part] -= nbytes
                self.counts[part] -= hi - lo
        self.series -= 1
        self.rows -= one.rows

    def fits(self, split: Split) -> bool:
        """Whether the ring holds the fullest partition twice over, and can read it without a stall."""
        fullest = max(self.totals.values(), default=0)
        return fullest * _RESIDENT_PARTS <= split.ring_bytes * 0.85 and self.largest_rows <= split.read_rows

    def spare_bytes(self, split: Split) -> int:
        """Room to read and serve one segment that is not kept."""
        # A scan brings a series' partition in one piece, however much that is.
        return self.largest_bytes + max(self.largest_rows * split.read_row_bytes - split.read_bytes, 0)

    def plan(self, split: Split, table_bytes: int) -> Plan:
        """What a run over these series needs.

        Raises
        ------
        CapTooSmall
            One segment and the tables do not fit into what the cap leaves for the ring.
        """
        totals, partitions = self.totals, self.partitions
        working = max(
            (sum(totals.get(part + ahead, 0) for ahead in range(_RESIDENT_PARTS)) for part in totals),
            default=0,
        )
        largest, rows, columns = self.largest_bytes, self.largest_rows, self.columns
        spare = self.spare_bytes(split)
        # What the split sets aside beside what it does for any run.
        extra = split.reserved_bytes - reserved_bytes(columns)
        needed = smallest_cap(largest + spare + table_bytes, columns) + max(extra, 0)
        plan = Plan(
            split=split,
            partition=partitions.kind,
            partitions=len(partitions),
            series=self.series,
            rows=self.rows,
            table_bytes=table_bytes,
            working_set_bytes=working,
            largest_segment_bytes=largest,
            spare_bytes=spare,
            needed_cap_bytes=needed,
            comfortable_cap_bytes=smallest_cap(working + spare + table_bytes, columns) + max(extra, 0),
        )
        if split.ring_bytes < largest + spare + table_bytes:
            mb = 1e6
            raise CapTooSmall(
                f"memory={split.cap_bytes / mb:.1f} MB is too small: needs at least {needed / mb:.1f} MB "
                f"({needed} bytes): {self.series} series, the largest {rows} rows a partition of "
                f"{partitions.kind} = {largest / mb:.2f} MB, {spare / mb:.2f} MB to read and serve it in, "
                f"tables {table_bytes / mb:.2f} MB, "
                f"{split.reserved_bytes / mb:.1f} MB for the engine and reads in flight. "
                "Raise memory, or choose a smaller partition.",
                needed,
            )
        return plan


S = TypeVar("S", bound=Series)


def choose(
    kind: str, first_ns: int, last_ns: int, split: Split, series_in: Callable[[Partitions], Sequence[S]]
) -> tuple[Demand, Sequence[S]]:
    """The partitions of a kind, or for "auto" the largest kind that the ring holds twice over.

    Returns what the series need, which bears the partitions, and the series.

    Parameters
    ----------
    series_in
        Makes the series for given partitions.
    """
    for candidate in reversed(KINDS) if kind == "auto" else (kind,):
        partitions = Partitions.covering(candidate, first_ns, last_ns)
        series = series_in(partitions)
        demand = Demand.of(series, partitions)
        if demand.fits(split) and max(demand.counts.values(), default=0) <= _ROWS_AT_ONCE:
            break
    return demand, series
