"""pandas, Polars and Arrow input: where it lies in memory, slice by slice.

:class:`Slices` can be scanned again and again and copies nothing but the slice in hand; an
Arrow reader can be read only once and is spooled to a Parquet file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lazybars.errors import BadInput
from lazybars.model import BAR_FIELDS
from lazybars.store.scratch import new_spool
from lazybars.store.specs import Spec, is_text, told_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Slices", "open_frame", "spool_reader"]

_SLICE_ROWS = 122_880  # a row group of DuckDB
_NULLABLE_PREFIXES = ("Int", "UInt", "Float", "boolean", "string")


class Slices:
    """An Arrow stream that begins anew at every scan. ``take(a, b)`` gives the batch of those rows."""

    def __init__(self, schema: pa.Schema, rows: int, take: Callable[[int, int], pa.RecordBatch]) -> None:
        self.schema = schema
        self.rows = rows
        self._take = take

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for start in range(0, self.rows, _SLICE_ROWS):
            yield self._take(start, min(start + _SLICE_ROWS, self.rows))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.RecordBatchReader.from_batches(self.schema, self._batches()).__arrow_c_stream__(
            requested_schema
        )


def open_frame(data: Any, scratch: str) -> tuple[str, list[Spec], Any, str | None]:
    """(label, columns, what to register or None, spool file or None) of input in memory."""
    origin = type(data).__module__.partition(".")[0]
    if origin == "pandas" and hasattr(data, "columns"):
        specs, stream = _from_pandas(data)
        return "the frame", specs, stream, None
    if origin == "polars":
        lazy = getattr(data, "collect", None)
        if not hasattr(data, "to_arrow"):
            if lazy is None:
                raise BadInput(f"cannot read bars from a {type(data).__name__}: give a frame")
            data = lazy()
        data = data.to_arrow()
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    elif isinstance(data, (list, tuple)) and data and all(isinstance(item, pa.RecordBatch) for item in data):
        data = pa.Table.from_batches(data)
    if isinstance(data, pa.Table):
        table = _scannable(data)
        return (
            "the table",
            arrow_specs(data.schema),
            Slices(table.schema, table.num_rows, _taker(table)),
            None,
        )
    with told_of("the stream"):
        reader = _reader(data)
        spool = spool_reader(reader, scratch)
    return "the stream", arrow_specs(reader.schema), None, spool


def arrow_specs(schema: pa.Schema) -> list[Spec]:
    """The columns of an Arrow or Parquet schema, with what pandas noted there about its own."""
    notes = schema.pandas_metadata or {}
    dtypes = {note.get("field_name"): str(note.get("numpy_type")) for note in notes.get("columns", ())}
    index = [name for name in notes.get("index_columns", ()) if isinstance(name, str)]
    specs = []
    for column in schema:
        dtype = dtypes.get(column.name, "")
        is_index = column.name in index
        specs.append(
            Spec(
                column.name,
                column.type,
                dtype if dtype.startswith(_NULLABLE_PREFIXES) else None,
                time=is_index and len(index) == 1 and pa.types.is_timestamp(column.type),
                only_index=is_index,
            )
        )
    return specs


def spool_reader(reader: pa.RecordBatchReader, scratch: str) -> str:
    """Write what can be read only once to a Parquet file in ``scratch``; gives its path."""
    with (
        new_spool(scratch) as path,
        pq.ParquetWriter(path, reader.schema, compression="snappy", version="2.6") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
    return path


def _reader(data: Any) -> pa.RecordBatchReader:
    if isinstance(data, pa.RecordBatchReader):
        return data
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes, dict)):
        batches = iter(data)
        first = next(batches, None)
        if isinstance(first, pa.RecordBatch):
            return pa.RecordBatchReader.from_batches(first.schema, _chain(first, batches))
    raise BadInput(
        f"cannot read bars from a {type(data).__name__}: give a pandas or Polars frame, an Arrow table or "
        "reader, "
        "or the path of Parquet, CSV or Feather files"
    )


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _scannable(table: pa.Table) -> pa.Table:
    """The table with what DuckDB does not take from Arrow turned into what it does."""
    for i, column in enumerate(table.schema):
        if pa.types.is_float16(column.type):
            table = table.set_column(i, column.name, table.column(i).cast(pa.float32()))
        elif pa.types.is_null(column.type):
            table = table.set_column(i, column.name, table.column(i).cast(pa.string()))
    return table


def _taker(table: pa.Table) -> Callable[[int, int], pa.RecordBatch]:
    def take(start: int, stop: int) -> pa.RecordBatch:
        batches = table.slice(start, stop - start).combine_chunks().to_batches()
        return batches[0]

    return take


def _from_pandas(frame: pd.DataFrame) -> tuple[list[Spec], Slices]:
    import pandas as pd

    specs: list[Spec] = []
    getters: list[Callable[[int, int], pa.Array]] = []
    types: list[pa.Field] = []

    def add(name: Any, series: pd.Series[Any], *, index: bool = False) -> None:
        type_, dtype, getter = _column(pd, name, series)
        is_time = index and isinstance(frame.index, pd.DatetimeIndex)
        specs.append(Spec(name, type_, dtype, time=is_time, only_index=index))
        getters.append(getter)
        types.append(pa.field(str(name), type_))

    if not isinstance(frame.index, (pd.RangeIndex, pd.MultiIndex)):
        name = frame.index.name
        taken = {str(column).lower() for column in frame.columns}
        if not isinstance(name, str) or name.lower() in taken:
            # Only a lookalike of a time name may be taken for the time, whatever the index held.
            name = "index" if "index" not in taken else "__index_level_0__"
        add(name, frame.index.to_series(), index=True)
    for position, column in enumerate(frame.columns):
        add(column, frame.iloc[:, position])

    schema = pa.schema(types)

    def take(start: int, stop: int) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([get(start, stop) for get in getters], schema=schema)

    return specs, Slices(schema, len(frame), take)


def _column(
    pd: Any, name: Any, series: Any
) -> tuple[pa.DataType, str | None, Callable[[int, int], pa.Array]]:
    """(Arrow type, dtype to remember where the type does not tell, slicer) of one pandas column."""
    dtype = series.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        type_ = pa.timestamp(dtype.unit, "UTC")
        stamps = series.array.asi8.view(f"M8[{dtype.unit}]")
        return type_, str(dtype), lambda a, b: pa.array(stamps[a:b]).view(type_)
    if isinstance(dtype, np.dtype) and dtype.kind in "fiubM":
        values = series.to_numpy()
        if dtype == np.float16:
            return pa.float32(), "float16", lambda a, b: pa.array(values[a:b].astype(np.float32))
        return pa.array(values[:0]).type, None, lambda a, b: pa.array(values[a:b])
    if isinstance(dtype, np.dtype):
        return _object_column(pd, name, series)
    # Nullable, string, category and Arrow-backed columns know their own way to Arrow.
    type_ = pa.array(series.array[:0], from_pandas=True).type
    if pa.types.is_null(type_) or (pa.types.is_dictionary(type_) and not is_text(type_)):
        type_ = pa.string()
    remembered = None if is_text(type_) and str(dtype) == "category" else str(dtype)
    if pa.types.is_dictionary(type_):
        type_, remembered = pa.string(), "category"
        return (
            type_,
            remembered,
            lambda a, b: pa.array(series.iloc[a:b].astype(object), type_, from_pandas=True),
        )
    return type_, remembered, lambda a, b: pa.array(series.iloc[a:b].array, type_, from_pandas=True)


def _object_column(
    pd: Any, name: Any, series: Any
) -> tuple[pa.DataType, str | None, Callable[[int, int], pa.Array]]:
    held = pd.api.types.infer_dtype(series, skipna=True)
    if held == "boolean":
        return pa.bool_(), "object", lambda a, b: pa.array(series.iloc[a:b], pa.bool_(), from_pandas=True)
    if held in ("datetime", "datetime64", "date"):
        try:
            stamps = pd.to_datetime(series, utc=None)
        except (ValueError, OverflowError) as error:  # of two zones, or beyond nanoseconds
            raise BadInput(f"column {name!r} holds times that are of no one kind: {error}") from error
        type_, _, getter = _column(pd, name, stamps)
        return type_, None, getter
    if held in ("string", "empty") or str(name).lower() in BAR_FIELDS:
        # Objects in a price column are read as the numbers that they spell, or rejected row by row.
        return pa.string(), None, lambda a, b: pa.array(_texts(pd, series.iloc[a:b]), pa.string())
    raise BadInput(
        f"column {name!r} has dtype {series.dtype} and holds {held}: "
        "convert it to numbers, booleans or text, or drop it"
    )


def _texts(pd: Any, series: Any) -> list[str | None]:
    missing = pd.isna(series).to_numpy()
    return [None if gone else str(value) for gone, value in zip(missing, series.to_numpy(), strict=True)]
