"""What goes wrong with files and processes: the right error, and nothing lost."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from lazybars.errors import (
    CapTooSmall,
    ConfigError,
    StoreBusy,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreForeign,
    StoreInterrupted,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreReadOnly,
)
from lazybars.store import open_store

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, *args: object, wait: bool = True):
    """A Python of its own in the project's root."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    return process.communicate()[0] if wait else process


@pytest.fixture
def filled(tmp_path, bars):
    path = tmp_path / "bars.duckdb"
    with open_store(path) as store:
        store.write(bars(rows=50_000), asset="A", timestep="minute")
    return path


def test_missing(tmp_path):
    with pytest.raises(StoreMissing, match="does not exist"):
        open_store(tmp_path / "none", read_only=True)
    with pytest.raises(StoreMissing, match="create it first"):
        open_store(tmp_path / "no" / "where")
    with pytest.raises(StoreMissing, match="is a directory"):
        open_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_read_only(filled, bars):
    with open_store(filled, read_only=True) as store:
        assert len(store.get_historical_prices("A")) == 50_000
        for attempt in (
            lambda: store.write(bars(), asset="B", timestep="minute"),
            lambda: store.delete("A", "minute"),
            store.compact,
            lambda: store.sql("DELETE FROM bars"),
        ):
            with pytest.raises(StoreReadOnly, match="read_only"):
                attempt()


HOLD = """
import sys
from lazybars.store import open_store
with open_store(sys.argv[1], read_only=sys.argv[2] == "r"):
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_locked_by_another_process(filled):
    for mine, theirs in (("w", "w"), ("r", "w"), ("w", "r")):
        process = run(HOLD, filled, theirs, wait=False)
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked, match=f"PID {process.pid}") as caught:
            open_store(filled, read_only=mine == "r")
        assert isinstance(caught.value.__cause__, duckdb.Error)
        process.communicate("\n")
    process = run(HOLD, filled, "r", wait=False)
    process.stdout.readline()
    with open_store(filled, read_only=True) as store:
        assert len(store.series()) == 1
    process.communicate("\n")


@pytest.mark.parametrize("content", [b"", b"just text, no database at all" * 300])
def test_no_database(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match="damaged"):
        open_store(path)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_sqlite(tmp_path):
    path = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(path)) as con:
        con.execute("CREATE TABLE t (x INTEGER)")
    before = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(StoreForeign, match="an SQLite database: give another path"):
            open_store(path, read_only=read_only)
    assert path.read_bytes() == before


def test_where_nothing_can_be_made():
    with pytest.raises(StoreError, match=r"/proc/x\.duckdb: no directory for temporary files"):
        open_store("/proc/x.duckdb")


def test_the_cause_stands_before_the_cure(filled):
    process = run(HOLD, filled, "w", wait=False)
    process.stdout.readline()
    with pytest.raises(StoreLocked, match="another process has it open: close the store there"):
        open_store(filled)
    process.communicate("\n")


def test_truncated(filled):
    filled.write_bytes(filled.read_bytes()[:200_000])
    with pytest.raises(StoreDamaged):
        open_store(filled).get_historical_prices("A")


def test_flipped_bits(filled):
    whole = filled.read_bytes()
    damaged = 0
    for at in range(4096 * 3 + 500, len(whole), len(whole) // 12):
        filled.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            with open_store(filled, read_only=True) as store:
                assert len(store.get_historical_prices("A")) == 50_000
        except StoreDamaged:
            damaged += 1
    assert damaged


def test_foreign(tmp_path):
    for name, ddl in (
        ("a", "CREATE TABLE t (x INTEGER)"),
        ("b", "CREATE TABLE meta (key VARCHAR, value VARCHAR)"),
    ):
        with duckdb.connect(str(tmp_path / name)) as con:
            con.execute(ddl)
        for read_only in (True, False):
            with pytest.raises(StoreForeign, match="none that lazybars wrote"):
                open_store(tmp_path / name, read_only=read_only)
        with duckdb.connect(str(tmp_path / name)) as con:
            assert len(con.execute("SHOW TABLES").fetchall()) == 1


def test_newer_schema(filled):
    with duckdb.connect(str(filled)) as con:
        con.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(StoreNewer, match=r"version 99.*up to 2"):
        open_store(filled)


def test_lost_tables(filled):
    with duckdb.connect(str(filled)) as con:
        con.execute("DROP TABLE session_days")
    with pytest.raises(StoreDamaged, match="session_days"):
        open_store(filled)


@pytest.mark.parametrize(
    "name", ["with space.db", "quo'te\".db", "ümlaut 漢字.db", "br[a]ck*et.db", "semi;colon"]
)
def test_odd_paths(tmp_path, bars, name):
    folder = tmp_path / f"dir {name}"
    folder.mkdir()
    bars().to_parquet(folder / f"{name}.parquet")
    with open_store(folder / name) as store:
        store.write(folder / f"{name}.parquet", asset="A", timestep="minute")
        store.compact()
        assert len(store.get_historical_prices("A")) == 10
    with open_store(folder / name, read_only=True) as store:
        assert store.verify() == []
    assert sorted(p.name for p in folder.iterdir()) == sorted([name, f"{name}.parquet"])


def test_question_mark_in_the_path(tmp_path):
    with pytest.raises(ConfigError, match="question mark"):
        open_store(tmp_path / "what?.db")


def test_closed(filled):
    store = open_store(filled)
    store.close()
    store.close()
    for use in (
        store.series,
        store.compact,
        lambda: store.read("A", "minute"),
        lambda: store.sql("SELECT 1"),
        lambda: store.scan(1, 1, 0, 1, []),
        lambda: store.write(pd.DataFrame(), asset="A", timestep="minute"),
    ):
        with pytest.raises(StoreClosed):
            use()


def test_one_process_shares_the_file(filled, bars):
    with open_store(filled, memory="100MB") as first:
        with open_store(filled, memory="200MB") as second:
            second.write(bars(), asset="B", timestep="minute")
            assert [i.asset.symbol for i in first.series()] == ["A", "B"]
            limit = first.sql("SELECT current_setting('memory_limit') AS m").to_pylist()[0]["m"]
            assert limit == "190.7 MiB"
            with pytest.raises(StoreBusy, match="for writing"):
                open_store(filled, read_only=True)
        assert len(first.series()) == 2
    with open_store(filled, read_only=True) as reader:
        assert len(reader.series()) == 2


def test_a_forgotten_store_lets_go_of_its_file(filled):
    store = open_store(filled)
    thread = threading.Thread(target=store.series)
    thread.start()
    thread.join()
    del store
    gc.collect()
    assert run(HOLD.replace("sys.stdin.readline()", ""), filled, "w") == "open\n"
    assert [p.name for p in filled.parent.iterdir()] == [filled.name]


def test_compact_is_refused_while_a_reader_is_open(filled):
    with open_store(filled) as store:
        reader = store.read("A", "minute")
        with pytest.raises(StoreBusy, match="1 open reader"):
            store.compact()
        assert reader.read_all().num_rows == 50_000
        del reader
        store.compact()
        half = store.read("A", "minute")
        half.read_next_batch()
        del half
        gc.collect()
        store.compact()


def test_threads_read_on_through_a_compaction(filled):
    with open_store(filled) as store:
        counts, stop = set(), threading.Event()

        def look():
            while not stop.is_set():
                counts.add(store.scan(1, 1, 0, 2**62, ["close"]).num_rows)

        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(3):
            store.compact()
        stop.set()
        thread.join()
        assert counts == {50_000}


def test_interrupt_stops_a_running_query(filled):
    with open_store(filled) as store:
        caught = []

        def work():
            try:
                store.sql("SELECT sum(sin(a.close + b.close + c.close)) FROM bars a, bars b, bars c")
            except StoreInterrupted as error:
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        deadline = time.monotonic() + 20
        while thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
            store.interrupt()
        thread.join(1)
        assert len(caught) == 1
        assert store.scan(1, 1, 0, 2**62, ["close"]).num_rows == 50_000


def test_settings_that_cannot_be_meant(tmp_path):
    with pytest.raises(ConfigError):
        open_store(tmp_path / "s", memory="lots")
    with pytest.raises(ConfigError):
        open_store(tmp_path / "s", threads=0)


def test_too_little_memory_says_how_much(filled):
    with open_store(filled, memory="4MB") as store, pytest.raises(CapTooSmall) as caught:
        store.sql("SELECT list(close), list(open), list(ts) FROM bars, range(100)")
    assert caught.value.needed_bytes == 8_000_000


def test_faulty_sql_is_a_store_error(store):
    with pytest.raises(StoreError, match="nonsense"):
        store.sql("SELECT nonsense")


def test_verify_finds_what_is_wrong(filled):
    with duckdb.connect(str(filled)) as con:
        con.execute("INSERT INTO bars SELECT * FROM bars ORDER BY ts LIMIT 3")
        con.execute("INSERT INTO bars (series_id, ts) VALUES (77, now())")
    with open_store(filled, read_only=True) as store:
        assert {finding.check for finding in store.verify()} == {
            "stray rows", "rows", "duplicates", "order", "session days",
        }  # fmt: skip


FULL = """
import resource, sys
import numpy as np, pandas as pd
from lazybars.errors import StoreFull
from lazybars.store import open_store
rng = np.random.default_rng(0)
def frame(start):
    index = pd.date_range(start, periods=200_000, freq="1min", tz="UTC")
    price = rng.random(len(index))
    return pd.DataFrame(dict(open=price, high=price, low=price, close=price), index=index)
store = open_store(sys.argv[1])
store.write(frame("2020-01-01"), asset="A", timestep="minute")
store.sql("CHECKPOINT")
resource.setrlimit(resource.RLIMIT_FSIZE, (12_000_000, resource.RLIM_INFINITY))
try:
    for year in range(2021, 2030):
        store.write(frame(f"{year}-01-01"), asset="A", timestep="minute")
        print(year, flush=True)
except StoreFull as error:
    print(error, flush=True)
"""


def test_full_disk(tmp_path):
    path = tmp_path / "s"
    *years, message = run(FULL, path).splitlines()
    assert "free some space" in message
    with open_store(path) as store:
        assert store.verify() == []
        assert store.find("A", "minute").rows == 200_000 * (1 + len(years))


# ------------------------------------------------------------------- kill -9

KILL = """
import sys
import numpy as np, pandas as pd
from lazybars.store import open_store
index = pd.date_range("2020-01-01", periods=300_000, freq="1min", tz="UTC")
with open_store(sys.argv[1], memory="64MB") as store:
    print("open", flush=True)
    for n in range(1, 1000):
        price = np.full(len(index), float(n))
        frame = pd.DataFrame(dict(open=price, high=price, low=price, close=price), index=index)
        if n % 3 == 0 and sys.argv[2] == "compact":
            store.compact()
        store.write(frame, asset="A", timestep="minute", mode="upsert" if n % 2 else "replace")
        print(n, flush=True)
"""


@pytest.mark.parametrize("what", ["write", "compact"])
@pytest.mark.parametrize("after_s", [0.1, 0.5, 1.1])
def test_killed_at_any_moment_the_store_holds_whole_writes(tmp_path, bars, what, after_s):
    path = tmp_path / "s.duckdb"
    process = run(KILL, path, what, wait=False)
    assert process.stdout.readline() == "open\n"
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    acknowledged = [int(line) for line in process.communicate()[0].split()]
    with open_store(path) as store:
        assert store.verify() == []
        got = store.sql(
            "SELECT count(*) AS rows, min(close) AS low, max(close) AS high FROM bars"
        ).to_pylist()[0]
        if got["rows"]:
            assert got["rows"] == 300_000
            assert got["low"] == got["high"]
        # What was acknowledged is there, and at most the write under way came on top.
        last = acknowledged[-1] if acknowledged else 0
        assert int(got["high"] or 0) in (last, last + 1)
        store.write(bars(), asset="B", timestep="minute")
    assert [p.name for p in tmp_path.iterdir()] == ["s.duckdb"]
