"""A run's trace replayed: what the best of all policies would have hit, and what LRU.

Belady's rule (L. A. Belady, IBM Systems Journal 5(2), 1966) drops what is needed farthest in the
future, and never keeps what is needed later than all that is there. It is optimal for segments of
one size; here sizes differ little.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from lazybars.access import Trace
from lazybars.journal import Regret

__all__ = ["replay"]

Key = tuple[int, int]
# Ticks that repeat one another are replayed so often; the last of them stand for the rest, since by
# then every policy has come to the same answer again and again.
_REPEATS = 8
_STEADY = 5
_MOST_ACCESSES = 1_000_000


def replay(
    trace: Trace, room_bytes: int, page_bytes: Callable[[Key], int], *, accesses: int, hits: int
) -> Regret:
    """The trace, over a ring of so many bytes that holds nothing at first and reads nothing ahead.

    Parameters
    ----------
    page_bytes
        Bytes of a segment.
    accesses, hits
        What the run had in all, for the report's other figures.
    """
    keys, weights, replayed = _expanded(trace)
    sizes = {key: page_bytes(key) for key in set(keys)}
    total = sum(weights) or 1.0
    return Regret(
        accesses=replayed,
        share=replayed / accesses if accesses else 1.0,
        hit_rate=hits / accesses if accesses else 0.0,
        best_rate=belady(keys, weights, sizes, room_bytes) / total,
        lru_rate=lru(keys, weights, sizes, room_bytes) / total,
    )


def _expanded(trace: Trace) -> tuple[list[Key], list[float], int]:
    """Keys in order, the number of accesses that each stands for, and their sum."""
    ticks: list[list[Key]] = [list(zip(flat[::2], flat[1::2], strict=True)) for flat in trace.ticks]
    keys: list[Key] = []
    weights: list[float] = []
    replayed = 0
    for which, times in trace.runs:
        tick = ticks[which]
        repeats = min(times, _REPEATS)
        if len(keys) + repeats * len(tick) > _MOST_ACCESSES:
            break
        for repeat in range(repeats):
            steady = repeat >= _REPEATS - _STEADY
            keys += tick
            weights += [1.0 + (times - repeats) / _STEADY if steady else 1.0] * len(tick)
        replayed += times * len(tick)
    return keys, weights, replayed


def belady(keys: Sequence[Key], weights: Sequence[float], sizes: dict[Key, int], capacity: int) -> float:
    """Weighted hits of Belady's rule."""
    end = len(keys)
    next_at = [end] * end
    seen: dict[Key, int] = {}
    for at in range(end - 1, -1, -1):
        next_at[at] = seen.get(keys[at], end)
        seen[keys[at]] = at
    room = capacity
    resident: dict[Key, int] = {}
    # The farthest first; entries whose page has left or was used since are passed over.
    farthest: list[tuple[int, Key]] = []
    hits = 0.0
    for at, key in enumerate(keys):
        following = next_at[at]
        if key in resident:
            hits += weights[at]
            if following == end:
                del resident[key]
                room += sizes[key]
                continue
        elif following == end or sizes[key] > capacity:
            continue
        else:
            victims: list[tuple[int, Key]] = []
            found = room
            while found < sizes[key]:
                entry = heappop(farthest)
                if resident.get(entry[1]) != -entry[0]:
                    continue
                victims.append(entry)
                if -entry[0] <= following:
                    break
                found += sizes[entry[1]]
            if found < sizes[key]:
                for entry in victims:
                    heappush(farthest, entry)
                continue
            for _, victim in victims:
                del resident[victim]
            room = found - sizes[key]
        resident[key] = following
        heappush(farthest, (-following, key))
    return hits


def lru(keys: Sequence[Key], weights: Sequence[float], sizes: dict[Key, int], capacity: int) -> float:
    """Weighted hits of least recently used."""
    room = capacity
    resident: OrderedDict[Key, None] = OrderedDict()
    hits = 0.0
    for key, weight in zip(keys, weights, strict=True):
        if key in resident:
            hits += weight
            resident.move_to_end(key)
            continue
        if sizes[key] > capacity:
            continue
        while sizes[key] > room:
            room += sizes[resident.popitem(last=False)[0]]
        resident[key] = None
        room -= sizes[key]
    return hits
