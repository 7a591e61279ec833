"""One backtest in a process of its own, as Lumibot runs it; all that a sweep knows of Lumibot."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lumibot.backtesting import PandasDataBacktesting
from lumibot.strategies import Strategy
from lumibot.traders import Trader

from lazybars.errors import ConfigError
from lazybars.model import AssetKey
from lazybars.stats import peak_rss_bytes, rss_bytes
from lazybars.sweep.job import Job, Reply
from lazybars.sweep.named import load
from lazybars.wrap import LazyBars

__all__ = ["Backtest"]

# What "added" is measured from: lazybars and Lumibot's source are imported, nothing is open.
_BASELINE_BYTES = rss_bytes()
_FILLS = ("fill", "partial_fill", "cash_settled")
# Nothing is shown, saved or fetched; the arguments that a trial decides itself are set with them.
_QUIET: dict[str, Any] = {
    "benchmark_asset": None,
    "risk_free_rate": 0.0,
    "analyze_backtest": False,
    "save_stats_file": False,
    "save_logfile": False,
    "show_plot": False,
    "show_tearsheet": False,
    "save_tearsheet": False,
    "show_indicators": False,
    "show_progress_bar": False,
    "quiet_logs": True,
}
# Other defaults are marks that each of Lumibot's functions knows only its own of.
_PLAIN = (type(None), bool, int, float, str, list, dict)
_OURS = {
    "datasource_class",
    "backtesting_start",
    "backtesting_end",
    "parameters",
    "pandas_data",
    "trader_class",
}


class _Unrecorded(PandasDataBacktesting):  # type: ignore[misc]
    """Keeps out Lumibot's recorder of inputs, which holds 120 MB and is never looked at here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from lumibot.backtesting.market_input_evidence import MarketInputEvidence

        super().__init__(*args, **kwargs)
        self._market_input_evidence = MarketInputEvidence(max_rows=0, max_observations=0)


@dataclass(frozen=True, slots=True)
class Backtest:
    """A job with its strategy loaded. Made before memory is held, run after.

    strategy : the class. named : the reference with the class's name in it.
    """

    job: Job
    strategy: Any
    named: str
    arguments: dict[str, Any]

    @classmethod
    def of(cls, job: Job) -> Backtest:
        """Load the strategy; whatever its module raises comes through, and ConfigError."""
        strategy, named = load(job.strategy, Strategy)
        return cls(job, strategy, named, _arguments(job.backtest))

    def rehearse(self) -> Reply:
        """Lay the run out, and run nothing: what it needs, or the error that every trial would end with."""
        source = self._source()(self._start, self._end, show_progress_bar=False)
        try:
            source.load_data()
        finally:
            source.shutdown()
        return {"status": "ok", "strategy": self.named}

    def run(self, folder: Path) -> Reply:
        """Run the trial; its figures.

        Parameters
        ----------
        folder
            Where what Lumibot leaves behind is left.
        """
        crashes: list[Exception] = []
        ended = self.strategy.run_backtest(
            self._source(),
            self._start,
            self._end,
            **self.arguments,
            parameters=self.job.parameters,
            trader_class=_trader(folder, crashes),
        )
        if crashes:  # Lumibot lets what on_strategy_end raises pass
            raise crashes[0]
        if ended is None:
            raise ConfigError(f"{self.named} says that it cannot be backtested (IS_BACKTESTABLE)")
        analysis, strategy = ended
        stats = strategy.broker.data_source.lazy.stats()
        peak_bytes = peak_rss_bytes()
        strategy.broker.data_source.shutdown()
        return {
            "status": "ok",
            **_performance(strategy, analysis or {}),
            **_fills(strategy.broker),
            "peak_rss_bytes": peak_bytes,
            "added_rss_bytes": max(peak_bytes - _BASELINE_BYTES, 0),
            "hit_rate": stats.hit_rate,
            "stall_s": stats.stall_s,
        }

    @property
    def _start(self) -> datetime:
        return datetime.fromisoformat(self.job.start)

    @property
    def _end(self) -> datetime:
        return datetime.fromisoformat(self.job.end)

    def _source(self) -> type:
        job = self.job
        assets = None if job.assets is None else [_asset(one) for one in job.assets]
        lazy = LazyBars(PandasDataBacktesting, store=job.store, memory=job.memory_bytes, assets=assets)
        # By the same name, for Lumibot dispatches on class names.
        names = {"__module__": lazy.__module__, "__qualname__": lazy.__qualname__}
        source: type = type(lazy)(lazy.__name__, (_Unrecorded, lazy), names)
        return source


def _asset(one: Any) -> Any:
    if isinstance(one, list):
        return tuple(_asset(part) for part in one)
    return AssetKey(**one) if isinstance(one, dict) else one


def _arguments(given: dict[str, Any]) -> dict[str, Any]:
    """The defaults of ``Strategy.backtest``, which are not those of ``run_backtest``, and what is given."""
    known = inspect.signature(Strategy.backtest).parameters
    taken = inspect.signature(Strategy.run_backtest).parameters
    for name in given:
        if name in _OURS or name not in known or known[name].default is inspect.Parameter.empty:
            raise ConfigError(
                f"backtest={{{name!r}: ...}}: Strategy.backtest has no such argument that a trial could take"
            )
    defaults = {
        name: one.default
        for name, one in known.items()
        if name in taken and name not in _OURS and isinstance(one.default, _PLAIN)
    }
    return {**defaults, **_QUIET, **given}


def _trader(folder: Path, crashes: list[Exception]) -> Callable[..., Any]:
    """Lumibot's trader, which notes what a strategy crashes with; what follows it lands in a folder."""

    class There(Trader):  # type: ignore[misc]
        def add_strategy(self, strategy: Any) -> None:
            told = strategy.on_bot_crash

            def on_bot_crash(error: Exception) -> None:
                crashes.append(error)
                told(error)

            strategy.on_bot_crash = on_bot_crash
            super().add_strategy(strategy)

        def run_all(self, *args: Any, **kwargs: Any) -> Any:
            analysis = super().run_all(*args, **kwargs)
            # run_backtest goes on to write to ./logs.
            os.chdir(folder)
            return analysis

    return There


def _performance(strategy: Any, analysis: dict[str, Any]) -> Reply:
    return {
        "final_value": float(strategy.portfolio_value),
        "total_return": _number(analysis.get("total_return")),
        "cagr": _number(analysis.get("cagr")),
        "max_drawdown": _number((analysis.get("max_drawdown") or {}).get("drawdown")),
        "sharpe": _number(analysis.get("sharpe")),
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _fills(broker: Any) -> Reply:
    log = broker._trade_event_log_df
    digest = hashlib.blake2b(digest_size=8)
    count = 0
    if len(log):
        fills = log[log["status"].isin(_FILLS)]
        count = len(fills)
        columns = ("time", "symbol", "side", "filled_quantity", "price")
        for when, symbol, side, quantity, price in zip(*(fills[name] for name in columns), strict=True):
            digest.update(
                f"{when.isoformat()} {symbol} {side} {float(quantity)!r} {float(price)!r}\n".encode()
            )
    return {"trades": count, "trades_hash": digest.hexdigest()}
