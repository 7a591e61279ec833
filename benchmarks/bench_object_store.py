"""One walk over the same bars in a DuckDB file, in a directory of Parquet, and on an object store.

The object store is an S3-compatible server on loopback in a process of its own, each of whose requests takes
50 ms longer. The walk asks every asset at every minute, which takes longer than the reads. Wall time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from lazybars import iterate, open_store

from .conftest import size
from .market import MinuteMarket
from .results import Result

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from s3_server import serving

_DELAY_S = 0.05
_LOOKBACK = 60
_MANY_ROWS = 500_000


@pytest.mark.benchmark(group="object store")
def test_walk(benchmark: BenchmarkFixture, tmp_path: Path, record: Callable[[Result], None]) -> None:
    """Stall, once the first partition is there; requests and bytes; a second walk from the cache."""
    market = MinuteMarket(tmp_path, size("ASSETS", 20), size("DAYS", 128))
    file, folder = tmp_path / "bars.duckdb", tmp_path / "bars"
    for path in (str(file), f"{folder}/"):
        with open_store(path, memory="512MB") as store:
            for source in market.write_parquet():
                store.write(source, asset=source.stem.split("-")[0], timestep="minute")
            store.compact()
            rows, disk_bytes = sum(info.rows for info in store.series()), store.bytes_on_disk
    note = f"{rows / 1e6:.3g} M rows, {disk_bytes / rows:.1f} bytes a bar"
    with serving(_DELAY_S) as server:
        url = server.upload(folder, "bench")
        with open_store(url, read_only=True, memory="8MB", threads=1) as remote:
            benchmark.pedantic(_walk, (remote,), rounds=1)
            took_s, stall_s, warm_s, total = _walk_kept.pop()
            traffic = remote.traffic
            again_s, again_stall_s, _, same = _walk(remote)
            assert remote.traffic.requests == traffic.requests
    local_s, _, _, truth = _walk(str(file))
    parquet_s, _, _, also = _walk(str(folder))
    assert total == same == truth == also
    unit, asked = "wall s", f"{traffic.requests} requests, {traffic.requested_bytes / 1e6:.3g} MB"
    record(Result("walk over Parquet", unit, parquet_s, "DuckDB", local_s, parquet_s / local_s, note=note))
    record(Result("walk over S3", unit, took_s, "DuckDB", local_s, took_s / local_s, note=asked))
    record(Result("walk over S3, cached", unit, again_s, "DuckDB", local_s, again_s / local_s))
    for what, stalled_s, of_s in (
        ("not stalled over S3, once warm", warm_s, took_s),
        ("not stalled over S3, all of it", stall_s, took_s),
        ("not stalled over S3, cached", again_stall_s, again_s),
    ):
        share = (of_s - stalled_s) / of_s
        # A walk of a few days is mostly its first partition.
        target = 0.95 if rows >= _MANY_ROWS and "all" not in what else None
        record(Result(what, "s", of_s - stalled_s, "the walk", of_s, share, target, at_least=True))


_walk_kept: list[tuple[float, float, float, float]] = []


def _walk(store: Any) -> tuple[float, float, float, float]:
    """(wall s, stall s, stall s after the first tick, a sum over all that was seen)."""
    began, first_s, total = time.perf_counter(), None, 0.0
    with iterate(store, lookback=_LOOKBACK, memory="128MB", partition="1W") as ticks:
        for tick in ticks:
            for window in tick.values():
                if len(window):
                    total += float(window.close[-1])
            if first_s is None:
                first_s = ticks.stats().stall_s
        stall_s = ticks.stats().stall_s
    figures = time.perf_counter() - began, stall_s, stall_s - (first_s or 0.0), total
    _walk_kept[:] = [figures]
    return figures
