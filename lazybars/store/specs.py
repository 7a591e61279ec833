"""One incoming column as it is found, before anything is decided about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from lazybars.errors import BadInput

__all__ = ["Spec", "is_text", "told_of"]


@dataclass(frozen=True, slots=True)
class Spec:
    """source : the column's name in the incoming relation. type : its Arrow type there.

    dtype : the pandas dtype that its owner sees, where the Arrow type does not tell.
    time : this is the time, whatever it is called (a DatetimeIndex).
    only_index : a pandas index that is no data of its own unless it is the time.
    """

    source: str
    type: pa.DataType
    dtype: str | None = None
    time: bool = False
    only_index: bool = False


def is_text(type_: pa.DataType) -> bool:
    """Whether a column of that type holds text, dictionary-encoded or not."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    )


@contextmanager
def told_of(label: str) -> Iterator[None]:
    """Arrow's complaint about an input, as a BadInput that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{label} cannot be read: {' '.join(str(error).split())}") from error
