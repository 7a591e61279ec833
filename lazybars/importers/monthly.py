"""Lumibot's shared bar cache: ``bars/v2/<provider>/<2 digits>/<digest>/2024-01.parquet``, a file a month.

The name of a series there is a digest of its symbol, provider and connection, which cannot be turned
back: whose bars they are is for the caller to say, one series at a time. Each file notes which ranges the
provider answered, and to which generation of adjusted prices it belongs; ``series.json`` beside it says
which generation holds, and the others are left out, as Lumibot leaves them out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench, parquet
from lazybars.importers.parts import Kind, Lot, Lots, Rows, Wishes, skipped
from lazybars.importers.spacing import timestep_of
from lazybars.importers.typed import typed_rows
from lazybars.model import AssetKey

__all__ = ["MONTHLY"]

_LABEL = re.compile(r"\d{4}(-\d{2})?")
_SCHEMA = 2


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    notes = _notes(path)
    digest = str(notes.get("series"))
    if notes.get("schema") != _SCHEMA or digest != path.parent.name or _LABEL.fullmatch(path.stem) is None:
        raise BadInput(f"{path.name}: no file of Lumibot's shared bar cache, or one of another version")
    current = _generation(path.parent)
    if int(notes.get("epoch") or 0) != current:
        yield skipped(
            path, f"of generation {notes.get('epoch')} of the provider's prices, and {current} holds"
        )
        return
    relation, params = parquet([path])
    found = bench.columns(relation, params)
    timestep, size = (
        (wishes.timestep, "")
        if wishes.timestep
        else timestep_of(bench, relation, params, "timestamp", path.name)
    )
    if wishes.symbol is None:
        raise BadInput(
            f"{path.name}: {_described(bench, relation, params, timestep)} of the series {digest[:12]}; "
            "whose they are is not said in the file: give that series' directory and --symbol"
        )
    asset = AssetKey(wishes.symbol, wishes.asset_type or "stock")
    source = ":".join(filter(None, (path.parents[2].name, digest[:12], size)))

    @contextmanager
    def rows(bench: Bench) -> Iterator[Rows]:
        yield typed_rows(path.name, relation, found, params)

    yield Lot(path, asset, timestep, source, rows, wishes.quote)


def _notes(path: Path) -> dict[str, Any]:
    """What Lumibot noted in a file, or nothing."""
    try:
        pandas = pq.read_schema(path).pandas_metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    attributes = pandas.get("attributes") or {}
    notes = attributes.get("sharedBars") if isinstance(attributes, dict) else None
    return notes if isinstance(notes, dict) else {}


def _generation(folder: Path) -> int:
    """The generation that holds; 0 where nothing is noted, as Lumibot has it."""
    try:
        return int(json.loads((folder / "series.json").read_bytes()).get("epoch") or 0)
    except (OSError, ValueError, AttributeError):
        return 0


def _described(bench: Bench, relation: str, params: dict[str, Any], timestep: str) -> str:
    rows, low, high = bench.one(f"SELECT count(*), min(low), max(high) FROM {relation}", params)
    return f"{rows:,} {timestep} bars between {low:g} and {high:g}" if rows else "no bars"


def _check(paths: Sequence[Path], wishes: Wishes) -> None:
    series = {path.parent for path in paths}
    if wishes.symbol is not None and len(series) > 1:
        raise BadInput(
            f"files of {len(series)} series, which cannot all be {wishes.symbol}'s: give the directory of "
            f"one of them, such as {min(series)}"
        )


MONTHLY = Kind("monthly", (".parquet",), _lots, named=False, check=_check)
