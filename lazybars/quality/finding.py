"""What a check has found."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

__all__ = ["Finding", "shown"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the bars of one series.

    check : which rule, one of ``CHECKS``. series, source : whose bars, "" for the store as a whole.
    count : how many bars, or sessions, or runs. first_ns : when the first is, ns since the epoch, UTC; None
    where it is about no time. example : the first of them, in words.
    """

    check: str
    series: str
    source: str
    count: int
    first_ns: int | None
    example: str

    @property
    def first(self) -> dt.datetime | None:
        """``first_ns`` as a datetime in UTC."""
        return None if self.first_ns is None else _EPOCH + dt.timedelta(microseconds=self.first_ns // 1000)


def shown(ns: int, zone: dt.tzinfo) -> str:
    """An instant to be read: the date alone at midnight."""
    moment = (_EPOCH + dt.timedelta(microseconds=ns // 1000)).astimezone(zone)
    return moment.strftime("%Y-%m-%d %H:%M" if (moment.hour, moment.minute) != (0, 0) else "%Y-%m-%d")
