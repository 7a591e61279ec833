"""The comparison of whole processes, end to end at a tiny size, and what it does with a bad contestant."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import benchmarks
from benchmarks.compare import cells_of, run
from benchmarks.contest.cells import Machine
from benchmarks.contest.clock import WINDOW, Size, Walk
from benchmarks.contest.records import Record, Records
from benchmarks.contest.section import BEGIN, END, section_of
from benchmarks.contest.stores import NoRoom, Stores, filled
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.results import put_between
from lazybars.demo.universes import Generated

_ROOT = Path(__file__).parents[1]
_TINY = Size(assets=3, days=5)
_CALLS = 45


def compare(*arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", *map(str, arguments)],
        cwd=_ROOT,
        # By default the bars are kept below this folder; Matplotlib keeps its fonts elsewhere.
        env={"MPLCONFIGDIR": mpl.get_configdir(), **os.environ, "XDG_CACHE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The CSV of a comparison and the folder of its bars, whose name would break careless quoting."""
    folder = tmp_path_factory.mktemp("compare")
    out, work = folder / "compare.csv", folder / "it's börs"
    ended = compare(
        *("--sizes", _TINY, "--calls", _CALLS, "--only", "eager,lazybars,lazybars-iterate,duckdb,polars"),
        *("--caps", "128MB", "--out", out, "--workdir", work),
        home=folder,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{_CALLS} calls: 15 stops of the clock" in " ".join(ended.stdout.split())
    return out, work


# ---- what is asked --------------------------------------------------------------------------------


def test_the_bars_are_whole_sessions_filled_as_pandas_fills() -> None:
    size = Size(assets=2, days=4)
    grid = pd.DatetimeIndex(size.grid_ns(), tz="UTC")
    sessions = pd.bdate_range("2023-01-02", periods=4, tz="America/New_York")
    assert grid.equals(
        pd.DatetimeIndex(
            [day + pd.Timedelta(minutes=570 + minute) for day in sessions for minute in range(390)]
        ).tz_convert("UTC")
    )
    for bars in Generated(size.assets, size.days).bars():
        truth = bars.frame().reindex(grid.tz_convert("America/New_York")).ffill().bfill()
        whole = filled(bars, size).frame()
        assert len(bars.times_ns) < len(whole)
        pd.testing.assert_frame_equal(whole, truth, check_dtype=False, check_freq=False)


def test_a_walk_goes_forward_through_all_of_the_data() -> None:
    size = Size.parse("20x128")
    assert (size.assets, size.days, size.bars) == (20, 128, 998_400)
    walk = Walk(size, 20_000)
    assert walk.calls == 20_000
    assert walk.stops[0] == 390
    assert walk.stops[-1] == 128 * 390 - 1
    steps = np.diff(walk.stops)
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1
    grid = size.grid_ns()
    for tick, row in zip(walk.ticks, walk.stops, strict=True):
        assert (tick.first_ns, tick.last_ns) == (grid[row - WINDOW], grid[row - 1])
        assert tick.now_ns == grid[row]


def test_the_section_is_that_of_its_file(tmp_path: Path) -> None:
    root = Path(benchmarks.__file__).parent
    page = tmp_path / "RESULTS.md"
    page.write_text((root / "RESULTS.md").read_text())
    put_between(page, BEGIN, END, section_of(list(Records(root / "results/compare.csv"))))
    assert page.read_text() == (root / "RESULTS.md").read_text()


def test_more_bars_are_a_longer_history_at_the_same_pace() -> None:
    sizes = [Size.parse(text) for text in ("1e6", "1e7", "1e8")]
    assert [size.assets for size in sizes] == [100] * 3
    for size in sizes:
        (cell,) = cells_of({"duckdb": CONTESTANTS["duckdb"]}, [size])
        assert np.diff(cell.walk.stops).mean() == pytest.approx(50, rel=0.05)


def test_caps_that_are_given_are_those_of_all_that_have_any() -> None:
    table = {name: CONTESTANTS[name] for name in ("duckdb", "lazybars", "lazybars-lru")}
    found = [(cell.name, cell.cap_bytes) for cell in cells_of(table, [_TINY], caps=[112_000_000])]
    assert found == [("duckdb", None), ("lazybars", 112_000_000), ("lazybars-lru", 112_000_000)]
    own = [cell.cap_bytes for cell in cells_of(table, [_TINY]) if cell.name == "lazybars"]
    assert own == list(CONTESTANTS["lazybars"].caps)


def test_more_calls_than_there_are_minutes_ask_at_every_minute() -> None:
    assert Walk(_TINY, 10**9).calls == 3 * 4 * 390


# ---- end to end -----------------------------------------------------------------------------------


def test_every_contestant_answers_as_eager_lumibot_does(done: tuple[Path, Path]) -> None:
    rows = rows_of(done[0])
    assert [row["contestant"] for row in rows] == [
        "eager",
        "lazybars",
        "lazybars-iterate",
        "duckdb",
        "polars",
    ]
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["checksum"] for row in rows} == {rows[0]["checksum"]}
    for row in rows:
        assert (row["bars"], row["assets"], row["days"], row["calls"]) == ("5850", "3", "5", str(_CALLS))
        assert row["cap_mb"] == ("128" if row["contestant"].startswith("lazybars") else "")
        assert float(row["wall_s"]) > float(row["startup_s"]) > 0
        assert float(row["cpu_s"]) > float(row["startup_cpu_s"]) > 0
        assert float(row["p99_us"]) >= float(row["p50_us"]) > 0
        assert float(row["peak_rss_mb"]) > 0
        assert "GB, Linux" in row["machine"]
        assert f"python {sys.version.split()[0]}" in row["versions"]
        assert row["date"].endswith("+00:00")
    named = {row["contestant"]: row["versions"] for row in rows}
    assert "lumibot 4" in named["eager"]
    assert "lazybars" in named["lazybars"]
    assert "duckdb 2" in named["duckdb"]
    assert "polars" in named["polars"]


def test_cells_that_have_a_row_are_not_run_again(done: tuple[Path, Path], tmp_path: Path) -> None:
    out = shutil.copy(done[0], tmp_path / "compare.csv")
    before = rows_of(out)
    same = ("--sizes", _TINY, "--calls", _CALLS, "--out", out, "--workdir", tmp_path / "work")
    ended = compare(*same, "--only", "eager,duckdb", home=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert rows_of(out) == before
    assert not (tmp_path / "work").exists(), "nothing had to be run"

    ended = compare(*same, "--only", "duckdb", "--again", home=tmp_path)
    assert ended.returncode == 0, ended.stderr
    after = rows_of(out)
    changed = [one["contestant"] for one, other in zip(before, after, strict=True) if one != other]
    assert changed == ["duckdb"]


def test_the_plots_are_made_from_the_csv_alone(done: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "compare.csv"
    lines = done[0].read_text().splitlines()
    # A second size, a second number of calls and a cell without figures are drawn, too.
    more = [
        line.replace(",5850,", ",58500,").replace(f",5,{_CALLS},", f",50,{_CALLS},") for line in lines[1:]
    ]
    more += [line.replace(f",5,{_CALLS},", ",5,9000,") for line in lines[1:]]
    more.append("eager,9000000,,100,231,45,m,v,d,,,,,,,,,,,1,,refused,too much")
    out.write_text("\n".join([*lines, *more]) + "\n")
    ended = compare("--plot", "--out", out, home=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "calls.png",
        "compare.csv",
        "latency.png",
        "ram.png",
        "time.png",
    ]
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000


# ---- contestants that go wrong --------------------------------------------------------------------

_BAD = """
import os, time
import numpy as np
from benchmarks.contestants.querying import Query

class Liar(Query):
    def ask(self, asset, tick):
        closes = super().ask(asset, tick)
        if asset == 2:
            closes[-1] += 0.01
        return closes

class Early(Query):
    "One bar of the future."
    def move(self, tick):
        minute = 60_000_000_000
        super().move(type(tick)(tick.now_ns, tick.first_ns + minute, tick.last_ns + minute))

class Raises(Query):
    def ask(self, asset, tick):
        raise RuntimeError("no bars today")

class Sleeps(Query):
    def ask(self, asset, tick):
        time.sleep(3600)

class Hoards(Query):
    def ask(self, asset, tick):
        return [np.ones(1 << 20) for _ in range(1 << 20)]

class Dies(Query):
    def ask(self, asset, tick):
        os._exit(7)
"""


@pytest.fixture
def machine(done: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "bad.py").write_text(_BAD)
    (tmp_path / "absent.py").write_text("import there_is_no_such_package\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Machine(folder=done[1], limit_s=120.0, ram_bytes=1_000_000_000)


def run_bad(code: str, machine: Machine, tmp_path: Path, **changed: object) -> Record:
    """One contestant out of a table of one's own, in place of the one that queries DuckDB."""
    table = {"bad": replace(CONTESTANTS["duckdb"], code=code, **changed)}
    records = Records(tmp_path / "bad.csv")
    (row,) = run(cells_of(table, [_TINY], [_CALLS]), machine, records)
    assert [one.contestant for one in Records(records.path)] == ["bad"], "a bad cell is a row as well"
    return row


@pytest.mark.parametrize("kind", ["Liar", "Early"])
def test_a_wrong_answer_is_caught(kind: str, machine: Machine, tmp_path: Path) -> None:
    row = run_bad(f"bad:{kind}", machine, tmp_path)
    assert row.status == "wrong"
    assert row.checksum not in row.cause


def test_a_wrong_answer_makes_the_command_fail(done: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "compare.csv"
    out.write_text(done[0].read_text().replace(",ok,", ",wrong,", 1))
    ended = compare("--sizes", _TINY, "--calls", _CALLS, "--only", "eager", "--out", out, home=tmp_path)
    assert ended.returncode == 1
    assert "wrong" in ended.stdout


@pytest.mark.parametrize(
    ("code", "status", "cause"),
    [
        ("bad:Raises", "failed", "RuntimeError: no bars today"),
        ("bad:Dies", "failed", "the process ended with code 7"),
        ("bad:Hoards", "out of memory", "Unable to allocate"),
        ("absent:Query", "not installed", "there_is_no_such_package"),
        ("bad:Nobody", "failed", "Nobody"),
    ],
)
def test_a_cell_that_fails_is_a_row_with_its_cause(
    code: str, status: str, cause: str, machine: Machine, tmp_path: Path
) -> None:
    row = run_bad(code, machine, tmp_path)
    assert (row.status, row.cpu_s, row.peak_rss_mb) == (status, None, None)
    assert cause in row.cause


def test_a_cell_that_takes_too_long_is_ended(machine: Machine, tmp_path: Path) -> None:
    row = run_bad("bad:Sleeps", replace(machine, limit_s=3.0), tmp_path)
    assert (row.status, row.cause) == ("timeout", "not done after 3 s")


def test_a_cell_that_cannot_fit_is_refused_before_it_is_run(machine: Machine, tmp_path: Path) -> None:
    row = run_bad("bad:Hoards", machine, tmp_path, ram_bytes_a_bar=200_000)
    assert row.status == "refused"
    assert "needs at least 1.2 GB of RAM (200000 bytes a bar), and may have 1.0 GB" in row.cause


def test_a_disk_without_room_refuses_the_bars(tmp_path: Path) -> None:
    stores = Stores(tmp_path, Size(assets=10**6, days=10**5))
    with pytest.raises(NoRoom, match="GB of disk"):
        stores.make("store", print)
    assert not list(tmp_path.iterdir())


def test_a_contestant_that_is_missing_is_asked_for_again(machine: Machine, tmp_path: Path) -> None:
    assert run_bad("absent:Query", machine, tmp_path).status == "not installed"
    assert run_bad("bad:Raises", machine, tmp_path).status == "failed"
    assert run_bad("bad:Dies", machine, tmp_path).cause == "RuntimeError: no bars today", "it has its row"


def test_a_cap_that_is_too_small_is_a_row(machine: Machine, tmp_path: Path) -> None:
    table: dict[str, Contestant] = {"small": replace(CONTESTANTS["lazybars-iterate"], caps=(40_000_000,))}
    records = Records(tmp_path / "small.csv")
    (row,) = run(cells_of(table, [_TINY], [_CALLS]), machine, records)
    assert row.status == "cap too small"
    assert "Give at least" in row.cause


# ---- what cannot be meant -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sizes", "many"), "--sizes 'many'"),
        (("--sizes", "0x9"), "at least 1 x 2"),
        (("--calls", "0"), "--calls '0'"),
        (("--only", "duckdb,excel"), "no contestant is called excel"),
        (("--caps", "lots"), "caps='lots'"),
        (("--python-zipline", "/no/such/python"), "--python-zipline"),
        (("--plot",), "no rows to show"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_one_line(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    ended = compare(*arguments, "--out", tmp_path / "none.csv", "--workdir", tmp_path / "work", home=tmp_path)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_csv_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "other.csv"
    out.write_text("a,b\n1,2\n")
    ended = compare("--out", out, "--workdir", tmp_path / "work", home=tmp_path)
    assert ended.returncode == 2
    assert "other columns" in ended.stderr
    assert out.read_text() == "a,b\n1,2\n"
