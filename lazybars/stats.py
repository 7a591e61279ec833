"""What a run shows of itself: bytes against the cap, hits, stalls."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Stats", "peak_rss_bytes", "rss_bytes"]


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of one source or iterator.

    cap_bytes : what `memory` said.
    resident_bytes : segments in the ring.
    in_flight_bytes : booked for reads under way.
    table_bytes : grids, calendars and resampled bins.
    pinned_bytes : frames handed out that are still alive: the strategy holds them, outside the cap.
    peak_bytes : the most that was booked against the cap, the engine's share included.
    peak_rss_bytes : the process's peak RSS less its RSS when the source was opened.
    calls : questions answered.
    hits, misses : segments that a question found in the ring; that it had to read itself.
    late : segments that a question found still loading.
    prefetched : segments read ahead. evictions : segments let go. bypasses : served, not kept.
    stall_s : wall seconds that the strategy waited for bars.
    eager : series held whole in RAM, as Lumibot does, with the reason.
    held : bars that others hold in RAM (the caller's frames, Lumibot's parameters), with bytes.
    requests, requested_bytes : what the store has asked of an object store since it was opened.
    """

    cap_bytes: int
    resident_bytes: int
    in_flight_bytes: int
    table_bytes: int
    pinned_bytes: int
    peak_bytes: int
    peak_rss_bytes: int
    calls: int
    hits: int
    misses: int
    late: int
    prefetched: int
    evictions: int
    bypasses: int
    stall_s: float
    eager: dict[str, str]
    held: dict[str, int]
    requests: int = 0
    requested_bytes: int = 0

    @property
    def hit_rate(self) -> float:
        """Hits over segments asked for; NaN before the first."""
        asked = self.hits + self.misses + self.late
        return self.hits / asked if asked else float("nan")


def _status_bytes(field: str) -> int:
    """A field of /proc/self/status in bytes; 0 where there is no such file."""
    status = Path("/proc/self/status")
    if os.name != "posix" or not status.exists():
        return 0
    for line in status.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def rss_bytes() -> int:
    """The process's resident set now (Linux; 0 elsewhere)."""
    statm = Path("/proc/self/statm")  # shorter than status, and a run asks a thousand times
    if os.name != "posix" or not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_rss_bytes() -> int:
    """The most that the resident set ever was (Linux; 0 elsewhere)."""
    return _status_bytes("VmHWM")
