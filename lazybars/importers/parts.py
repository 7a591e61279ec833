"""What the importers speak of: what the caller says, the bars of one file, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench
from lazybars.model import TIMESTEPS, AssetKey

__all__ = [
    "CRYPTO",
    "Kind",
    "Lot",
    "Lots",
    "Outcome",
    "Rows",
    "Span",
    "Wishes",
    "bar_size",
    "quote_key",
    "skipped",
]

# Asset types whose times, where nothing is said, are UTC.
CRYPTO = ("crypto", "crypto_future")
# Closed range of time, microseconds since the epoch, UTC.
Span = tuple[int, int]

_MONEY = re.compile(
    "AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NOK|NZD|PHP|PLN|RON|RUB|SEK|SGD|THB|"
    "TRY|TWD|UAH|USD|ZAR"
)
_BAR_SIZE = re.compile(r"(\d*)(minute|hour|day|m|h|d)")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller says of all files; None leaves it to the file, its name and its kind.

    symbol : whose bars they are; of a file of many assets, whose are wanted.
    asset_type, quote, source, tz : as for ``Store.write``. timestep : "minute", "hour" or "day".
    date_format : of CSV, as for ``strptime``, or "epoch s", "epoch ms", "epoch us", "epoch ns".
    decimal, delimiter : of CSV, one character. columns : of CSV, what each column holds, in the
        order of the file: datetime (or date and time), open, high, low, close, volume, symbol; "-"
        leaves one out, any other name is kept as a column of that name.
    """

    symbol: str | None = None
    asset_type: str | None = None
    quote: AssetKey | None = None
    timestep: str | None = None
    source: str | None = None
    tz: str | None = None
    date_format: str | None = None
    decimal: str | None = None
    delimiter: str | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a lot as a query, good for as long as its ``open`` lasts.

    select : SQL that gives datetime, open, high, low, close, the other columns to keep, and the boolean
        ``is_a_bar_``: whether the row is one, or only says that there is none.
    params : the named parameters in it.
    columns : what is kept, without datetime and ``is_a_bar_``.
    left_out : the columns of the file that are not kept.
    zone : the zone of times that have none.
    empty : what the rows that are no bars say of the time in which there are none.
    """

    select: str
    columns: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    zone: str | None = None
    empty: Callable[[Bench, Rows], list[Span]] | None = None


@dataclass(frozen=True, slots=True)
class Lot:
    """The bars of one series in one file, before they are read.

    open : gives the rows on a bench. note : what was found out about the file, to be shown.
    covers : what the file says was asked for; None where it says nothing.
    """

    path: Path
    asset: AssetKey
    timestep: str
    source: str
    open: Callable[[Bench], AbstractContextManager[Rows]]
    quote: AssetKey | None = None
    note: str = ""
    covers: Span | None = None

    @property
    def label(self) -> str:
        quote = f"/{self.quote}" if self.quote is not None else ""
        return f"{self.asset}{quote} {self.timestep} ({self.source})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one lot, or of a file that holds none.

    status : "written", "unchanged" (all of it is in the store already), "empty" (no bars in it), "found"
        (a dry run), "skipped" (a file of the cache that is not about bars) or "failed".
    rows : rows of the file. bars : those that are bars. written, replaced : as in ``WriteSummary``.
    repaired : reason to rows. empty_ranges : ranges newly marked as known to be empty.
    left_out : columns that were not kept. detail : why it was skipped or failed, or the note.
    """

    path: Path
    status: str
    series: str = ""
    rows: int = 0
    bars: int = 0
    written: int = 0
    replaced: int = 0
    repaired: dict[str, int] = field(default_factory=dict)
    empty_ranges: int = 0
    left_out: tuple[str, ...] = ()
    detail: str = ""


Lots = Generator[Lot | Outcome, None, None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of files.

    suffixes : how the names of its files end, in lower case. lots : what is in a file, or the Outcome
    that says why nothing is looked for in it; raises BadInput where it cannot be understood.
    named : whether the symbol stands in the file's name or in the file, so that the caller cannot say it.
    check : raises BadInput where all of the files together cannot be what the caller says.
    """

    name: str
    suffixes: tuple[str, ...]
    lots: Callable[[Bench, Path, Wishes], Lots]
    named: bool = True
    check: Callable[[Sequence[Path], Wishes], None] | None = None


def skipped(path: Path, why: str) -> Outcome:
    """A file of a cache that is about something else than bars."""
    return Outcome(path, "skipped", detail=why)


def bar_size(text: str) -> tuple[str, str]:
    """(timestep, rest) of a bar size: "minute" is ("minute", ""), "15minute" is ("minute", "15minute").

    Raises BadInput for bars of less than a minute or more than a day.
    """
    match = _BAR_SIZE.fullmatch(text.lower())
    if match is None:
        raise BadInput(f"bars of {text!r} are none of a minute, an hour or a day, or of several of those")
    count, unit = match[1], next(unit for unit in TIMESTEPS if match[2] == unit or match[2] == unit[0])
    return unit, "" if count in ("", "1") else f"{count}{unit}"


def quote_key(symbol: str) -> AssetKey:
    """A quote named in a file name: money is "forex" to Lumibot, any other is "crypto"."""
    return AssetKey(symbol, "forex" if _MONEY.fullmatch(symbol) else "crypto")
