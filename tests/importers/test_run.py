"""What holds for every kind: twice is once, a bad file harms nobody, nothing is whole in RAM."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from lumibot.entities import Asset

import lazybars
from lazybars import AssetKey, open_store

NEW_YORK = "America/New_York"
OHLCV = ["open", "high", "low", "close", "volume"]

Bars = Callable[..., pd.DataFrame]
Sessions = Callable[..., pd.DatetimeIndex]


def same(stored: pd.DataFrame, expected: pd.DataFrame) -> None:
    expected = expected.tz_convert(NEW_YORK).rename_axis("datetime")
    pd.testing.assert_frame_equal(stored, expected, check_freq=False, check_exact=True)


@pytest.fixture
def caches(cache: Path, bars: Bars, sessions: Sessions) -> Path:
    """A file of each kind that names its series itself, as Lumibot writes them, with some holes."""
    import test_caches as write
    from lumibot.tools import databento_helper, ibkr_helper

    frame, holes = bars(sessions()), [dt.date(2024, 1, 1), dt.date(2024, 1, 15)]
    write.polygon_file(Asset("SPY"), frame, "minute", holes)
    write.theta_file(Asset("SPY"), frame, "minute", "ohlc", holes)
    ibkr_helper._write_cache_frame(write.ibkr_path(Asset("SPY"), "minute"), frame)
    window = (dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 5))
    databento_helper._save_cache(
        frame, databento_helper._build_cache_filename(Asset("SPY"), *window, "minute")
    )
    hours = write.ccxt_frame(bars(pd.date_range("2024-01-01", periods=40, freq="1h", tz="UTC")))
    hours.loc[5:7, "missing"] = 1
    write.ccxt_file("BTC/USDT", "1h", hours.iloc[20:], hours.iloc[:25])
    write.alpaca_file(cache, frame, Asset("SPY"), Asset("USD", "forex"), "hour")
    return cache


def test_importing_twice_changes_nothing(caches: Path, imported: Any, bars: Bars, sessions: Sessions) -> None:
    kinds = {kind: caches / kind for kind in ("polygon", "thetadata", "ibkr", "databento", "alpaca")}
    kinds["ccxt"] = caches / "binance"
    feather = caches / "SPY.feather"
    bars(sessions()).reset_index().to_feather(feather)
    text = caches / "QQQ.csv"
    bars(sessions(), seed=1).tz_convert(NEW_YORK).tz_localize(None).to_csv(text)
    kinds |= {"feather": feather, "csv": text}
    for kind, path in kinds.items():
        statuses = {one.status for one in imported.take(kind, path)}
        assert "written" in statuses, (kind, imported.outcomes)
        assert "failed" not in statuses, (kind, imported.outcomes)
    before = imported.digest()
    assert len(before[0]) > 10_000
    for kind, path in kinds.items():
        assert {one.status for one in imported.take(kind, path)} <= {"unchanged", "skipped"}, kind
    assert imported.digest() == before
    with open_store(imported.path, read_only=True) as store:
        assert store.verify() == []


def test_what_a_file_has_anew_is_written(cache: Path, imported: Any, bars: Bars, sessions: Sessions) -> None:
    from lumibot.tools import polygon_helper

    frame = bars(sessions(days=4))
    path = polygon_helper.build_cache_filename(Asset("SPY"), "minute")
    for part, status in ((frame[:60], "written"), (frame, "written"), (frame, "unchanged")):
        polygon_helper.update_cache(path, part, None)
        assert imported.one("polygon", path).status == status
    mended = frame.copy()
    mended.iloc[7, 4] += 1  # a volume
    polygon_helper.update_cache(path, mended, None)
    assert (imported.one("polygon", path).status, imported.outcomes[0].replaced) == ("written", 120)
    same(imported.frame(), mended)


def test_a_bad_file_is_one_row_and_the_others_go_on(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions
) -> None:
    from lumibot.tools import polygon_helper

    frame = bars(sessions())
    for symbol in ("AAA", "BBB", "CCC", "DDD", "EEE"):
        polygon_helper.update_cache(polygon_helper.build_cache_filename(Asset(symbol), "minute"), frame, None)
    folder = cache / "polygon"
    upside_down = frame.copy()
    upside_down.loc[upside_down.index[50], "high"] = 1.0
    upside_down.reset_index().to_parquet(folder / "stock_BBB_minute.parquet")
    (folder / "stock_CCC_minute.parquet").write_bytes(b"PAR1 and no more")
    frame.assign(open="x").reset_index().to_parquet(folder / "stock_DDD_minute.parquet")
    (folder / "stock_EEE_minute.parquet").write_bytes(b"")
    outcomes = {one.path.stem[6:9]: one for one in imported.take("polygon", folder)}
    assert {name: one.status for name, one in outcomes.items()} == {
        "AAA": "written", "BBB": "failed", "CCC": "failed", "DDD": "failed", "EEE": "failed",
    }  # fmt: skip
    assert "stock_BBB_minute.parquet: 90 rows" in outcomes["BBB"].detail
    assert "high is below low" in outcomes["BBB"].detail
    assert "'open' holds VARCHAR" in outcomes["DDD"].detail
    assert imported.series() == [(AssetKey("AAA"), None, "minute", "polygon", 90)]
    with open_store(imported.path, read_only=True) as store:
        assert store.verify() == []


# ---- feather --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["frame", "zstd", "stream", "index"])
def test_feather_files(form: str, imported: Any, bars: Bars, sessions: Sessions, tmp_path: Path) -> None:
    frame = bars(sessions()).tz_convert(NEW_YORK)
    frame["vwap"], frame["count"], frame["note"] = frame["close"].astype("float32"), np.arange(90), "x"
    path = tmp_path / "vendor__SPY__1min.feather"
    if form == "frame":
        frame.reset_index().to_feather(path)
    elif form == "stream":
        table = pa.Table.from_pandas(frame)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=17)
    else:
        kept = frame if form == "index" else frame.reset_index()
        pyarrow.feather.write_feather(pa.Table.from_pandas(kept), path, compression="zstd", chunksize=13)
    outcome = imported.one("feather", path)
    assert outcome.left_out == ("note",)
    assert imported.series() == [(AssetKey("SPY"), None, "minute", "vendor", 90)]
    same(imported.frame(), frame.drop(columns="note"))


def test_feather_of_older_lumibots(imported: Any, bars: Bars, sessions: Sessions, tmp_path: Path) -> None:
    path = tmp_path / "stock_SPY_USD_minute.feather"
    frame = bars(sessions(days=1))
    holed = pd.concat(
        [frame, pd.DataFrame({"missing": True}, index=[pd.Timestamp("2024-01-15 04:56", tz="UTC")])]
    )
    holed.rename_axis("datetime").reset_index().to_feather(path)
    outcome = imported.one("feather", path)
    assert (outcome.rows, outcome.bars) == (31, 30)
    assert imported.series() == [(AssetKey("SPY"), AssetKey("USD", "forex"), "minute", "polygon", 30)]
    same(imported.frame(), frame)
    start = pd.Timestamp("2024-01-15", tz=NEW_YORK)
    assert imported.empty() == [(start, start + pd.Timedelta(days=1) - pd.Timedelta(microseconds=1))]


def test_feather_times_without_a_zone(imported: Any, bars: Bars, sessions: Sessions, tmp_path: Path) -> None:
    frame = bars(sessions())
    path = tmp_path / "SPY.feather"
    frame.tz_localize(None).reset_index().to_feather(path)
    assert imported.one("feather", path, tz="UTC", symbol="spy", timestep="hour").status == "written"
    same(imported.frame(), frame)
    assert imported.one("feather", path, tz="UTC", symbol="spy", timestep="hour").status == "unchanged"


@pytest.mark.parametrize(
    "form", ["naive", "text", "zoned text", "date", "s", "ms", "us", "ns", "Open time", "Price names"]
)
def test_feather_times_in_any_form(
    form: str, imported: Any, bars: Bars, sessions: Sessions, tmp_path: Path
) -> None:
    step = "day" if form == "date" else "minute"
    times = pd.bdate_range("2024-01-02", periods=20, tz=NEW_YORK) if form == "date" else sessions()
    frame = bars(times)
    local = frame.index.tz_convert(NEW_YORK)
    units = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
    column: Any = local.tz_localize(None)
    if form in units:
        column = frame.index.asi8 // units[form]
    elif form == "text":
        column = local.strftime("%Y-%m-%d %H:%M:%S")
    elif form == "zoned text":
        column = frame.index.strftime("%Y-%m-%dT%H:%M:%SZ")
    elif form == "date":
        column = local.date
    kept = frame.reset_index(drop=True)
    kept.insert(0, "Open time" if form == "Open time" else "ts" if form in units else "datetime", column)
    if form == "Price names":
        kept = kept.rename(columns={"open": "Open Price", "high": "High Price", "close": "Last", "low": "L"})
    path = tmp_path / "SPY.feather"
    kept.to_feather(path)
    assert imported.one("feather", path).written == len(frame)
    assert [one[2] for one in imported.series()] == [step]
    same(imported.frame(), frame)
    assert imported.one("feather", path).status == "unchanged"


def test_feather_of_many_symbols(imported: Any, bars: Bars, sessions: Sessions, tmp_path: Path) -> None:
    frames = {symbol: bars(sessions(), seed) for seed, symbol in enumerate(("AAA", "B'B", "SELECT"))}
    both = pd.concat([frame.assign(Ticker=symbol) for symbol, frame in frames.items()]).sort_index()
    path = tmp_path / "all.feather"
    both.reset_index().to_feather(path)
    for status in ("written", "unchanged"):
        outcomes = imported.take("feather", path)
        assert [(one.status, one.bars) for one in outcomes] == [(status, 90)] * 3
    with open_store(imported.path, read_only=True) as store:
        for symbol, frame in frames.items():
            same(store.get_historical_prices(symbol), frame)
    both.drop(columns="Ticker").reset_index().to_feather(tmp_path / "unnamed.feather")
    (outcome,) = imported.take("feather", tmp_path / "unnamed.feather")
    assert outcome.status == "failed"
    assert "90 of 90 times are there more than once" in outcome.detail


def test_feather_numbers_that_are_no_times(
    imported: Any, bars: Bars, tmp_path: Path, sessions: Sessions
) -> None:
    frame = bars(sessions()).reset_index(drop=True)
    for column, said in ((range(90), "cannot be told"), ([None] * 90, 'holds "NULL", not times')):
        path = tmp_path / "SPY.feather"
        frame.assign(ts=column).to_feather(path)
        (outcome,) = imported.take("feather", path)
        assert outcome.status == "failed"
        assert said in outcome.detail


@pytest.mark.parametrize("body", [b"", b"ARROW1 and no more", b"FEA1"])
def test_feather_files_that_are_none(body: bytes, imported: Any, tmp_path: Path) -> None:
    (tmp_path / "a.feather").write_bytes(body)
    (outcome,) = imported.take("feather", tmp_path / "a.feather")
    assert outcome.status == "failed"
    assert "cannot be read" in outcome.detail


# ---- memory ---------------------------------------------------------------------------------------

MEASURE = """
import sys
from lazybars import open_store
from lazybars.importers import KINDS, Wishes, files_of, import_files

def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) << 10

before = status("VmRSS")
with open_store(sys.argv[3], memory="64MB") as store:
    (outcome,) = import_files(KINDS[sys.argv[1]], files_of(KINDS[sys.argv[1]], sys.argv[2]), store)
print(outcome.status, outcome.bars, status("VmHWM") - before, outcome.detail, sep=";")
"""
MOST_BYTES = 260 << 20
ROWS, STEP = 7_000_000, 200_000


@pytest.mark.parametrize("kind", ["polygon", pytest.param("feather", marks=pytest.mark.slow)])
def test_a_file_larger_than_the_allowance_is_streamed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("stock_SPY_minute.parquet" if kind == "polygon" else "SPY.feather")
    names = [*OHLCV, "vwap", "transactions"]
    schema = pa.schema([("datetime", pa.timestamp("us", "UTC")), *((name, pa.float64()) for name in names)])
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    parquet = kind == "polygon"
    with (
        pq.ParquetWriter(path, schema) if parquet else pa.ipc.new_file(path, schema, options=options)
    ) as writer:
        for start in range(0, ROWS, STEP):
            times = np.datetime64("2000-01-03T00:00", "us") + np.arange(start, start + STEP).astype("m8[m]")
            values = [np.full(STEP, 100.0 + start // STEP)] * len(names)
            writer.write_batch(
                pa.RecordBatch.from_arrays(
                    [pa.array(times).cast(schema[0].type), *map(pa.array, values)], schema=schema
                )
            )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, kind, str(path), str(tmp_path / "bars.duckdb")],
        env={**os.environ, "PYTHONPATH": str(Path(lazybars.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    status, bars, peak_bytes, detail = done.stdout.splitlines()[-1].split(";", 3)
    assert (status, int(bars)) == ("written", ROWS), detail
    assert ROWS * len(schema) * 8 > 1.6 * MOST_BYTES
    assert int(peak_bytes) < MOST_BYTES, f"{int(peak_bytes) >> 20} MB"
