"""Lumibot's CCXT cache: ``binance/BTC_USDT_1m.duckdb``, a DuckDB file for each pair and bar size.

Times are UTC without a zone, prices DECIMAL(18,3): what that has rounded away is lost in the file, and
Lumibot serves the same. As Lumibot reads it, a row is a bar where ``missing`` is 0 and all four prices are
there, the first of equal times stays, and a missing volume is 0. Its table of ranges is not relied upon:
older versions noted there what they had asked for, not what they got.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench
from lazybars.importers.parts import Kind, Lot, Lots, Rows, Wishes, bar_size, quote_key
from lazybars.importers.typed import runs_without, typed_rows
from lazybars.model import AssetKey

__all__ = ["CCXT"]

_NAME = re.compile(r"(?P<base>[^_]+)_(?P<quote>[^_:]+)(?::(?P<settle>[^_]+))?_(?P<size>\d+[a-z]+)")


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise BadInput(f"{path.name}: not named as Lumibot names its CCXT files, BTC_USDT_1m.duckdb")
    timestep, size = bar_size(match["size"])
    asset = AssetKey(match["base"], "crypto_future" if match["settle"] else "crypto")

    @contextmanager
    def rows(bench: Bench) -> Iterator[Rows]:
        with bench.attached(path) as name:
            # A view in a foreign file could read anything; only a table is looked at.
            tables = bench.rows(
                "SELECT table_name FROM duckdb_tables() WHERE database_name = $name AND schema_name = 'main'",
                {"name": name},
            )
            if ("candles",) not in tables:
                raise BadInput(f"{path.name}: no table candles, so not a CCXT cache of Lumibot")
            relation = f"{name}.main.candles"
            found = bench.columns(relation)
            bars = typed_rows(path.name, relation, found)
            volume = ", coalesce(volume, 0) AS volume" if "volume" in bars.columns else ""
            whole = " AND ".join(f"{price} IS NOT NULL" for price in ("open", "high", "low", "close"))
            select = f"SELECT * REPLACE (is_a_bar_ AND {whole} AS is_a_bar_{volume}) FROM ({bars.select})"
            yield replace(bars, select=select, empty=runs_without)

    yield Lot(
        path,
        asset,
        timestep,
        ":".join(filter(None, ("ccxt", path.parent.name, size))),
        rows,
        quote_key(match["quote"]),
    )


CCXT = Kind("ccxt", (".duckdb",), _lots)
