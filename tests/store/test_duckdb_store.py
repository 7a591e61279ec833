"""The suite of all stores, on a DuckDB file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
from suite import Laid, StoreTests, bars_table, books

from lazybars.store.tables import DDL, VIEWS


class TestDuckDBStore(StoreTests):
    def where(self, folder: Path) -> str:
        return str(folder / "bars.duckdb")

    def lay(self, where: str, series: Sequence[Laid]) -> None:
        with duckdb.connect(where) as con:
            for statement in DDL:
                con.execute(statement)
            for name, body in VIEWS.items():
                con.execute(f"CREATE VIEW {name} AS {body}")
            for name, table in {**books(series), "bars": bars_table(series)}.items():
                con.register("laid", table)
                con.execute(f"INSERT INTO {name} BY NAME SELECT * FROM laid")
                con.unregister("laid")

    def stored(self, where: str) -> dict[int, list[tuple[float, ...]]]:
        with duckdb.connect(where, read_only=True) as con:
            rows = con.execute(
                "SELECT series_id, epoch_us(ts), open, high, low, close, volume FROM bars "
                "ORDER BY series_id, ts"
            ).fetchall()
        found: dict[int, list[tuple[float, ...]]] = {}
        for series_id, *row in rows:
            found.setdefault(series_id, []).append(tuple(row))
        return found
