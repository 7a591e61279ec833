"""What the mixins of sources share that keep plain DataFrames: the run, the clock, the end."""

from __future__ import annotations

import weakref
from typing import Any, ClassVar

from lumibot.constants import LUMIBOT_DEFAULT_PYTZ
from lumibot.data_sources import DataSourceBacktesting

from lazybars.adapters.growing import GrowingRun
from lazybars.adapters.instants import exact_ns
from lazybars.adapters.lumibot_source import LazyView
from lazybars.config import Knobs

__all__ = ["LazyPlain"]


class LazyPlain(DataSourceBacktesting):
    """Put in front of a source that is no ``PandasData``, by way of a mixin that makes its run.

    Owner: the backtest. ``shutdown()``, or its collection, ends the prefetch thread and removes
    what is private to the run.
    """

    _lazy_knobs: ClassVar[Knobs]
    _lazy_run: GrowingRun
    # Methods of Lumibot's class that the mixin stands in for: a subclass that has one of its own is heard.
    _lazy_replaces: ClassVar[tuple[str, ...]]

    @classmethod
    def lazy_refuses(cls, source: type) -> str | None:
        """Why a subclass cannot be wrapped, or None."""
        for base in source.__mro__:
            if base.__module__.startswith("lumibot."):
                return None
            own = [name for name in cls._lazy_replaces if name in vars(base)]
            if own:
                return f"{base.__name__} loads in a way of its own ({', '.join(own)})"
        return None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy_adopt()

    def _lazy_adopt(self) -> None:
        # What an instance has loaded before it was wrapped is let go of, and shown from the store.
        self._data_store: dict[Any, Any] = {}
        self._lazy_run = run = self._lazy_make_run()
        self._lazy_end = weakref.finalize(self, run.close)

    def _lazy_make_run(self) -> GrowingRun:
        raise NotImplementedError

    @property
    def lazy(self) -> LazyView:
        """The run's plan and figures."""
        return LazyView(self._lazy_run)

    def shutdown(self) -> None:
        """End the prefetch thread, then what Lumibot ends. Repeatable."""
        self._lazy_end()
        super().shutdown()

    def _update_datetime(self, new_datetime: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super()._update_datetime(new_datetime, *args, **kwargs)
        self._lazy_run.advance(exact_ns(new_datetime, LUMIBOT_DEFAULT_PYTZ))
        return answer

    # Where Lumibot swallows what its loader raises, an error of lazybars is raised again.

    def get_bars(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_run.failures():
            return super().get_bars(*args, **kwargs)

    def get_yesterday_dividends(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_run.failures():
            return super().get_yesterday_dividends(*args, **kwargs)

    def get_yesterday_stock_splits(self, *args: Any, **kwargs: Any) -> Any:
        with self._lazy_run.failures():
            return super().get_yesterday_stock_splits(*args, **kwargs)
