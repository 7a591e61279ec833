"""zipline-reloaded: its DataPortal over bcolz minute bars, which reads 1,560 minutes ahead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow.parquet as pq
from exchange_calendars import ExchangeCalendar
from zipline.assets import AssetDBWriter, AssetFinder
from zipline.data.bcolz_minute_bars import BcolzMinuteBarReader, BcolzMinuteBarWriter
from zipline.data.data_portal import DataPortal
from zipline.utils.calendar_utils import get_calendar, global_calendar_dispatcher

from benchmarks.contest.clock import SESSION_MINUTES, WINDOW, Size, Tick

__all__ = ["Portal"]

_NAME = "WEEKDAYS"
# A bar is stamped at its end here.
_MINUTE = pd.Timedelta(minutes=1)


class Portal:
    """One ``DataPortal.get_history_window`` a call: what ``data.history`` in a zipline algorithm does."""

    def __init__(self, folder: Path, size: Size, cap_bytes: int | None) -> None:
        calendar = _weekdays(size)
        finder = AssetFinder(str(folder / "assets.sqlite"))
        self._portal = DataPortal(
            finder,
            calendar,
            calendar.sessions[0],
            equity_minute_reader=BcolzMinuteBarReader(str(folder / "bars")),
            last_available_session=calendar.sessions[-1],
        )
        self._assets = finder.retrieve_all(range(size.assets))

    def move(self, tick: Tick) -> None:
        self._end = pd.Timestamp(tick.last_ns, tz="UTC") + _MINUTE

    def ask(self, asset: int, tick: Tick) -> Any:
        window = self._portal.get_history_window(
            [self._assets[asset]], self._end, WINDOW, "1m", "close", "minute"
        )
        return window.to_numpy()[:, 0]

    def close(self) -> None:
        del self._portal

    @staticmethod
    def prepare(parquet: Path, folder: Path, size: Size) -> None:
        calendar = _weekdays(size)
        first, last = calendar.sessions[0], calendar.sessions[-1]
        (folder / "bars").mkdir()
        writer = BcolzMinuteBarWriter(str(folder / "bars"), calendar, first, last, SESSION_MINUTES)
        writer.write(_frames(parquet, size))
        equities = pd.DataFrame({"symbol": size.symbols, "asset_name": size.symbols})
        equities = equities.assign(start_date=first, end_date=last, auto_close_date=last, exchange=_NAME)
        exchanges = pd.DataFrame({"exchange": [_NAME], "canonical_name": [_NAME], "country_code": ["US"]})
        AssetDBWriter(str(folder / "assets.sqlite")).write(equities=equities, exchanges=exchanges)


def _frames(parquet: Path, size: Size) -> Iterator[tuple[int, pd.DataFrame]]:
    for number, symbol in enumerate(size.symbols):
        frame = pq.read_table(parquet / f"symbol={symbol}").to_pandas().set_index("datetime")
        frame.index += _MINUTE
        yield number, frame


def _weekdays(size: Size) -> Any:
    """The calendar of the generated bars; registered, because the reader looks it up by its name."""

    class Weekdays(ExchangeCalendar):  # type: ignore[misc]
        name = _NAME
        tz = ZoneInfo("America/New_York")
        open_times = ((None, dt.time(9, 30)),)
        close_times = ((None, dt.time(16)),)

        @classmethod
        def default_start(cls) -> pd.Timestamp:
            return pd.Timestamp(size.sessions[0])

        @classmethod
        def default_end(cls) -> pd.Timestamp:
            return pd.Timestamp(size.sessions[-1])

    global_calendar_dispatcher.register_calendar_type(_NAME, Weekdays, force=True)
    return get_calendar(_NAME)
