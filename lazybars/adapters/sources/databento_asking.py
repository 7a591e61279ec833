"""What is asked of DataBento: each contract, definition and dataset's range once.

Lumibot's client asks, in the range that is not known; an answer is streamed to a file by DataBento's own
client, and from there written to the store some bars at a time. Contracts are stored as they are asked for
("ESH4"), not as the continuous future that is made of them, which depends on where a run begins.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lazybars.adapters.growing import GrowingRun
from lazybars.adapters.vault import Range, Vault, Wanted
from lazybars.errors import BadInput, LazyBarsError
from lazybars.model import NOMINAL_NS, AssetKey, SeriesInfo

__all__ = ["ANSWER_BYTES", "Asking", "Contract", "client_class"]

# A piece of an answer while it is decoded and written, what its file's reader takes, and what the allocators
# keep of both: 33 to 36 MiB, by the peaks of forty answers of a year of minutes under a cap of 128 MB.
ANSWER_BYTES = 40 << 20
_ROWS_AT_ONCE = 20_000
_STEPS = {"ohlcv-1m": "minute", "ohlcv-1h": "hour", "ohlcv-1d": "day"}
# Above it, not every whole number is a float.
_LARGEST = 1 << 53
_MICROSECOND = dt.timedelta(microseconds=1)
_UTC = dt.timezone.utc
_NO_BARS = pd.DataFrame()


@dataclass(frozen=True, slots=True)
class Contract:
    """What stands for the frame that Lumibot's client gives: where the bars are, and in which span.

    info : None where there are none.
    """

    symbol: str
    info: SeriesInfo | None
    span: Range

    @property
    def empty(self) -> bool:
        return self.info is None

    def __setitem__(self, name: str, value: Any) -> None:
        """Lumibot notes the symbol in a column."""


class Asking:
    """All that one run asks. One thread.

    refused : why a contract cannot be stored, since it was last cleared. failed : whether one did not come.
    """

    def __init__(self, run: GrowingRun, normalized: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        self._run = run
        self._normalized = normalized
        self._vaults: dict[str, Vault] = {}
        self._notes: dict[str, dict[str, Any]] = {}
        self._ranges: dict[str, Any] = {}
        self._undefined = False
        self.refused: BadInput | None = None
        self.failed = False

    def vault(self, dataset: str) -> Vault:
        """The store for the contracts of a dataset."""
        if dataset not in self._vaults:
            self._vaults[dataset] = self._run.vault.under(f"databento:{dataset}")
            self._notes[dataset] = self._vaults[dataset].notes()
        return self._vaults[dataset]

    # ---- bars ---------------------------------------------------------------------------------------

    def contract(self, client: Any, dataset: str, symbol: str, schema: str, start: Any, end: Any) -> Contract:
        """The bars of [start, end), of which what is not known is asked for."""
        span = _utc(start), _utc(end) - _MICROSECOND
        with self._run.noting():
            try:
                return self._contract(client, dataset, symbol, schema, span)
            except BadInput as error:
                self.refused = error
                return Contract(symbol, None, span)
            except Exception:
                self.failed = True
                raise

    def _contract(self, client: Any, dataset: str, symbol: str, schema: str, span: Range) -> Contract:
        vault = self.vault(dataset)
        wanted = Wanted(AssetKey(symbol, _kind(dataset)), None, _STEPS[schema])
        unknown: Exception | None = None
        for first, last in vault.missing(wanted, *span):
            # A gap begins and ends with the known time next to it.
            since = first if first == span[0] else first + _MICROSECOND
            until = last + _MICROSECOND if last == span[1] else last
            if since != span[0] and self._ends_by(client, dataset, since):
                continue
            try:
                answer = client.ask(dataset, symbol, schema, _naive(since), _naive(until))
            except Exception as error:
                if not _says_unknown(error):
                    raise
                # In these days there is no such contract; in others, which are known, there may be.
                unknown = error
                vault.keep(wanted, _NO_BARS, since, until - _MICROSECOND)
                continue
            if answer.fault is not None:
                raise answer.fault
        info = vault.find(wanted)
        if info is not None and not vault.has_bars(info, (_ns(span[0]), _ns(span[1]))):
            info = None
        if info is None and unknown is not None:
            raise unknown
        return Contract(symbol, info, span)

    def _ends_by(self, client: Any, dataset: str, since: dt.datetime) -> bool:
        """Whether DataBento has nothing yet from a time on, and would call it an error to ask for that."""
        found = client.get_available_range(dataset)
        return bool(found and "end" in found) and _utc(found["end"]) <= since

    def land(self, get_range: Callable[..., Any], asked: dict[str, Any]) -> _Landed:
        """Ask DataBento's client for bars, and write them; where it fails, those that came."""
        dataset, step = asked["dataset"], _STEPS[asked["schema"]]
        vault, wanted = self.vault(dataset), Wanted(AssetKey(asked["symbols"], _kind(dataset)), None, step)
        span = _utc(asked["start"]), _utc(asked["end"]) - _MICROSECOND
        with tempfile.TemporaryDirectory(prefix="lazybars-") as folder:
            path = Path(folder, "answer.dbn.zst")
            try:
                answer = get_range(**asked, path=path)
            except Exception:
                self._save(path, vault, wanted, span)
                raise
            try:
                rows = self._write(answer, vault, wanted, span, complete=True)
            except LazyBarsError as error:
                return _Landed(0, error)
        self._remember(dataset)
        return _Landed(rows, None)

    def _save(self, path: Path, vault: Vault, wanted: Wanted, span: Range) -> None:
        """Write what came of an answer that broke off."""
        from databento import DBNStore

        if not path.exists() or not path.stat().st_size:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is cut short
            try:
                answer = DBNStore.from_file(path)
            except Exception:  # not even its head has come
                return
            try:
                self._write(answer, vault, wanted, span, complete=False)
            except BadInput as error:
                self.refused = error

    def _write(self, answer: Any, vault: Vault, wanted: Wanted, span: Range, *, complete: bool) -> int:
        """Write an answer some bars at a time; gives how many."""
        rows, before, last = 0, _NO_BARS, None
        try:
            for piece in _pieces(answer, complete=complete):
                frame = self._normalized(piece).drop(columns="symbol", errors="ignore")
                _check(frame, wanted, last)
                if len(before):
                    vault.keep(wanted, before, *span, complete=False)
                rows, before, last = rows + len(frame), frame, frame.index[-1]
        finally:
            answer.reader.close()
        if complete or len(before):
            vault.keep(wanted, before, *span, complete=complete)
        return rows

    # ---- what is known beside bars -----------------------------------------------------------------------

    def range_of(self, ask: Callable[[str], Any], dataset: str, end: Any) -> Any:
        """What there is of a dataset: as far as it is known to reach, or its end asked for once in a run."""
        self.vault(dataset)
        known = self._notes[dataset].get("end")
        if known is not None and _utc(known) >= _utc(end):
            return {"end": known}
        if not self._ranges.get(dataset):
            self._ranges[dataset] = found = ask(dataset)
            if found and "end" in found:
                self._notes[dataset]["end"] = str(found["end"])
                self._remember(dataset)
        return self._ranges[dataset]

    def definition(self, ask: Callable[..., Any], dataset: str, symbol: str, when: Any) -> Any:
        """What Lumibot reads of a contract's definition: its multiplier and when it expires."""
        self.vault(dataset)
        day = dt.datetime.now() - dt.timedelta(days=1) if when is None else when
        name = f"{symbol} {day if isinstance(day, str) else day.strftime('%Y-%m-%d')}"
        known = self._notes[dataset].setdefault("definitions", {})
        if name in known:
            told = dict(known[name]) or None
            if told and "expiration" in told:
                told["expiration"] = pd.Timestamp(told["expiration"])
            return told
        self._undefined = False
        found = ask(dataset=dataset, symbol=symbol, reference_date=when)
        if found and np.isfinite(found.get("unit_of_measure_qty", np.nan)):
            known[name] = {"unit_of_measure_qty": float(found["unit_of_measure_qty"])}
            if not pd.isna(found.get("expiration")):
                known[name]["expiration"] = pd.Timestamp(found["expiration"]).isoformat()
            self._remember(dataset)
        elif found is None and self._undefined:
            known[name] = {}
            self._remember(dataset)
        return found

    def define(self, get_range: Callable[..., Any], asked: dict[str, Any]) -> Any:
        """Ask DataBento's client for a definition; take note where it says that there is none.

        Lumibot's client makes the same None of that as of a failure.
        """
        try:
            answer = get_range(**asked)
        except Exception as error:
            self._undefined = _says_unknown(error)
            raise
        return answer

    def _remember(self, dataset: str) -> None:
        notes = self._notes[dataset]
        if notes and notes != self._vaults[dataset].notes():
            self._vaults[dataset].note(notes)


@dataclass(frozen=True, slots=True)
class _Landed:
    """What stands for DataBento's answer once it is written. fault : what kept it from that."""

    rows: int
    fault: LazyBarsError | None

    def __len__(self) -> int:
        return self.rows

    def to_df(self) -> _Landed:
        """What Lumibot's client calls."""
        return self


class _Api:
    """DataBento's client, whose bars land in the store."""

    def __init__(self, real: Any, asking: Asking) -> None:
        self.metadata = real.metadata
        self.timeseries = self
        self._real = real
        self._asking = asking

    def get_range(self, **asked: Any) -> Any:
        """What Lumibot's client calls for bars and definitions."""
        if asked["schema"] not in _STEPS:
            return self._asking.define(self._real.timeseries.get_range, asked)
        return self._asking.land(self._real.timeseries.get_range, asked)


def client_class(base: type, asking: Asking) -> type:
    """Lumibot's client of a helper module, which asks for nothing that is known."""

    class Client(base):
        @property
        def client(self) -> Any:
            return _Api(super().client, asking)

        def get_historical_data(
            self, dataset: str, symbols: str, schema: str, start: Any, end: Any, **more: Any
        ) -> Any:
            self._lazy_end = end
            return asking.contract(self, dataset, symbols, schema, start, end)

        def ask(self, dataset: str, symbol: str, schema: str, start: Any, end: Any) -> Any:
            """Lumibot's own."""
            return super().get_historical_data(dataset, symbol, schema, start, end)

        def get_available_range(self, dataset: str) -> Any:
            return asking.range_of(super().get_available_range, dataset, self._lazy_end)

        def get_instrument_definition(self, dataset: str, symbol: str, reference_date: Any = None) -> Any:
            return asking.definition(super().get_instrument_definition, dataset, symbol, reference_date)

    return Client


def _pieces(answer: Any, *, complete: bool) -> Iterator[pd.DataFrame]:
    pieces = iter(answer.to_df(count=_ROWS_AT_ONCE))
    while True:
        try:
            piece = next(pieces)
        except StopIteration:
            return
        except Exception:
            if complete:
                raise
            return  # where it broke off
        if len(piece):
            yield piece


def _check(frame: pd.DataFrame, wanted: Wanted, last: Any) -> None:
    """Raise BadInput where the store would not give these bars back as Lumibot shows them."""
    times = frame.index
    ordered = times.is_monotonic_increasing and times.is_unique and (last is None or times[0] > last)
    if not ordered:
        raise BadInput(f"{wanted.label}: DataBento gave bars of the same time twice, or out of order")
    if wanted.timestep == "minute" and (times.as_unit("ns").asi8 % NOMINAL_NS["minute"]).any():
        raise BadInput(f"{wanted.label}: DataBento gave bars that do not begin with a minute")
    if (frame["volume"] >= _LARGEST).any():
        raise BadInput(f"{wanted.label}: DataBento gave a volume of 2**53 or more, which no float holds")


def _says_unknown(error: Exception) -> bool:
    text = str(error).lower()
    return "symbology_invalid_request" in text or "none of the symbols could be resolved" in text


def _kind(dataset: str) -> str:
    return "stock" if dataset.startswith("XNAS.") else "future"


def _utc(when: Any) -> dt.datetime:
    stamp = pd.Timestamp(when)
    stamp = stamp.tz_localize(_UTC) if stamp.tzinfo is None else stamp.tz_convert(_UTC)
    moment: dt.datetime = stamp.to_pydatetime(warn=False)
    return moment


def _naive(when: dt.datetime) -> dt.datetime:
    return when.replace(tzinfo=None)


def _ns(when: dt.datetime) -> int:
    return int(pd.Timestamp(when).value)
