"""Who may import whom: the map of the house, read from the code itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import minutes, write_store

import lazybars

ROOT = Path(lazybars.__file__).parent
ENGINES = {"duckdb", "lumibot", "pandas", "polars"}
LONGEST_MODULE_LINES = 400

# Every room, from the ground up, and exactly which rooms it imports. A folder is one room. A room
# may only name rooms above it in this list, so that no two ever need each other.
FLOORS: dict[str, tuple[int, str]] = {
    "errors": (0, ""),
    "model": (0, "errors"),
    "partition": (1, "errors"),
    "grid": (1, "model"),
    "layout": (1, "model"),
    "eviction": (1, "errors"),
    "stats": (1, ""),
    "journal": (1, "stats"),
    "blocks": (1, ""),
    "repair": (1, "blocks grid layout"),
    "series": (1, "blocks grid layout model partition repair"),
    "rows": (1, "blocks grid layout model partition repair series"),
    "filled": (1, "blocks grid model partition repair rows"),
    "config": (1, "errors eviction model partition"),
    "access": (1, ""),
    "handed_out": (1, ""),
    "diary": (1, "journal"),
    "replay": (1, "access journal"),
    "budget": (2, "errors"),
    "ring": (2, "access budget diary eviction repair"),
    "store": (2, "errors model"),
    "loader": (2, "grid partition repair series"),
    "schedule": (2, "access eviction partition ring series"),
    "prefetch": (3, "loader ring schedule series"),
    "feed": (
        4,
        "access budget diary errors eviction handed_out journal loader model partition prefetch repair ring "
        "schedule series stats",
    ),
    "report": (4, "errors journal partition stats"),
    "live": (4, "partition"),
    "review": (4, "feed journal replay ring"),
    "planning": (4, "budget errors partition ring series"),
    "follow": (4, "errors journal planning stats store"),
    "iterate": (
        4,
        "budget config errors eviction feed follow grid journal model partition planning report review "
        "series stats store",
    ),
    "forecast": (4, "budget errors grid model partition planning report ring series store"),
    "wrap": (4, "config errors eviction"),
    "sweep": (4, "budget errors model report stats wrap"),
    "__init__": (4, "errors eviction iterate model planning stats store sweep wrap"),
    "adapters": (
        5,
        "budget config errors feed filled grid journal layout live model partition planning repair report "
        "review ring rows series stats store",
    ),
    "comparing": (5, "adapters budget config errors model report stats sweep wrap"),
    "intake": (5, "errors model store"),
    "importers": (5, "errors intake model store"),
    "quality": (5, "errors model store"),
    "demo": (5, "__init__ budget errors model stats store"),
    "cli": (5, "__init__ comparing demo errors forecast importers intake model quality store sweep"),
    "__main__": (5, "cli"),
}
# The façade makes what is above it, inside the function that is asked to.
UPWARDS = {("wrap", "adapters")}


@dataclass(frozen=True)
class Import:
    """One import: who, what, and when it happens."""

    module: str
    target: str
    inside: bool
    """Inside a function: only when that is called."""
    typing: bool
    """Under TYPE_CHECKING: never at run time."""


def modules() -> dict[str, Path]:
    """Every module by its dotted name below the package."""
    return {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path
        for path in sorted(ROOT.rglob("*.py"))
    }


def imports_of(module: str, path: Path) -> Iterator[Import]:
    def walk(node: ast.AST, inside: bool, typing: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            names: list[str] = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}: relative import"
                base = child.module or ""
                names = [
                    f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base
                    for alias in child.names
                ]
            yield from (Import(module, name, inside, typing) for name in names)
            deeper = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            checking = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from walk(child, inside or deeper, typing or checking)

    yield from walk(ast.parse(path.read_text()), False, False)


def is_module(name: str) -> bool:
    path = ROOT.parent / name.replace(".", "/")
    return name.startswith("lazybars.") and (path.is_dir() or path.with_suffix(".py").exists())


IMPORTS = [one for name, path in modules().items() for one in imports_of(name, path)]


def room_of(module: str) -> str:
    return module.split(".")[0]


def target_room(target: str) -> str | None:
    """The room of lazybars that an import names; None for the world outside."""
    if target.split(".")[0] != "lazybars":
        return None
    return target.split(".")[1] if "." in target else "__init__"


def importers_of(package: str) -> set[str]:
    return {one.module for one in IMPORTS if one.target.split(".")[0] == package}


# ---- the map --------------------------------------------------------------------------------------


def test_every_room_is_on_the_map() -> None:
    assert {room_of(name) for name in modules()} == set(FLOORS)


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_imports_exactly_what_the_map_says(room: str) -> None:
    found = {
        target
        for one in IMPORTS
        if room_of(one.module) == room
        and (target := target_room(one.target)) not in (None, room)
        and (room, target) not in UPWARDS
    }
    assert found == set(FLOORS[room][1].split())


def test_the_map_points_down_and_has_no_cycle() -> None:
    order = list(FLOORS)
    for room, (floor, below) in FLOORS.items():
        for name in below.split():
            assert order.index(name) < order.index(room), f"{room} imports {name}, which comes after it"
            assert FLOORS[name][0] <= floor, f"{room} imports {name}, which is on a higher floor"


def test_what_reaches_up_does_so_inside_a_function() -> None:
    found = [one for one in IMPORTS if (room_of(one.module), target_room(one.target)) in UPWARDS]
    assert found
    assert all(one.inside for one in found)


def test_no_two_modules_need_each_other_at_import() -> None:
    edges: dict[str, set[str]] = {name: set() for name in modules()}
    for one in IMPORTS:
        target = one.target.removeprefix("lazybars.")
        for name in (target, f"{target}.__init__"):
            if name in edges and not one.inside and not one.typing:
                edges[one.module].add(name)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for target in edges[name]:
                visit(target, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())


# ---- one room each for the world outside ----------------------------------------------------------


def test_only_the_store_and_the_importers_bench_import_duckdb() -> None:
    assert {room_of(name) for name in importers_of("duckdb")} == {"store", "importers"}
    assert {name for name in importers_of("duckdb") if room_of(name) == "importers"} == {"importers.bench"}


def test_only_the_adapters_and_what_runs_backtests_know_lumibot() -> None:
    assert {room_of(name) for name in importers_of("lumibot")} <= {
        "adapters",
        "comparing",
        "demo",
        "sweep",
        "wrap",
    }
    early = [one for one in IMPORTS if one.module == "wrap" and one.target.startswith("lumibot")]
    assert all(one.inside for one in early)


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_frames_are_imported_by_the_adapters_and_elsewhere_only_where_one_is_asked_for(package: str) -> None:
    early = {
        room_of(one.module)
        for one in IMPORTS
        if one.target.split(".")[0] == package and not one.inside and not one.typing
    }
    assert early <= {"adapters"}
    assert {room_of(name) for name in importers_of(package)} <= {"adapters", "store", "demo", "sweep"}


def test_only_prefetch_and_the_stores_background_start_threads() -> None:
    starters = set()
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("threading.Thread", "Thread", "threading.Timer", "Timer") or "Executor" in called:
                starters.add(name)
    assert starters == {"prefetch", "store.background"}
    assert {room_of(name) for name in importers_of("threading")} <= {"adapters", "prefetch", "ring", "store"}
    assert not importers_of("concurrent") | importers_of("multiprocessing") | importers_of("_thread")


def test_only_an_address_brings_other_file_systems_in() -> None:
    assert importers_of("fsspec") == {"store.parquet.metered"}
    above = {one.module for one in IMPORTS if one.target.endswith("parquet.metered")}
    assert above == {"store.parquet.remote"}
    reached = [one for one in IMPORTS if one.target.endswith("parquet.remote")]
    assert [one.module for one in reached] == ["store.parquet.store"]
    assert all(one.inside for one in reached)


def test_the_rest_of_the_house_knows_a_store_by_its_interface() -> None:
    """What the interface does not promise is asked of no store outside of its own room."""
    from lazybars.store import Storage, Store

    promised = {name for name in vars(Storage) if not name.startswith("_")}
    others = {name for name in dir(Store) if not name.startswith("_")} - promised
    assert {"append", "indicators"} <= others
    asked = set()
    for name, path in modules().items():
        if room_of(name) in ("store", "__init__"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in (
                "store",
                "opened",
                "self._store",
                "self.store",
                "self._shelf.store",
                "self._knobs.store",
            ):
                asked.add(node.attr)
    assert {"series_days", "write_files", "sql", "sessions", "wait_for_bars"} <= asked
    assert not asked & others


def test_the_store_and_the_ring_are_strangers() -> None:
    assert not set(FLOORS["store"][1].split()) & {"ring", "budget", "feed", "prefetch", "loader", "adapters"}
    assert "store" not in FLOORS["ring"][1].split()


# ---- what an import costs -------------------------------------------------------------------------

LIGHT = {
    "the package": "import lazybars",
    "the command line": "import lazybars.cli",
    "a store": (
        "from lazybars import open_store\n"
        "with open_store('other.duckdb') as store:\n"
        "    store.write('bars.parquet', asset='A', timestep='minute')\n"
        "    assert store.read('A', 'minute').read_all().num_rows == 240\n"
        "    store.series(), store.coverage('A', 'minute'), store.sql('SELECT 1')"
    ),
    "a store of Parquet": (
        "from lazybars import open_store\n"
        "with open_store('other/') as store:\n"
        "    store.write('bars.parquet', asset='A', timestep='minute')\n"
        "    store.compact()\n"
        "    assert store.read('A', 'minute').read_all().num_rows == 240\n"
        "    store.series(), store.coverage('A', 'minute'), store.sql('SELECT 1')\n"
        "assert 'fsspec' not in sys.modules"
    ),
    "an iteration": (
        "from lazybars import iterate\n"
        "assert sum(len(tick['A']) for tick in iterate('bars.duckdb', lookback=1)) == 239"
    ),
}


@pytest.mark.parametrize("what", LIGHT)
def test_neither_lumibot_nor_pandas_is_imported_by(what: str, tmp_path: Path) -> None:
    frame = minutes(days=2)
    frame.to_parquet(tmp_path / "bars.parquet")
    write_store(tmp_path / "bars.duckdb", {"A": frame})
    code = f"import sys\n{LIGHT[what]}\nprint(sorted({ENGINES - {'duckdb'}!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT.parent), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


# ---- what is public -------------------------------------------------------------------------------


def test_the_public_names_are_sorted_and_are_there() -> None:
    assert lazybars.__all__ == sorted(lazybars.__all__)
    assert len(lazybars.__all__) == len(set(lazybars.__all__))
    assert all(hasattr(lazybars, name) for name in lazybars.__all__)


@pytest.mark.parametrize("module", [name for name in modules() if not name.endswith("__main__")])
def test_every_public_name_of_a_module_is_there_and_documented(module: str) -> None:
    if module.endswith("worker"):
        pytest.skip("measures its own process as it is imported")
    imported = importlib.import_module(f"lazybars.{module}".removesuffix(".__init__"))
    if module not in ("adapters.__init__", "demo.worker"):
        assert imported.__doc__, f"{module} does not say what it is for"
    for name in getattr(imported, "__all__", ()):
        thing = getattr(imported, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, f"{module}.{name} has no docstring"


def test_every_error_that_the_tree_names_can_be_imported_from_the_package() -> None:
    from lazybars import errors

    assert set(errors.__all__) <= set(lazybars.__all__)
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, lazybars.LazyBarsError)
        assert not issubclass(kind, ValueError), "Lumibot answers None where a source raises a ValueError"
        assert name in (errors.__doc__ or "")


@pytest.mark.parametrize("module", modules())
def test_no_module_is_long(module: str) -> None:
    lines = len(modules()[module].read_text().splitlines())
    assert lines <= LONGEST_MODULE_LINES, f"{module} has {lines} lines: it holds more than one job"
