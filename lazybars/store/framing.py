"""One series as a pandas frame, as its owner wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lazybars.model import Column
from lazybars.store.catalog import Entry
from lazybars.store.engine import Engine
from lazybars.store.read import BATCH_ROWS, in_time, schema_of
from lazybars.store.spans import index_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame"]


def frame(engine: Engine, entry: Entry, start_us: int | None, end_us: int | None) -> pd.DataFrame:
    """One series as its owner wrote it: dtypes, order of columns, resolution of the index."""
    import pandas as pd

    info = entry.info
    columns = list(info.columns)
    table = _table(engine, entry, start_us, end_us, columns)
    index = index_of(table.column(0).cast(pa.int64()).to_numpy(), info.index_unit)
    data = {column.name: _series(pd, table.column(i + 1), column.dtype) for i, column in enumerate(columns)}
    return pd.DataFrame(data, index=index)


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
