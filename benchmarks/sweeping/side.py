"""One side of a measurement in a process of its own: ``python -m benchmarks.sweeping.side JOB OUT``.

Light to import, because the process that sweeps is measured as well: it never imports Lumibot.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["FIGURES", "main"]

# What two runs of one trial have to be equal in, to the last bit.
FIGURES = ("final_value", "total_return", "cagr", "max_drawdown", "sharpe", "trades", "trades_hash")
_STRATEGY = "benchmarks.sweeping.strategy:Leaders"


def main(job_path: str, out_path: str) -> None:
    """Do what the job says; what came of it is in the other file."""
    job = json.loads(Path(job_path).read_text())
    sides = {"sweep": _sweep, "short": _short, "eager": _eager}
    Path(out_path).write_text(json.dumps(sides[job["side"]](job)))


def _sweep(job: dict[str, Any]) -> dict[str, Any]:
    import lazybars

    with _swept(lazybars, job) as sweep:
        for _ in sweep:
            pass
    results = sorted(sweep.results, key=lambda one: one.number)
    failed = [f"{one.parameters}: {one.error}" for one in results if not one.ok]
    if failed:
        raise SystemExit(f"trials failed: {failed}")
    return {
        "trials": [{name: getattr(one, name) for name in FIGURES} for one in results],
        "added_bytes": [one.added_rss_bytes for one in results],
        "cpu_s": sum(one.cpu_s or 0 for one in results),
        "stall_s": sum(one.stall_s or 0 for one in results),
    }


def _short(job: dict[str, Any]) -> dict[str, Any]:
    """As :func:`_sweep`, telling after each trial what this process holds."""
    import psutil

    import lazybars

    me = psutil.Process()
    temporary = Path(os.environ["TMPDIR"])
    before = me.num_threads()  # NumPy's and Arrow's own are there once they are imported
    after = []
    with _swept(lazybars, job) as sweep:
        for result in sweep:
            if not result.ok:
                raise SystemExit(f"a trial failed: {result.error}")
            files = sum(1 for _ in temporary.rglob("*"))
            after.append((me.num_fds(), me.num_threads(), me.memory_info().rss, files))
    left = {
        "processes": len(me.children(recursive=True)),
        "files": sum(1 for _ in temporary.rglob("*")),
        "threads": me.num_threads() - before,
    }
    return {"after": after, "left": left}


def _swept(lazybars: Any, job: dict[str, Any]) -> Any:
    return lazybars.sweep(
        _STRATEGY,
        job["start"],
        job["end"],
        store=job["store"],
        trials=job["trials"],
        memory=job["memory"],
        workers=job["workers"],
        assets=job["symbols"],
        progress=False,
    )


def _eager(job: dict[str, Any]) -> dict[str, Any]:
    """One trial as Lumibot alone runs it, every bar in RAM; its fills as the strategy itself notes them."""
    import logging

    from lumibot.backtesting import PandasDataBacktesting

    from benchmarks.market import MinuteMarket
    from benchmarks.strategies import QUIET
    from benchmarks.sweeping.strategy import Noted

    logging.disable(logging.CRITICAL)
    start, end = (dt.datetime.fromisoformat(job[name]) for name in ("start", "end"))
    data = MinuteMarket(Path(job["folder"]), *job["size"]).data()
    analysis, ran = Noted.run_backtest(
        PandasDataBacktesting, start, end, pandas_data=data, parameters=job["parameters"], **QUIET
    )
    return {
        "trials": [
            {
                "final_value": float(ran.portfolio_value),
                **{name: float(analysis[name]) for name in ("total_return", "cagr", "sharpe")},
                "max_drawdown": float(analysis["max_drawdown"]["drawdown"]),
                "trades": ran.trades,
                "trades_hash": ran.digest.hexdigest(),
            }
        ]
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
