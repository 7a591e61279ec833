"""What a run looked like over its clock: samples of its figures, and which partitions came and went.

Bounded, whatever the run's length: when the samples are too many, every other one is dropped, and
from then on half as many are taken.
"""

from __future__ import annotations

from collections.abc import Callable

from lazybars.journal import PageSpan, Sample

__all__ = ["Diary"]

_MOST_SAMPLES = 512


class _Stay:
    """Of one partition: `PageSpan`, as it grows."""

    __slots__ = ("ahead", "left_ns", "loaded_ns", "nbytes", "resident", "segments")

    def __init__(self, now_ns: int) -> None:
        self.loaded_ns = now_ns
        self.left_ns: int | None = None
        self.resident = self.segments = self.ahead = self.nbytes = 0


class Diary:
    """Kept under the ring's lock.

    Parameters
    ----------
    now_ns
        The backtest's clock.

    due : the tick at which the next sample is to be taken.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.samples: list[Sample] = []
        self.due = 0
        self._now_ns = now_ns
        self._every = 1
        self._stays: dict[int, _Stay] = {}

    def note(self, tick: int, sample: Sample) -> None:
        """Keep a sample."""
        self.samples.append(sample)
        if len(self.samples) >= _MOST_SAMPLES:
            self.samples = self.samples[::2]
            self._every *= 2
        self.due = tick + self._every

    def came(self, part: int, nbytes: int, ahead: bool) -> None:
        """A segment of a partition has arrived."""
        stay = self._stays.get(part)
        if stay is None:
            stay = self._stays[part] = _Stay(self._now_ns())
        stay.left_ns = None
        stay.resident += 1
        stay.segments += 1
        stay.ahead += ahead
        stay.nbytes += nbytes

    def left(self, part: int) -> None:
        """One of its segments has left."""
        stay = self._stays[part]
        stay.resident -= 1
        if not stay.resident:
            stay.left_ns = self._now_ns()

    def spans(self, bounds_ns: Callable[[int], tuple[int, int]]) -> list[PageSpan]:
        """The partitions that were in the ring, in their order."""
        return [
            PageSpan(*bounds_ns(part), stay.loaded_ns, stay.left_ns, stay.segments, stay.ahead, stay.nbytes)
            for part, stay in sorted(self._stays.items())
        ]
