"""Stores of earlier versions: brought up to date by a writer, served as they are to a reader."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from test_faults import run

from lazybars.errors import StoreReadOnly
from lazybars.store import open_store
from lazybars.store.migrate import STEPS
from lazybars.store.tables import SCHEMA_VERSION

VERSIONS = Path(__file__).parent / "versions"
OLD = range(1, SCHEMA_VERSION)


def laid(path: Path, version: int) -> Path:
    """A store of that version at ``path``, made by that version's own SQL."""
    with duckdb.connect(str(path)) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute((VERSIONS / f"v{version}.sql").read_text())
    return path


def layout(path: Path) -> dict[str, list[tuple]]:
    """Names and types of every column of every table and view."""
    with duckdb.connect(str(path)) as con:
        rows = con.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE column_name NOT SIMILAR TO 'x[0-9]+' ORDER BY table_name, ordinal_position"
        ).fetchall()
    out: dict[str, list[tuple]] = {}
    for table, *column in rows:
        out.setdefault(table, []).append(tuple(column))
    return out


EXPECTED = pd.DataFrame(
    {
        "open": [100.0, 100.2, 100.0, 100.1, 100.2, 100.3, 100.4],
        "bid": [100.0, 100.2, 100.0, float("nan"), 100.2, 100.3, 100.4],
        "volume": [1, 3, 1, 2, 3, 4, 5],
    },
    index=pd.DatetimeIndex(
        [f"2024-01-01 14:{m}Z" for m in (30, 32)] + [f"2024-01-02 14:{m}Z" for m in range(30, 35)],
        name="datetime",
    ).tz_convert("America/New_York"),
)


def holds_its_bars(store) -> None:
    got = store.get_historical_prices("A")[["open", "bid", "volume"]]
    pd.testing.assert_frame_equal(got, EXPECTED, check_index_type=False, check_freq=False)
    assert [(info.label, info.rows, info.source) for info in store.series()] == [
        ("A minute", 7, "vendor"),
        ("BTC/USD day", 2, 'other "x"'),
    ]
    assert [(a.isoformat(), b.isoformat()) for a, b in store.coverage("A", "minute")] == [
        ("2024-01-01T14:30:00+00:00", "2024-01-01T14:32:00+00:00"),
        ("2024-01-02T14:30:00+00:00", "2024-01-02T14:34:00+00:00"),
    ]
    assert store.sql("SELECT count(*) AS n FROM ohlcv_data").to_pylist() == [{"n": 9}]
    assert store.sql("SELECT count(*) AS n FROM cache_ranges").to_pylist() == [{"n": 3}]
    assert store.verify() == []


def test_there_is_a_step_from_and_a_store_of_every_version():
    assert set(STEPS) == set(OLD)
    assert {path.name for path in VERSIONS.iterdir()} == {f"v{version}.sql" for version in OLD}


@pytest.mark.parametrize("version", OLD)
def test_a_writer_brings_it_up_to_date(tmp_path, version, bars):
    path = laid(tmp_path / "old.duckdb", version)
    with open_store(path) as store:
        holds_its_bars(store)
        store.write(bars("2024-02-01 09:30"), asset="A", timestep="minute", source="vendor")
        store.mark_empty("A", "minute", "2024-01-06", "2024-01-07", source="vendor")
        store.compact()
        assert store.verify() == []
        assert store.find("A", "minute").rows == 17
    with open_store(tmp_path / "new.duckdb"):
        pass
    assert layout(path) == layout(tmp_path / "new.duckdb")
    with open_store(path, read_only=True) as store:
        assert len(store.known_empty("A", "minute")) == 1


@pytest.mark.parametrize("version", OLD)
def test_a_reader_takes_it_as_it_is(tmp_path, version):
    path = laid(tmp_path / "old.duckdb", version)
    before = path.read_bytes()
    with open_store(path, read_only=True) as store:
        holds_its_bars(store)
        assert store.scan(1, 2, 0, 2**62, ["close"]).num_rows == 9
        with pytest.raises(StoreReadOnly, match=r"schema is version 1.*without read_only=True"):
            store.wait_for_bars(0, 0.0)
    assert path.read_bytes() == before


def test_a_step_that_fails_leaves_the_old_version(tmp_path, monkeypatch):
    path = laid(tmp_path / "old.duckdb", 1)
    with monkeypatch.context() as patched:
        patched.setitem(STEPS, 1, (*STEPS[1], "SELECT no_such_column"))
        with pytest.raises(Exception, match="no_such_column"):
            open_store(path)
    with duckdb.connect(str(path)) as con:
        assert con.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall() == [("1",)]
    with open_store(path) as store:
        holds_its_bars(store)


KILL = """
import sys
from lazybars.store import open_store
print("go", flush=True)
open_store(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.06, 0.1])
def test_killed_in_the_middle_it_is_of_one_version_or_the_other(tmp_path, after_s):
    path = laid(tmp_path / "old.duckdb", 1)
    process = run(KILL, path, wait=False)
    assert process.stdout.readline() == "go\n"
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with open_store(path) as store:
        holds_its_bars(store)
