"""Lumibot's Interactive Brokers cache: ``ibkr/stock/minute/bars/stock_SPY_USD_minute_SMART_TRADES_RTH...``.

What the name says beside the contract (exchange, what was quoted, session, version of the format, split
basis) makes another series of it: it becomes part of the source's name. Rows with ``missing`` say that
a day or a window was asked for and had nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench, parquet
from lazybars.importers.parts import Kind, Lot, Lots, Rows, Span, Wishes, bar_size, quote_key, skipped
from lazybars.importers.typed import typed_rows, utc_days
from lazybars.model import AssetKey

__all__ = ["IBKR"]

_NAME = re.compile(
    r"(?P<folder>stock|index|option|forex|crypto|crypto_future|future|asset)_(?P<symbol>.+)_(?P<quote>[^_]+)"
    r"_(?P<size>\d*(?:second|minute|hour|day))_(?P<exchange>[^_]+)"
    r"_(?P<what>(?:TRADES|MIDPOINT|BID_ASK)(?:_DERIVED_DAILY)?)_(?P<session>AHR|RTH)"
    r"(?:_(?P<expiry>\d{8}))?(?:_(?P<strike>\d+(?:[p.]\d+)?)_(?P<right>CALL|PUT))?(?P<rest>(?:_[A-Z].*)?)"
)
_NOTES = ("missing_reason", "missing_retry_after")
# The session was asked for once more, whatever bars it has: nothing is known to be empty.
_CHECKED = "minute_session_gap_empty"


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    if path.parent.name != "bars" and _NAME.fullmatch(path.stem) is None:
        yield skipped(path, "not a file of bars")
        return
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise BadInput(f"{path.name}: not named as Lumibot names its Interactive Brokers files")
    timestep, size = bar_size(match["size"])
    parts = ("ibkr", match["exchange"], match["what"], match["session"], *match["rest"].split("__"), size)
    source = ":".join(part.strip("_") for part in parts if part)

    @contextmanager
    def rows(bench: Bench) -> Iterator[Rows]:
        relation, params = parquet([path])
        found = bench.columns(relation, params)

        def empty(bench: Bench, rows: Rows) -> list[Span]:
            windows = _windows(bench, rows) if found.keys() >= set(_NOTES) else []
            days = utc_days(bench, rows, zone="America/New_York") if timestep == "day" else []
            return days + windows

        yield typed_rows(path.name, relation, found, params, also=_NOTES, empty=empty)

    yield Lot(path, _asset(match), timestep, source, rows, quote_key(match["quote"]))


def _asset(match: re.Match[str]) -> AssetKey:
    folder, symbol, expiry = match["folder"], match["symbol"], ""
    if match["expiry"]:
        try:
            expiry = dt.datetime.strptime(match["expiry"], "%Y%m%d").date().isoformat()
        except ValueError as error:
            raise BadInput(f"{match[0]}: {match['expiry']} is no date as yyyymmdd") from error
    if folder == "option":
        if not expiry or not match["strike"]:
            raise BadInput(f"{match[0]}: an option, but its name has no expiry or no strike")
        return AssetKey(
            symbol, "option", expiry, float(match["strike"].replace("p", ".")), match["right"], 100.0
        )
    if folder == "future" and not expiry:
        return AssetKey(symbol, "cont_future")
    return AssetKey(symbol, {"asset": "stock"}.get(folder, folder), expiry)


def _windows(bench: Bench, rows: Rows) -> list[Span]:
    """Windows that were asked for in vain: two rows in succession, noted for one reason at one time."""
    names = ("datetime", "is_a_bar_", "missing_reason", "missing_retry_after")
    # The file is in order of time, and without an ORDER BY the window streams.
    before = ", ".join(f"lag({name}) OVER () AS {name}_before" for name in names)
    found = bench.rows(
        "SELECT epoch_us(CAST(datetime_before AS TIMESTAMPTZ)), epoch_us(CAST(datetime AS TIMESTAMPTZ)) "
        f"FROM (SELECT *, {before} FROM ({rows.select})) WHERE NOT is_a_bar_ "
        "AND NOT is_a_bar__before "
        "AND missing_reason = missing_reason_before AND missing_reason <> $checked "
        "AND missing_retry_after = missing_retry_after_before",
        {**rows.params, "checked": _CHECKED},
    )
    return [(first, last) for first, last in found]


IBKR = Kind("ibkr", (".parquet",), _lots)
