"""Memory of segments, taken from the system block by block and given back at once."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

__all__ = ["float_block"]

# A smaller one would waste much of its last page.
_SMALL_BYTES = 16 * mmap.PAGESIZE
# Private pages, and all of them at once, where the system can: measured, a block is there and filled in half
# the time of one whose pages are shared, as those of Python's mmap are, and come one by one when touched.
_AT_ONCE: dict[str, int] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE}
    if hasattr(mmap, "MAP_POPULATE")
    else {}
)


def float_block(columns: int, rows: int) -> npt.NDArray[np.float64]:
    """An uninitialised float64 array of shape (columns, rows), C order.

    Anonymous mappings, because segments come and go between the small objects of a backtest: in one
    heap with those, the holes that they leave stay in the process, and it outgrows the ledger.
    """
    nbytes = 8 * columns * rows
    if nbytes < _SMALL_BYTES:
        return np.empty((columns, rows))
    return np.frombuffer(mmap.mmap(-1, nbytes, **_AT_ONCE), dtype=np.float64).reshape(columns, rows)
