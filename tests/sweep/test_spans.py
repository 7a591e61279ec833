"""From when to when: spans, and the windows of a walk forward against pandas' calendar arithmetic."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pandas as pd
import pytest

import lazybars
from lazybars import ConfigError, walk_forward
from lazybars.sweep.spans import span_of

MINUTE = pd.Timedelta(minutes=1)


@pytest.mark.parametrize(
    ("train", "test", "step", "offsets"),
    [
        ("6M", "3M", None, ({"months": 6}, {"months": 3}, {"months": 3})),
        ("1Y", "1M", "2W", ({"years": 1}, {"months": 1}, {"weeks": 2})),
        ("90D", "10D", "1M", ({"days": 90}, {"days": 10}, {"months": 1})),
        (dt.timedelta(days=30), dt.timedelta(days=7), None, ({"days": 30}, {"days": 7}, {"days": 7})),
    ],
)
@pytest.mark.parametrize("start", ["2023-01-31", "2023-08-31", "2024-02-29"])
def test_folds_are_those_of_the_calendar(
    train: Any, test: Any, step: Any, offsets: tuple[dict[str, int], ...], start: str
) -> None:
    first, last = pd.Timestamp(start), pd.Timestamp("2025-11-15")
    to_middle, to_end, to_next = offsets
    expected = []
    while True:
        times = {unit: count * len(expected) for unit, count in to_next.items()}
        begin = first + pd.DateOffset(**times)
        middle = begin + pd.DateOffset(**to_middle)
        end = middle + pd.DateOffset(**to_end)
        if end > last:
            break
        expected.append(((begin, middle - MINUTE), (middle, end - MINUTE)))
    folds = walk_forward(start, last, train, test, step)
    assert len(folds) > 3
    assert [(tuple(fold.train), tuple(fold.test)) for fold in folds] == expected


def test_no_moment_is_in_both_spans_of_a_fold_nor_in_two_test_spans() -> None:
    folds = walk_forward(dt.date(2023, 1, 1), dt.date(2024, 1, 1), "2M", "1M")
    assert all(fold.train.end < fold.test.start for fold in folds)
    assert all(one.test.end < other.test.start for one, other in itertools.pairwise(folds))
    assert folds[-1].test.end == dt.datetime(2023, 12, 31, 23, 59)


@pytest.mark.parametrize(
    "given",
    [
        {"train": "0D"},
        {"train": "6"},
        {"train": "6m"},
        {"train": 5},
        {"test": dt.timedelta(0)},
        {"step": "-1D"},
        {"step": dt.timedelta(days=-1)},
        {"train": "99999999Y"},
        {"train": "9999999999999D"},
        {"train": "2Y"},
        {"end": "2022-01-01"},
        {"start": "yesterday"},
        {"start": 5},
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    sane = {"start": "2023-01-01", "end": "2024-01-01", "train": "6M", "test": "3M"}
    with pytest.raises(ConfigError):
        walk_forward(**{**sane, **given})


def test_moments_are_taken_as_they_are_usual() -> None:
    naive = dt.datetime(2024, 1, 2)
    assert span_of("2024-01-02", dt.date(2024, 1, 3)) == (naive, dt.datetime(2024, 1, 3))
    start, end = span_of(pd.Timestamp("2024-01-02"), dt.datetime(2024, 1, 2, 0, 1))
    assert (type(start), start, end) == (dt.datetime, naive, dt.datetime(2024, 1, 2, 0, 1))
    zoned = span_of("2024-01-02T09:30-05:00", "2024-01-02T15:00Z")
    assert zoned.end - zoned.start == dt.timedelta(minutes=30)
    with pytest.raises(ConfigError, match="zone"):
        span_of("2024-01-02T09:30-05:00", "2024-01-03")
    with pytest.raises(ConfigError, match="not after"):
        span_of(naive, naive)


def test_the_functions_are_where_they_are_looked_for() -> None:
    from lazybars.sweep import objective, sweep

    assert lazybars.sweep is sweep
    assert lazybars.sweep.objective is objective  # type: ignore[attr-defined]
