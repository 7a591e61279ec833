"""Lumibot's own ``YahooHelper``, asking Yahoo as it always does, without its pickles.

It keeps each symbol as a pickle on disk, and takes what it finds there for an answer. Here that is
neither read nor written.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pandas as pd
from lumibot.tools import yahoo_helper

from lazybars.adapters.sources.loading import with_globals

__all__ = ["OWN_TIMES", "Answer", "asking"]

# A column that bars get on their way through Lumibot's code: their own times, which it changes.
OWN_TIMES = "\0times"
_CALLING = ("get_symbol_data", "fetch_symbol_data", "get_symbol_info", "fetch_symbol_info")


@dataclass
class Answer:
    """What is known of the last answer beside its bars.

    zone : of the exchange. start : what was asked for begins there; None for all that there is.
    told_market : whether Yahoo said which market it is, which Lumibot dates bars by.
    """

    zone: dt.tzinfo | None = None
    start: dt.datetime | None = None
    told_market: bool = False


def asking(answer: Answer) -> Any:
    """A ``YahooHelper`` that notes in ``answer`` what came. One thread at a time."""
    base: Any = yahoo_helper.YahooHelper

    class Helper(base):
        CACHING_ENABLED = False

        @staticmethod
        def check_pickle_file(symbol: str, type: str) -> None:
            """There is none."""

        @staticmethod
        def dump_pickle_file(symbol: str, type: str, data: Any) -> None:
            """It is written to the store."""

        @staticmethod
        def download_symbol_info(symbol: str) -> Any:
            told = base.download_symbol_info(symbol)
            answer.told_market = bool((told["info"] or {}).get("market"))
            return told

    class Ticker(yahoo_helper.yf.Ticker):
        def history(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
            frame = super().history(*args, **kwargs)
            answer.start = kwargs.get("start")
            if frame is not None and not frame.empty:
                answer.zone = frame.index.tz
                frame[OWN_TIMES] = frame.index.as_unit("us").asi8
            return frame

    library = SimpleNamespace(**{**vars(yahoo_helper.yf), "Ticker": Ticker})
    own = {name: with_globals(getattr(base, name), YahooHelper=Helper) for name in _CALLING}
    own["download_symbol_data"] = with_globals(base.download_symbol_data, YahooHelper=Helper, yf=library)
    for name, function in own.items():
        setattr(Helper, name, staticmethod(function))
    return Helper
