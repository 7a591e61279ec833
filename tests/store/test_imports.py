"""The store stays light: what it does not need is not imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
import pyarrow.parquet as pq
from lazybars.store import open_store
table = pq.ParquetFile(sys.argv[2]).read()  # read_table itself imports pandas
with open_store(sys.argv[1]) as store:
    store.write(table, asset="A", timestep="minute")
    store.write(table.to_reader(), asset="B", timestep="minute")
    store.write(sys.argv[2], asset="C", timestep="minute")
    assert store.read("A", "minute").read_all().num_rows == 10
    assert len(store.timestamps(1)) == 10 and len(store.sessions([1, 2])[0]) == 1
print(sorted({"pandas", "polars", "lumibot"} & sys.modules.keys()))
"""


def test_writing_and_reading_arrow_imports_no_frame_library(tmp_path, bars):
    bars().to_parquet(tmp_path / "a.parquet")
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "s", tmp_path / "a.parquet"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
