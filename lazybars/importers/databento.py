"""Lumibot's DataBento caches: ``databento/ESH4_minute_202401020000_202401312359.parquet``.

Futures are named by the contract's code (ESH4), whose year has one digit, so the code itself is the
symbol; where Lumibot's name gives the expiry, the series has it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench, parquet
from lazybars.importers.parts import Kind, Lot, Lots, Rows, Wishes, bar_size
from lazybars.importers.typed import typed_rows
from lazybars.model import AssetKey

__all__ = ["DATABENTO"]

_NAME = re.compile(
    r"(?P<symbol>.+?)(?:_(?P<expiry>\d{8}))?_(?P<size>\d*[a-z]+)_(?P<start>\d{8,12})_(?P<end>\d{8,12})"
)
_CONTRACT = re.compile(r"[A-Z0-9]{1,3}[FGHJKMNQUVXZ]\d{1,2}")
_CONTINUOUS = re.compile(r".+\.[cvn]\.\d+")


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise BadInput(
            f"{path.name}: not named as Lumibot names its DataBento files, "
            "ESH4_minute_202401020000_202401312359.parquet"
        )
    timestep, size = bar_size(match["size"])

    @contextmanager
    def rows(bench: Bench) -> Iterator[Rows]:
        relation, params = parquet([path])
        found = bench.columns(relation, params)
        yield typed_rows(path.name, relation, found, params)

    yield Lot(path, _asset(match, wishes), timestep, ":".join(filter(None, ("databento", size))), rows)


def _asset(match: re.Match[str], wishes: Wishes) -> AssetKey:
    symbol, expiry = match["symbol"], ""
    if match["expiry"]:
        try:
            expiry = dt.datetime.strptime(match["expiry"], "%Y%m%d").date().isoformat()
        except ValueError as error:
            raise BadInput(f"{match[0]}: {match['expiry']} is no date as yyyymmdd") from error
    kind = "stock"
    if expiry or _CONTRACT.fullmatch(symbol):
        kind = "future"
    elif _CONTINUOUS.fullmatch(symbol):
        kind = "cont_future"
    return AssetKey(symbol, wishes.asset_type or kind, expiry)


DATABENTO = Kind("databento", (".parquet",), _lots)
