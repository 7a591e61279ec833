"""How the columns of one series lie in a segment.

A segment keeps the columns that history answers with (`bars`) in one float64 block, the columns
whose dtype is float64 first, so that a window of them is one slice. Columns of another dtype
(an integer volume) follow in the block and are cast when they are handed out; whatever else the
owner keeps (bid, ask, his own) lies beside the block in its own dtype.
"""

from __future__ import annotations

from dataclasses import dataclass

from lazybars.model import BAR_FIELDS, SeriesInfo

__all__ = ["DERIVED", "EVENTS", "QUOTES", "Layout", "obstacle"]

QUOTES = ("bid", "ask", "bid_size", "ask_size")
EVENTS = ("dividend", "stock_splits")
DERIVED = ("price_change", "dividend_yield", "return")
_QUOTE_TIMES = ("last_bid_time", "last_ask_time")
_FLOATS = ("float64", "float32")
_EXACT = ("int64", "int32", "int16", "int8", "uint32", "uint16", "uint8", "bool")


def obstacle(info: SeriesInfo) -> str | None:
    """Why a series cannot be repaired partition by partition, or None where it can."""
    by_name = {c.name: c for c in info.columns}
    for name in BAR_FIELDS:
        if name not in by_name:
            return f"it has no column {name!r}"
    for name in (*DERIVED, *_QUOTE_TIMES):
        if name in by_name:
            return f"it brings a column {name!r} of its own"
    for column in info.columns:
        if column.dtype not in _FLOATS and column.dtype not in _EXACT:
            return f"its column {column.name!r} is {column.dtype}"
        if column.name in QUOTES and column.dtype not in _FLOATS:
            return f"its quote column {column.name!r} is {column.dtype}"
        if column.has_null and column.dtype != "float64":
            return f"its {column.dtype} column {column.name!r} has gaps"
    return None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each column of a repaired series is found.

    frame : (name, dtype) of the repaired frame, in its order.
    bars : names of the columns of a history answer, in its order.
    rows : name -> row of the block, for every name in ``bars``, in the order of the rows.
    float_rows : the first so many rows of the block are float64 columns.
    extras : (name, dtype) of the columns beside the block.
    physical : name -> column of the store, for every stored column.
    null : names of columns that may hold NaN.
    """

    frame: tuple[tuple[str, str], ...]
    bars: tuple[str, ...]
    rows: dict[str, int]
    float_rows: int
    extras: tuple[tuple[str, str], ...]
    physical: dict[str, str]
    null: frozenset[str]

    @classmethod
    def of(cls, info: SeriesInfo) -> Layout:
        """The layout of a series that has no :func:`obstacle`."""
        stored = {c.name: c.dtype for c in info.columns}
        derived = DERIVED if "dividend" in stored else ("return",)
        bars = [*BAR_FIELDS, *(["dividend"] if "dividend" in stored else []), *derived]
        if "stock_splits" in stored:
            bars.append("stock_splits")
        dtypes = {name: stored.get(name, "float64") for name in bars}
        floats = [name for name in bars if dtypes[name] == "float64"]
        others = [name for name in bars if dtypes[name] != "float64"]
        return cls(
            frame=(*stored.items(), *((name, "float64") for name in derived)),
            bars=tuple(bars),
            rows={name: row for row, name in enumerate([*floats, *others])},
            float_rows=len(floats),
            extras=tuple((name, dtype) for name, dtype in stored.items() if name not in bars),
            physical={c.name: c.physical for c in info.columns},
            null=frozenset(c.name for c in info.columns if c.has_null),
        )

    @property
    def needs_history(self) -> bool:
        """Whether a row may depend on values from arbitrarily far back (a gap that is filled)."""
        filled = self.null - {"open", "high", "low", "volume", *EVENTS}
        return bool(filled)

    def row_bytes(self) -> int:
        """Bytes of one row of a segment."""
        widths = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "uint32": 4, "int16": 2, "uint16": 2}
        return 8 * len(self.rows) + sum(widths.get(dtype, 1) for _, dtype in self.extras)
