"""What every wrapped source has in front of Lumibot's: its clock is the run's, and its end ends the run."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.data_sources import DataSourceBacktesting

from lazybars.adapters.instants import exact_ns
from lazybars.adapters.running import Running
from lazybars.journal import Regret
from lazybars.planning import Plan
from lazybars.stats import Stats

__all__ = ["LazyClock", "LazyView"]


class LazyView:
    """What `source.lazy` shows: the run's plan and its figures. Any thread."""

    def __init__(self, run: Running) -> None:
        self._run = run

    def plan(self) -> Plan:
        """What the run needs and how the cap is split; before or after ``load_data``."""
        return self._run.plan()

    def stats(self) -> Stats:
        """The figures so far."""
        return self._run.stats()

    def regret(self) -> Regret:
        """How well the run could have gone: its requests replayed under Belady's rule and LRU."""
        return self._run.regret()

    def report(self, path: str | os.PathLike[str], title: str = "Backtest") -> Path:
        """Write the run so far as one page of HTML that needs no network; returns its path.

        During a run, or after it. Brings Plotly in, which takes some 40 MB beside the cap.
        """
        return self._run.report(path, title)


class LazyClock(DataSourceBacktesting):
    """A source that has a run, which a subclass makes and hands to `_lazy_begin`.

    Owner: the backtest. Its end lets go of the bars; ``shutdown()``, or its collection, ends the
    prefetch thread and removes what is private to the run.
    """

    _lazy_run: Running

    def _lazy_begin(self, run: Running) -> None:
        self._lazy_run = run
        self._lazy_end = weakref.finalize(self, run.close)

    @property
    def lazy(self) -> LazyView:
        """The run's plan and figures."""
        return LazyView(self._lazy_run)

    @property
    def datetime_end(self) -> Any:
        # Lumibot moves it to where the trading days end, when a backtest gets there.
        return self.__dict__["datetime_end"]

    @datetime_end.setter
    def datetime_end(self, end: Any) -> None:
        self.__dict__["datetime_end"] = end
        if "_lazy_run" in self.__dict__:
            self._lazy_run.ends(exact_ns(end, LUMIBOT_DEFAULT_PYTZ))

    def _update_datetime(self, new_datetime: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super()._update_datetime(new_datetime, *args, **kwargs)
        self._lazy_run.advance(exact_ns(new_datetime, LUMIBOT_DEFAULT_PYTZ))
        return answer

    def shutdown(self) -> None:
        """End the prefetch thread, then what Lumibot ends. Repeatable."""
        self._lazy_end()
        super().shutdown()
