"""Bit-exact comparison of two answers of a data source.

``==`` is of no use here: it calls 1 and 1.0, an int64 and a float64 column, a microsecond and a
nanosecond index equal, and NaN unequal to itself. A backtest can tell all of those apart, so the
rig compares types, bits, units, zones and names, and says in words where two answers part.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from lumibot.data_sources.data_source import MultiAssetBarsResult
from lumibot.entities import Asset, Bars, Quote

__all__ = ["Raised", "differences", "fingerprint"]

_MOST = 12  # differences listed per answer: beyond that the list no longer helps
_PATHLIKE = re.compile(r"(/[\w.\-]+){2,}|[A-Za-z]:\\|0x[0-9a-f]{6,}|\bat line \d+")
_BARS_FIELDS = ("source", "symbol", "asset", "quote", "empty", "_return_polars", "_tzinfo")


@dataclass(frozen=True)
class Raised:
    """An answer that was an exception: its class, and its text."""

    kind: str
    text: str

    @classmethod
    def of(cls, error: BaseException) -> Raised:
        return cls(f"{type(error).__module__}.{type(error).__qualname__}", str(error))


def differences(expected: Any, got: Any, where: str = "answer") -> list[str]:
    """Every way in which ``got`` is not ``expected``; empty when they are the same to the bit."""
    if expected is got:
        return []
    if type(expected) is not type(got):
        return [f"{where}: expected {_named(expected)}, got {_named(got)}"]
    for kind, compare in _COMPARERS:
        if isinstance(expected, kind):
            found: list[str] = compare(expected, got, where)
            return found[:_MOST]
    same = expected == got
    return [] if isinstance(same, bool | np.bool_) and same else [_says(where, expected, got)]


def fingerprint(answer: Any) -> str:
    """A digest that differs whenever :func:`differences` would find something in a frame."""
    import hashlib

    frame = answer.df if isinstance(answer, Bars) else answer
    if not isinstance(frame, pd.DataFrame):
        return f"{type(answer).__name__}:{answer!r}"
    index = frame.index
    digest = hashlib.sha256(repr((list(frame.columns), [str(d) for d in frame.dtypes])).encode())
    digest.update(repr((str(index.dtype), index.name, str(getattr(index, "freq", None)))).encode())
    digest.update(index.asi8.tobytes() if isinstance(index, pd.DatetimeIndex) else repr(list(index)).encode())
    for position in range(frame.shape[1]):
        column = frame.iloc[:, position].to_numpy()
        digest.update(repr(column.tolist()).encode() if column.dtype == object else column.tobytes())
    return f"{frame.shape}:{digest.hexdigest()[:24]}"


def _named(value: Any) -> str:
    text = repr(value).replace("\n", " ")
    return f"{type(value).__module__}.{type(value).__qualname__} {text[:160]}"


def _says(where: str, expected: Any, got: Any) -> str:
    return f"{where}: expected {str(expected)[:300]!s}, got {str(got)[:300]!s}"


def _float(expected: float, got: float, where: str) -> list[str]:
    if struct.pack("<d", expected) == struct.pack("<d", got):
        return []
    if math.isnan(expected) and math.isnan(got):
        return [f"{where}: NaN with other bits ({expected.hex()} and {got.hex()})"]
    return [f"{where}: expected {expected!r} ({expected.hex()}), got {got!r} ({got.hex()})"]


def _scalar(expected: np.generic, got: np.generic, where: str) -> list[str]:
    if expected.dtype != got.dtype:
        return [f"{where}: expected dtype {expected.dtype}, got {got.dtype}"]
    return [] if expected.tobytes() == got.tobytes() else [_says(where, repr(expected), repr(got))]


def _decimal(expected: Decimal, got: Decimal, where: str) -> list[str]:
    return [] if expected.as_tuple() == got.as_tuple() else [_says(where, repr(expected), repr(got))]


def _moment(expected: dt.datetime, got: dt.datetime, where: str) -> list[str]:
    if isinstance(expected, pd.Timestamp) and isinstance(got, pd.Timestamp):
        theirs: tuple[Any, ...] = (expected.value, expected.unit, repr(expected.tzinfo))
        ours: tuple[Any, ...] = (got.value, got.unit, repr(got.tzinfo))
    else:
        theirs = (expected.isoformat(), expected.fold, repr(expected.tzinfo))
        ours = (got.isoformat(), got.fold, repr(got.tzinfo))
    return [] if theirs == ours else [_says(where, theirs, ours)]


def _raised(expected: Raised, got: Raised, where: str) -> list[str]:
    if expected.kind != got.kind:
        return [
            f"{where}: expected {expected.kind} ({expected.text[:200]}), got {got.kind} ({got.text[:300]})"
        ]
    if expected.text != got.text and not _PATHLIKE.search(expected.text + got.text):
        return [_says(f"{where}: text of {expected.kind}", expected.text, got.text)]
    return []


def _mapping(expected: Mapping[Any, Any], got: Mapping[Any, Any], where: str) -> list[str]:
    theirs, ours = list(expected), list(got)
    if isinstance(expected, MultiAssetBarsResult):  # in the order in which Lumibot's threads end
        ours = [key for key in theirs if key in got] + [key for key in ours if key not in expected]
    if theirs != ours:
        return [_says(f"{where}: keys, in order", theirs, ours)]
    found = [f for key in theirs for f in differences(expected[key], got[key], f"{where}[{key!s}]")]
    return found + _attributes(expected, got, ("errors",), where)


def _sequence(expected: Sequence[Any], got: Sequence[Any], where: str) -> list[str]:
    if len(expected) != len(got):
        return [_says(f"{where}: length", len(expected), len(got))]
    pairs = enumerate(zip(expected, got, strict=True))
    return [f for place, (e, g) in pairs for f in differences(e, g, f"{where}[{place}]")]


def _index(expected: pd.Index, got: pd.Index, where: str) -> list[str]:
    found = []
    for fact in ("dtype", "name", "freq", "tz"):
        theirs, ours = getattr(expected, fact, None), getattr(got, fact, None)
        if type(theirs) is not type(ours) or theirs != ours:
            found.append(_says(f"{where}.{fact}", repr(theirs), repr(ours)))
    if len(expected) != len(got):
        return [*found, _says(f"{where}: length", _span(expected), _span(got))]
    if isinstance(expected, pd.DatetimeIndex):
        apart = np.flatnonzero(expected.as_unit("ns").asi8 != got.as_unit("ns").asi8)
    else:
        apart = np.flatnonzero(
            np.array([bool(differences(e, g)) for e, g in zip(expected, got, strict=True)])
        )
    if apart.size:
        row = int(apart[0])
        found.append(_says(f"{where}[{row}] ({apart.size} rows differ)", expected[row], got[row]))
    return found


def _span(index: pd.Index) -> str:
    return f"{len(index)} rows" + (f", {index[0]} to {index[-1]}" if len(index) else "")


def _array(expected: np.ndarray, got: np.ndarray, where: str) -> list[str]:
    if expected.dtype != got.dtype or expected.shape != got.shape:
        return [_says(where, f"{expected.dtype}{expected.shape}", f"{got.dtype}{got.shape}")]
    if expected.dtype == object:
        return _sequence(expected.ravel().tolist(), got.ravel().tolist(), where)
    theirs = np.frombuffer(np.ascontiguousarray(expected).tobytes(), dtype=f"V{expected.itemsize}")
    ours = np.frombuffer(np.ascontiguousarray(got).tobytes(), dtype=f"V{got.itemsize}")
    if theirs.tobytes() == ours.tobytes():
        return []
    apart = np.flatnonzero(theirs != ours)
    row = int(apart[0])
    first = differences(expected.ravel()[row], got.ravel()[row], f"{where}[{row}]")
    return [f"{text} ({apart.size} of {theirs.size} differ)" for text in first]


def _series(expected: pd.Series, got: pd.Series, where: str) -> list[str]:
    found = differences(expected.index, got.index, f"{where}.index")
    if str(expected.dtype) != str(got.dtype) or expected.name != got.name:
        found.append(_says(where, f"{expected.dtype} {expected.name}", f"{got.dtype} {got.name}"))
    return found or _values(expected, got, where)


def _values(expected: pd.Series, got: pd.Series, where: str) -> list[str]:
    if isinstance(expected.dtype, np.dtype):
        return _array(expected.to_numpy(), got.to_numpy(), where)
    if isinstance(expected.dtype, pd.DatetimeTZDtype):
        return _array(expected.array.asi8, got.array.asi8, where)
    return _sequence(expected.tolist(), got.tolist(), where)


def _frame(expected: pd.DataFrame, got: pd.DataFrame, where: str) -> list[str]:
    found = _index(expected.index, got.index, f"{where}.index")
    theirs, ours = list(expected.columns), list(got.columns)
    if theirs != ours or expected.columns.name != got.columns.name:
        found.append(_says(f"{where}.columns", theirs, ours))
        return found
    types = [
        (c, str(e), str(g)) for c, e, g in zip(theirs, expected.dtypes, got.dtypes, strict=True) if e != g
    ]
    found += [f"{where}[{c!r}]: expected dtype {e}, got {g}" for c, e, g in types]
    if len(expected) != len(got) or types:
        return found
    whole: list[str] = []
    if expected.dtypes.nunique() == 1 and expected.dtypes.iloc[0].kind != "O":
        whole = _array(expected.to_numpy(), got.to_numpy(), where)
        if not whole:
            return found
    columns: list[str] = []
    for place, column in enumerate(theirs):
        columns += _values(expected.iloc[:, place], got.iloc[:, place], f"{where}[{column!r}]")
    # A frame may be right column by column and wrong as a whole: its blocks are out of order then.
    return found + (columns or whole)


def _polars(expected: pl.DataFrame, got: pl.DataFrame, where: str) -> list[str]:
    theirs, ours = list(expected.schema.items()), list(got.schema.items())
    if theirs != ours:
        return [_says(f"{where}.schema", theirs, ours)]
    found = []
    for name in expected.columns:
        for place, nulls in (("nulls", pl.Series.is_null), ("values", _physical)):
            found += _array(
                nulls(expected[name]).to_numpy(), nulls(got[name]).to_numpy(), f"{where}[{name!r}].{place}"
            )
    return found


def _physical(column: pl.Series) -> pl.Series:
    return column.to_physical().fill_null(0)


def _attributes(expected: Any, got: Any, names: Sequence[str], where: str) -> list[str]:
    found = []
    for name in names:
        found += differences(getattr(expected, name, None), getattr(got, name, None), f"{where}.{name}")
    return found


def _bars(expected: Bars, got: Bars, where: str) -> list[str]:
    found = _attributes(expected, got, _BARS_FIELDS, where) + differences(expected.df, got.df, f"{where}.df")
    if expected._raw is expected.df and got._raw is got.df:
        return found
    return found + differences(expected._raw, got._raw, f"{where}._raw")


def _quote(expected: Quote, got: Quote, where: str) -> list[str]:
    # A quote of an unknown asset is stamped with the wall clock; every other stamp counts.
    names = [n for n in vars(expected) if n != "timestamp" or expected.raw_data is not None]
    return _mapping(
        {n: vars(expected)[n] for n in names}, {n: vars(got)[n] for n in names if n in vars(got)}, where
    )


def _asset(expected: Asset, got: Asset, where: str) -> list[str]:
    theirs, ours = vars(expected), vars(got)
    return [] if expected == got and theirs == ours else [_says(where, theirs, ours)]


_COMPARERS: tuple[tuple[Any, Any], ...] = (
    (np.generic, _scalar),  # before float: np.float64 is one
    (bool, lambda e, g, w: [] if e == g else [_says(w, e, g)]),
    (float, _float),
    (Decimal, _decimal),
    (dt.datetime, _moment),
    (Raised, _raised),
    (Bars, _bars),
    (Quote, _quote),
    (Asset, _asset),
    (pd.DataFrame, _frame),
    (pl.DataFrame, _polars),
    (pd.Series, _series),
    (pd.Index, _index),
    (np.ndarray, _array),
    (Mapping, _mapping),
    ((list, tuple), _sequence),
)
