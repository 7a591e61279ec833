"""One budget in bytes, and the ledger that every byte is booked in before it is read.

The cap is split once, before anything is opened. Three parts are set aside; the ring has the rest:

- the engine: DuckDB's ``memory_limit``, which it fills up whatever it is given, and what the
  process needs around it;
- reads in flight: Arrow batches live outside DuckDB's limit, so they are booked here;
- tables: grids, calendars, resampled bins and what else is kept for the whole run.
"""

from __future__ import annotations

from dataclasses import dataclass

from lazybars.errors import CapTooSmall

__all__ = ["Ledger", "Split", "reserved_bytes", "smallest_cap", "split"]

_MIB = 1 << 20
# What DuckDB, Arrow and the allocators add to the process beside the limit. Peaks (VmHWM over baseline) of
# 200,000 calls over 10 million bars, less the rest of the cap, came to 48 to 50 MiB under caps of 64 to
# 128 MB: most where the ring holds next to nothing, and every call reads. Most of it are pages of their
# libraries, which the first scan touches.
ENGINE_OVERHEAD_BYTES = 51 * _MIB
# DuckDB's pool. The system's page cache holds the file as well, so a larger pool reads no faster; but
# a scan pins a block or two of every column that it reads.
_ENGINE_LIMIT_BYTES = 8 * _MIB
_COLUMN_BYTES = 512 * 1024
# A scan of five columns works in 4 MiB and takes as long in 5 as in 8 (measured on 100 million bars): so much
# of the pool goes to what DuckDB keeps of a large file outside its limit. A scan that does not fit then
# has the pool take it back (`Engine.widen`).
_YIELDED_BYTES = 3 * _MIB
# More of the pool where bars are written while the backtest runs: 45,000 rows of nine columns fail to
# commit in 8 MiB and pass in 16.
_WRITING_BYTES = 16 * _MIB
_READ_BYTES = 4 * _MIB
# A full ring that turns over leaves pages of the heap half used: 1.2 % of 192 MB were measured, and one part
# in so many is set aside.
_HEAP_PART = 32
# One stored value while it is read: as Arrow, as NumPy, and what repairing it works on.
_READ_VALUE_BYTES = 23
# open, high, low, close and volume.
_BAR_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class Split:
    """How one cap is spent. All in bytes; ``ring_bytes`` is shared by segments and tables.

    read_row_bytes : one stored row while it is read. heap_bytes : what a full ring loses to the heap.
    """

    cap_bytes: int
    engine_limit_bytes: int
    engine_overhead_bytes: int
    read_bytes: int
    ring_bytes: int
    read_row_bytes: int = _READ_VALUE_BYTES * (_BAR_COLUMNS + 2)
    heap_bytes: int = 0

    @property
    def read_rows(self) -> int:
        """Stored rows that may be read at a time."""
        return max(self.read_bytes // self.read_row_bytes, 4096)

    def pool(self, kept_bytes: int) -> tuple[int, int]:
        """How DuckDB's share is spent where it keeps so much of a file outside its ``memory_limit``.

        Returns the limit, and what has to be booked beside the share.
        """
        yielded = min(kept_bytes, _YIELDED_BYTES)
        return self.engine_limit_bytes - yielded, kept_bytes - yielded

    @property
    def reserved_bytes(self) -> int:
        return self.engine_limit_bytes + self.engine_overhead_bytes + self.read_bytes


def _engine_limit_bytes(columns: int) -> int:
    return _ENGINE_LIMIT_BYTES + max(columns - _BAR_COLUMNS, 0) * _COLUMN_BYTES


def reserved_bytes(columns: int = _BAR_COLUMNS) -> int:
    """What a cap spends on all but the ring, for series of so many stored columns."""
    return _engine_limit_bytes(columns) + ENGINE_OVERHEAD_BYTES + _READ_BYTES


def split(cap_bytes: int, columns: int = _BAR_COLUMNS, *, download_bytes: int = 0) -> Split:
    """Split a cap, for series of so many stored columns.

    Parameters
    ----------
    download_bytes
        What one answer of the service that bars are downloaded from takes until it is stored; 0 for a
        run that downloads nothing. Writing needs a larger pool of DuckDB's as well.

    Raises
    ------
    CapTooSmall
        Nothing would be left for the ring.
    """
    limit = _engine_limit_bytes(columns)
    around = ENGINE_OVERHEAD_BYTES
    if download_bytes:
        limit += _WRITING_BYTES
        around += download_bytes
    left = cap_bytes - limit - around - _READ_BYTES
    ring = left - max(left, 0) // _HEAP_PART
    if ring < _MIB:
        needed = cap_bytes - left + _with_heap(_MIB)
        raise CapTooSmall(
            f"memory={cap_bytes / 1e6:.0f} MB leaves {max(ring, 0) / 1e6:.1f} MB for bars: the engine takes "
            f"{(limit + around) / 1e6:.0f} MB and reads in flight {_READ_BYTES / 1e6:.0f} MB. "
            f"Give at least {needed / 1e6:.1f} MB ({needed} bytes).",
            needed,
        )
    row_bytes = _READ_VALUE_BYTES * (max(columns, _BAR_COLUMNS) + 2)
    return Split(cap_bytes, limit, around, _READ_BYTES, ring, row_bytes, heap_bytes=left - ring)


def _with_heap(ring_bytes: int) -> int:
    """The least that :func:`split` makes a ring of so many bytes from."""
    return ring_bytes + (ring_bytes - 1) // (_HEAP_PART - 1)


def smallest_cap(ring_bytes: int, columns: int = _BAR_COLUMNS) -> int:
    """The smallest cap whose :func:`split` leaves ``ring_bytes``, and a MiB at the least, for the ring."""
    return _with_heap(max(ring_bytes, _MIB)) + reserved_bytes(columns)


class Ledger:
    """Bytes of the ring: resident segments, reads in flight, tables, frames still held.

    No lock of its own: it is only touched under the ring's.

    resident_bytes : segments in the ring.
    in_flight_bytes : segments booked for reads under way, and segments that are served and dropped.
    table_bytes : grids, calendars and bins.
    spare_bytes : room for one segment that is served and not kept.
    peak_bytes : the most that was ever booked, the reserved parts of the split included.
    """

    def __init__(self, split: Split, spare_bytes: int = 0) -> None:
        self.split = split
        self.spare_bytes = spare_bytes
        self.resident_bytes = 0
        self.in_flight_bytes = 0
        self.table_bytes = 0
        self.peak_bytes = split.reserved_bytes

    @property
    def booked_bytes(self) -> int:
        return self.resident_bytes + self.in_flight_bytes + self.table_bytes

    @property
    def free_bytes(self) -> int:
        """What segments may still be booked: the spare room is for one that is not kept."""
        return self.split.ring_bytes - self.spare_bytes - self.booked_bytes

    def book(self, nbytes: int) -> None:
        """Book a read before it begins."""
        self.in_flight_bytes += nbytes
        self._note()

    def settle(self, nbytes: int) -> None:
        """A read has arrived: its bytes are resident now."""
        self.in_flight_bytes -= nbytes
        self.resident_bytes += nbytes

    def cancel(self, nbytes: int) -> None:
        """A read failed, or what it brought is not kept."""
        self.in_flight_bytes -= nbytes

    def release(self, nbytes: int) -> None:
        """A resident segment has left."""
        self.resident_bytes -= nbytes

    def table(self, delta_bytes: int) -> None:
        """Tables grew, or shrank."""
        self.table_bytes += delta_bytes
        self._note()

    def _note(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self.split.reserved_bytes + self.booked_bytes)
