"""One series as a pandas frame, as its owner wrote it.

Short ranges of plain numbers, which is what is asked for often, come as NumPy's arrays; all else as Arrow's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lazybars.model import NOMINAL_NS, Column, SeriesInfo
from lazybars.store.catalog import Entry
from lazybars.store.engine import Engine
from lazybars.store.read import BATCH_ROWS, in_time, schema_of, selection
from lazybars.store.spans import index_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame"]

_Arrays = list[npt.NDArray[Any]]


def frame(engine: Engine, entry: Entry, start_us: int | None, end_us: int | None) -> pd.DataFrame:
    """One series as its owner wrote it: dtypes, order of columns, resolution of the index."""
    import pandas as pd

    info = entry.info
    columns = list(info.columns)
    if _most_rows(info, start_us, end_us) <= BATCH_ROWS and all(_is_plain(column) for column in columns):
        times_us, values = _arrays(engine, entry, start_us, end_us, columns)
    else:
        table = _table(engine, entry, start_us, end_us, columns)
        times_us = table.column(0).cast(pa.int64()).to_numpy()
        values = [_series(pd, table.column(i + 1), column.dtype) for i, column in enumerate(columns)]
    names = [column.name for column in columns]
    return pd.DataFrame(dict(zip(names, values, strict=True)), index=index_of(times_us, info.index_unit))


def _most_rows(info: SeriesInfo, start_us: int | None, end_us: int | None) -> int:
    """How many rows of a series can lie in a closed range, one a minute, an hour or a day."""
    first_us, last_us = info.first_ns // 1000, info.last_ns // 1000
    first = first_us if start_us is None else max(start_us, first_us)
    last = last_us if end_us is None else min(end_us, last_us)
    return min(max(last - first, 0) * 1000 // NOMINAL_NS[info.timestep] + 1, info.rows)


def _is_plain(column: Column) -> bool:
    return column.dtype == "float64" or (column.dtype == "int64" and not column.has_null)


def _arrays(
    engine: Engine, entry: Entry, start_us: int | None, end_us: int | None, columns: list[Column]
) -> tuple[npt.NDArray[np.int64], _Arrays]:
    """Times in us, and the columns: the numbers of `_table`, in two thirds of its time.

    DuckDB has the whole result in its own memory first: 3 MB of a batch.
    """
    pieces: list[_Arrays] = []
    with engine.cursor() as cur, engine.reading():
        for held, in_order in engine.stretches(entry, start_us, end_us):
            with held as bars:
                query, params = selection(bars, in_order, entry, start_us, end_us, columns)
                found = cur.execute(query, params).fetchnumpy()
            pieces.append([_filled(values) for values in found.values()])
    times, *arrays = map(np.concatenate, zip(*pieces, strict=True)) if len(pieces) > 1 else pieces[0]
    typed = [values.astype(column.dtype, copy=False) for values, column in zip(arrays, columns, strict=True)]
    return times.view(np.int64), typed


def _filled(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """NULL as NaN; whole numbers that are missing here and there are kept as such, and shown as floats."""
    return np.ma.filled(values.astype("float64"), np.nan) if np.ma.isMaskedArray(values) else values


def _table(
    engine: Engine, entry: Entry, start_us: int | None, end_us: int | None, columns: list[Column]
) -> pa.Table:
    """What `read.reader` streams, at once: the thread has a cursor already, and a stream makes its own."""
    tables = []
    with engine.cursor() as cur, engine.reading():
        for held, in_order in engine.stretches(entry, start_us, end_us):
            with held as bars:
                rows = in_time(cur, bars, in_order, entry, start_us, end_us, columns)
                table = rows.to_arrow_table(BATCH_ROWS)
            schema = schema_of(columns, table.schema.types[1:])
            tables.append(table.rename_columns(schema.names).cast(schema))
    return pa.concat_tables(tables)


def _series(pd: Any, values: pa.ChunkedArray, dtype: str) -> Any:
    if dtype == "object":
        return np.array(values.to_pylist(), dtype=object)
    if pa.types.is_timestamp(values.type) and values.type.tz:
        stamps = pc.cast(values, pa.timestamp(values.type.unit)).to_numpy(zero_copy_only=False)
        return pd.DatetimeIndex(stamps).tz_localize("UTC").tz_convert(values.type.tz)
    if dtype in ("category", "string") or dtype[0].isupper() or dtype == "boolean":
        return pd.array(values.to_pylist(), dtype=dtype)
    return values.to_numpy(zero_copy_only=False)
