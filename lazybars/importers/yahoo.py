"""Lumibot's Yahoo cache, which is not read: its files are pickles, and loading a pickle runs code."""

from __future__ import annotations

from pathlib import Path

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench
from lazybars.importers.parts import Kind, Lots, Wishes

__all__ = ["YAHOO"]


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    raise BadInput(
        f"{path.name} is a pickle, and loading a pickle runs whatever code is in it, so lazybars never does. "
        "Where you trust the file, turn it into Parquet yourself: "
        "python -c \"import pandas as pd; pd.read_pickle('SPY_1d.pickle').data.to_parquet('SPY.parquet')\" "
        "and then: lazybars ingest STORE SPY.parquet --timestep day. "
        "Or download it anew as CSV, and: lazybars import csv SPY.csv"
    )
    yield


YAHOO = Kind("yahoo", (".pickle", ".pkl"), _lots)
