"""What the benchmarks share: the bars, the sources, and the table at the end.

LAZYBARS_BENCH_ASSETS and LAZYBARS_BENCH_DAYS set the size (20 x 128, 1 million bars; 100 x 256 are
10 million), LAZYBARS_BENCH_RESULTS the folder of the CSV files.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before Lumibot is imported: it reads its environment once.
os.environ["BACKTESTING_DATA_SOURCE"] = "none"
os.environ["BACKTESTING_QUIET_LOGS"] = "true"
os.environ["IS_BACKTESTING"] = "true"
os.environ["LUMIBOT_DISABLE_DOTENV"] = "1"
os.environ.setdefault("LUMIBOT_LOG_LEVEL", "ERROR")

import pytest

from .market import MinuteMarket
from .results import Result, describe_machine, save, table

_RESULTS = pytest.StashKey[list[Result]]()
_UNIVERSE = pytest.StashKey[str]()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Files here are called bench_*, which pytest takes only when named on the command line."""
    if file_path.match("bench_*.py") and not parent.session.isinitpath(file_path):
        return pytest.Module.from_parent(parent, path=file_path)
    return None


def size(name: str, default: int) -> int:
    """A number from the environment."""
    return int(os.environ.get(f"LAZYBARS_BENCH_{name}", default))


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lumibot leaves logs in the working directory, and warns of every short history."""
    monkeypatch.chdir(tmp_path)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(before)


@pytest.fixture(scope="session")
def minutes(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> MinuteMarket:
    market = MinuteMarket(tmp_path_factory.mktemp("minutes"), size("ASSETS", 20), size("DAYS", 128))
    pytestconfig.stash[_UNIVERSE] = market.title
    return market


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Any:
    """Takes a result for the table at the end."""
    kept = request.config.stash.setdefault(_RESULTS, [])
    return kept.append


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table, printed and saved."""
    results = config.stash.get(_RESULTS, [])
    if not results:
        return
    universe = config.stash.get(_UNIVERSE, "")
    folder = Path(os.environ.get("LAZYBARS_BENCH_RESULTS", Path(__file__).parent / "results"))
    save(results, folder / "results.csv", universe)
    terminalreporter.section("lazy against the other side")
    for line in (describe_machine(), universe, "", *table(results)):
        terminalreporter.write_line(line)
