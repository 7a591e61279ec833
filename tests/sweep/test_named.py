"""A strategy by name: there and back, without code in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lazybars
from lazybars.errors import ConfigError
from lazybars.sweep.named import load, reference


class Base:
    """What a strategy derives from, for these tests."""

    class Inner:
        """A class in a class."""


@pytest.fixture(autouse=True)
def loaded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "lazybars_strategy", raising=False)


def strategy_file(folder: Path, code: str) -> Path:
    path = folder / "random.py"  # which is the name of a library's module
    path.write_text(f"class Base:\n    pass\n{code}")
    return path


def test_a_class_goes_by_module_and_name_and_comes_back() -> None:
    named = reference(Base.Inner)
    assert named == f"{__name__}:Base.Inner"
    assert load(named, object) == (Base.Inner, named)


def test_a_file_goes_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ä b:c"
    folder.mkdir()
    path = strategy_file(folder, "import random as library\nONE = library.random()\nclass One(dict): pass\n")
    monkeypatch.chdir(folder)
    for given in (path, str(path), "random.py", f"{path}:One", "./random.py:One"):
        cls, named = load(reference(given), dict)
        assert cls.__name__ == "One"
        assert named == f"{path}:One"


def test_the_one_strategy_of_a_file_need_not_be_named(tmp_path: Path) -> None:
    path = strategy_file(tmp_path, "from collections import OrderedDict\nclass One(dict): pass\n")
    assert load(reference(path), dict)[1] == f"{path}:One"


@pytest.mark.parametrize(
    ("code", "said"),
    [("", "no strategy"), ("class One(dict): pass\nclass Two(dict): pass\n", "One, Two: name one")],
)
def test_none_or_several_strategies_in_a_file_are_told(tmp_path: Path, code: str, said: str) -> None:
    path = strategy_file(tmp_path, code)
    with pytest.raises(ConfigError, match=said):
        load(reference(path), dict)


def test_what_is_no_strategy_is_told(tmp_path: Path) -> None:
    path = strategy_file(tmp_path, "NUMBER = 5\n")
    for name, said in (("Nobody", "there is none"), ("NUMBER", "it is 5"), ("Base", "it is")):
        with pytest.raises(ConfigError, match=said):
            load(reference(f"{path}:{name}"), dict)
    with pytest.raises(ConfigError, match="is no file"):
        load(reference(tmp_path / "nowhere.py"), dict)


def test_what_no_other_process_could_find_is_refused() -> None:
    class Local:
        pass

    moved = type("Base", (), {"__module__": __name__})
    for given, said in (
        (Local, "inside a function"),
        (moved, "is not this strategy"),
        (Base(), "give a strategy class"),
        ("strategy.txt", "give strategy.py"),
        ("a b:C", "give strategy.py"),
        ("", "give strategy.py"),
        (None, "give a strategy class"),
    ):
        with pytest.raises(ConfigError, match=said):
            reference(given)


def test_a_class_of_a_script_goes_by_the_scripts_file(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from lazybars.sweep.named import reference\nclass Mine: pass\nprint(reference(Mine))\n"
    )
    environment = {"PYTHONPATH": str(Path(lazybars.__file__).parents[1])}

    def said(*argv: str) -> str:
        done = subprocess.run(
            [sys.executable, *argv], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    assert said("script.py") == f"{script}:Mine\n"
    assert said("-m", "script") == "script:Mine\n"
    assert "typed into a session" in said("-c", script.read_text())


def test_a_main_module_is_the_real_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    typed = type("Typed", (), {"__module__": "__main__"})
    with pytest.raises(ConfigError, match="typed into a session"):
        reference(typed)
