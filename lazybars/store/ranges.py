"""Ranges of time: unions, differences and gaps. Closed ranges of integers, microseconds UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["EVER", "Range", "added", "gaps", "touching", "without"]

Range = tuple[int, int]
EVER = (-(2**60), 2**60)  # wider than any bar, within what TIMESTAMPTZ holds


def added(ranges: Iterable[Range], new: Range, joins: Callable[[int, int], bool]) -> list[Range]:
    """The disjoint ``ranges`` and ``new``, ascending; what ``new`` overlaps joins it.

    joins : whether a range, from its first to its last, that lies apart from ``new`` joins it as well. Ranges
    that ``new`` does not join stay apart, however near they are: what lies between them was cut out.
    """
    start, end = new
    out = []
    for first, last in ranges:
        if (last < new[0] or first > new[1]) and not joins(first, last):
            out.append((first, last))
        else:
            start, end = min(start, first), max(end, last)
    return sorted([*out, (start, end)])


def touching(new: Range) -> Callable[[int, int], bool]:
    """For `added`: only ranges join between which and ``new`` there is nothing at all."""
    return lambda first, last: last == new[0] - 1 or first == new[1] + 1


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
