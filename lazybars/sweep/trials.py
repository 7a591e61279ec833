"""The trials of a sweep: parameters that travel as JSON, from a grid or an iterator."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from lazybars.errors import ConfigError

__all__ = ["Parameters", "canonical", "counted", "label", "plain", "trials_of", "value_of"]

Parameters = dict[str, Any]


def canonical(thing: Any) -> str:
    """JSON in ASCII that is the same for the same thing: sorted names, no spaces."""
    return json.dumps(thing, sort_keys=True, separators=(",", ":"))


def counted(trials: int) -> str:
    """So many trials, in words."""
    return "1 trial" if trials == 1 else f"{trials:,} trials"


def label(value: Any) -> str:
    """A parameter's value as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def value_of(text: str) -> Any:
    """A parameter's value from a command line: JSON where it can be, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def plain(thing: Any, name: str) -> Any:
    """A value as it comes out of JSON; NumPy's scalars and arrays as Python's, tuples as lists.

    Raises
    ------
    ConfigError
        It is nothing that JSON can hold: only configuration travels to a trial.
    """
    if thing is None or type(thing) in (bool, int, str):
        return thing
    if isinstance(thing, float):
        if not math.isfinite(thing):
            raise ConfigError(f"{name}={thing!r}: give a finite number, or None")
        return float(thing)
    if isinstance(thing, Mapping):
        strange = next((key for key in thing if not isinstance(key, str)), None)
        if strange is not None:
            raise ConfigError(f"{name} has the key {strange!r}: give texts as keys")
        return {str(key): plain(value, f"{name}.{key}") for key, value in thing.items()}
    if isinstance(thing, (list, tuple, range)):
        return [plain(value, f"{name}[{at}]") for at, value in enumerate(thing)]
    if hasattr(thing, "tolist") and type(thing.tolist()) is not type(thing):  # NumPy
        return plain(thing.tolist(), name)
    raise ConfigError(
        f"{name}={thing!r} is a {type(thing).__name__}: only numbers, texts, True, False, None, lists and "
        "dicts travel to a trial; have the strategy make the rest of them"
    )


def trials_of(trials: Any) -> tuple[Iterator[Parameters], int | None]:
    """The parameters of each trial in order, and how many there are; None where that is not known.

    Parameters
    ----------
    trials
        A grid, a dict of lists: every combination, the last name fastest. Or an iterable of dicts,
        which may be endless.
    """
    if isinstance(trials, Mapping):
        names = _names(trials)
        axes = [_axis(name, trials[name]) for name in names]
        combinations = (dict(zip(names, values, strict=True)) for values in itertools.product(*axes))
        return combinations, math.prod(len(axis) for axis in axes)
    if isinstance(trials, str) or not isinstance(trials, Iterable):
        raise ConfigError(
            f"trials={trials!r}: give a grid (a dict of lists), or an iterable of dicts of parameters"
        )
    return (_trial(one) for one in trials), len(trials) if isinstance(trials, Sized) else None


def _names(grid: Mapping[Any, Any]) -> list[str]:
    if not grid:
        raise ConfigError("the grid is empty: name a parameter, or give [{}] to run the strategy as it is")
    strange = next((name for name in grid if not isinstance(name, str) or not name), None)
    if strange is not None:
        raise ConfigError(f"the grid has a parameter {strange!r}: give texts as names")
    return list(grid)


def _axis(name: str, values: Any) -> list[Any]:
    found = plain(values, name)
    if not isinstance(found, list) or not found:
        raise ConfigError(f"{name}={values!r} in a grid: give a list of values, such as [{values!r}]")
    return found


def _trial(one: Any) -> Parameters:
    if not isinstance(one, Mapping):
        raise ConfigError(f"the trial {one!r} is no dict of parameters")
    found: Parameters = plain(one, "parameters")
    return found
