"""One run, simulated: the ring under next use, stretch by stretch. Pure arithmetic on arrays.

While the ring holds all that a tick asks for, each segment is read once. Where it does not, the windows
are a cycle: every tick asks for the same segments in the same order, and next use keeps what it has (what
is missed is needed no sooner, so it is served and dropped). So every tick misses what does not fit. Room
is made only by a segment that no later window reaches: what is missed next takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lazybars.forecast.lifetimes import Lifetimes
from lazybars.grid import Int64s
from lazybars.ring import PAGE_OVERHEAD_BYTES

__all__ = ["Counts", "Pace", "simulate"]

Float64s = npt.NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take.

    rows_per_s : bars read and made a segment. scan_s : what each scan costs beside. request_s : what a
        request for a window costs; meanwhile the next partition is read.
    scan_rows : bars that one scan brings at most, where several segments are read at once.
    """

    rows_per_s: float
    scan_s: float
    request_s: float
    scan_rows: int

    def read_s(self, scans: Int64s | Float64s, rows: Float64s) -> Float64s:
        """Seconds of so many scans that bring so many bars."""
        return scans * self.scan_s + rows / self.rows_per_s

    def together_s(self, rows: Float64s) -> Float64s:
        """Seconds of reading bars of many segments at once."""
        return self.read_s(np.ceil(rows / self.scan_rows), rows)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run comes to; the names are those of `lazybars.Stats`, and of `lazybars.forecast.Prospect`."""

    asked: int
    misses: int
    reads: int
    bypasses: int
    evictions: int
    bytes_read: int
    read_s: float
    stall_s: float
    booked_bytes: int


def simulate(life: Lifetimes, room_bytes: int, largest_bytes: int, pace: Pace, *, prefetch: bool) -> Counts:
    """A run over a ring that holds nothing at first.

    Parameters
    ----------
    room_bytes
        What the ring has for segments.
    largest_bytes
        The largest segment: a bypass is booked on top of the ring.
    """
    if not len(life.ticks):
        return Counts(0, 0, 0, 0, 0, 0, 0.0, 0.0, 0)
    ring = _Residency.of(life, room_bytes, prefetch)
    reads = ring.misses + ring.ahead
    # A segment that comes is read once by its own size; those that are read again are average ones.
    mean = life.asked_bytes / np.maximum(life.asked, 1)
    read_bytes = life.came_bytes + (reads - life.came) * mean
    rows = (read_bytes - reads * PAGE_OVERHEAD_BYTES) / life.row_bytes
    if prefetch:
        read_s, stall_s = _times(life, ring, pace, rows)
        held, held_bytes = int(life.held[-1]), int(life.held_bytes.max())
    else:  # each miss is a scan of its own, and nothing is dropped before room is needed
        read_s = stall_s = float(pace.read_s(reads, rows).sum())
        held, held_bytes = int(life.came.sum()), int(life.came_bytes.sum())
    resident = held if held_bytes <= room_bytes else int(room_bytes / max(mean[-1], 1.0))
    loaded = int(ring.loaded.sum())
    bypasses = int(reads.sum()) - loaded
    return Counts(
        asked=int((life.asked * life.ticks).sum()),
        misses=int(ring.misses.sum()),
        reads=int(reads.sum()),
        bypasses=bypasses,
        evictions=max(loaded - resident, 0),
        bytes_read=int(read_bytes.sum()),
        read_s=read_s,
        stall_s=stall_s,
        booked_bytes=min(held_bytes, room_bytes) + (largest_bytes if bypasses else 0),
    )


@dataclass(frozen=True, slots=True)
class _Residency:
    """What becomes of segments, by stretch.

    loaded : read and kept. ahead : of these, read ahead. misses : asked for and not there.
    together : misses of what comes and is kept: read at once.
    """

    loaded: Int64s
    ahead: Int64s
    misses: Int64s
    together: Int64s

    @classmethod
    def of(cls, life: Lifetimes, room_bytes: int, prefetch: bool) -> _Residency:
        # More than is ever asked for changes nothing, and products of it would overflow.
        room_bytes = min(room_bytes, int(life.asked_bytes.max() + life.came_bytes.max()))
        old, old_bytes = life.asked - life.came, life.asked_bytes - life.came_bytes
        stayed = np.minimum(old, old * room_bytes // np.maximum(old_bytes, 1))
        fresh = _fitting(life, room_bytes - old_bytes)
        kept = stayed + fresh
        # Taken in during the tick before, in the place of those that leave: the oldest, kept the longest.
        swapped = np.maximum(stayed - np.maximum(_before(kept) - life.left, 0), 0)
        misses = life.asked - stayed + (life.ticks - 1) * (life.asked - kept)
        if not prefetch:
            return cls(fresh + swapped, np.zeros_like(fresh), misses, fresh)
        ahead = np.minimum(_fitting(life, room_bytes - _before(life.asked_bytes)), fresh)
        ahead[life.part == life.part[0]] = 0  # there was no time before
        misses -= ahead + np.append(swapped[1:], 0)
        return cls(fresh + swapped, ahead + swapped, misses, fresh - ahead)


def _fitting(life: Lifetimes, free_bytes: Int64s) -> Int64s:
    """How many of the segments that come there is room for."""
    return np.minimum(life.came, life.came * np.maximum(free_bytes, 0) // np.maximum(life.came_bytes, 1))


def _times(life: Lifetimes, ring: _Residency, pace: Pace, rows: Float64s) -> tuple[float, float]:
    """(seconds of all reads, seconds of them that are waited for), with a thread that reads ahead."""
    row_share = rows / np.maximum(ring.misses + ring.ahead, 1)
    alone = ring.misses - ring.together
    waited_s = pace.together_s(row_share * ring.together) + pace.read_s(alone, row_share * alone)
    # What is read ahead of a partition is read while the strategy is busy with the one before.
    ahead_s = pace.together_s(_by_part(life, row_share * ring.ahead))
    busy_s = _before(_by_part(life, life.asked * life.ticks)) * pace.request_s
    read_s = waited_s.sum() + ahead_s.sum()
    return float(read_s), float(waited_s.sum() + np.maximum(ahead_s - busy_s, 0.0).sum())


def _before(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Each entry's predecessor; 0 for the first."""
    return np.concatenate((np.zeros(1, values.dtype), values[:-1]))


def _by_part(life: Lifetimes, values: Int64s | Float64s) -> Float64s:
    """Sums over the partitions that the clock stops in."""
    _, nth = np.unique(life.part, return_inverse=True)
    return np.bincount(nth, weights=values).astype(np.float64)
