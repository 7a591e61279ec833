"""Lumibot's own loading code, with the name of its downloader bound to another one.

A source's loader decides what is needed, names the asset, handles the service's errors; what it
calls to download is looked up among the globals of its module. A copy of the function with a global of
its own is Lumibot's code, version for version, and no module is changed for anyone else.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from lazybars.errors import ConfigError, LazyBarsError

__all__ = ["raise_own", "with_globals"]


def raise_own(error: BaseException) -> None:
    """Raise the error of lazybars that Lumibot's loader made another one of, if there is one behind it."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, LazyBarsError):
            raise behind
        behind = behind.__cause__ or behind.__context__


def with_globals(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """A copy of a function that sees these values under names that its module has.

    Raises
    ------
    ConfigError
        The function does not use one of the names: a Lumibot that loads in another way.
    """
    if not isinstance(function, FunctionType):
        raise ConfigError(f"{function!r} is no function of this Lumibot: install a version that is supported")
    unused = names.keys() - set(function.__code__.co_names)
    if unused:
        raise ConfigError(
            f"{function.__qualname__} of this Lumibot does not use {', '.join(sorted(unused))}: "
            "install a version that is supported, or give enabled=False"
        )
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
