"""Lumibot's Polygon cache: ``polygon/stock_SPY_USD_minute.parquet``, and the same of its Polars source.

Dates without data stand in it as rows with ``missing``, at midnight of the local mean time of New York,
04:56 UTC: it is the UTC date that they name.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench, parquet
from lazybars.importers.parts import Kind, Lot, Lots, Rows, Wishes, bar_size, quote_key, skipped
from lazybars.importers.typed import typed_rows, utc_days
from lazybars.model import AssetKey

__all__ = ["POLYGON", "option_key", "polygon_name"]

_NAME = re.compile(r"(?P<type>stock|index|forex|crypto|option|future)_(?P<rest>.+)_(?P<size>\d*[a-z]+)")
_OPTION = re.compile(r"(?P<symbol>.+)_(?P<expiry>\d{6})_(?P<strike>\d+(\.\d+)?)_(?P<right>CALL|PUT)")


def polygon_name(stem: str) -> tuple[AssetKey, AssetKey | None, str, str] | None:
    """(asset, quote, timestep, bar size if not one) of a file name without its ending; None if it is none."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    timestep, size = bar_size(match["size"])
    if match["type"] == "option":
        return option_key(match["rest"]), None, timestep, size
    symbol, _, quote = match["rest"].partition("_")
    return AssetKey(symbol, match["type"]), quote_key(quote) if quote else None, timestep, size


def option_key(text: str) -> AssetKey:
    """The option that Lumibot spells ``SPY_240119_450.0_CALL``. Raises BadInput where it is none."""
    match = _OPTION.fullmatch(text)
    if match is None:
        raise BadInput(f"{text!r} names no option: SYMBOL_yymmdd_STRIKE_CALL is expected")
    try:
        expiry = dt.datetime.strptime(match["expiry"], "%y%m%d").date().isoformat()
    except ValueError as error:
        raise BadInput(f"{text!r}: {match['expiry']} is no date as yymmdd") from error
    return AssetKey(match["symbol"], "option", expiry, float(match["strike"]), match["right"], 100.0)


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    if path.parent.name == "option_chains" or path.stem.endswith("_splits"):
        yield skipped(path, "a chain or a list of splits")
        return
    name = polygon_name(path.stem)
    if name is None:
        raise BadInput(
            f"{path.name}: not named as Lumibot names its Polygon files, stock_SPY_USD_minute.parquet"
        )
    asset, quote, timestep, size = name

    @contextmanager
    def rows(bench: Bench) -> Iterator[Rows]:
        relation, params = parquet([path])
        found = bench.columns(relation, params)
        yield typed_rows(
            path.name, relation, found, params, empty=lambda bench, rows: utc_days(bench, rows, zone="UTC")
        )

    yield Lot(path, asset, timestep, ":".join(filter(None, ("polygon", size))), rows, quote)


POLYGON = Kind("polygon", (".parquet",), _lots)
