"""The command line, as a user meets it: what it prints, where, and the exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lazybars
from lazybars import AssetKey, cli, open_store
from lazybars.demo.universes import Generated
from lazybars.errors import BadInput
from lazybars.intake import FileName, file_name, guess_timestep, split_by_symbol

MAIN = "from lazybars.cli import main; main()"


class Said:
    """What a command came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Command = Callable[..., Said]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("LAZYBARS_DEBUG", raising=False)

    def run(*argv: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["lazybars", *map(str, argv)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, out, err)

    return run


def frame(rows: int = 500, freq: str = "1min", start: str = "2024-01-02 09:30") -> pd.DataFrame:
    index = pd.date_range(start, periods=rows, freq=freq, tz="America/New_York", name="datetime")
    close = 100 + np.arange(rows) / 100
    return pd.DataFrame(
        {
            "open": close,
            "high": close + 0.05,
            "low": close - 0.05,
            "close": close,
            "volume": np.arange(rows) + 1,
        },
        index=index,
    )


@pytest.mark.parametrize("module", ["lazybars", "lazybars.cli"])
def test_it_runs_as_a_module(module: str) -> None:
    said = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, f"lazybars {lazybars.__version__}\n"), said.stderr


# ---- ingest ---------------------------------------------------------------------------------------


def test_ingest_takes_symbol_timestep_and_source_from_names(tmp_path: Path, command: Command) -> None:
    frame().to_parquet(tmp_path / "vendor__SPY__1min.parquet")
    frame(100, "1D").to_parquet(tmp_path / "qqq.parquet")
    said = command("ingest", tmp_path / "bars.duckdb", tmp_path)
    assert said.code == 0, said.err
    assert "QQQ day (by its spacing)" in said.out
    assert "SPY minute" in said.out
    assert "SPY minute (by" not in said.out
    assert "600 bars in the store" in said.out
    with open_store(tmp_path / "bars.duckdb", read_only=True) as store:
        found = {(one.asset.symbol, one.timestep, one.source, one.rows) for one in store.series()}
        assert found == {("SPY", "minute", "vendor", 500), ("QQQ", "day", "user", 100)}
        assert store.is_compact
        pd.testing.assert_frame_equal(
            store.get_historical_prices("SPY", timestep="minute"), frame(), check_freq=False
        )


def test_ingest_options_reach_the_store(tmp_path: Path, command: Command) -> None:
    naive = frame(48, "1h").tz_localize(None)
    naive.to_csv(tmp_path / "anything.csv")
    said = command(
        *("ingest", tmp_path / "bars.duckdb", tmp_path / "any*.csv", "--symbol", "btc"),
        *("--asset-type", "crypto", "--quote", "usdt:crypto", "--tz", "UTC", "--source", "here"),
    )
    assert said.code == 0, said.err
    with open_store(tmp_path / "bars.duckdb", read_only=True) as store:
        (info,) = store.series()
    assert info.asset == AssetKey("BTC", "crypto")
    assert info.quote == AssetKey("USDT", "crypto")
    assert (info.timestep, info.source) == ("hour", "here")
    assert info.first_ns == pd.Timestamp("2024-01-02 09:30", tz="UTC").value


@pytest.mark.parametrize("suffix", ["parquet", "csv", "feather"])
def test_ingest_does_not_mix_symbols(suffix: str, tmp_path: Path, command: Command) -> None:
    both = pd.concat([frame(50).assign(Ticker="AAA"), frame(50).assign(Ticker="BBB")]).reset_index()
    store, file = tmp_path / "bars.duckdb", tmp_path / f"all.{suffix}"
    getattr(both, f"to_{suffix}")(file, **({} if suffix == "feather" else {"index": False}))
    said = command("ingest", store, file)
    assert said.code == 1
    assert "column 'Ticker' holds several symbols, AAA and BBB among them" in said.err
    assert "--symbol-column Ticker" in said.err
    said = command("ingest", store, file, "--symbol-column", "Ticker")
    assert said.code == 0, said.err
    with open_store(store, read_only=True) as opened:
        assert [(one.asset.symbol, one.rows) for one in opened.series()] == [("AAA", 50), ("BBB", 50)]


def test_ingest_modes(tmp_path: Path, command: Command) -> None:
    store, file = tmp_path / "bars.duckdb", tmp_path / "SPY.parquet"
    frame().to_parquet(file)
    assert command("ingest", store, file).code == 0
    again = command("ingest", store, file, "--again")
    assert again.code == 0
    assert again.out.count("500") == 4  # read, written, replaced, and in the store
    refused = command("ingest", store, file, "--mode", "append")
    assert refused.code == 1
    assert "SPY.parquet" in refused.err


def test_ingest_goes_on_after_a_bad_file_and_says_why(tmp_path: Path, command: Command) -> None:
    bad = frame().astype({"close": object})
    bad.iloc[7, bad.columns.get_loc("close")] = "n.a.!"
    bad.astype({"close": str}).to_parquet(tmp_path / "BAD.parquet")
    frame().iloc[:0].to_parquet(tmp_path / "EMPTY.parquet")
    frame().to_parquet(tmp_path / "SPY.parquet")
    (tmp_path / "TORN.parquet").write_bytes(b"PAR1 but not much more")
    store = tmp_path / "bars.duckdb"
    said = command("ingest", store, tmp_path, tmp_path / "gone*.csv", "--timestep", "minute")
    assert said.code == 1
    assert "Traceback" not in said.err
    for name in ("BAD.parquet", "EMPTY.parquet", "TORN.parquet", "gone*.csv"):
        assert name in said.err
    assert "7" in next(line for line in said.err.splitlines() if "BAD.parquet" in line)
    with open_store(store, read_only=True) as opened:
        assert [(one.asset.symbol, one.rows) for one in opened.series()] == [("SPY", 500)]


def test_ingest_of_nothing_makes_no_store(tmp_path: Path, command: Command) -> None:
    said = command("ingest", tmp_path / "bars.duckdb", tmp_path / "gone.parquet")
    assert said.code == 1
    assert not (tmp_path / "bars.duckdb").exists()


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz", "feather"])
def test_ingest_of_many_symbols_in_a_column(tmp_path: Path, command: Command, ending: str) -> None:
    one, other = frame(), frame(300).assign(close=50.0, open=50.0, high=50.5, low=49.5)
    both = pd.concat([one.assign(ticker="aaa"), other.assign(ticker="../B %2F")]).sort_index(kind="stable")
    path = tmp_path / f"all.{ending}"
    if ending == "parquet":
        both.to_parquet(path)
    elif ending == "feather":
        both.reset_index().to_feather(path)
    else:
        both.to_csv(path)
    said = command("ingest", tmp_path / "bars.duckdb", path, "--symbol-column", "ticker")
    assert said.code == 0, said.err
    with open_store(tmp_path / "bars.duckdb", read_only=True) as store:
        assert {info.asset.symbol: info.rows for info in store.series()} == {"AAA": 500, "../B %2F": 300}
        for symbol, wanted in (("AAA", one), ("../B %2F", other)):
            pd.testing.assert_frame_equal(store.get_historical_prices(symbol), wanted, check_freq=False)


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["--symbol", "A", "--symbol-column", "t"], "not both"),
        (["--quote", "USD:money"], "USD:money"),
        (["--mode", "maybe"], "maybe"),
        (["--timestep", "week"], "week"),
    ],
)
def test_ingest_refuses_options_that_cannot_be_meant(
    tmp_path: Path, command: Command, argv: list[str], hint: str
) -> None:
    frame().to_parquet(tmp_path / "SPY.parquet")
    said = command("ingest", tmp_path / "bars.duckdb", tmp_path / "SPY.parquet", *argv)
    assert said.code == 2
    assert hint in said.err
    assert not (tmp_path / "bars.duckdb").exists()


# ---- what files say of themselves -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("SPY.parquet", FileName("SPY")),
        ("brk.b.csv.gz", FileName("BRK.B")),
        ("vendor__SPY__1min.parquet", FileName("SPY", "minute", "vendor")),
        ("vendor__SPY__1day.parquet", FileName("SPY", "day", "vendor")),
        ("vendor__SPY__15m.feather", FileName("SPY", "minute", "vendor")),
        ("SPY__1hour.csv", FileName("SPY", "hour")),
        ("vendor__SPY.csv", FileName("SPY", None, "vendor")),
    ],
)
def test_file_names(name: str, told: FileName) -> None:
    assert file_name(Path(name)) == told


@pytest.mark.parametrize(
    ("freq", "timestep"),
    [("1min", "minute"), ("15min", "minute"), ("1h", "hour"), ("4h", "hour"), ("1D", "day")],
)
def test_timestep_by_the_most_common_spacing(tmp_path: Path, freq: str, timestep: str) -> None:
    frame(200, freq).drop(frame(200, freq).index[50:60]).to_parquet(tmp_path / "X.parquet")
    frame(200, freq).to_csv(tmp_path / "X.csv")
    assert guess_timestep(tmp_path / "X.parquet") == timestep
    assert guess_timestep(tmp_path / "X.csv") == timestep


def test_timestep_that_cannot_be_told(tmp_path: Path) -> None:
    frame(100, "10s").to_parquet(tmp_path / "fine.parquet")
    frame(1).to_parquet(tmp_path / "one.parquet")
    frame().reset_index(drop=True).to_parquet(tmp_path / "timeless.parquet")
    for name, why in (("fine", "10 s apart"), ("one", "too few"), ("timeless", "no column holds times")):
        with pytest.raises(BadInput, match=why):
            guess_timestep(tmp_path / f"{name}.parquet")


def test_split_keeps_the_order_of_rows_over_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer open files than symbols the parts of a symbol are several, still in order."""
    monkeypatch.setattr("lazybars.intake._OPEN_FILES", 3)
    rng = np.random.default_rng(1)
    symbols = rng.choice([f"S{number}" for number in range(12)], 40_000)
    table = pd.DataFrame({"sym": symbols, "n": np.arange(40_000)})
    table.to_parquet(tmp_path / "all.parquet", row_group_size=1_000)
    folder = tmp_path / "split"
    folder.mkdir()
    for symbol, parts in split_by_symbol(tmp_path / "all.parquet", "sym", folder):
        read = np.concatenate([pd.read_parquet(part, partitioning=None)["n"].to_numpy() for part in parts])
        assert (read == table["n"][table["sym"] == symbol]).all()


def test_split_refuses_rows_without_a_symbol(tmp_path: Path) -> None:
    frame().assign(sym=[None, *["A"] * 499]).to_parquet(tmp_path / "all.parquet")
    for column, why in (("sym", "no symbol"), ("ticker", "no column 'ticker'")):
        folder = tmp_path / column
        folder.mkdir()
        with pytest.raises(BadInput, match=why):
            list(split_by_symbol(tmp_path / "all.parquet", column, folder))


# ---- info, version, help --------------------------------------------------------------------------


def test_info(tmp_path: Path, command: Command) -> None:
    with open_store(tmp_path / "bars.duckdb") as store:
        store.write(frame(), asset=AssetKey("SPY"), timestep="minute", source="vendor")
    said = command("info", tmp_path / "bars.duckdb")
    assert said.code == 0
    for text in ("SPY minute", "500", "2024-01-02 09:30", "vendor", "open, high, low, close, volume"):
        assert text in said.out
    told = json.loads(command("info", tmp_path / "bars.duckdb", "--json").out)
    assert told["rows"] == 500
    assert told["bytes_on_disk"] == (tmp_path / "bars.duckdb").stat().st_size
    assert told["series"][0]["first"] == "2024-01-02T09:30:00-05:00"
    assert told["series"][0]["columns"]["volume"] == "int64"


def test_version_and_help(command: Command) -> None:
    assert command("--version").out == f"lazybars {lazybars.__version__}\n"
    for name in ("ingest", "info", "demo"):
        assert name in command("--help").out


def test_info_and_help_import_neither_pandas_nor_lumibot(tmp_path: Path) -> None:
    with open_store(tmp_path / "bars.duckdb") as store:
        store.write(frame(), asset=AssetKey("SPY"), timestep="minute")
    look = f"""
import atexit, sys
atexit.register(lambda: print("LOADED", [m for m in ("pandas", "lumibot", "polars") if m in sys.modules]))
{MAIN}"""
    for argv in (["--help"], ["info", str(tmp_path / "bars.duckdb")]):
        done = subprocess.run([sys.executable, "-c", look, *argv], capture_output=True, text=True, check=True)
        assert "LOADED []" in done.stdout


# ---- errors and Ctrl-C ----------------------------------------------------------------------------


def test_an_error_is_one_line_and_code_2(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = command("info", tmp_path / "no [bold] store.duckdb")
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "no [bold] store.duckdb does not exist" in said.err
    monkeypatch.setenv("LAZYBARS_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["lazybars", "info", str(tmp_path / "gone.duckdb")])
    with pytest.raises(lazybars.StoreMissing):
        cli.main()


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_ends_with_130_and_leaves_whole_series(tmp_path: Path) -> None:
    for number, bars in enumerate(Generated(assets=4, days=128).bars()):
        for copy in range(8):
            path = tmp_path / f"{bars.symbol}{copy}.parquet"
            if copy == 0:
                bars.frame().to_parquet(path)
            else:
                path.hardlink_to(tmp_path / f"{bars.symbol}0.parquet")
        assert number < 4
    store = tmp_path / "bars.duckdb"
    started = subprocess.Popen(
        [sys.executable, "-c", MAIN, "ingest", str(store), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not store.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "Traceback" not in err
    assert "the same command goes on from there" in err
    with open_store(store) as opened:
        assert opened.verify() == []
        assert len({info.rows for info in opened.series()}) <= 4
