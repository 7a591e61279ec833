"""A walk that goes on as bars land, against a walk over the finished store."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import minutes, prefetchers, write_store

import lazybars
from lazybars import iterate, open_store

pytestmark = pytest.mark.usefixtures("quiet", "nothing_left")

FRAMES = {name: minutes(days=3, rows=40, seed=seed, keep=0.8) for seed, name in enumerate("AB")}
CUT = pd.Timestamp("2024-03-05 09:50", tz="America/New_York")


def early(path: Path) -> Path:
    return write_store(path, {name: frame[frame.index < CUT] for name, frame in FRAMES.items()})


def seen(ticks: object, count: int) -> list[tuple[int, dict[str, list[float]]]]:
    found = []
    for tick in ticks:  # type: ignore[attr-defined]
        found.append((tick.now_ns, {name: tick[name].close.tolist() for name in FRAMES}))
        if len(found) == count:
            break
    return found


def expected(path: Path) -> list[tuple[int, dict[str, list[float]]]]:
    with iterate(write_store(path, FRAMES), lookback=30, memory="72MB") as ticks:
        return seen(ticks, 10**6)


def late_bars() -> list[tuple[str, pd.DataFrame]]:
    """What comes after the cut, a few bars at a time, both assets up to the same instant."""
    instants = sorted({stamp for frame in FRAMES.values() for stamp in frame.index[frame.index >= CUT]})
    pieces = []
    for some in np.array_split(np.arange(len(instants)), 6):
        first, last = instants[some[0]], instants[some[-1]]
        pieces += [(name, frame[first:last]) for name, frame in FRAMES.items()]
    return pieces


def test_it_goes_on_where_bars_land(tmp_path: Path) -> None:
    whole = expected(tmp_path / "whole.duckdb")
    with open_store(early(tmp_path / "bars.duckdb")) as store:

        def write() -> None:
            together = late_bars()
            for (one, bars), (other, more) in zip(together[::2], together[1::2], strict=True):
                store.append_all({one: bars, other: more}, timestep="minute")

        writer = threading.Thread(target=write)
        with iterate(store, lookback=30, memory="72MB", follow=True) as ticks:
            begun = sum(now < CUT.value for now, _ in whole)
            found = seen(ticks, begun)
            writer.start()
            found += seen(ticks, len(whole) - begun)
        writer.join()
        assert store.series()
    assert [now for now, _ in found] == [now for now, _ in whole]
    assert found == whole
    assert not prefetchers()


def test_it_stops_at_its_end(tmp_path: Path) -> None:
    path = early(tmp_path / "bars.duckdb")
    last = max(frame.index[frame.index < CUT][-1] for frame in FRAMES.values())
    with iterate(path, end=last.to_pydatetime(), follow=True, memory="72MB") as ticks:
        assert [tick.now_ns for tick in ticks][-1] == last.value


def test_closing_ends_the_wait(tmp_path: Path) -> None:
    ticks = iterate(early(tmp_path / "bars.duckdb"), follow=True, memory="72MB")
    walked: list[int] = []
    thread = threading.Thread(target=lambda: walked.extend(tick.now_ns for tick in ticks))
    thread.start()
    while len(walked) < 10:
        thread.join(0.01)
    ticks.close()
    thread.join(20)
    assert not thread.is_alive()
    assert not prefetchers()


WRITER = """
import sys
import pandas as pd
from lazybars import open_store
with open_store(sys.argv[1], wait_s=30.0) as store:
    for name in "AB":
        store.append(pd.read_parquet(sys.argv[2] + name), asset=name, timestep="minute")
"""


def test_bars_of_another_process_arrive_when_it_closes_the_store(tmp_path: Path) -> None:
    whole = expected(tmp_path / "whole.duckdb")
    path = early(tmp_path / "bars.duckdb")
    for name, frame in FRAMES.items():
        frame[frame.index >= CUT].to_parquet(str(tmp_path / "late") + name)
    with iterate(path, lookback=30, memory="72MB", follow=True) as ticks:
        begun = sum(now < CUT.value for now, _ in whole)
        found = seen(ticks, begun)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(tmp_path / "late")],
            env={"PYTHONPATH": str(Path(lazybars.__file__).parents[1])},
        )
        found += seen(ticks, len(whole) - begun)
        assert writer.wait(60) == 0
    assert [now for now, _ in found] == [now for now, _ in whole]
