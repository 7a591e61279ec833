"""Who leaves the ring first. Policies take facts and return a rank; they touch nothing else.

`NextUse` is the default. A backtest's clock only moves forward, so the next use of a segment is
known: now, if a lookback window still reaches it; the clock time at which the schedule gets there,
if it lies ahead; never, if it lies behind every lookback. Evicting the farthest next use is
Belady's rule (L. A. Belady, IBM Systems Journal 5(2), 1966), which no other policy can beat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lazybars.errors import ConfigError

__all__ = ["NEVER", "POLICIES", "Fifo", "Lru", "NextUse", "Policy", "SegmentFacts", "policy_named"]

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What a policy may know of a segment.

    series_id, part : which segment.
    loaded, used : serial numbers of the call at which it was loaded and last used.
    next_use_ns : clock time at which it is expected next; NEVER where it lies behind every window.
    """

    series_id: int
    part: int
    loaded: int
    used: int
    next_use_ns: float


class Policy(Protocol):
    """Ranks segments for eviction."""

    name: str

    def rank(self, segment: SegmentFacts) -> tuple[float, ...]:
        """The larger, the sooner it leaves. A newcomer is only kept if it would not leave first."""


class NextUse:
    """Farthest next use first; among equals the one used last, whose turn comes last."""

    name = "next-use"

    def rank(self, segment: SegmentFacts) -> tuple[float, ...]:
        return (segment.next_use_ns, segment.used)


class Lru:
    """Least recently used first."""

    name = "lru"

    def rank(self, segment: SegmentFacts) -> tuple[float, ...]:
        return (-segment.used,)


class Fifo:
    """First loaded, first out."""

    name = "fifo"

    def rank(self, segment: SegmentFacts) -> tuple[float, ...]:
        return (-segment.loaded,)


POLICIES: dict[str, Callable[[], Policy]] = {"next-use": NextUse, "lru": Lru, "fifo": Fifo}


def policy_named(policy: str | Policy) -> Policy:
    """The policy of that name, or the object itself where it ranks segments."""
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise ConfigError(
                f"policy={policy!r}: choose one of {', '.join(POLICIES)}, or give a policy object"
            )
        return POLICIES[policy]()
    if not callable(getattr(policy, "rank", None)):
        raise ConfigError(f"policy={policy!r} has no method rank(segment)")
    return policy
