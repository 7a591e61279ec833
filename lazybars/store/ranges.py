"""Ranges of time: unions, differences and gaps. Closed ranges of integers, microseconds UTC."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["EVER", "Range", "added", "gaps", "without"]

Range = tuple[int, int]
EVER = (-(2**60), 2**60)  # wider than any bar, within what TIMESTAMPTZ holds


def added(ranges: Iterable[Range], new: Range, reach_us: int) -> list[Range]:
    """The disjoint ``ranges`` and ``new``, ascending; what ``new`` overlaps or nearly touches joins it.

    With the timestep as reach, a range that ends with one bar and another that begins with the
    next leave no gap. Ranges that ``new`` does not reach stay apart, however near they are: what
    lies between them was cut out.
    """
    start, end = new
    out = []
    for first, last in ranges:
        if last < new[0] - reach_us or first > new[1] + reach_us:
            out.append((first, last))
        else:
            start, end = min(start, first), max(end, last)
    return sorted([*out, (start, end)])


def without(ranges: Iterable[Range], cut: Range) -> list[Range]:
    """The ranges less ``cut``."""
    out = []
    for start, end in ranges:
        if start < cut[0]:
            out.append((start, min(end, cut[0] - 1)))
        if end > cut[1]:
            out.append((max(start, cut[1] + 1), end))
    return out


def gaps(known: Iterable[Range], wanted: Range) -> list[Range]:
    """What of ``wanted`` the disjoint, ascending ``known`` leave open.

    A gap begins and ends with the known time next to it, or with the end of ``wanted``.
    """
    at, end = wanted
    covered = False
    out = []
    for start, stop in known:
        if stop < at or start > end:
            continue
        covered = True
        if start > at:
            out.append((at, start))
        at = max(at, stop)
    if at < end or not covered:
        out.append((at, end))
    return out
