"""What travels to the process of one side."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["Side"]


@dataclass(frozen=True, slots=True)
class Side:
    """One run of a strategy's file.

    strategy : absolute path of a file that runs its own backtest; with ``start``, a reference of a class
        (see `lazybars.sweep.named.reference`), which is then backtested from ``start`` to ``end``, ISO 8601.
    arguments : the file's own, as in ``sys.argv[1:]``.
    lazy : whether its data source is wrapped; memory_bytes : then the cap.
    source : name of the data source class. None: whatever the file uses; for a class, Lumibot's of frames.
    store : absolute path; for a class on frames, where both sides have their bars from.
    parameters, budget : of the backtest of a class; ``budget`` None for Lumibot's own.
    """

    strategy: str
    arguments: tuple[str, ...]
    lazy: bool
    memory_bytes: int
    source: str | None
    store: str | None
    start: str | None
    end: str | None
    parameters: dict[str, Any]
    budget: float | None

    @property
    def timeout_s(self) -> float | None:
        """A backtest takes the time that it takes."""
        return None

    @property
    def from_store(self) -> bool:
        """Whether the bare side is given frames that were read from the store."""
        return self.start is not None and self.source is None

    def wrapped(self) -> Side:
        """The other side."""
        return replace(self, lazy=True)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
