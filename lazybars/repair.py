"""Stored rows to the rows that Lumibot would show: one partition of one series at a time.

Lumibot repairs a whole frame at once (``Data.repair_times_and_fill``): it takes the last stored
row at or before each instant of the union index, fills gaps, and derives returns. The same steps
are done here on one partition, with a :class:`Carry` for what the steps remember from before it.
The arithmetic is the same NumPy arithmetic on the same operands, so the bits are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lazybars.blocks import float_block
from lazybars.grid import Int64s
from lazybars.layout import QUOTES, Layout

__all__ = ["Carry", "Columns", "Segment", "repair"]

Columns = dict[str, npt.NDArray[np.generic]]

# A gap in the index beyond which a bid or ask of before it is stale (Lumibot's two hours).
_SESSION_GAP_NS = 120 * 60_000_000_000


@dataclass(frozen=True, slots=True)
class Carry:
    """What a partition must know of the time before it.

    stored : the last stored row before it, by column name; None at the start of the series.
    shown, shown_ns : the last repaired row before it and its instant; None where there is none.
    """

    stored: Mapping[str, np.generic] | None = None
    shown: Mapping[str, np.generic] | None = None
    shown_ns: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """The repaired rows of one series in one partition. Immutable once built.

    block : float64, shape (columns of `Layout.rows`, rows), C order.
    extras : name -> array of shape (rows,) in the owner's dtype.
    """

    block: npt.NDArray[np.float64]
    extras: Columns

    def column(self, layout: Layout, name: str) -> npt.NDArray[np.generic]:
        row = layout.rows.get(name)
        return self.extras[name] if row is None else self.block[row]

    def row(self, layout: Layout, index: int) -> dict[str, np.generic]:
        return {name: self.column(layout, name)[index] for name, _ in layout.frame}


def _fill(values: npt.NDArray[np.float64], before: np.generic | None) -> None:
    """Forward-fill NaN in place; ``before`` fills the gap at the front."""
    gap = np.isnan(values)
    if not gap.any():
        return
    source = np.where(gap, -1, np.arange(len(values)))
    np.maximum.accumulate(source, out=source)
    found = source >= 0
    values[found] = values[source[found]]
    if before is not None:
        values[~found] = before


def _fill_in_sessions(
    values: npt.NDArray[np.floating], opens: npt.NDArray[np.bool_], before: np.generic | None
) -> None:
    """Forward-fill NaN in place, never from one session into the next."""
    order = np.arange(len(values))
    source = np.maximum.accumulate(np.where(np.isnan(values), -1, order))
    session = np.maximum.accumulate(np.where(opens, order, -1))
    inside = (source >= 0) & (source >= session)
    filled = np.where(inside, values[np.maximum(source, 0)], np.nan)
    if before is not None:
        # Rows of the session that began before this partition and has had no value in it yet.
        filled[(session < 0) & (source < 0)] = before
    values[:] = filled


def repair(
    layout: Layout, stored_ns: Int64s, stored: Columns, times_ns: Int64s, carry: Carry, *, intraday: bool
) -> Segment:
    """Repair one partition of one series.

    Parameters
    ----------
    stored_ns
        Timestamps of the partition's stored rows, ascending and distinct; shape (m,).
    stored
        Name -> values of shape (m,), NaN for what is missing.
    times_ns
        The instants of the universe's grid inside the partition and the series; shape (n,).
    carry
        What was before the partition.
    intraday
        Minute and hour bars: bids and asks do not outlive a session.

    Returns
    -------
    Segment of n rows.
    """
    rows = len(times_ns)
    aligned = rows == len(stored_ns) and bool(np.array_equal(stored_ns, times_ns))
    # Rows of before the first stored one, and then for each row the stored one that it shows.
    front = 0 if aligned else int(times_ns.searchsorted(stored_ns[0])) if len(stored_ns) else rows
    at = stored_ns[:0] if aligned else stored_ns.searchsorted(times_ns[front:], side="right") - 1

    def seen(name: str, out: npt.NDArray[np.generic]) -> None:
        values = stored[name]
        if aligned:
            out[:] = values
        elif values.dtype == out.dtype:
            values.take(at, out=out[front:], mode="clip")  # other modes would copy through a buffer
        else:
            out[front:] = values[at]
        if front and carry.stored is not None:
            out[:front] = carry.stored[name]

    block = float_block(len(layout.rows), rows)
    for name, row in layout.rows.items():
        if name in stored:
            seen(name, block[row])
    extras: Columns = {}
    for name, dtype in layout.extras:
        extras[name] = np.empty(rows, dtype=dtype)
        seen(name, extras[name])

    shown = carry.shown
    if layout.null:
        if "volume" in layout.null:
            volume = block[layout.rows["volume"]]
            volume[np.isnan(volume)] = 0.0
        for name in layout.null & {"dividend", "stock_splits"}:
            events = block[layout.rows[name]]
            events[np.isnan(events)] = 0.0
        for name in layout.null - {"open", "high", "low", "volume", "dividend", "stock_splits", *QUOTES}:
            values = block[layout.rows[name]] if name in layout.rows else extras[name]
            _fill(values, None if shown is None else shown[name])  # type: ignore[arg-type]

    quotes = [name for name in QUOTES if name in extras]
    if quotes and intraday and rows:
        opens = np.zeros(rows, dtype=np.bool_)
        opens[1:] = np.diff(times_ns) > _SESSION_GAP_NS
        opens[0] = shown is not None and int(times_ns[0]) - carry.shown_ns > _SESSION_GAP_NS
        fresh = np.ones(rows, dtype=np.bool_) if aligned else np.isin(times_ns, stored_ns, assume_unique=True)
        for name in quotes:
            values = extras[name]
            # A bid of before the gap is stale, unless a stored row stands at the gap's very end.
            values[opens & ~fresh] = np.nan
            _fill_in_sessions(values, opens, None if shown is None else shown[name])  # type: ignore[arg-type]

    close = block[layout.rows["close"]]
    for name in layout.null & {"open", "high", "low"}:
        prices = block[layout.rows[name]]
        gap = np.isnan(prices)
        prices[gap] = close[gap]

    change = block[layout.rows["price_change" if "price_change" in layout.rows else "return"]]
    if rows:
        with np.errstate(divide="ignore", invalid="ignore"):
            change[1:] = (close[1:] - close[:-1]) / close[:-1]
            if shown is None:
                change[0] = np.nan
            else:
                last = np.float64(shown["close"])
                change[0] = (close[0] - last) / last
            if "dividend_yield" in layout.rows:
                paid = block[layout.rows["dividend_yield"]]
                np.divide(block[layout.rows["dividend"]], close, out=paid)
                np.add(paid, change, out=block[layout.rows["return"]])
    return Segment(block, extras)
