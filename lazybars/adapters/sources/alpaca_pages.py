"""What Alpaca is asked for: a page of bars at a time, each written to the store before the next one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
from alpaca.data.requests import CryptoBarsRequest, OptionBarsRequest, StockBarsRequest
from lumibot.backtesting import AlpacaBacktesting
from lumibot.data_sources.exceptions import InvalidBars
from lumibot.tools.shared_bar_cache import validate_rows

from lazybars.adapters.vault import Range, Vault, Wanted
from lazybars.model import BAR_FIELDS, NOMINAL_NS

__all__ = ["ANSWER_BYTES", "fetch", "series_of"]

# A page of 10,000 bars, the most that Alpaca gives at once: its JSON, the client's models and their frame
# were measured at 22 MiB together.
ANSWER_BYTES = 26 << 20
_PAGE_BARS = 10_000
_COLUMNS = list(BAR_FIELDS)
_SAME_PRICE = 1e-6  # as Lumibot compares them
# Alpaca's units of a bar -> the timestep under which such bars are stored.
_STORED = {"Min": "minute", "Hour": "hour", "Day": "day"}
# How far from a range a stored bar may lie to be asked for again with it.
_NEAR = dt.timedelta(days=10)
# So long after its end a bar is final: then Alpaca has given it to every subscription.
_DELAY = dt.timedelta(minutes=15)
_INSTANT = dt.timedelta(microseconds=1)


class _AdjustedAnew(Exception):
    """Other prices are told than those that are stored."""


def series_of(source: AlpacaBacktesting, base_asset: Any, quote_asset: Any, timestep: str) -> Wanted:
    """The series of the store: bars of each size, and of each adjustment of prices, are one of their own."""
    frame = source._get_alpaca_timeframe(timestep)
    kind = str(getattr(base_asset, "asset_type", "")).lower()
    adjusted = "" if kind in ("crypto", "option") else " all" if source._auto_adjust else " split"
    return Wanted(base_asset, quote_asset, _STORED[frame.unit.value], f"{frame.value}{adjusted}")


def fetch(
    source: AlpacaBacktesting,
    vault: Vault,
    wanted: Wanted,
    timestep: str,
    span: Range,
    until: dt.datetime | None,
    key: str,
) -> tuple[dt.datetime, pd.Timestamp | None]:
    """Ask for what is not known of a span, and write what comes.

    Where Alpaca tells other prices than are stored, they are adjusted for what has happened since: then all
    of the series is asked for anew.

    Parameters
    ----------
    until
        The last instant that is asked for; None: what Lumibot adds to the span.
    key
        What Lumibot calls it in its log.

    Returns
    -------
    The end of what was to be known, in UTC; and the first bar that is not over yet, if there is one. Such
    bars are not written: they will be others.

    Raises
    ------
    Exception
        What the client raises. What came before is written, and covered as far as it came.
    """
    pages = _Pages(source, vault, wanted, timestep, key)
    until = pages.request(span, until)[1].end.replace(tzinfo=dt.timezone.utc)
    forming = None
    for start, end in vault.missing(wanted, span[0], until):
        if start >= end:
            continue
        info, beside = vault.find(wanted), None
        if info is not None and wanted.variant.endswith((" all", " split")):
            beside = vault.beside(info, start, end)
            beside = beside[(beside.index >= start - _NEAR) & (beside.index <= end + _NEAR)]
            start, end = min([start, *beside.index]), max([end, *beside.index])
        try:
            forming = pages.ask(start, end, beside)
        except _AdjustedAnew:
            assert info is not None, "there is nothing beside it otherwise"
            first, last = (pd.Timestamp(ns, tz="UTC") for ns in (info.first_ns, info.last_ns))
            vault.forget(wanted)
            return until, pages.ask(min(span[0], first), max(until, last), None)
    return until, forming


class _Pages:
    """The requests for one series."""

    def __init__(
        self, source: AlpacaBacktesting, vault: Vault, wanted: Wanted, timestep: str, key: str
    ) -> None:
        self._source = source
        self._vault = vault
        self._wanted = wanted
        self._timestep = timestep
        self._key = key
        frame = source._get_alpaca_timeframe(timestep)
        self._bar = dt.timedelta(seconds=NOMINAL_NS[wanted.timestep] * frame.amount / 1e9)

    def request(self, span: Range, until: dt.datetime | None) -> Any:
        """Lumibot's client and request."""
        return self._source._history_request(
            base_asset=self._wanted.asset,
            quote_asset=self._wanted.quote,
            timestep=self._timestep,
            data_datetime_start=span[0],
            data_datetime_end=span[1],
            auto_adjust=self._source._auto_adjust,
            request_end=until,
        )

    def ask(self, start: dt.datetime, end: dt.datetime, beside: pd.DataFrame | None) -> pd.Timestamp | None:
        """Write all of a span; gives the first bar that is not over yet.

        Raises
        ------
        _AdjustedAnew
            Prices are others than those that are stored ``beside`` it.
        """
        while start < end:
            rows, until = self._rows(start, end)
            if beside is not None and not _same(beside, rows):
                raise _AdjustedAnew
            over = dt.datetime.now(dt.timezone.utc) - _DELAY - self._bar
            if start < over:
                self._vault.keep(self._wanted, rows[rows.index <= over], start, min(until, over))
            if until > over:
                return min(rows.index[rows.index > over], default=None)
            start = until + _INSTANT
        return None

    def _rows(self, start: dt.datetime, end: dt.datetime) -> tuple[pd.DataFrame, dt.datetime]:
        """The first bars of a span, a page at most; and up to where they are all."""
        client, request = self.request((start, end), end)
        name = {
            CryptoBarsRequest: "get_crypto_bars",
            OptionBarsRequest: "get_option_bars",
            StockBarsRequest: "get_stock_bars",
        }[type(request)]
        # The client goes on from page to page until it has as many, or there are no more.
        request = request.model_copy(update={"limit": _PAGE_BARS})
        bars = self._source._alpaca_request(getattr(client, name), request, what=self._key).df
        if bars.empty:
            nothing = pd.DatetimeIndex([], tz="UTC")
            return pd.DataFrame(index=nothing, columns=_COLUMNS, dtype="float64"), end
        rows = bars.droplevel(0)[_COLUMNS]
        until = end if len(rows) < _PAGE_BARS else rows.index[-1].to_pydatetime()
        rows = rows[~rows.index.duplicated(keep="last")].sort_index()
        if not validate_rows(rows):
            raise InvalidBars("Alpaca returned invalid OHLCV bars; shared cache was not written")
        return rows, until


def _same(stored: pd.DataFrame, told: pd.DataFrame) -> bool:
    """Whether bars that are told again have the prices that are stored."""
    common, prices = stored.index.intersection(told.index), _COLUMNS[:4]
    theirs, ours = (frame.loc[common, prices].to_numpy() for frame in (told, stored))
    return bool(np.allclose(theirs, ours, rtol=_SAME_PRICE, atol=0.0))
