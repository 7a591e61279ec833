"""From when to when: the span of a sweep, and the windows of a walk forward."""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

from lazybars.errors import ConfigError

__all__ = ["Fold", "Moment", "Span", "moment", "span_of", "walk_forward"]

Moment = dt.datetime | dt.date | str
Period = dt.timedelta | str

_PERIOD = re.compile(r"([1-9][0-9]*)([DWMY])")
_IN_MONTHS = {"M": 1, "Y": 12}
_IN_DAYS = {"D": 1, "W": 7}
# Lumibot's end is inclusive, and a bar of that very minute would be seen by both neighbours.
_APART = dt.timedelta(minutes=1)


class Span(NamedTuple):
    """From when to when a backtest runs, both inclusive, as Lumibot takes them."""

    start: dt.datetime
    end: dt.datetime


class Fold(NamedTuple):
    """One step of a walk forward: the span to choose parameters on, and the one to try them on.

    Each is a (start, end): ``sweep(strategy, *fold.train, ...)``.
    """

    train: Span
    test: Span


def moment(when: Moment, name: str) -> dt.datetime:
    """A moment as a datetime; midnight of a date. ConfigError where it is none."""
    if isinstance(when, str):
        try:
            return dt.datetime.fromisoformat(when)
        except ValueError as error:
            raise ConfigError(f"{name}={when!r} is no moment: give 2024-01-31 or 2024-01-31T09:30") from error
    if isinstance(when, dt.datetime):
        return when
    if isinstance(when, dt.date):
        return dt.datetime(when.year, when.month, when.day)
    raise ConfigError(f"{name}={when!r} is no moment: give a datetime, a date or 2024-01-31T09:30")


def span_of(start: Moment, end: Moment) -> Span:
    """A span from what a caller gives; ConfigError unless it ends after it starts."""
    first, last = moment(start, "start"), moment(end, "end")
    if (first.tzinfo is None) != (last.tzinfo is None):
        raise ConfigError(f"start={first} and end={last}: give a zone to both or to neither")
    if last <= first:
        raise ConfigError(f"end={last} is not after start={first}")
    # pandas has a datetime of its own; another process gets the standard one.
    return Span(*(dt.datetime.fromisoformat(one.isoformat()) for one in (first, last)))


def walk_forward(
    start: Moment, end: Moment, train: Period, test: Period, step: Period | None = None
) -> list[Fold]:
    """The windows of a walk forward over [start, end): train on one span, try on the next, move on.

    A train span begins at ``start``, then every ``step`` after it; its test span follows it. Each ends
    a minute before the next would begin, so that no bar is in both. A fold whose test span would
    not end by ``end`` is left out.

    Parameters
    ----------
    train, test, step
        "90D", "13W", "6M", "1Y" or a timedelta; months and years are the calendar's. ``step`` is
        ``test`` by default, so that the test spans lie end to end.

    Raises
    ------
    ConfigError
        A moment or a period cannot be meant, or not one fold fits.

    Examples
    --------
    >>> [fold.test.start.date().isoformat() for fold in walk_forward("2023-01-01", "2024-01-01", "6M", "3M")]
    ['2023-07-01', '2023-10-01']
    """
    first, last = span_of(start, end)
    lengths = {"train": train, "test": test, "step": test if step is None else step}
    for name, period in lengths.items():
        if _moved(first, period, 1, name) <= first:
            raise ConfigError(f"{name}={period!r} is not positive")
    folds: list[Fold] = []
    while True:
        begin = _moved(first, lengths["step"], len(folds), "step")
        middle = _moved(begin, train, 1, "train")
        stop = _moved(middle, test, 1, "test")
        if stop > last:
            break
        folds.append(Fold(Span(begin, middle - _APART), Span(middle, stop - _APART)))
    if not folds:
        raise ConfigError(
            f"train={train!r} and test={test!r} take until {stop}: nothing fits before end={last}"
        )
    return folds


def _moved(when: dt.datetime, period: Period, times: int, name: str) -> dt.datetime:
    """``when`` and so many periods; a month later than the 31st is the last day of a shorter month."""
    try:
        if isinstance(period, dt.timedelta):
            return when + period * times
        found = _PERIOD.fullmatch(period) if isinstance(period, str) else None
        if found is None:
            raise ConfigError(f'{name}={period!r} is no period: give "90D", "13W", "6M", "1Y" or a timedelta')
        count, unit = int(found[1]) * times, found[2]
        if unit in _IN_DAYS:
            return when + dt.timedelta(days=count * _IN_DAYS[unit])
        years, month = divmod(when.month - 1 + count * _IN_MONTHS[unit], 12)
        first = when.replace(year=when.year + years, month=month + 1, day=1)
        days = ((first + dt.timedelta(days=31)).replace(day=1) - first).days
        return first.replace(day=min(when.day, days))
    except (OverflowError, ValueError) as error:
        raise ConfigError(f"{name}={period!r} from {when} is beyond the calendar") from error
