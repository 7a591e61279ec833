"""What the mixins of sources share that keep plain DataFrames: how they are made and fail."""

from __future__ import annotations

from typing import Any, ClassVar

from lazybars.adapters.clocked import LazyClock
from lazybars.adapters.growing import GrowingRun
from lazybars.config import Knobs

__all__ = ["LazyPlain"]


class LazyPlain(LazyClock):
    """Put in front of a source that is no ``PandasData``, by way of a mixin that makes its run."""

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
        self._lazy_begin(self._lazy_make_run())

    def _lazy_make_run(self) -> GrowingRun:
        raise NotImplementedError

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
