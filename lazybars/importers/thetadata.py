"""Lumibot's ThetaData cache: ``thetadata/stock/minute/ohlc/stock_SPY_minute_ohlc.parquet``.

Quotes lie in a file of their own, in ``quote`` beside ``ohlc``; they are joined to the bars by time, as
Lumibot joins them. Dates without data stand in it as rows with ``missing`` at the close in New York.
Bars whose four prices are zero are none, unless they carry a quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench, parquet
from lazybars.importers.parts import Kind, Lot, Lots, Rows, Wishes, bar_size, skipped
from lazybars.importers.polygon import option_key
from lazybars.importers.typed import is_number, typed_rows, utc_days
from lazybars.model import BAR_FIELDS, AssetKey
from lazybars.store.schema import identifier

__all__ = ["THETADATA"]

_NAME = re.compile(
    r"(?P<type>stock|index|option)_(?P<rest>.+)_(?P<size>[0-9]*[a-z]+)_(?P<style>ohlc|quote|eod)"
)
# What the quote file adds to the bars; the rest of it is in the bars already.
_QUOTES = (
    "bid",
    "ask",
    "bid_size",
    "ask_size",
    "bid_condition",
    "ask_condition",
    "bid_exchange",
    "ask_exchange",
)
# The contract, which is the series' own.
_CONTRACT = ("expiration", "strike", "right", "symbol", "root")


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    match = _NAME.fullmatch(path.stem)
    if match is None or "_snapshot_" in path.stem:
        yield skipped(path, "a snapshot, a chain or a list of events")
        return
    ohlc, quote = (
        path.parent.parent / style / f"{path.stem[: match.start('style')]}{style}.parquet"
        for style in ("ohlc", "quote")
    )
    if match["style"] == "quote":
        if not ohlc.exists():
            raise BadInput(f"{path.name}: quotes alone are no bars, and there is no {ohlc.name} beside them")
        yield skipped(path, f"joined to the bars of {ohlc.name}")
        return
    timestep, size = bar_size(match["size"])
    is_option = match["type"] == "option"
    asset = option_key(match["rest"]) if is_option else AssetKey(match["rest"], match["type"])
    joined = quote if match["style"] == "ohlc" and quote.exists() else None

    @contextmanager
    def rows(bench: Bench) -> Iterator[Rows]:
        relation, params = parquet([path])
        found = bench.columns(relation, params)
        if joined is not None:
            relation, found, params = _with_quotes(bench, relation, found, params, joined)
        bars = typed_rows(
            path.name,
            relation,
            found,
            params,
            without=_CONTRACT,
            empty=lambda bench, rows: utc_days(bench, rows, zone="America/New_York"),
        )
        yield replace(bars, select=_without_zeros(bars))

    yield Lot(
        path,
        asset,
        timestep,
        ":".join(filter(None, ("thetadata", size))),
        rows,
        note=f"with the quotes of {joined.name}" if joined else "",
    )


def _with_quotes(
    bench: Bench, relation: str, found: Mapping[str, str], params: dict[str, object], quote: Path
) -> tuple[str, dict[str, str], dict[str, object]]:
    """The outer join of bars and quotes by time, with its columns and parameters."""
    quotes = bench.columns(*parquet([quote]))
    if "datetime" not in found or "datetime" not in quotes:
        raise BadInput(f"{quote.name}: no column datetime to join the quotes by")
    added = [name for name in _QUOTES if is_number(quotes.get(name, "")) and name not in found]
    right = ", ".join(
        [
            "datetime",
            *map(identifier, added),
            "missing AS no_quote" if "missing" in quotes else "false AS no_quote",
        ]
    )
    bars = [identifier(name) for name in found if name not in ("datetime", "missing")]
    held = "coalesce(b.missing, false)" if "missing" in found else "false"
    # Where only one side has a row, the other's flag is NULL.
    missing = f"CASE WHEN b.datetime IS NULL THEN coalesce(q.no_quote, false) ELSE {held} END AS missing"
    columns = ", ".join(
        [
            "coalesce(b.datetime, q.datetime) AS datetime",
            *(f"b.{name}" for name in bars),
            *(f"q.{identifier(name)}" for name in added),
            missing,
        ]
    )
    joined = (
        f"(SELECT {columns} FROM {relation} b FULL JOIN (SELECT {right} FROM "
        f"{relation.replace('$files', '$quotes')}) q ON b.datetime = q.datetime)"
    )
    both = {**params, "quotes": parquet([quote])[1]["files"]}
    return joined, bench.columns(joined, both), both


def _without_zeros(rows: Rows) -> str:
    """Zero prices say that nothing was traded; with a quote the row still tells something."""
    zero = " AND ".join(f"{name} = 0" for name in BAR_FIELDS[:4])
    quoted = "".join(f" OR coalesce({name}, 0) > 0" for name in ("bid", "ask") if name in rows.columns)
    is_bar = f"is_a_bar_ AND (NOT coalesce({zero}, false){quoted})"
    return f"SELECT * REPLACE ({is_bar} AS is_a_bar_) FROM ({rows.select})"


THETADATA = Kind("thetadata", (".parquet",), _lots)
