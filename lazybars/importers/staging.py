"""A lot's bars made ready: a Parquet file that the store takes, and whether it has them all already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lazybars.importers.bench import Bench, parquet
from lazybars.importers.parts import Rows
from lazybars.importers.spacing import times_repeat
from lazybars.model import SeriesInfo
from lazybars.store import Storage
from lazybars.store.schema import identifier, literal

__all__ = ["Staged", "is_held", "staged"]


@dataclass(frozen=True, slots=True)
class Staged:
    """Bars on disk, in the order of their file, for as long as the block lasts that made them.

    rows : how many the file had. bars : how many of them are bars. columns : theirs. zone : of naive times.
    """

    path: Path
    rows: int
    bars: int
    columns: tuple[str, ...]
    zone: str | None


@contextmanager
def staged(bench: Bench, rows: Rows, name: str) -> Iterator[Staged]:
    """Read the file once, and keep its bars in a temporary one. Streams."""
    columns = ", ".join(["datetime", *map(identifier, rows.columns)])
    total = bench.one(f"SELECT count(*) FROM ({rows.select})", rows.params)[0]
    with bench.spooled(f"SELECT {columns} FROM ({rows.select}) WHERE is_a_bar_", rows.params, name) as path:
        relation, params = parquet([path])
        bars = bench.one(f"SELECT count(*) FROM {relation}", params)[0]
        yield Staged(path, total, bars, rows.columns, rows.zone)


def is_held(bench: Bench, ready: Staged, store: Storage, info: SeriesInfo) -> bool:
    """Whether the series has exactly these bars between the first and the last of them.

    Both sides are digested where they are, so nothing of them is in RAM. A file that repeats a time is
    taken at its first row, as the store does.
    """
    held = {column.name: column for column in info.columns}
    if not set(ready.columns) <= held.keys():
        return False
    relation, params = parquet([ready.path], numbered=True)
    us = _us(bench.columns(relation, params)["datetime"], ready.zone)
    if us is None:
        return False
    columns = store.sql(
        "SELECT column_name AS name, data_type AS type FROM duckdb_columns() WHERE table_name = 'bars' "
        "AND schema_name = 'main' AND database_name = current_database()"
    ).to_pylist()
    types = {column["name"]: column["type"] for column in columns}
    values = [_value(name, types[column.physical], name in ready.columns) for name, column in held.items()]
    digest = (
        "count(*), min(at_us_), max(at_us_), "
        f"CAST(coalesce(sum(hash(at_us_, {', '.join(values)})), 0) AS VARCHAR)"
    )
    numbered = f"(SELECT *, {us} AS at_us_ FROM {relation})"
    if times_repeat(bench, numbered, params, "at_us_"):
        first = "row_number() OVER (PARTITION BY at_us_ ORDER BY file_row_number) = 1"
        numbered = f"(SELECT * FROM {numbered} QUALIFY {first})"
    rows, first_us, last_us, incoming = bench.one(f"SELECT {digest} FROM {numbered}", params)
    stored = ", ".join(identifier(column.physical) for column in info.columns)
    there = store.sql(
        f"SELECT count(*) AS n, CAST(coalesce(sum(hash(epoch_us(ts), {stored})), 0) AS VARCHAR) AS digest "
        "FROM bars WHERE series_id = ? AND ts BETWEEN make_timestamptz(?::BIGINT) AND "
        "make_timestamptz(?::BIGINT)",
        [info.series_id, first_us, last_us],
    ).to_pylist()[0]
    return bool((rows, incoming) == (there["n"], there["digest"]))


def _us(type_: str, zone: str | None) -> str | None:
    """SQL of the time in microseconds since the epoch, UTC; None where only the store can tell."""
    if type_.startswith("TIMESTAMPTZ") or type_ == "TIMESTAMP WITH TIME ZONE":
        return "epoch_us(CAST(datetime AS TIMESTAMPTZ))"
    if zone is None or type_ == "VARCHAR":
        return None
    return f"epoch_us(timezone({literal(zone)}, CAST(datetime AS TIMESTAMP)))"


def _value(name: str, type_: str, there: bool) -> str:
    """SQL of a column as the store keeps it: NULL for NaN, and for a column that the file has not."""
    value = f"CAST({identifier(name) if there else 'NULL'} AS {type_})"
    return f"nullif({value}, 'NaN'::DOUBLE)" if type_ == "DOUBLE" else value
