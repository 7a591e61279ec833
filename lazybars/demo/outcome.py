"""What one run of the demonstration came to, and whether two runs came to the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Outcome", "differences"]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """One backtest in a process of its own.

    fills : (time, symbol, side, quantity, price) of each, in order.
    values_hash, frames_hash : of the portfolio's value and cash at every iteration; of every frame
        that the strategy was served, with dtypes and index.
    frames : how many requests for history there were; ``history_s`` what they took together.
    start_up_s : the source's constructor and ``load_data``. total_s : the backtest, with start-up.
    baseline_bytes, peak_bytes : RSS after importing lazybars and Lumibot's source; the most ever.
    lazy : figures of ``source.lazy.stats()``, empty in an eager run.
    """

    fills: list[list[Any]]
    final_value: float
    values_hash: str
    frames: int
    frames_hash: str
    history_s: float
    start_up_s: float
    total_s: float
    baseline_bytes: int
    peak_bytes: int
    lazy: dict[str, float] = field(default_factory=dict)

    @property
    def added_bytes(self) -> int:
        """Peak RSS over baseline."""
        return self.peak_bytes - self.baseline_bytes

    def save(self, path: Path) -> None:
        """As JSON, in which floats keep every bit."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Outcome:
        return cls(**json.loads(path.read_text()))


def differences(eager: Outcome, lazy: Outcome) -> dict[str, list[str]]:
    """What differs, by subject; an empty list where nothing does."""
    found: dict[str, list[str]] = {"trades": [], "final value": [], "values": [], "frames": []}
    if len(eager.fills) != len(lazy.fills):
        found["trades"].append(f"{len(eager.fills)} fills eager, {len(lazy.fills)} lazy")
    for number, (one, other) in enumerate(zip(eager.fills, lazy.fills, strict=False)):
        if one != other and len(found["trades"]) < _SHOWN:
            found["trades"].append(f"fill {number}: eager {one}, lazy {other}")
    if eager.final_value != lazy.final_value:
        found["final value"].append(f"eager {eager.final_value!r}, lazy {lazy.final_value!r}")
    if eager.values_hash != lazy.values_hash:
        found["values"].append("the value or the cash of the portfolio differs at some iteration")
    if (eager.frames, eager.frames_hash) != (lazy.frames, lazy.frames_hash):
        found["frames"].append(
            f"{eager.frames} with hash {eager.frames_hash} eager, {lazy.frames} with {lazy.frames_hash} lazy"
        )
    return found
