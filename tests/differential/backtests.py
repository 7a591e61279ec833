"""Whole backtests as specs: run one on eager Lumibot or on another source, and compare all it did.

Nothing leaves the process: no benchmark, no risk-free rate to look up, no plots, no tearsheet, a
folder of its own that is removed. What is random or of the wall clock (order ids, run times, the
name of the log file) is left out of the record; everything else is in.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Asset, Data, TradingFee

from . import exact
from .strategies import Crypto, Daily, Minute, Options, Recorded
from .universes import SeriesSpec, UniverseSpec, asset_of, build, quote_of

__all__ = ["BACKTESTS", "BacktestSpec", "Record", "differences", "run"]

_ORDER = (
    "asset",
    "quantity",
    "side",
    "order_type",
    "order_class",
    "limit_price",
    "stop_price",
    "stop_limit_price",
    "trail_price",
    "trail_percent",
    "secondary_limit_price",
    "secondary_stop_price",
    "time_in_force",
    "status",
    "avg_fill_price",
    "trade_cost",
    "trade_slippage",
    "quote",
    "exchange",
    "position_filled",
    "error_message",
    "date_created",
    "_date_created",
    "broker_create_date",
    "broker_update_date",
    "transactions",
    "_trail_stop_price",
)
_RANDOM = ("identifier", "id", "strategy", "backtest_run_time", "parent_identifier", "audit")
_QUIET = {
    "BACKTESTING_DATA_SOURCE": "none",
    "SHOW_PLOT": "False",
    "SHOW_TEARSHEET": "False",
    "SHOW_INDICATORS": "False",
    "BACKTESTING_QUIET_LOGS": "true",
    "LOG_BACKTEST_PROGRESS_TO_FILE": "false",
}


@dataclass(frozen=True)
class BacktestSpec:
    """A strategy over a universe. ``quote``: index of the series whose quote pays, or the dollar."""

    strategy: type[Recorded]
    universe: UniverseSpec
    budget: float = 100_000.0
    fee: float = 0.0
    quote: int | None = None


@dataclass
class Record:
    """All that a backtest did, in plain values that compare by their bits."""

    served: list[Any] = field(default_factory=list)
    account: list[Any] = field(default_factory=list)
    orders: list[Any] = field(default_factory=list)
    events: Any = None
    stats: Any = None
    positions: list[Any] = field(default_factory=list)
    result: Any = None


def differences(expected: Record, got: Record) -> list[str]:
    """Where two backtests part, what came first in time first."""
    found = []
    for name in ("served", "account", "orders", "events", "positions", "stats", "result"):
        found += exact.differences(getattr(expected, name), getattr(got, name), name)
    return found


def run(source: type, spec: BacktestSpec, *, data: list[Data] | None = None) -> Record:
    """Run the backtest on a class of data source. ``data=[]``: the source has its bars already."""
    universe = spec.universe
    paying = quote_of(universe.series[spec.quote]) if spec.quote is not None else None
    fees = [TradingFee(percent_fee=spec.fee)] if spec.fee else []
    before = os.getcwd()
    with (
        tempfile.TemporaryDirectory(prefix="lazybars-backtest-") as folder,
        mock.patch.dict(os.environ, _QUIET),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        os.environ.pop("BACKTESTING_SHOW_PROGRESS_BAR", None)  # set, it would win over the argument
        os.chdir(folder)
        try:
            result, strategy = spec.strategy.run_backtest(
                source,
                universe.moment(universe.start),
                universe.moment(universe.end),
                pandas_data=build(universe) if data is None else data,
                parameters={"assets": [asset_of(series) for series in universe.series]},
                budget=spec.budget,
                benchmark_asset=None,
                risk_free_rate=0.0,
                analyze_backtest=False,
                quote_asset=paying or Asset("USD", "forex"),
                buy_trading_fees=fees,
                sell_trading_fees=fees,
                show_plot=False,
                show_tearsheet=False,
                save_tearsheet=False,
                show_indicators=False,
                show_progress_bar=False,
                quiet_logs=True,
                stats_file=str(Path(folder) / "stats.csv"),
                name="same",
            )
            return _record(result, strategy)
        finally:
            os.chdir(before)


def _record(result: Any, strategy: Recorded) -> Record:
    broker = strategy.broker
    orders = [_order(order) for order in broker.get_all_orders()]
    events = broker._trade_event_log_df
    kept = [name for name in events.columns if not any(word in str(name).lower() for word in _RANDOM)]
    stats = pd.DataFrame(strategy._stats) if strategy._stats is not None else None
    if stats is not None:
        stats = stats[[name for name in stats.columns if name not in {"positions", "orders"}]]
    positions = sorted(f"{p.asset} {p.quantity!r} {p.avg_fill_price!r}" for p in strategy.get_positions())
    plain = (
        {k: v for k, v in result.items() if isinstance(v, int | float | str)}
        if isinstance(result, dict)
        else None
    )
    strategy.broker.data_source.shutdown()
    return Record(strategy.served, strategy.account, orders, events[kept], stats, positions, plain)


def _order(order: Any) -> dict[str, str]:
    found = {name: repr(getattr(order, name, None)) for name in _ORDER}
    children = [_order(child) for child in getattr(order, "child_orders", None) or []]
    return found | {"children": repr(children)}


def _options() -> tuple[SeriesSpec, ...]:
    option = SeriesSpec(
        "AAA", "option", expiry="2024-03-06", right="CALL", bid_ask="quotes gaps sizes", holes=0.3, days=3
    )
    kinds = ((100.0, "CALL", "2024-03-06"), (105.0, "PUT", "2024-03-06"), (110.0, "CALL", "2024-03-08"))
    from dataclasses import replace

    return tuple(replace(option, strike=s, right=r, expiry=e) for s, r, e in kinds)


BACKTESTS: dict[str, BacktestSpec] = {
    "minutes, resampled, every order": BacktestSpec(
        Minute,
        UniverseSpec(
            series=(
                SeriesSpec("AAA", days=3, holes=0.1),
                SeriesSpec("BBB", days=3, volume="int", halts=((0.5, 20),)),
                SeriesSpec("CCC", days=2, listed=1),
            ),
            start=1440 + 570,
            end=2 * 1440 + 630,
        ),
        fee=0.001,
    ),
    "minutes, extended, from the second day": BacktestSpec(
        Minute,
        UniverseSpec(
            series=(SeriesSpec("AAA", days=4, calendar="extended", session_rows=960, holes=0.5),),
            start=1440 + 600,
            end=2 * 1440 + 300,
        ),
    ),
    "days, dividends and splits": BacktestSpec(
        Daily,
        UniverseSpec(
            first_day="2023-01-03",
            start=0,
            end=250 * 1440,
            seed=3,
            series=tuple(
                SeriesSpec(
                    s * 3,
                    timestep="day",
                    calendar="midnight",
                    days=260,
                    actions="dividend splits",
                    holes=0.02,
                )
                for s in "ABCDE"
            ),
        ),
    ),
    "crypto against a quote asset": BacktestSpec(
        Crypto,
        UniverseSpec(
            first_day="2024-03-09",
            start=720,
            end=2 * 1440,
            series=tuple(
                SeriesSpec(s, "crypto", quote="USDT", calendar="24x7", days=3, session_rows=1440, holes=h)
                for s, h in (("BTC", 0.0), ("ETH", 0.1))
            ),
        ),
        quote=0,
        fee=0.001,
    ),
    "options into expiry": BacktestSpec(
        Options,
        UniverseSpec(series=(SeriesSpec("AAA", days=4), *_options()), start=570, end=4 * 1440),
        budget=1_000_000.0,
    ),
}

EAGER = PandasDataBacktesting
