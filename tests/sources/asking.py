"""The same questions to two sources, in the same order, and where their answers part."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from differential.exact import Raised, differences

__all__ = ["Question", "answers", "ask", "compared"]


@dataclass(frozen=True)
class Question:
    """A method of a source and its arguments."""

    method: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.method}{self.args}{dict(self.kwargs)}"


def ask(method: str, *args: Any, **kwargs: Any) -> Question:
    """Spell a question."""
    return Question(method, args, tuple(kwargs.items()))


def moments(start: str, end: str, step: str) -> Iterator[dt.datetime]:
    """New York moments from ``start`` to ``end``, as a backtest's clock gives them."""
    for stamp in pd.date_range(start, end, freq=step, tz="America/New_York"):
        yield stamp.to_pydatetime()


def answers(
    source: Any,
    clock: Sequence[dt.datetime],
    questions: Sequence[Question],
    before: Callable[[], None] = lambda: None,
) -> list[Any]:
    """What a source answers to all questions at every moment; ``before`` is called before each one."""
    out: list[Any] = []
    for now in clock:
        source._update_datetime(now)
        for question in questions:
            before()
            try:
                out.append(getattr(source, question.method)(*question.args, **dict(question.kwargs)))
            except Exception as error:
                out.append(Raised.of(error))
    return out


def compared(expected: list[Any], got: list[Any], questions: Sequence[Question]) -> list[str]:
    """Where answers part; empty where they are the same to the bit."""
    found: list[str] = []
    for at, (theirs, ours) in enumerate(zip(expected, got, strict=True)):
        question = questions[at % len(questions)]
        found += differences(theirs, ours, f"{at // len(questions)}: {question}")
    return found
