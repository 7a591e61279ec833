"""One backtest of the demonstration: ``python -m lazybars.demo.worker JOB.json OUT.json``."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from lumibot.backtesting import PandasDataBacktesting

import lazybars
from lazybars.errors import LazyBarsError
from lazybars.stats import peak_rss_bytes, rss_bytes

# What "over baseline" is measured from: lazybars and Lumibot's source are imported, nothing is open.
_BASELINE_BYTES = rss_bytes()

from lazybars.demo.outcome import Outcome  # noqa: E402
from lazybars.demo.universes import Daily, Generated, Universe  # noqa: E402

__all__ = ["backtest", "main"]

_LAZY_FIGURES = ("cap_bytes", "peak_bytes", "hits", "misses", "late", "prefetched", "evictions", "stall_s")


class _Timed(PandasDataBacktesting):  # type: ignore[misc]
    """Times a source's start-up, and keeps Lumibot's own recorder of inputs (120 MB) out of both runs."""

    start_up_s = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        from lumibot.backtesting.market_input_evidence import MarketInputEvidence

        began = time.perf_counter()
        super().__init__(*args, **kwargs)
        self.start_up_s += time.perf_counter() - began
        self._market_input_evidence = MarketInputEvidence(max_rows=0, max_observations=0)

    def load_data(self) -> Any:
        began = time.perf_counter()
        try:
            return super().load_data()
        finally:
            self.start_up_s += time.perf_counter() - began


def _timed(source: type) -> type:
    """A subclass by the same name, for Lumibot dispatches on class names."""
    names = {"__module__": source.__module__, "__qualname__": source.__qualname__}
    timed: type = type(source)(source.__name__, (_Timed, source), names)
    return timed


def _eager_data(universe: Universe) -> list[Any]:
    from lumibot.entities import Asset, Data

    usd = Asset("USD", "forex")
    return [
        Data(Asset(bars.symbol), bars.frame(), timestep=universe.timestep, quote=usd)
        for bars in universe.bars()
    ]


def backtest(universe: Universe, store: str | None, memory: str) -> Outcome:
    """Run the universe's strategy: eager on frames, or lazy on a store."""
    from lazybars.demo.strategies import MonthlyTrend, Reversion

    data = _eager_data(universe) if store is None else None
    source = (
        PandasDataBacktesting
        if store is None
        else lazybars.LazyBars(PandasDataBacktesting, store=store, memory=memory)
    )
    strategy_class = MonthlyTrend if universe.timestep == "day" else Reversion
    start, end = universe.span
    began = time.perf_counter()
    _, strategy = strategy_class.run_backtest(
        _timed(source),
        start,
        end,
        pandas_data=data,
        parameters={"symbols": universe.symbols, "timestep": universe.timestep},
        benchmark_asset=None,
        risk_free_rate=0.0,
        analyze_backtest=False,
        save_stats_file=False,
        show_plot=False,
        show_tearsheet=False,
        save_tearsheet=False,
        show_indicators=False,
        show_progress_bar=False,
        quiet_logs=True,
    )
    total_s = time.perf_counter() - began
    used = strategy.broker.data_source
    figures = {}
    if store is not None:
        stats = used.lazy.stats()
        figures = {name: getattr(stats, name) for name in (*_LAZY_FIGURES, "hit_rate")}
        used.shutdown()
    return Outcome(
        fills=[list(fill) for fill in strategy.fills],
        final_value=float(strategy.portfolio_value),
        values_hash=strategy.values_hash.hexdigest(),
        frames=strategy.frames,
        frames_hash=strategy.frames_hash.hexdigest(),
        history_s=strategy.history_s,
        start_up_s=used.start_up_s,
        total_s=total_s,
        baseline_bytes=_BASELINE_BYTES,
        peak_bytes=peak_rss_bytes(),
        lazy=figures,
    )


def main(job_path: str, out_path: str) -> int:
    """Read the job, run it, save what came of it. A lazybars error is one line on stderr and code 2."""
    logging.disable(logging.CRITICAL)
    job = json.loads(Path(job_path).read_text())
    universe = Daily() if job["generated"] is None else Generated(**job["generated"])
    try:
        outcome = backtest(universe, job["store"], job["memory"])
    except LazyBarsError as error:
        print(error, file=sys.stderr)
        return 2
    outcome.save(Path(out_path))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
