"""Parquet, CSV and Feather files as relations."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from lazybars.errors import BadInput
from lazybars.store.frames import arrow_specs, spool_reader
from lazybars.store.kinds import dtype_of, promote
from lazybars.store.schema import identifier
from lazybars.store.scratch import new_spool
from lazybars.store.specs import Spec, told_of

__all__ = ["open_files", "parquet_relation"]

_PARQUET = (".parquet", ".parq", ".pq")
_CSV = (".csv", ".csv.gz", ".csv.zst", ".tsv", ".tsv.gz")
_FEATHER = (".feather", ".arrow", ".ipc", ".arrows")
_NULL_TEXTS = ["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "null", "NULL", "None", "<NA>", "#N/A"]

Opened = tuple[str, str, dict[str, Any], list[Spec], str | None]


def open_files(cur: duckdb.DuckDBPyConnection, paths: Sequence[str], scratch: str) -> Opened:
    """(label, relation, parameters, columns, spool file or None) of files of one format."""
    label = os.path.basename(paths[0]) if len(paths) == 1 else f"{len(paths)} files"
    if all(path.lower().endswith(_PARQUET) for path in paths):
        relation, params = parquet_relation(paths)
        return label, relation, params, _parquet_specs(paths), None
    if all(path.lower().endswith(_FEATHER) for path in paths):
        with told_of(label):
            reader = _feather_reader(paths)
            spool = spool_reader(reader, scratch)
        specs = arrow_specs(reader.schema)
    elif all(path.lower().endswith(_CSV) for path in paths):
        with new_spool(scratch) as spool:
            specs = _spool_csv(cur, label, paths, spool)
    else:
        raise BadInput(f"{label}: the names must end all in one of {', '.join(_PARQUET + _CSV + _FEATHER)}")
    relation, params = parquet_relation([spool])
    return label, relation, params, specs, spool


def parquet_relation(paths: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """SQL that reads these Parquet files as one table, and its parameters."""
    # The names are exact by now, and DuckDB must not take a bracket in one for a pattern.
    return (
        "read_parquet($files, union_by_name = true, hive_partitioning = false)",
        {"files": [glob.escape(os.path.abspath(path)) for path in paths]},
    )


def _parquet_specs(paths: Sequence[str]) -> list[Spec]:
    merged: dict[str, Spec] = {}
    for path in paths:
        with told_of(os.path.basename(path)):
            schema = pq.read_schema(path)
        names = [name.lower() for name in schema.names]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise BadInput(
                f"{os.path.basename(path)}: columns with one name: {', '.join(twice)}; rename or drop one"
            )
        for spec in arrow_specs(schema):
            held = merged.setdefault(spec.source.lower(), spec)
            if held.type != spec.type:
                merged[spec.source.lower()] = _merge(os.path.basename(path), held, spec)
    return list(merged.values())


def _merge(label: str, held: Spec, spec: Spec) -> Spec:
    """One column of two files whose types differ: as numpy promotes, times only where both have a zone."""
    first, second = held.type, spec.type
    if pa.types.is_timestamp(first) and pa.types.is_timestamp(second) and bool(first.tz) == bool(second.tz):
        return max(held, spec, key=lambda s: ("s", "ms", "us", "ns").index(s.type.unit))
    try:
        dtype = promote(
            held.source, held.dtype or dtype_of(first, held.source), dtype_of(second, held.source)
        )
    except BadInput as error:
        raise BadInput(
            f"{label}: {held.source!r} is {second} here and {first} in the files before"
        ) from error
    return replace(held, type=first if dtype == dtype_of(first, held.source) else second, dtype=dtype)


def _feather_reader(paths: Sequence[str]) -> pa.RecordBatchReader:
    def open_one(path: str) -> Any:
        source = pa.memory_map(path)
        try:
            return pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source)

    def batches() -> Iterator[pa.RecordBatch]:
        for path in paths:
            opened = open_one(path)
            if isinstance(opened, pa.RecordBatchReader):
                yield from opened
            else:
                for i in range(opened.num_record_batches):
                    yield opened.get_batch(i)

    return pa.RecordBatchReader.from_batches(open_one(paths[0]).schema, batches())


def _spool_csv(cur: duckdb.DuckDBPyConnection, label: str, paths: Sequence[str], spool: str) -> list[Spec]:
    """Text to a Parquet file of text, so that a bad cell can be told with its row; then find out types."""
    for path in paths:
        if not os.path.getsize(path):
            raise BadInput(f"{os.path.basename(path)} is empty")
    source = (
        "read_csv($files, all_varchar = true, header = true, nullstr = $nulls, union_by_name = true, "
        "hive_partitioning = false)"
    )
    files = [glob.escape(os.path.abspath(path)) for path in paths]
    try:
        cur.execute(
            f"COPY (SELECT * FROM {source}) TO $spool (FORMAT parquet, COMPRESSION snappy)",
            {"files": files, "nulls": _NULL_TEXTS, "spool": spool},
        ).fetchall()
    except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.BinderException) as error:
        raise BadInput(f"{label} cannot be read as CSV: {' '.join(str(error).split())}") from error
    relation, params = parquet_relation([spool])
    names = pq.read_schema(spool).names
    tests = ", ".join(
        f"count({c}), count_if(regexp_full_match({c}, '[+-]?[0-9]{{1,18}}')), count(try_cast({c} AS "
        "DOUBLE)), "
        f"count_if(lower({c}) IN ('true', 'false'))"
        for c in map(identifier, names)
    )
    rows, *counts = cur.execute(f"SELECT count(*), {tests} FROM {relation}", params).fetchall()[0]
    if not rows:
        raise BadInput(f"{label} has no rows")
    specs = []
    for i, name in enumerate(names):
        held, integers, numbers, booleans = counts[4 * i : 4 * i + 4]
        dtype = None
        if integers == held and held:
            dtype = "int64"
        elif numbers == held:
            dtype = "float64"
        elif booleans == held:
            dtype = "bool"
        specs.append(Spec(name, pa.string(), dtype))
    return specs
