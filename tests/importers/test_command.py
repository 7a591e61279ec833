"""``lazybars import``, as a user meets it: what it prints, where, and the exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lazybars
from lazybars import AssetKey, cli, open_store

GOOD = "Date,Open,High,Low,Close,Volume\n" + "".join(
    f"2024-01-{day:02},{100 + day},{101 + day},{99 + day},{100 + day},{day * 10}\n" for day in range(2, 27)
)
UNSURE = "Date,Open,High,Low,Close\n01/02/2024,1,2,0.5,1\n02/02/2024,1,2,0.5,1\n03/02/2024,1,2,0.5,1\n"


class Said:
    """What a command came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Command = Callable[..., Said]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("LAZYBARS_DEBUG", raising=False)

    def run(*argv: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["lazybars", "import", *map(str, argv)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return run


def test_what_was_found_out_is_shown_and_then_used(command: Command, tmp_path: Path) -> None:
    store = tmp_path / "bars.duckdb"
    (tmp_path / "SPY.csv").write_text(GOOD)
    (tmp_path / "QQQ.csv").write_text(GOOD)
    said = command("csv", tmp_path / "SPY.csv", tmp_path / "QQQ.csv", "--store", store)
    assert said.code == 0, said.err
    assert said.out.count("time: Date as ISO 8601, zone America/New_York (assumed; --tz says another)") == 1
    assert "QQQ.csv: QQQ day (csv), alike" in said.out
    assert said.out.index("time: Date") < said.out.index("written")
    assert said.out.endswith("2 written\n")
    with open_store(store, read_only=True) as opened:
        assert [(one.asset.symbol, one.timestep, one.rows) for one in opened.series()] == [
            ("SPY", "day", 25), ("QQQ", "day", 25),
        ]  # fmt: skip
        assert opened.is_compact
    again = command("csv", tmp_path, "--store", store)
    assert (again.code, again.out.splitlines()[-1]) == (0, "2 unchanged")


def test_a_dry_run_only_shows(command: Command, tmp_path: Path) -> None:
    (tmp_path / "SPY.csv").write_text(GOOD)
    said = command("csv", tmp_path / "SPY.csv", "--dry-run", "--store", tmp_path / "bars.duckdb")
    assert said.code == 0
    assert "numbers: '.' is the decimal sign" in said.out
    assert said.out.endswith("1 found\n")
    assert not (tmp_path / "bars.duckdb").exists()


def test_what_is_not_decided_is_asked_for(command: Command, tmp_path: Path) -> None:
    store = tmp_path / "bars.duckdb"
    (tmp_path / "EU.csv").write_text(UNSURE)
    (tmp_path / "SPY.csv").write_text(GOOD)
    said = command("csv", tmp_path, "--store", store)
    assert said.code == 1
    assert "'01/02/2024' is 2024-02-01 00:00:00 as %d/%m/%Y and 2024-01-02 00:00:00 as %m/%d/%Y" in said.out
    assert said.out.endswith("1 failed, 1 written\n")
    said = command(
        *("csv", tmp_path / "EU.csv", "--store", store, "--date-format", "%d/%m/%Y", "--tz", "Europe/Berlin"),
        *(
            "--symbol",
            "dax",
            "--asset-type",
            "index",
            "--quote",
            "eur",
            "--source",
            "mine",
            "--timestep",
            "day",
        ),
    )
    assert said.code == 0, said.out
    with open_store(store, read_only=True) as opened:
        info = opened.find(AssetKey("DAX", "index"), "day")
        assert (info.quote, info.source) == (AssetKey("EUR", "forex"), "mine")
        assert [str(one) for one in opened.get_historical_prices(info.asset, timestep="day").index] == [
            f"2024-0{month}-{day} 18:00:00-05:00" for month, day in ((1, 31), (2, "01"), (2, "02"))
        ]


def test_options_of_text(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("".join(f"{1704205800 + 60 * i}|a|1,000|1,002|0,999|1,001\n" for i in range(5)))
    said = command(
        *("csv", path, "--store", tmp_path / "bars.duckdb", "--delimiter", "bar", "--decimal", ","),
        *(
            "--columns",
            "datetime, -, open, high, low, close",
            "--date-format",
            "epoch s",
            "--quote",
            "BTC:crypto",
        ),
    )
    assert said.code == 0, said.out
    with open_store(tmp_path / "bars.duckdb", read_only=True) as opened:
        (info,) = opened.series()
        assert info.quote == AssetKey("BTC", "crypto")
        assert opened.get_historical_prices("X").iloc[0].to_list() == [1.0, 1.002, 0.999, 1.001]


def test_odd_names_are_printed_as_they_are(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "größe [red]'x'"
    folder.mkdir()
    (folder / "a[b]'; DROP.csv").write_text(GOOD)
    (folder / "bad[0].csv").write_text("[bold]nothing[/bold]")
    said = command("csv", folder, "--store", tmp_path / "bars.duckdb")
    assert said.code == 1
    assert "a[b]'; DROP.csv" in said.out
    assert "bad[0].csv" in said.out
    assert said.out.endswith("1 written, 1 failed\n")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["csv", "SPY.csv"], "--store"),
        (["csv", "none.csv", "--store", "b.duckdb"], "no such file"),
        (["ccxt", ".", "--store", "b.duckdb"], "ends in .duckdb"),
        (["polygon", "SPY.csv", "--store", "b.duckdb", "--symbol", "SPY"], "leave the symbol"),
        (["csv", "SPY.csv", "--store", "SPY.csv"], "give another path"),
        (["csv", "SPY.csv", "--store", "none/b.duckdb"], "does not exist"),
        (["csv", "SPY.csv", "--store", "b.duckdb", "--quote", ":forex"], "--quote"),
        (["parquet", "SPY.csv"], "'parquet' is not one of"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_2(
    argv: list[str], said: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SPY.csv").write_text(GOOD)
    came = command(*argv)
    assert came.code == 2
    assert said in " ".join(came.err.split())
    assert (tmp_path / "SPY.csv").read_text() == GOOD


def test_skipped_files_are_counted(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "polygon" / "option_chains"
    folder.mkdir(parents=True)
    for day in range(3):
        (folder / f"SPY_2024-01-0{day}.parquet").touch()
    said = command("polygon", tmp_path, "--store", tmp_path / "bars.duckdb")
    assert said.code == 0
    assert said.out == "passed over 3 files: a chain or a list of splits\n3 skipped\n"


def test_interrupted_it_leaves_whole_files_and_no_rubbish(tmp_path: Path) -> None:
    folder, scratch = tmp_path / "in", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    rows = "".join(
        f"{946684800 + 60 * i},{100 + i % 7},{108 + i % 7},{99 + i % 7},{100 + i % 7},{i}\n"
        for i in range(200_000)
    )
    for i in range(20):
        (folder / f"S{i:02}.csv").write_text("time,open,high,low,close,volume\n" + rows)
    store = tmp_path / "bars.duckdb"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from lazybars.cli import main; main()",
            "import",
            "csv",
            folder,
            "--store",
            store,
        ],
        env={**os.environ, "PYTHONPATH": str(Path(lazybars.__file__).parents[1]), "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "S02" not in process.stdout.readline():  # two files are through
        pass
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert list(scratch.iterdir()) == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["bars.duckdb", "in", "scratch"]
    with open_store(store, read_only=True) as opened:
        assert 2 <= len(opened.series()) < 20
        assert {one.rows for one in opened.series()} == {200_000}
        assert opened.verify() == []
