"""DataBento on this machine: its documented answers over given bars, and Lumibot pointed at them.

https://databento.com/docs/api-reference-historical: ``timeseries.get_range`` answers in DBN, compressed with
zstd, which DataBento's own library encodes here; prices in units of 1e-9, ``ts_event`` in ns at the start of
the bar, ``end`` exclusive. A name that is not known in the whole range is an error 422.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import databento
import databento_dbn as dbn
import numpy as np
import pandas as pd
import zstandard
from databento.historical.api.metadata import MetadataHttpAPI
from databento.historical.api.timeseries import TimeseriesHttpAPI
from lumibot.tools import databento_helper, databento_helper_polars

from .vendor import Reply, Request, Vendor

__all__ = ["KEY", "Exchange", "forgetting", "pointed_at", "refused"]

KEY = "db-secret-key-of-the-caller"
_SCHEMAS = {"ohlcv-1m": ("1min", 33), "ohlcv-1h": ("1h", 34), "ohlcv-1d": ("1D", 35)}
_BAR = np.dtype(dbn.OHLCVMsg._dtypes)
_HELPERS = (databento_helper, databento_helper_polars)


class Exchange:
    """What DataBento knows, and how it fails.

    bars : name as it is asked for -> minute bars, indexed by UTC.
    terms : name -> units of a contract, and when it expires (ISO).
    ends : when its datasets end. failing : decides for a request whether it fails, and how.
    """

    def __init__(
        self, bars: Mapping[str, pd.DataFrame], terms: Mapping[str, tuple[float, str]] | None = None
    ) -> None:
        self.bars = dict(bars)
        self.terms = dict(terms or {})
        self.ends = "2024-12-31T00:00:00.000000000Z"
        self.failing: Callable[[Request], Reply | None] = lambda request: None
        self._coarse: dict[tuple[str, str], pd.DataFrame] = {}

    def __call__(self, request: Request) -> Reply:
        failed = self.failing(request)
        if failed is not None:
            return failed
        if request.path == "/v0/metadata.get_dataset_range":
            return Reply({"start": "2010-06-06T00:00:00.000000000Z", "end": self.ends})
        asked = request.params
        if asked["schema"] == "definition":
            return self._definition(asked["symbols"], pd.Timestamp(asked["start"], tz="UTC"))
        return self._bars(asked)

    def _bars(self, asked: dict[str, str]) -> Reply:
        symbol, (freq, rtype) = asked["symbols"], _SCHEMAS[asked["schema"]]
        start, end = (_utc(asked[name]) for name in ("start", "end"))
        if end > _utc(self.ends) or start >= end:
            return refused("data_end_after_available_end", "the dataset ends before that")
        bars = self.bars.get(symbol)
        if bars is None or bars.index[-1] < start or bars.index[0] >= end:
            return refused("symbology_invalid_request", "None of the symbols could be resolved")
        if (symbol, freq) not in self._coarse:
            how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
            self._coarse[symbol, freq] = bars if freq == "1min" else bars.resample(freq).agg(how).dropna()
        bars = self._coarse[symbol, freq]
        bars = bars[(bars.index >= start) & (bars.index < end)]
        records = np.zeros(len(bars), _BAR)
        records["length"], records["rtype"], records["publisher_id"] = _BAR.itemsize // 4, rtype, 1
        records["instrument_id"] = _id(symbol)
        records["ts_event"] = bars.index.as_unit("ns").asi8
        for name in ("open", "high", "low", "close"):
            nano = np.round(bars[name].to_numpy() * 1e9)
            records[name] = np.where(np.isnan(nano), dbn.UNDEF_PRICE, np.nan_to_num(nano).astype("int64"))
        records["volume"] = bars["volume"].to_numpy()
        return _dbn(asked, dbn.Schema.from_str(asked["schema"]), start, end, records.tobytes())

    def _definition(self, symbol: str, day: pd.Timestamp) -> Reply:
        if symbol not in self.terms:
            return refused("symbology_invalid_request", "None of the symbols could be resolved")
        units, expires = self.terms[symbol]
        one = dbn.InstrumentDefMsg(
            publisher_id=1,
            instrument_id=_id(symbol),
            ts_event=day.value,
            ts_recv=day.value,
            min_price_increment=50_000,
            display_factor=1_000_000_000,
            raw_symbol=symbol,
            asset=symbol[:-2],
            security_type="FUT",
            instrument_class=dbn.InstrumentClass.FUTURE,
            security_update_action=dbn.SecurityUpdateAction.ADD,
            expiration=pd.Timestamp(expires, tz="UTC").value,
            unit_of_measure_qty=round(units * 1e9),
        )
        end = day + pd.Timedelta("1D")
        return _dbn({"symbols": symbol, "dataset": "GLBX.MDP3"}, dbn.Schema.DEFINITION, day, end, bytes(one))


def refused(case: str, message: str, status: int = 422) -> Reply:
    """An error as DataBento puts it."""
    detail = {"case": case, "message": message, "status_code": status, "docs": "", "payload": {}}
    return Reply({"detail": detail}, status)


def _dbn(asked: dict[str, str], schema: Any, start: Any, end: Any, records: bytes) -> Reply:
    symbol = asked["symbols"]
    span = SimpleNamespace(
        start_date=start.date(), end_date=(end + pd.Timedelta("1D")).date(), symbol=str(_id(symbol))
    )
    head = dbn.Metadata(
        dataset=asked["dataset"],
        start=start.value,
        end=end.value,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=schema,
        symbols=[symbol],
        partial=[],
        not_found=[],
        mappings=[SimpleNamespace(raw_symbol=symbol, intervals=[span])],
    )
    return Reply(zstandard.ZstdCompressor().compress(bytes(head) + records))


def _id(symbol: str) -> int:
    return sum(symbol.encode())


def _utc(text: str) -> pd.Timestamp:
    stamp = pd.Timestamp(text)
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


@contextmanager
def pointed_at(vendor: Vendor, cache: Any, *, caching: bool = False) -> Iterator[None]:
    """DataBento's client, in Lumibot, asks this vendor; Lumibot caches in a folder of its own.

    caching : whether it reads what it has cached, which has a column more than what it downloaded: its row
        numbers in the file. Otherwise it downloads each time, and answers so.
    """

    class Here(databento.Historical):
        def __init__(self, key: str | None = None) -> None:
            super().__init__(key or KEY)
            # Its own gateway may be given, but is made one of https.
            self.metadata = MetadataHttpAPI(key=self.key, gateway=vendor.url)
            self.timeseries = TimeseriesHttpAPI(key=self.key, gateway=vendor.url)

    with (
        ExitStack() as stack,
        mock.patch.object(databento_helper, "Historical", Here),
        mock.patch.object(databento_helper_polars, "Historical", Here),
        mock.patch.object(databento_helper, "LUMIBOT_DATABENTO_CACHE_FOLDER", f"{cache}/pandas"),
        mock.patch.object(databento_helper_polars, "LUMIBOT_DATABENTO_CACHE_FOLDER", f"{cache}/polars"),
    ):
        if not caching:
            for helper in _HELPERS:
                stack.enter_context(mock.patch.object(helper, "_load_cache", return_value=None))
        forgetting()
        yield
        forgetting()


def forgetting() -> None:
    """Lumibot keeps definitions for as long as the process lives: forget them."""
    for helper in _HELPERS:
        helper._INSTRUMENT_DEFINITION_CACHE.clear()
