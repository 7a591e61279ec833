"""From each version of the schema to the next, in one transaction: killed midway, the old one is there.

A step names what it adds or replaces; bars stay where they are, so that no migration takes longer
for a larger store. Views are made anew at the end, since they belong to the version that reads.
"""

from __future__ import annotations

from contextlib import suppress

import duckdb

from lazybars.store.tables import ADDED_IN_2, SCHEMA_VERSION, VIEWS

__all__ = ["STEPS", "migrate"]

# STEPS[n] leads from version n to n + 1.
STEPS: dict[int, tuple[str, ...]] = {
    1: (
        *ADDED_IN_2,
        "ALTER TABLE series_catalog ADD COLUMN version BIGINT",
        "UPDATE series_catalog SET version = 0",
        "INSERT INTO meta VALUES ('version', '0')",
    ),
}


def migrate(cur: duckdb.DuckDBPyConnection, version: int) -> None:
    """Bring a store of that earlier version up to SCHEMA_VERSION."""
    cur.execute("BEGIN")
    try:
        for step in range(version, SCHEMA_VERSION):
            for statement in STEPS[step]:
                cur.execute(statement)
        for name, body in VIEWS.items():
            cur.execute(f"CREATE OR REPLACE VIEW {name} AS {body}")
        cur.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(SCHEMA_VERSION)])
        cur.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):
            cur.execute("ROLLBACK")
        raise
