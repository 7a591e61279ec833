"""The results of a sweep as a pandas frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lazybars.sweep.job import TrialResult

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "frame_of", "parameter_names"]

# Text last: it is long.
COLUMNS = {
    "final_value": "float64",
    "total_return": "float64",
    "cagr": "float64",
    "max_drawdown": "float64",
    "sharpe": "float64",
    "trades": "Int64",
    "trades_hash": "object",
    "peak_rss_bytes": "Int64",
    "added_rss_bytes": "Int64",
    "wall_s": "float64",
    "cpu_s": "float64",
    "hit_rate": "float64",
    "stall_s": "float64",
    "start": "object",
    "end": "object",
    "status": "object",
    "error": "object",
}


def parameter_names(results: Sequence[TrialResult]) -> dict[str, str]:
    """The column of each parameter, in order of appearance; one that bears a figure's name is put
    behind "parameters."."""
    names = dict.fromkeys(name for result in results for name in result.parameters)
    return {name: f"parameters.{name}" if name in COLUMNS else name for name in names}


def frame_of(results: Sequence[TrialResult]) -> pd.DataFrame:
    """One row a trial, by its number; a column a parameter, then `COLUMNS`."""
    import pandas as pd  # slow to import

    results = sorted(results, key=lambda result: result.number)
    index = pd.Index([result.number for result in results], name="trial", dtype="int64")
    columns = {
        column: pd.Series([result.parameters.get(name) for result in results], index, object).infer_objects()
        for name, column in parameter_names(results).items()
    }
    figures = {
        name: pd.Series([getattr(result, name) for result in results], index, dtype=dtype)
        for name, dtype in COLUMNS.items()
    }
    return pd.DataFrame({**columns, **figures}, index=index)
