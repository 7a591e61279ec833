"""What travels to a trial, and what comes back: configuration and figures, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from lazybars.sweep.trials import canonical

__all__ = ["INSIDE", "NUMBERS", "STATUSES", "Job", "Reply", "TrialResult"]

Reply = dict[str, Any]
# Set in every trial, so that a sweep that a strategy's file starts as it is loaded can be refused.
INSIDE = "LAZYBARS_IN_TRIAL"
STATUSES = ("ok", "error", "timeout", "memory", "killed")
# The figures of a result that are numbers.
NUMBERS = (
    "final_value",
    "total_return",
    "cagr",
    "max_drawdown",
    "sharpe",
    "trades",
    "peak_rss_bytes",
    "added_rss_bytes",
    "wall_s",
    "cpu_s",
    "hit_rate",
    "stall_s",
)


@dataclass(frozen=True, slots=True)
class Job:
    """One trial, or the rehearsal of a sweep where ``parameters`` is None.

    strategy : see `lazybars.sweep.named.reference`. start, end : ISO 8601. store : an absolute
        path, or a URL.
    assets : the universe, as symbols, fields of an ``AssetKey`` or pairs of these; None for the whole store.
    backtest : further arguments of ``Strategy.backtest``.
    memory_bytes : the cap of lazybars in the trial's process.
    slack_bytes : what the process may hold beyond that; None for no limit.
    timeout_s : wall seconds that the process may take; None for no limit.
    """

    strategy: str
    start: str
    end: str
    store: str
    assets: list[Any] | None
    backtest: dict[str, Any]
    memory_bytes: int
    slack_bytes: int | None
    timeout_s: float | None
    parameters: dict[str, Any] | None = None

    def trial(self, parameters: dict[str, Any]) -> Job:
        """The same with the parameters of a trial."""
        return replace(self, parameters=parameters)

    @property
    def most_bytes(self) -> int | None:
        """What the trial's process may take beyond its imports; None where there is no limit."""
        return None if self.slack_bytes is None else self.memory_bytes + self.slack_bytes

    @property
    def what(self) -> dict[str, Any]:
        """What decides a trial's result; how it is run does not."""
        names = ("strategy", "start", "end", "store", "assets", "backtest", "parameters")
        return {name: getattr(self, name) for name in names}

    @property
    def identity(self) -> str:
        """:attr:`what` as canonical JSON."""
        return canonical(self.what)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of one trial. Figures are None where the trial has none.

    number : of the trial in the sweep, from 0. strategy, start, end, parameters : what was run.
    status : "ok"; "error": it raised; "timeout"; "memory": its process was refused more; "killed".
    error : one line. traceback : of what it raised, shortened.
    final_value : of the portfolio. total_return, cagr, max_drawdown (as shares of 1), sharpe: as
        ``Strategy.backtest`` returns them, computed by Lumibot.
    trades : fills. trades_hash : of their times, symbols, sides, quantities and prices: equal where
        two trials traded alike.
    peak_rss_bytes : the most RAM of the trial's process; added_rss_bytes : less that after its
        imports. For a trial that was stopped: as last seen.
    wall_s, cpu_s : of the process, its start and imports included; cpu_s of all its threads.
    hit_rate, stall_s : of lazybars, see `lazybars.Stats`.
    """

    number: int
    strategy: str
    start: str
    end: str
    parameters: dict[str, Any]
    status: str
    error: str | None = None
    traceback: str | None = None
    final_value: float | None = None
    total_return: float | None = None
    cagr: float | None = None
    max_drawdown: float | None = None
    sharpe: float | None = None
    trades: int | None = None
    trades_hash: str | None = None
    peak_rss_bytes: int | None = None
    added_rss_bytes: int | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    hit_rate: float | None = None
    stall_s: float | None = None

    @classmethod
    def of(cls, number: int, job: Mapping[str, Any], reply: Mapping[str, Any]) -> TrialResult:
        """A result from what was run and what came back; a figure that is no number is None."""
        known = {field.name for field in fields(cls)}
        given = {**reply, **{name: job[name] for name in ("strategy", "start", "end", "parameters")}}
        return cls(number=number, **{name: _told(value) for name, value in given.items() if name in known})

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def figures(self) -> dict[str, Any]:
        """All but what was run."""
        told = asdict(self)
        return {
            name: told[name]
            for name in told
            if name not in ("number", "strategy", "start", "end", "parameters")
        }


def _told(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
