"""Lumibot watched while a file backtests: what it is asked to do, with a wrapped source or the bare one.

Lumibot's own functions are replaced in this process by ones that call them. The process is there for one
run, so nothing is put back.
"""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lumibot.backtesting import PandasDataBacktesting  # noqa: F401  # for the baseline
from lumibot.backtesting.backtesting_broker import BacktestingBroker
from lumibot.strategies import Strategy
from lumibot.strategies._strategy import _Strategy
from lumibot.traders import Trader

from lazybars.comparing.outcome import Backtest
from lazybars.errors import ConfigError
from lazybars.stats import Stats, peak_rss_bytes, rss_bytes
from lazybars.wrap import LazyBars

__all__ = ["Watch"]

# What "over baseline" is measured from: lazybars and Lumibot's source are imported, nothing is open.
_BASELINE_BYTES = rss_bytes()
# What Lumibot would show, save or fetch without being asked to.
_UNASKED: dict[str, Any] = {
    "benchmark_asset": None,
    "risk_free_rate": 0.0,
    "save_stats_file": False,
    "save_logfile": False,
    "save_tearsheet": False,
    "show_progress_bar": False,
    "quiet_logs": True,
}
# Whoever names one of these wants Lumibot's analysis.
_ANALYSES = (
    "analyze_backtest",
    "save_tearsheet",
    "plot_file_html",
    "tearsheet_file",
    "tearsheet_metrics_file",
    "trades_file",
    "settings_file",
    "indicators_file",
)
_WINDOWS = ("show_plot", "show_tearsheet", "show_indicators")
_FILLS = ("fill", "partial_fill", "cash_settled")


class Watch:
    """Has Lumibot's backtests noted in this process, from `install` on. Owner: the process.

    Parameters
    ----------
    memory_bytes
        The cap with which data sources are wrapped; None leaves them bare.
    store
        The store of wrapped sources; None for private ones.
    source
        The name of the class that is wrapped; None for any.
    scratch
        A folder for what Lumibot writes after a run without being asked to.
    """

    def __init__(
        self, *, memory_bytes: int | None, store: str | None, source: str | None, scratch: Path
    ) -> None:
        self._memory_bytes = memory_bytes
        self._store = store
        self._source = source
        self._scratch = scratch
        self._orders: list[list[Any]] = []
        self._depth = 0
        self._asked = False
        self._began = self._file_began = time.time()
        self._cpu_began_s = time.process_time()
        self.backtests: list[Backtest] = []
        self.crashes: list[BaseException] = []
        self.figures: dict[str, float] = {}

    def install(self) -> None:
        """Replace Lumibot's functions. What was measured so far is forgotten: the file begins now."""
        self._replace_class_method(Strategy, "backtest", self._backtest)
        self._replace_class_method(_Strategy, "run_backtest", self._run_backtest)
        for owner, name, instead in (
            (_Strategy, "__init__", self._make_strategy),
            (BacktestingBroker, "__init__", self._make_broker),
            (BacktestingBroker, "_submit_order", self._submit_order),
            (Trader, "run_all", self._run_all),
        ):
            setattr(owner, name, _instead(getattr(owner, name), instead))
        self._began = self._file_began = time.time()
        self._cpu_began_s = time.process_time()

    @staticmethod
    def _replace_class_method(owner: type, name: str, instead: Callable[..., Any]) -> None:
        setattr(owner, name, classmethod(_instead(vars(owner)[name].__func__, instead)))

    # ---- what the file calls ------------------------------------------------------------------------

    def _backtest(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(original).bind(*args, **kwargs)
        self._asked = _asks(bound)
        _quieten(bound)
        try:
            with self._inside():
                return original(*bound.args, **bound.kwargs)
        finally:
            self._asked = False

    def _run_backtest(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(original).bind(*args, **kwargs)
        if not self._depth:
            self._asked = _asks(bound)
            _quieten(bound)
        bound.arguments.setdefault("analyze_backtest", self._asked)
        given = bound.arguments.get("datasource_class")
        if isinstance(given, dict):
            bound.arguments["datasource_class"] = {kind: self._wrapped(one) for kind, one in given.items()}
        elif given is not None:
            bound.arguments["datasource_class"] = self._wrapped(given)
        with self._inside():
            return original(*bound.args, **bound.kwargs)

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Inside a call that fills in its arguments itself; the working directory is put back."""
        before = os.getcwd()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            os.chdir(before)

    def _make_strategy(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        if self._depth:
            return original(*args, **kwargs)
        bound = inspect.signature(original).bind(*args, **kwargs)
        bound.arguments.setdefault("analyze_backtest", False)
        _quieten(bound)
        return original(*bound.args, **bound.kwargs)

    def _make_broker(self, original: Any, broker: Any, *args: Any, **kwargs: Any) -> Any:
        # A source that is made by the file itself, or that the environment puts in place of what is given.
        bound = inspect.signature(original).bind(broker, *args, **kwargs)
        bound.arguments["data_source"] = self._wrapped(bound.arguments["data_source"])
        return original(*bound.args, **bound.kwargs)

    def _wrapped(self, source: Any) -> Any:
        """A data source class or an instance of one, as this side has it."""
        cls = source if isinstance(source, type) else type(source)
        if self._memory_bytes is None or hasattr(source, "_lazy_knobs") or hasattr(source, "lazy"):
            return source
        if self._source is not None and cls.__name__ != self._source:
            return source
        return LazyBars(source, memory=self._memory_bytes, store=self._store)

    # ---- what Lumibot does ----------------------------------------------------------------------------

    def _submit_order(self, original: Any, broker: Any, order: Any) -> Any:
        if order is not None:
            self._orders.append([_plain(broker.datetime), *_order(order)])
        return original(broker, order)

    def _run_all(self, original: Any, trader: Any, *args: Any, **kwargs: Any) -> Any:
        if trader._strategies and not trader.is_backtest_broker:
            raise ConfigError(
                "the file starts live trading, which is not compared: have it backtest where "
                "IS_BACKTESTING is true in the environment"
            )
        bound = inspect.signature(original).bind(trader, *args, **kwargs)
        bound.arguments.update(dict.fromkeys(_WINDOWS, False))
        self._orders = []
        for strategy in trader._strategies:
            strategy.on_bot_crash = functools.partial(self._crashed, strategy.on_bot_crash)
        result = original(*bound.args, **bound.kwargs)
        self._note(trader._strategies[0])
        if self._depth:  # Lumibot goes on to write to ./logs
            os.chdir(self._scratch)
        return result

    def _crashed(self, told: Any, error: Exception) -> Any:
        self.crashes.append(error)  # Lumibot lets what on_strategy_end raises pass
        return told(error)

    def _note(self, strategy: Any) -> None:
        self.figures = {
            "file_wall_s": time.time() - self._file_began,
            "file_cpu_s": time.process_time() - self._cpu_began_s,
            "added_rss_bytes": max(peak_rss_bytes() - _BASELINE_BYTES, 0),
        }
        source = strategy.broker.data_source
        lazy = getattr(source, "lazy", None)
        events, fills = _events(strategy.broker)
        rows = strategy._stats_list
        self.backtests.append(
            Backtest(
                strategy=type(strategy).__name__,
                source=type(source).__name__,
                wrapped=lazy is not None,
                rows={
                    "orders": self._orders,
                    "order events": events,
                    "fills": fills,
                    "cash": [[_plain(row["datetime"]), _plain(row["cash"])] for row in rows],
                    "portfolio values": [
                        [_plain(row["datetime"]), _plain(row["portfolio_value"])] for row in rows
                    ],
                },
                start_up_s=self._start_up_s(source),
                figures={} if lazy is None else _figures(lazy.stats()),
            )
        )
        self._began = time.time()

    def _start_up_s(self, source: Any) -> float | None:
        entered = source.get_runtime_timings().get("first_callback_entered_at")
        return None if entered is None else dt.datetime.fromisoformat(entered).timestamp() - self._began


def _instead(original: Any, function: Callable[..., Any]) -> Any:
    @functools.wraps(original)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(original, *args, **kwargs)

    return called


def _named(bound: inspect.BoundArguments) -> dict[str, Any]:
    return {**bound.arguments, **bound.arguments.get("kwargs", {})}


def _asks(bound: inspect.BoundArguments) -> bool:
    named = _named(bound)
    return any(named.get(name) for name in _ANALYSES)


def _quieten(bound: inspect.BoundArguments) -> None:
    """Set what the caller leaves to Lumibot's defaults; what it names stays, but for windows."""
    known, named = bound.signature.parameters, _named(bound)
    for name, value in _UNASKED.items():
        if name in known and name not in named:
            bound.arguments[name] = value
    for name in _WINDOWS:
        if name in known:
            bound.arguments[name] = False


# ---- as JSON has it ----------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Floats keep every bit; what JSON has no word for is text."""
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float):
        return float(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return _plain(value.item())
    return str(value)


def _asset(asset: Any) -> str:
    """The asset with all that tells it from others of its symbol."""
    parts = (getattr(asset, name, None) for name in ("symbol", "expiration", "strike", "right"))
    return " ".join(str(part) for part in parts if part)


def _order(order: Any) -> list[Any]:
    """A row of orders but for its time; that of a child, without a time, in its parent's."""
    fields = (
        "side",
        "quantity",
        "order_type",
        "order_class",
        "limit_price",
        "stop_price",
        "stop_limit_price",
        "trail_price",
        "trail_percent",
        "time_in_force",
    )
    quote = getattr(order, "quote", None)
    return [
        _asset(order.asset),
        *(_plain(getattr(order, name, None)) for name in fields),
        None if quote is None else _asset(quote),
        [_order(child) for child in getattr(order, "child_orders", None) or []],
    ]


def _events(broker: Any) -> tuple[list[list[Any]], list[list[Any]]]:
    """Lumibot's log of trade events, and the fills among them. Ids are random: orders are numbered."""
    log = broker._trade_event_log_df
    events: list[list[Any]] = []
    fills: list[list[Any]] = []
    numbers: dict[Any, int] = {}
    if not len(log):
        return events, fills
    names = ("time", "symbol", "asset.expiration", "asset.strike", "asset.right", "side", "identifier")
    more = ("status", "type", "price", "filled_quantity", "trade_cost")
    columns = [log[name] if name in log else [None] * len(log) for name in (*names, *more)]
    for when, symbol, expiration, strike, right, side, identifier, *rest in zip(*columns, strict=True):
        parts = (symbol, expiration, strike, right)
        asset = " ".join(str(part) for part in parts if part and part == part)
        status, kind, price, quantity, cost = map(_plain, rest)
        leading = [_plain(when), asset, _plain(side)]
        number = numbers.setdefault(identifier, len(numbers) + 1)
        events.append([*leading, number, status, kind, price, quantity])
        if status in _FILLS:
            fills.append([*leading, quantity, price, cost])
    return events, fills


def _figures(stats: Stats) -> dict[str, Any]:
    return {**asdict(stats), "hit_rate": stats.hit_rate}
