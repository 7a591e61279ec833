"""What a column is: the pandas dtype that its owner sees, the kind that DuckDB stores.

Prices and volume are always DOUBLE. An extra column is stored by its kind, and its dtype is
remembered, so that it comes back as it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lazybars.errors import BadInput
from lazybars.store.specs import is_text

__all__ = ["DUCK_TYPES", "Field", "arrow_type", "dtype_of", "kind_of", "promote", "settle"]

DUCK_TYPES = {
    "float": "DOUBLE",
    "int": "BIGINT",
    "bool": "BOOLEAN",
    "text": "VARCHAR",
    "naive": "TIMESTAMP_NS",
    "instant": "TIMESTAMPTZ",
}
_DATETIME = re.compile(r"datetime64\[(s|ms|us|ns)(?:, (.+))?\]")
# pandas' nullable dtypes and the Arrow type behind each.
_NULLABLE = {
    **{f"Int{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "Float32": "float32",
    "Float64": "float64",
    "boolean": "bool",
    "string": "string",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One incoming column.

    name : the owner's spelling, or the lower case of open, high, low, close, volume.
    source : its name in the incoming relation.
    dtype : the pandas dtype that the owner sees.
    kind : what is stored; prices and volume are always "float".
    as_text : the incoming column holds text that stands for the kind.
    """

    name: str
    source: str
    dtype: str
    kind: str
    as_text: bool = False


def dtype_of(type_: pa.DataType, name: str) -> str:
    """The pandas dtype that ``to_pandas()`` gives a column of that Arrow type without nulls."""
    if pa.types.is_floating(type_):
        return str(np.dtype(type_.to_pandas_dtype()))
    if pa.types.is_integer(type_):
        return str(type_)
    if pa.types.is_boolean(type_):
        return "bool"
    if pa.types.is_decimal(type_):
        return "float64"  # DOUBLE is what is stored, whatever the source counted in
    if pa.types.is_dictionary(type_) and is_text(type_):
        return "category"
    if is_text(type_) or pa.types.is_null(type_):
        return "object"
    if pa.types.is_timestamp(type_):
        return f"datetime64[{type_.unit}, {type_.tz}]" if type_.tz else f"datetime64[{type_.unit}]"
    raise BadInput(
        f"column {name!r} has the type {type_}, which a store does not hold: "
        "drop it or turn it into numbers, booleans, text or timestamps"
    )


def kind_of(dtype: str, *, boolean: bool = False) -> str:
    """The kind that stores a dtype; ``boolean`` says that an "object" column holds booleans."""
    if dtype == "object":
        return "bool" if boolean else "text"
    if dtype in ("string", "category"):
        return "text"
    plain = _NULLABLE.get(dtype, dtype)
    if plain == "bool":
        return "bool"
    if re.fullmatch(r"u?int\d+", plain):
        return "int"
    if re.fullmatch(r"float\d+", plain):
        return "float"
    match = _DATETIME.fullmatch(dtype)
    if match is None:
        raise BadInput(f"a store holds no column of dtype {dtype}")
    return "instant" if match[2] else "naive"


def arrow_type(dtype: str, stored: pa.DataType) -> pa.DataType:
    """The Arrow type with which a column of that dtype is given back."""
    match = _DATETIME.fullmatch(dtype)
    if match is not None:
        return pa.timestamp(match[1], match[2])
    if dtype in ("object", "category"):
        return stored
    plain = _NULLABLE.get(dtype, dtype)
    return pa.type_for_alias({"float16": "halffloat"}.get(plain, plain))


def settle(dtype: str, has_null: bool) -> str:
    """The dtype that pandas gives a column which holds nulls: numpy's integers and booleans cannot."""
    if has_null and re.fullmatch(r"u?int\d+", dtype):
        return "float64"
    if has_null and dtype == "bool":
        return "object"
    return dtype


def promote(name: str, old: str, new: str) -> str:
    """The dtype of a column that was ``old`` and goes on as ``new``, as ``pandas.concat`` has it."""
    if old == new:
        return old
    numbers = r"(u?int|float)\d+"
    if re.fullmatch(numbers, old) and re.fullmatch(numbers, new):
        return str(np.promote_types(old, new))
    first, second = _DATETIME.fullmatch(old), _DATETIME.fullmatch(new)
    if first and second and first[2] == second[2]:
        return max(old, new, key=lambda dtype: ("s", "ms", "us", "ns").index(_unit(dtype)))
    if {old, new} <= {"object", "string", "category"}:
        return "object"
    if {old, new} == {"bool", "object"}:
        return "object"
    raise BadInput(
        f"column {name!r} is stored as {old} and comes as {new}: rename it, convert it, or write with "
        "mode='replace'"
    )


def _unit(dtype: str) -> str:
    match = _DATETIME.fullmatch(dtype)
    assert match is not None
    return match[1]
