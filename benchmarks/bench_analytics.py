"""The store against pandas and Feather files of the same bars: ranges, indicators, size, memory, look-up.

The claims that DuckDB was chosen for, each with its target: ranges of time 10 times faster, 60 % less on
disk, 50 % less in RAM, ten times the bars in the same RAM. Times are of the CPU, the store on one thread.
LAZYBARS_BENCH_ASSETS and _DAYS set the size; an asset is looked up among ten times as many.
"""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandas_ta_classic as ta
import pyarrow as pa
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lazybars import Store, open_store

from .conftest import size
from .kept import QUERIES, Form, Kept, Span, masked, peak_bytes
from .market import MinuteMarket
from .measure import in_turns
from .results import Result

_ROUNDS = 5
_FASTER, _SMALLER, _LESS_RAM = 0.1, 0.6, 0.5
_INDICATORS = {
    "sma_20": lambda f: ta.sma(f["close"], 20),
    "ema_50": lambda f: ta.ema(f["close"], 50),
    "rsi_14": lambda f: ta.rsi(f["close"], 14),
    "macd_12_26_9": lambda f: ta.macd(f["close"], 12, 26, 9),
    "bbands_20_2": lambda f: ta.bbands(f["close"], 20, 2),
    "atr_14": lambda f: ta.atr(f["high"], f["low"], f["close"], 14),
    "vwap": lambda f: ta.vwap(f["high"], f["low"], f["close"], f["volume"]),
    "zscore_30": lambda f: ta.zscore(f["close"], 30),
}
Record = Callable[[Result], None]


@pytest.fixture(scope="module")
def kept(minutes: MinuteMarket) -> Kept:
    return Kept(minutes)


@pytest.fixture(scope="module")
def store(kept: Kept) -> Iterator[Store]:
    with open_store(kept.path, read_only=True) as opened:
        yield opened


def _all_of(answer: Callable[[str, Span], Any], asked: list[tuple[str, Span]]) -> Callable[[], int]:
    def run() -> int:
        for symbol, span in asked:
            answer(symbol, span)
        return len(asked)

    return run


@pytest.mark.benchmark(group="ranges")
@pytest.mark.parametrize("against", ["scan of a frame of all", "scan of the asset's frame", "Feather file"])
@pytest.mark.parametrize(("what", "sessions"), [("a day", 1), ("a month", 21)])
def test_range(
    benchmark: BenchmarkFixture,
    kept: Kept,
    store: Store,
    record: Record,
    what: str,
    sessions: int,
    against: str,
) -> None:
    """A frame of the bars of one asset and a span of time, another each time."""
    own = {symbol: kept.read(symbol) for symbol in kept.symbols}

    def other(symbol: str, span: Span) -> pd.DataFrame:
        if against == "Feather file":
            return masked(kept.read(symbol), span)
        if against == "scan of the asset's frame":
            return masked(own[symbol], span)
        frame = kept.frame
        return frame[(frame["asset"] == symbol) & (frame.index >= span[0]) & (frame.index <= span[1])]

    def lazy(symbol: str, span: Span) -> pd.DataFrame:
        return store.get_historical_prices(symbol, *span)

    asked = kept.asked(sessions)
    got, expected = lazy(*asked[0]), other(*asked[0])
    assert len(got) > 0
    np.testing.assert_array_equal(got.to_numpy(), expected[list(got.columns)].to_numpy())
    pairs = ((_all_of(other, asked), _all_of(lazy, asked)) for _ in range(_ROUNDS))
    record(
        in_turns(
            benchmark,
            f"range: {what} of an asset",
            pairs,
            _ROUNDS,
            unit="ms a query",
            target=_FASTER,
            against=against,
        )
    )


def _pandas_ta(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pd.concat([_INDICATORS[name](frame) for name in names], axis=1)


@pytest.mark.benchmark(group="indicators")
@pytest.mark.parametrize(
    ("which", "names"),
    [
        ("windows", ["sma_20", "bbands_20_2", "vwap", "zscore_30"]),
        ("recursive", ["ema_50", "rsi_14", "macd_12_26_9", "atr_14"]),
    ],
)
@pytest.mark.parametrize(("what", "sessions"), [("a month", 21), ("all bars", 0)])
def test_indicators(
    benchmark: BenchmarkFixture,
    kept: Kept,
    store: Store,
    record: Record,
    what: str,
    sessions: int,
    which: str,
    names: list[str],
) -> None:
    """Four indicators of one asset; pandas-ta always takes the whole frame, which is in RAM already."""
    asked = kept.asked(sessions or kept.market.days)[: 1 if not sessions else QUERIES]
    own = {symbol: kept.read(symbol) for symbol, _ in asked}

    def other(symbol: str, span: Span) -> pd.DataFrame:
        return masked(_pandas_ta(own[symbol], names), span)

    def lazy(symbol: str, span: Span) -> pd.DataFrame:
        start, end = span if sessions else (None, None)
        return store.indicators(symbol, "minute", start, end, names)

    got, expected = lazy(*asked[0]), other(*asked[0])
    assert got.shape == expected.shape
    np.testing.assert_allclose(got.iloc[-1].sum(), expected.iloc[-1].sum(), rtol=1e-6)
    pairs = ((_all_of(other, asked), _all_of(lazy, asked)) for _ in range(_ROUNDS))
    record(
        in_turns(
            benchmark,
            f"indicators, {which}: {what}",
            pairs,
            _ROUNDS,
            unit="ms a query",
            against="pandas-ta, frame in RAM",
        )
    )


@pytest.mark.benchmark(group="across")
def test_correlation(benchmark: BenchmarkFixture, kept: Kept, store: Store, record: Record) -> None:
    """Of a month of minutes of ten assets, by returns; the other side has their frames in RAM."""
    symbols = list(kept.symbols[:10])
    frames = {symbol: kept.read(symbol)["close"] for symbol in symbols}
    asked = kept.asked(21)

    def other(_: str, span: Span) -> pd.DataFrame:
        returns = {
            symbol: masked(close, span).pct_change(fill_method=None) for symbol, close in frames.items()
        }
        return pd.concat(returns, axis=1).corr()

    def lazy(_: str, span: Span) -> pd.DataFrame:
        return store.correlation(symbols, "minute", *span)

    np.testing.assert_allclose(lazy(*asked[0]), other(*asked[0]), rtol=1e-9)
    pairs = ((_all_of(other, asked), _all_of(lazy, asked)) for _ in range(_ROUNDS))
    record(
        in_turns(
            benchmark,
            f"correlation of {len(symbols)} assets, a month",
            pairs,
            _ROUNDS,
            unit="ms a query",
            against="pandas, frames in RAM",
        )
    )


@pytest.mark.benchmark(group="size")
@pytest.mark.parametrize("against", ["Feather, uncompressed", "Feather, lz4", "CSV"])
def test_size(benchmark: BenchmarkFixture, kept: Kept, record: Record, against: Form) -> None:
    """Bytes on disk of all bars; the figure is the share saved."""
    rows, other_bytes = kept.bytes_on_disk(against)
    ours_bytes = benchmark.pedantic(lambda: kept.path.stat().st_size)  # type: ignore[no-untyped-call]
    lazy, other = ours_bytes / rows, other_bytes / rows
    saved = 1 - lazy / other
    record(Result("size", "bytes a bar", lazy, against, other, saved, _SMALLER, at_least=True))


@pytest.mark.benchmark(group="memory")
@pytest.mark.parametrize("work", ["month of an asset", "month of all"])
def test_memory(benchmark: BenchmarkFixture, kept: Kept, record: Record, work: str) -> None:
    """Peak RSS of a range query; the other side reads the files whole. The figure is the share saved."""
    other = peak_bytes(kept, work, "other")
    lazy = benchmark.pedantic(lambda: peak_bytes(kept, work, "lazy"))  # type: ignore[no-untyped-call]
    saved = 1 - lazy / other
    what = f"memory: {work}"
    record(Result(what, "MB", lazy / 1e6, "Feather files", other / 1e6, saved, _LESS_RAM, at_least=True))


@pytest.mark.benchmark(group="memory")
def test_ten_times_the_bars(benchmark: BenchmarkFixture, kept: Kept, record: Record) -> None:
    """Peak RSS of going over all bars, held against pandas with a tenth of them in RAM."""
    tenth = max(len(kept.symbols) // 10, 1)
    other = peak_bytes(kept, "every bar", "other", tenth)
    lazy = benchmark.pedantic(lambda: peak_bytes(kept, "every bar", "lazy"))  # type: ignore[no-untyped-call]
    what = "memory: every bar, 10 times as many"
    record(Result(what, "MB", lazy / 1e6, f"frames of {tenth} assets", other / 1e6, lazy / other, 1.0))


@pytest.mark.benchmark(group="look-up")
def test_look_up(benchmark: BenchmarkFixture, record: Record, tmp_path: Path) -> None:
    """Finding a series among many by its symbol; the other side asks the view ``assets``."""
    count = 10 * size("ASSETS", 20)
    day = pa.table(
        {
            "datetime": pa.array([dt.datetime(2024, 1, 2)], pa.timestamp("us", tz="UTC")),
            **{field: [1.0] for field in ("open", "high", "low", "close")},
        }
    )
    symbols = [f"S{number}" for number in range(count)]
    with open_store(tmp_path / "many.duckdb") as store:
        for symbol in symbols:
            store.write(day, asset=symbol, timestep="day")
        wanted = symbols[:: max(count // 50, 1)]

        def lazy() -> int:
            for symbol in wanted:
                assert store.find(symbol, "day").asset.symbol == symbol
            return len(wanted)

        def other() -> int:
            for symbol in wanted:
                assert len(store.sql("SELECT * FROM assets WHERE symbol = ?", [symbol])) == 1
            return len(wanted)

        pairs = ((other, lazy) for _ in range(_ROUNDS))
        record(
            in_turns(
                benchmark,
                f"look-up among {count} assets",
                pairs,
                _ROUNDS,
                unit="ms a query",
                against="SQL on assets",
            )
        )
