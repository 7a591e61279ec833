"""The words that the rooms share: assets, series, columns, summaries.

Plain frozen records, no behaviour beyond spelling. Times are integers: nanoseconds since
the epoch, UTC, with ``_ns`` in the name.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from dataclasses import dataclass, field
from typing import Any

from lazybars.errors import ConfigError

__all__ = [
    "BAR_FIELDS",
    "NOMINAL_NS",
    "TIMESTEPS",
    "AssetKey",
    "Column",
    "SeriesInfo",
    "Traffic",
    "WriteSummary",
    "asset_key",
    "is_url",
    "located",
    "size_bytes",
]

BAR_FIELDS = ("open", "high", "low", "close", "volume")
TIMESTEPS = ("minute", "hour", "day")
NOMINAL_NS = {"minute": 60_000_000_000, "hour": 3_600_000_000_000, "day": 86_400_000_000_000}


@dataclass(frozen=True, slots=True, order=True)
class AssetKey:
    """What identifies an asset, without Lumibot: the fields that its ``Asset`` compares.

    ``expiration`` is an ISO date or "", ``strike`` 0.0 and ``right`` "" where they do not apply.
    """

    symbol: str
    asset_type: str = "stock"
    expiration: str = ""
    strike: float = 0.0
    right: str = ""
    multiplier: float = 1.0
    auto_expiry: str = ""

    def __str__(self) -> str:
        parts = [self.symbol, self.expiration]
        if self.asset_type == "option":
            parts += [f"{self.strike:g}", self.right]
        return " ".join(p for p in parts if p)


def asset_key(asset: Any) -> AssetKey:
    """Spell a symbol, an :class:`AssetKey` or a Lumibot ``Asset`` as an :class:`AssetKey`.

    Lumibot is not imported: whatever has ``symbol`` and ``asset_type`` will do.
    """
    if isinstance(asset, AssetKey):
        return asset
    if isinstance(asset, str):
        if not asset.strip():
            raise ConfigError("an asset needs a symbol; got an empty string")
        return AssetKey(asset.strip().upper())
    symbol = getattr(asset, "symbol", None)
    if not symbol:
        raise ConfigError(f"cannot tell the asset from {asset!r}: give a symbol or an Asset")
    asset_type = str(getattr(asset, "asset_type", None) or "stock")
    expiration = getattr(asset, "expiration", None)
    if isinstance(expiration, dt.datetime):
        expiration = expiration.date()
    default_multiplier = 100.0 if asset_type == "option" else 1.0
    multiplier = getattr(asset, "multiplier", None)
    return AssetKey(
        symbol=str(symbol),
        asset_type=asset_type,
        expiration=expiration.isoformat() if expiration else "",
        strike=float(getattr(asset, "strike", 0.0) or 0.0),
        right=str(getattr(asset, "right", None) or ""),
        multiplier=default_multiplier if multiplier is None else float(multiplier),
        auto_expiry=str(getattr(asset, "auto_expiry", None) or ""),
    )


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a series as its owner wrote it.

    name : the owner's spelling (``open`` ... ``volume`` in lower case).
    dtype : the pandas dtype to give back, e.g. "float64", "int64", "bool", "object".
    physical : the column of the physical table that holds it.
    has_null : whether any row is NaN or NULL there.
    """

    name: str
    dtype: str
    physical: str
    has_null: bool = False


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """One stored series: an asset against its quote at one timestep from one source.

    first_ns, last_ns : timestamps of the first and last bar, ns since the epoch, UTC; both 0
        where ``rows`` is 0.
    columns : in the owner's order, without the timestamp.
    index_unit : resolution that the owner's index had: "s", "ms", "us" or "ns".
    """

    series_id: int
    asset: AssetKey
    quote: AssetKey | None
    timestep: str
    source: str
    rows: int
    first_ns: int
    last_ns: int
    columns: tuple[Column, ...]
    index_unit: str = "ns"

    @property
    def label(self) -> str:
        quote = f"/{self.quote}" if self.quote is not None else ""
        return f"{self.asset}{quote} {self.timestep}"


@dataclass(frozen=True, slots=True)
class WriteSummary:
    """What one ``write`` did. Row counts; ``repaired`` and ``rejected`` map reason to rows."""

    series: SeriesInfo
    rows_read: int
    rows_written: int
    rows_replaced: int
    rows_rejected: int
    repaired: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a store has asked of an object store; zeros where it lies on this machine.

    requests, requested_bytes : sent, and what came back.
    cache_hits, cache_misses : files that lay in the cache on the local disk; that were fetched.
    evictions : files removed from the cache. cached_bytes : what lies in it now.
    """

    requests: int = 0
    requested_bytes: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    evictions: int = 0
    cached_bytes: int = 0


_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


def is_url(path: str) -> bool:
    """Whether a path is the address of something on another file system."""
    return _URL.match(path) is not None


def located(path: str | bytes | os.PathLike[Any]) -> str:
    """A path as every process of this machine understands it: absolute, a URL as it is."""
    name = os.fsdecode(path)
    if is_url(name):
        return name
    # A slash at the end says that a directory is meant.
    return os.path.abspath(name) + ("/" if name.endswith("/") and name.strip("/") else "")


_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT]?)([iI]?)[bB]?\s*")
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size_bytes(size: str | int, *, name: str = "memory") -> int:
    """Bytes of "256MB", "1GB", "512MiB" or a number of bytes (MB is 10**6, MiB is 2**20)."""
    if isinstance(size, bool) or not isinstance(size, (str, int)):
        raise ConfigError(f'{name}={size!r}: give bytes or a text such as "256MB"')
    if isinstance(size, int):
        value = size
    else:
        match = _SIZE.fullmatch(size)
        if match is None:
            raise ConfigError(f'{name}={size!r} is not a size: give bytes or a text such as "256MB"')
        number, prefix, binary = match.groups()
        value = int(float(number) * (1024 if binary else 1000) ** _POWER[prefix.lower()])
    if value <= 0:
        raise ConfigError(f"{name}={size!r} is not positive")
    return value
