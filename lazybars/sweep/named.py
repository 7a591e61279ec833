"""A strategy by name, so that it reaches another process without a pickle of code."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

from lazybars.errors import ConfigError

__all__ = ["load", "reference"]

_IN_FILE = re.compile(r"(?P<path>.+\.py)(?::(?P<name>[^:/\\]+))?", re.DOTALL)
_IN_MODULE = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<name>\w+(?:\.\w+)*)")
# What a strategy's file is called once it is loaded: its own name may be that of a library.
_MODULE = "lazybars_strategy"


def reference(strategy: Any) -> str:
    """The text that names a strategy: "module:Class", "/path/file.py:Class" or "/path/file.py".

    Parameters
    ----------
    strategy
        A class that can be imported, or such a text; paths may be relative.

    Raises
    ------
    ConfigError
        No other process could find it.
    """
    if isinstance(strategy, (str, os.PathLike)):
        return _of_text(os.fspath(strategy))
    if not isinstance(strategy, type):
        raise ConfigError(f"strategy={strategy!r}: give a strategy class, a file of one, or module:Class")
    module, name = strategy.__module__, strategy.__qualname__
    if "<locals>" in name:
        raise ConfigError(f"{name} is made inside a function, where no other process finds it: move it out")
    if module == "__main__":
        return _of_main(name)
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not strategy:
        raise ConfigError(f"{module}:{name} is not this strategy: no other process can import it by its name")
    return f"{module}:{name}"


def _of_text(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if found := _IN_FILE.fullmatch(text):
        path = Path(found["path"]).expanduser().absolute()
        return f"{path}:{found['name']}" if found["name"] else str(path)
    if _IN_MODULE.fullmatch(text):
        return text
    raise ConfigError(f"strategy={text!r}: give strategy.py, strategy.py:Class or module:Class")


def _of_main(name: str) -> str:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return f"{spec.name}:{name}"
    path = getattr(main, "__file__", None)
    if path is None or not os.path.exists(path):
        raise ConfigError(
            f"{name} was typed into a session, where no other process finds it: put it into a file and "
            "give that, strategy.py or strategy.py:Class"
        )
    return f"{os.path.abspath(path)}:{name}"


def load(named: str, base: type) -> tuple[type, str]:
    """The class of a reference, and the reference with the class's name in it.

    Runs the strategy's module or file: whatever that raises comes through.

    Parameters
    ----------
    base
        What it has to be a subclass of.

    Raises
    ------
    ConfigError
        There is no such file or class, or several where none is named.
    """
    if found := _IN_FILE.fullmatch(named):
        module, name = _file(found["path"]), found["name"]
        where = found["path"]
        if name is None:
            name = _only(module, base, where)
    else:
        where, _, name = named.partition(":")
        module = importlib.import_module(where)
    thing = module
    for part in name.split("."):
        thing = getattr(thing, part, None)
    if not isinstance(thing, type) or not issubclass(thing, base):
        kind = "there is none" if thing is None else f"it is {thing!r}"
        raise ConfigError(f"{where} has no strategy {name}: {kind}")
    return thing, f"{where}:{name}"


def _file(path: str) -> Any:
    if not os.path.isfile(path):
        raise ConfigError(f"{path} is no file: give the path of a strategy's Python file")
    # Behind all else, so that a neighbour of the strategy is found and shadows no library.
    sys.path.append(os.path.dirname(path))
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = sys.modules[_MODULE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _only(module: Any, base: type, where: str) -> str:
    """The name of the one strategy that a file itself defines."""
    names = [
        str(name)
        for name, thing in vars(module).items()
        if isinstance(thing, type) and issubclass(thing, base) and thing.__module__ == _MODULE
    ]
    if len(names) != 1:
        held = f"the strategies {', '.join(names)}: name one" if names else "no strategy: check the file"
        raise ConfigError(f"{where} has {held}{f', {where}:{names[0]}' if names else ''}")
    return names[0]
