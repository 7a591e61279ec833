"""Lumibot's Alpaca cache: ``SPY-STOCK_USD-FOREX_NYSE_MINUTE_AMERICA-NEW-YORK_2024-01-01_2024-02-01.csv``.

Lumibot fills minutes and days without a trade with the last close and a volume of 0 before it saves them,
and nothing in the file tells them from bars: they are kept as they stand, as Lumibot serves them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench
from lazybars.importers.csv_file import csv_rows, read_text
from lazybars.importers.parts import Kind, Lot, Lots, Rows, Wishes, bar_size
from lazybars.model import AssetKey

__all__ = ["ALPACA"]

_TYPES = "STOCK|OPTION|FUTURE|CRYPTO_FUTURE|CONT_FUTURE|FOREX|CRYPTO|INDEX"
_NAME = re.compile(
    rf"(?P<symbol>.+?)-(?P<type>{_TYPES})_(?P<quote>.+?)-(?P<quote_type>{_TYPES})"
    r"(?:_(?P<strike>\d+(?:\.\d+)?)_(?P<right>CALL|PUT)_(?P<expiry>\d{4}-\d{2}-\d{2})_TRADES)?"
    r"_(?P<market>.+)_(?P<size>\d*(?:MINUTE|HOUR|DAY))_(?P<zone>[^_]+)(?P<adjusted>_AA)?"
    r"_(?P<start>\d{4}-\d{2}-\d{2})_(?P<end>\d{4}-\d{2}-\d{2})"
)


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise BadInput(
            f"{path.name}: not named as Lumibot names its Alpaca files, "
            "SPY-STOCK_USD-FOREX_NYSE_MINUTE_AMERICA-NEW-YORK_2024-01-01_2024-02-01.csv"
        )
    timestep, size = bar_size(match["size"])
    asset = AssetKey(match["symbol"], match["type"].lower())
    if match["expiry"]:
        asset = replace(
            asset,
            expiration=match["expiry"],
            strike=float(match["strike"]),
            right=match["right"],
            multiplier=100.0,
        )
    adjusted = "AA" if match["adjusted"] else ""
    source = ":".join(filter(None, ("alpaca", match["market"], adjusted, size)))

    @contextmanager
    def rows(bench: Bench) -> Iterator[Rows]:
        # A window may hold too few bars to tell the timestep, and the name says it.
        with read_text(bench, path, Wishes(timestep=timestep)) as (shape, cells):
            if shape.zone:
                raise BadInput(
                    f"{path.name}: its times have no zone, which Lumibot writes: they are not its own"
                )
            yield csv_rows(shape, cells)

    yield Lot(path, asset, timestep, source, rows, AssetKey(match["quote"], match["quote_type"].lower()))


ALPACA = Kind("alpaca", (".csv",), _lots)
