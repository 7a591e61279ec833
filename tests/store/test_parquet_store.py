"""The suite of all stores, on a directory of Parquet files; and what is peculiar to that one."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from suite import FIELDS, Laid, StoreTests, bars_table, books, digest

COLUMNS = ["path", "size_bytes", "digest", "timestep", "period", "number", "rows"]
COLUMNS += ["first_id", "last_id", "first_us", "last_us", "columns"]


class TestParquetStore(StoreTests):
    def where(self, folder: Path) -> str:
        return str(folder / "bars") + "/"

    def lay(self, where: str, series: Sequence[Laid]) -> None:
        """By pyarrow: a file for each partition, a file for each book, and the manifest."""
        root = Path(where)
        (root / "books").mkdir(parents=True)
        named = {}
        for name, table in books(series).items():
            path = root / "books" / f"{name}-0.parquet"
            pq.write_table(table, path)
            named[name] = {"path": f"books/{path.name}", **_facts(path)}
        files = []
        table = bars_table(series)
        starts: dict[tuple[str, dt.date], list[int]] = {}
        at = 0
        for one in series:
            for stamp in one.frame.index:
                starts.setdefault((one.timestep, _period(one.timestep, stamp.date())), []).append(at)
                at += 1
        for (timestep, period), rows in starts.items():
            path = root / "bars" / f"timestep={timestep}" / f"period={period}" / "0.parquet"
            path.parent.mkdir(parents=True)
            part = table.take(rows)
            pq.write_table(part, path, row_group_size=50)
            ids, us = part.column("series_id").to_pylist(), part.column("ts").cast("int64").to_pylist()
            size, name = _facts(path).values()
            ends = [min(ids), max(ids), min(us), max(us)]
            relative = path.relative_to(root).as_posix()
            files.append([relative, size, name, timestep, str(period), 0, len(rows), *ends, []])
        files.sort(key=lambda file: file[9])
        manifest = {
            "application": "lazybars",
            "format": 1,
            "schema_version": 2,
            "version": len(series),
            "books": named,
            "masks": [],
            "columns": COLUMNS,
            "files": files,
        }
        (root / "manifest.json").write_text(json.dumps(manifest))

    def stored(self, where: str) -> dict[int, list[tuple[float, ...]]]:
        root = Path(where)
        manifest = json.loads((root / "manifest.json").read_text())
        found: dict[int, list[tuple[float, ...]]] = {}
        for row in manifest["files"]:
            file = dict(zip(manifest["columns"], row, strict=True))
            assert digest(root / file["path"]) == file["digest"]
            table = pq.read_table(root / file["path"], partitioning=None)
            assert table.num_rows == file["rows"]
            columns = [table.column("ts").cast("int64"), *(table.column(name) for name in FIELDS)]
            ids = table.column("series_id").to_pylist()
            for series_id, *values in zip(ids, *(column.to_pylist() for column in columns), strict=True):
                hidden = any(
                    number > file["number"] and one == series_id and first <= values[0] <= last
                    for number, one, first, last in manifest["masks"]
                )
                if not hidden:
                    found.setdefault(series_id, []).append(tuple(values))
        return {series_id: sorted(rows) for series_id, rows in sorted(found.items())}


def _facts(path: Path) -> dict[str, int | str]:
    return {"size_bytes": path.stat().st_size, "digest": digest(path)}


def _period(timestep: str, day: dt.date) -> dt.date:
    if timestep == "minute":
        return day - dt.timedelta(days=day.weekday())
    return dt.date(day.year if timestep == "hour" else day.year // 10 * 10, 1, 1)
