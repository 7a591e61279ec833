"""A source that is passed through: Lumibot's own, which says that nothing of it is bounded."""

from __future__ import annotations

import logging
from abc import ABCMeta
from typing import Any, ClassVar

from lazybars.adapters.running import no_figures
from lazybars.stats import Stats

__all__ = ["PassedView", "alike", "passed_through"]

_log = logging.getLogger("lazybars")


class _Alike(ABCMeta):
    """The type of classes that are equal to the one they wrap: Lumibot compares a source's type with it."""

    _lazy_wraps: ClassVar[type]

    def __eq__(cls, other: object) -> bool:
        return cls is other or other is cls._lazy_wraps

    def __hash__(cls) -> int:
        return hash(cls._lazy_wraps)


def alike(cls: type, bases: tuple[type, ...], attributes: dict[str, Any]) -> type:
    """A subclass of ``cls`` that goes by its name, and is equal to it."""
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    meta = type(_Alike.__name__, (_Alike, type(cls)), {}) if type(cls) is not ABCMeta else _Alike
    made: type = meta(cls.__name__, (*bases, cls), {**names, "_lazy_wraps": cls, **attributes})
    return made


class PassedView:
    """What ``source.lazy`` shows of a source that is passed through."""

    def __init__(self, name: str, reason: str, cap_bytes: int) -> None:
        self._eager = {name: reason}
        self._cap_bytes = cap_bytes

    def stats(self) -> Stats:
        """No figures, but the source and why it is not bounded, in ``eager``."""
        return no_figures(self._cap_bytes, self._eager, {})


def passed_through(source: Any, reason: str, cap_bytes: int) -> Any:
    """The same class or instance in all that it does, with ``lazy.stats()`` beside it."""
    cls = source if isinstance(source, type) else type(source)
    _log.warning(
        "%s is passed through as it is: Lumibot holds its bars in RAM, outside memory=, because %s",
        cls.__name__,
        reason,
    )
    view = PassedView(cls.__name__, reason, cap_bytes)
    if isinstance(source, type):
        return alike(cls, (), {"lazy": view, "_lazy_knobs": None})
    source.lazy = view
    return source
