"""Whole backtests: orders, fills, cash, portfolio values and every served frame, eager and lazy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from lumibot.backtesting import PandasDataBacktesting

from .backtests import BACKTESTS, BacktestSpec, Record, differences, run
from .drawn import FULL
from .universes import build

KNOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "days, lru, no prefetch": {"partition": "1D", "policy": "lru", "prefetch": False},
}
_eager: dict[str, Record] = {}


def eager_record(name: str) -> Record:
    if name not in _eager:
        _eager[name] = run(PandasDataBacktesting, BACKTESTS[name])
    return _eager[name]


def test_an_eager_backtest_is_the_same_twice_and_trades() -> None:
    """Nothing random or of the wall clock is in a record, and there is something in it."""
    names = list(BACKTESTS) if FULL else ["days, dividends and splits", "options into expiry"]
    for name in names:
        one, two = eager_record(name), run(PandasDataBacktesting, BACKTESTS[name])
        assert differences(one, two) == []
        assert min(len(one.served) // 5, len(one.orders) * 7, len(one.account)) > 20, name


@pytest.mark.parametrize("knobs", KNOBS if FULL else ["plain"])
@pytest.mark.parametrize("name", BACKTESTS)
def test_a_whole_backtest_is_the_same(name: str, knobs: str) -> None:
    from lazybars import LazyBars

    got = run(LazyBars(PandasDataBacktesting, **KNOBS[knobs]), BACKTESTS[name])
    assert differences(eager_record(name), got) == []


@pytest.mark.parametrize(
    "name", BACKTESTS if FULL else ["crypto against a quote asset", "days, dividends and splits"]
)
def test_a_whole_backtest_from_a_store_is_the_same(name: str) -> None:
    from lazybars import LazyBars, open_store

    spec: BacktestSpec = BACKTESTS[name]
    with tempfile.TemporaryDirectory(prefix="lazybars-backtest-store-") as folder:
        path = str(Path(folder) / "bars.duckdb")
        with open_store(path) as store:
            for item in build(spec.universe):
                store.write(item.df, asset=item.asset, timestep=item.timestep, quote=item.quote)
        got = run(LazyBars(PandasDataBacktesting, store=path, partition="1W"), spec, data=[])
    assert differences(eager_record(name), got) == []
