"""Laying out an empty database, and telling whether one that is there can be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from lazybars.errors import StoreDamaged, StoreNewer
from lazybars.store.faults import foreign
from lazybars.store.tables import DDL, META, SCHEMA_VERSION, TABLES_OF, VIEWS

__all__ = ["create", "floored", "identifier", "is_empty", "literal", "registered", "require"]


def create(cur: duckdb.DuckDBPyConnection) -> None:
    """Lay out an empty database, in one transaction."""
    cur.execute("BEGIN")
    for statement in DDL:
        cur.execute(statement)
    for name, body in VIEWS.items():
        cur.execute(f"CREATE VIEW {name} AS {body}")
    cur.executemany("INSERT INTO meta VALUES (?, ?)", [list(item) for item in META.items()])
    cur.execute("COMMIT")


def is_empty(cur: duckdb.DuckDBPyConnection) -> bool:
    """Whether the database holds no table or view: new, or its maker was killed before it began."""
    return not cur.execute("SELECT 1 FROM information_schema.tables LIMIT 1").fetchall()


def require(cur: duckdb.DuckDBPyConnection, path: str) -> int:
    """The schema's version. Raises StoreForeign, StoreNewer or StoreDamaged where we cannot use it."""
    held = {
        row[0]
        for row in cur.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'").fetchall()
    }
    columns = cur.execute(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = 'meta' AND schema_name = 'main'"
    ).fetchall()
    if "meta" not in held or {row[0] for row in columns} != {"key", "value"}:
        raise foreign(path)
    meta = dict(cur.execute("SELECT key, value FROM meta").fetchall())
    if meta.get("application") != "lazybars":
        raise foreign(path)
    version = int(meta["schema_version"])
    if version > SCHEMA_VERSION:
        raise StoreNewer(
            f"{path}: its schema is version {version}, this lazybars knows up to {SCHEMA_VERSION}: upgrade "
            "lazybars"
        )
    missing = set(TABLES_OF[version]) - held
    if missing:
        raise StoreDamaged(
            f"{path}: the tables {sorted(missing)} are gone: restore it from a copy or ingest again"
        )
    return version


@contextmanager
def registered(cur: duckdb.DuckDBPyConnection, name: str, table: Any) -> Iterator[None]:
    """An Arrow table under a name, for the queries inside."""
    cur.register(name, table)
    try:
        yield
    finally:
        cur.unregister(name)


def identifier(name: str) -> str:
    """A name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text quoted for SQL, where a bound parameter cannot stand."""
    return "'" + text.replace("'", "''") + "'"


def floored(us: str, width_us: int) -> str:
    """SQL: microseconds, over a width, rounded down. DuckDB's own ``//`` rounds towards 1970."""
    shift = 2**61 // width_us  # more than any bar lies before 1970
    return f"((({us}) + {shift * width_us}) // {width_us} - {shift})"
