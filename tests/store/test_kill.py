"""kill -9 before any statement of anything that changes a store: it is as before, or as after."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from test_faults import run
from test_modes import frame_at

from lazybars.errors import StoreDamaged
from lazybars.store import open_store

# One process that forks: for each change and each k, a child makes the change to a copy of the store
# and kills itself before its k-th statement, until the change has no more statements.
VICTIMS = """
import os, shutil, signal, sys, threading
from contextlib import contextmanager
import numpy as np, pandas as pd, pyarrow
from lazybars.store import open_store
from lazybars.store.engine import Engine

base, step, changes = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
start = pd.Timestamp("2024-01-01T12:00Z")

def frame(minutes, price):
    index = start + pd.to_timedelta(np.array(minutes), "min")
    price = np.full(len(index), float(price))
    return pd.DataFrame(dict(open=price, high=price, low=price, close=price), index=pd.DatetimeIndex(index))

def bar(minute, price, **extra):
    stamp = (start + pd.Timedelta(minute, "min")).to_pydatetime()
    return dict(timestamp=stamp, open=price, high=price, low=price, close=price, **extra)

def behind(store):
    job = store.compact(background=True)
    store.append(bar(500, 5.0), asset="A", timestep="minute")
    job.wait()

CHANGES = {
    "upsert": lambda s: s.write(frame([50, 51, 500], 5), asset="A", timestep="minute"),
    "replace": lambda s: s.write(frame([1, 2], 5), asset="A", timestep="minute", mode="replace"),
    "append": lambda s: s.append_all(
        {"A": [bar(50, 5.0, bid=1), bar(500, 5.0)], "N": bar(1, 5.0)}, timestep="minute"
    ),
    "delete": lambda s: s.delete("A", "minute", "2024-01-01T12:50Z"),
    "mark_empty": lambda s: s.mark_empty("A", "minute", "2024-02-01", "2024-02-02"),
    "compact": lambda s: s.compact(),
    "background": behind,
}

class Counting:
    def __init__(self, cursor):
        self.cursor = cursor

    def __getattr__(self, name):
        thing = getattr(self.cursor, name)
        if name in ("execute", "sql"):
            count()
        return thing

left = None
lock = threading.Lock()

def count():
    global left
    with lock:
        if left is not None:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

plain = Engine.cursor

@contextmanager
def cursor(self):
    with plain(self) as cur:
        yield Counting(cur)

Engine.cursor = cursor

def counted(plain):
    def call(*args, **kwargs):
        count()
        return plain(*args, **kwargs)
    return call

for name in ("replace", "fsync", "remove"):
    setattr(os, name, counted(getattr(os, name)))

for change in changes:
    k = 1
    while True:
        path = f"{base}-{change}-{k}"
        (shutil.copytree if os.path.isdir(base) else shutil.copy)(base, path)
        child = os.fork()
        if not child:
            try:
                store = open_store(path)
                store.find("A", "minute")
                left = k
                CHANGES[change](store)
            except BaseException as error:
                print(change, k, repr(error), flush=True)
                os._exit(3)
            left = None
            store.close()
            os._exit(7)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            print(change, "whole" if os.WEXITSTATUS(status) == 7 else "broken", flush=True)
            break
        print(change, k, flush=True)
        k += step
"""


def state(path: Path) -> tuple:
    """What a store holds, in terms that a change alters whole."""
    with open_store(path) as store:
        assert store.verify() == []
        bars = {
            info.asset.symbol: [
                (bar["timestamp"].timestamp(), bar["close"])
                for bar in store.read(info.asset, "minute").read_all().to_pylist()
            ]
            for info in store.series()
        }
        known = {name: (store.coverage(name, "minute"), store.known_empty(name, "minute")) for name in bars}
        found = (store.version, bars, known, store.revisions().num_rows)
        # It can be written to as well.
        store.write(frame_at([9000], [1.0]), asset="Z", timestep="minute")
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    "changes",
    [
        ("upsert", "append"),
        pytest.param(("replace", "delete", "mark_empty"), marks=pytest.mark.slow),
        ("compact", "background"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("slash", ["", "/"], ids=["duckdb", "parquet"])
def test_killed_before_any_statement(tmp_path, changes, slash):
    base = tmp_path / "bars"
    with open_store(f"{base}{slash}") as store:
        store.write(frame_at(range(100), np.arange(100.0)), asset="A", timestep="minute")
        store.write(frame_at(range(0, 200, 2), np.arange(100.0)), asset="B", timestep="minute")
    copy = tmp_path / "copy"
    (shutil.copytree if slash else shutil.copy)(base, copy)
    before = state(copy)
    # A write of Parquet takes three times as many steps.
    step = 13 if slash and os.environ.get("LAZYBARS_PROFILE") != "full" else 3
    said = [line.split() for line in run(VICTIMS, base, step, *changes).splitlines()]
    for change in changes:
        points = [line[1] for line in said if line[0] == change]
        assert points[-1] == "whole", points
        assert len(points) > 4
        left = [path for path in tmp_path.glob(f"bars-{change}-*") if path.suffix != ".wal"]
        left.sort(key=lambda path: int(path.name.split("-")[-1]))
        after = state(left[-1])
        assert (after == before) == (change == "compact")
        found = [state(path) for path in left[:-1]]
        assert all(one in (before, after) for one in found)
        # Once a kill came after the change was committed, every later one did; of two threads nobody knows.
        turned = [one == after for one in found]
        assert turned == sorted(turned) or change == "background"
        if slash:
            # The state was written on top, so what the kills left is gone.
            for path in left:
                named = json.loads((path / "manifest.json").read_text())
                files = {file[0] for file in named["files"]} | {
                    book["path"] for book in named["books"].values()
                }
                there = {file.relative_to(path).as_posix() for file in path.rglob("*.parquet")}
                assert there == files
    assert not [path for path in tmp_path.rglob("*") if "scratch" in path.name]


APPEND = """
import sys, datetime as dt
from lazybars.store import open_store
start = dt.datetime(2024, 1, 1, 12, tzinfo=dt.timezone.utc)
with open_store(sys.argv[1], memory="64MB") as store:
    print("open", flush=True)
    job = None
    for n in range(1, 100_000):
        bar = dict(timestamp=start + dt.timedelta(minutes=n), open=n, high=n, low=n, close=n)
        store.append_all({"A": bar, "B": bar}, timestep="minute")
        print(n, flush=True)
        if sys.argv[2] == "compact" and (job is None or job.done):
            job = store.compact(background=True)
"""


@pytest.mark.parametrize("what", ["append", "compact"])
@pytest.mark.parametrize("after_s", [0.3])
@pytest.mark.parametrize("name", ["s.duckdb", "s/"])
def test_killed_at_any_moment_every_acknowledged_bar_is_there(tmp_path, what, after_s, name):
    path = f"{tmp_path}/{name}"
    process = run(APPEND, path, what, wait=False)
    assert process.stdout.readline() == "open\n"
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    acknowledged = [int(line) for line in process.communicate()[0].split()]
    last = acknowledged[-1] if acknowledged else 0
    with open_store(path) as store:
        assert store.verify() == []
        for symbol in "AB" if store.series() else "":
            closes = store.get_historical_prices(symbol)["close"].tolist()
            assert closes == [float(n) for n in range(1, len(closes) + 1)]
            # At most the append under way came on top, to both.
            assert len(closes) in (last, last + 1)
            assert len(closes) == store.version
    assert [p.name for p in tmp_path.iterdir()] == [name.strip("/")]


LOG = """
import os, signal, sys, datetime as dt
from lazybars.store import open_store
start = dt.datetime(2024, 1, 1, 12, tzinfo=dt.timezone.utc)
store = open_store(sys.argv[1])
for n in range(1, 9):
    bar = dict(timestamp=start + dt.timedelta(minutes=n), open=n, high=n, low=n, close=n)
    store.append(bar, asset="A", timestep="minute")
    print(os.path.getsize(sys.argv[1] + ".wal"), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_log_that_was_cut_short_or_damaged(tmp_path):
    """A torn log gives what was committed before the tear, a damaged one says so; neither makes bars up."""
    path, log = tmp_path / "s", tmp_path / "s.wal"
    sizes = [int(line) for line in run(LOG, path).split()]
    whole, bars = log.read_bytes(), path.read_bytes()
    assert len(whole) == sizes[-1]

    def rows() -> int:
        try:
            with open_store(path) as store:
                assert store.verify() == []
                closes = store.get_historical_prices("A")["close"].tolist() if store.series() else []
        except StoreDamaged:
            return -1
        assert closes == [float(n) for n in range(1, len(closes) + 1)]
        return len(closes)

    for cut in (*sizes, *(size - 7 for size in sizes[::3])):
        path.write_bytes(bars)
        log.write_bytes(whole[:cut])
        # Those whose last byte is there are whole; of a torn one nothing is seen.
        assert rows() in (sum(size <= cut for size in sizes), -1)
    kept = []
    for at in range(100, len(whole), len(whole) // 9):
        path.write_bytes(bars)
        log.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        kept.append(rows())
    assert any(count < 8 for count in kept)
    path.write_bytes(bars)
    log.write_bytes(whole)
    assert rows() == 8
