"""Parameters: grids, iterables, and what travels to a trial."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
import json
from collections import OrderedDict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lazybars.errors import ConfigError
from lazybars.sweep.trials import canonical, label, plain, trials_of


def test_a_grid_is_every_combination_the_last_name_fastest() -> None:
    trials, total = trials_of({"a": [1, 2], "b": ["x", None, 0.5]})
    expected = [{"a": a, "b": b} for a in (1, 2) for b in ("x", None, 0.5)]
    assert list(trials) == expected
    assert total == 6


def test_numpy_values_arrive_as_pythons() -> None:
    trials, total = trials_of({"n": np.arange(2), "x": np.array([0.1]), "b": [np.bool_(True)], "r": range(1)})
    found = list(trials)
    assert found == [{"n": 0, "x": 0.1, "b": True, "r": 0}, {"n": 1, "x": 0.1, "b": True, "r": 0}]
    assert [type(value) for value in found[0].values()] == [int, float, bool, int]
    assert total == 2


def test_an_endless_iterator_is_not_drawn_ahead() -> None:
    drawn = []

    def endless() -> Any:
        for number in itertools.count():
            drawn.append(number)
            yield {"n": number}

    trials, total = trials_of(endless())
    assert total is None
    assert [next(trials) for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert drawn == [0, 1, 2]


def test_the_length_of_a_list_of_trials_is_known() -> None:
    assert trials_of([{}, OrderedDict(a=1)])[1] == 2


def test_canonical_json_is_the_same_for_the_same_parameters() -> None:
    one = canonical({"b": [1, {"y": None, "x": "é"}], "a": 1.5})
    assert one == canonical(json.loads(json.dumps({"a": 1.5, "b": (1, {"x": "é", "y": None})})))
    assert canonical({"a": 1}) != canonical({"a": 1.0})
    assert canonical({"a": True}) != canonical({"a": 1})


def test_what_is_plain_comes_out_of_json_as_it_went_in() -> None:
    value = {"a": (1, 2), "b": {"c": [None, True, "é\x00", -0.0, 1e-300, 2**80]}, "d": pd.Series([1, 2])}
    found = plain(value, "parameters")
    assert json.loads(canonical(found)) == found
    assert found["a"] == [1, 2]
    assert found["d"] == [1, 2]


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        (np.float64("nan"), "finite"),
        ({1: 2}, "key 1"),
        ({3, 4}, "set"),
        (b"x", "bytes"),
        (dt.date(2024, 1, 1), "date"),
        (np.datetime64("2024-01-01"), "date"),
        (Colour.RED, "Colour"),
        (object(), "object"),
        (lambda: 1, "function"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name(value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        plain({"deep": [value]}, "parameters")
    assert "parameters.deep[0]" in str(raised.value)


@pytest.mark.parametrize(
    "trials", [{}, {"a": []}, {"a": 5}, {"a": "text"}, {"a": None}, {1: [2]}, {"": [2]}, "text", 5, None]
)
def test_what_is_no_grid_is_refused_at_once(trials: Any) -> None:
    with pytest.raises(ConfigError):
        trials_of(trials)


def test_what_is_no_trial_is_refused_when_it_is_drawn() -> None:
    trials, _ = trials_of([{"a": 1}, 5])
    assert next(trials) == {"a": 1}
    with pytest.raises(ConfigError, match="the trial 5 is no dict"):
        next(trials)


def test_labels_are_json_but_for_texts() -> None:
    assert [label(value) for value in (1, 0.5, "x", None, True, [1, "é"])] == [
        "1",
        "0.5",
        "x",
        "null",
        "true",
        '[1, "é"]',
    ]
