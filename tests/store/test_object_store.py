"""A store on an object store: an S3-compatible server on loopback whose requests take 50 ms longer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from s3_server import KEYS, Server, serving
from suite import daily, minutes

import lazybars
from lazybars import (
    ConfigError,
    StoreDamaged,
    StoreError,
    StoreMissing,
    StoreReadOnly,
    iterate,
    open_store,
)
from lazybars.model import Traffic

pytest.importorskip("s3fs")
pytest.importorskip("moto")

DELAY_S = 0.05
SYMBOLS = "ABCDE"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(DELAY_S) as running:
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is uploaded: compacted, but for what was written last."""
    path = tmp_path_factory.mktemp("object") / "bars"
    with open_store(f"{path}/") as store:
        for at, symbol in enumerate(SYMBOLS):
            store.write(minutes(at, days=20), asset=symbol, timestep="minute")
        store.write(daily(1), asset="A", timestep="day")
        store.compact()
        store.write(minutes(0, days=20).iloc[50:70] * 2, asset="A", timestep="minute")
    return path


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The same bars in a DuckDB file."""
    path = tmp_path_factory.mktemp("truth") / "bars.duckdb"
    with open_store(path) as store:
        for at, symbol in enumerate(SYMBOLS):
            store.write(minutes(at, days=20), asset=symbol, timestep="minute")
        store.write(daily(1), asset="A", timestep="day")
        store.write(minutes(0, days=20).iloc[50:70] * 2, asset="A", timestep="minute")
        store.compact()
    with open_store(path, read_only=True) as store:
        yield store


@pytest.fixture(scope="module")
def url(server: Server, local: Path) -> str:
    return server.upload(local, "some/bars")


def gets(server: Server) -> list[str]:
    """The names of the files that it was asked for since the last time."""
    return [line.rsplit("/", 1)[1] for line in server.requests()]


def test_the_answers_are_those_of_a_file(url: str, truth: Any) -> None:
    with open_store(url, read_only=True) as store:
        for info in truth.series():
            pd.testing.assert_frame_equal(
                store.get_historical_prices(info.asset, timestep=info.timestep),
                truth.get_historical_prices(info.asset, timestep=info.timestep),
            )
            assert store.timestamps(info.series_id).tolist() == truth.timestamps(info.series_id).tolist()
            at = info.first_ns + (info.last_ns - info.first_ns) // 3
            found = store.last_before(info.series_id, at, ["close"])
            assert found == truth.last_before(info.series_id, at, ["close"])
        query = "SELECT asset_symbol, timeframe, count(*), min(close), max(volume) FROM ohlcv_data "
        for rest in ("", "WHERE timestamp >= TIMESTAMPTZ '2024-03-20' "):
            text = f"{query}{rest}GROUP BY ALL ORDER BY ALL"
            assert store.sql(text).to_pylist() == truth.sql(text).to_pylist()
        assert store.verify() == []
        assert store.coverage("A", "minute") == truth.coverage("A", "minute")


def test_a_walk_is_the_same_and_reads_ahead(url: str, truth: Any, server: Server) -> None:
    def walk(store: Any, pause_s: float) -> tuple[list[Any], Any]:
        seen: list[Any] = []
        with iterate(store, list(SYMBOLS), lookback=40, memory="96MB", partition="1W") as ticks:
            for tick in ticks:
                seen.append([window.close.tobytes() for window in tick.values()])
                time.sleep(pause_s)
            return seen, ticks.stats()

    wanted, _ = walk(truth, 0)
    with open_store(url, read_only=True) as store:
        server.requests()
        found, stats = walk(store, 0.0002)
        assert found == wanted
        # Every partition was asked for once, most of them before they were needed.
        names = gets(server)
        assert len(names) == len(set(names))
        assert stats.requests == store.traffic.requests > 4
        assert stats.requested_bytes == store.traffic.requested_bytes
        assert stats.prefetched > stats.misses
        again, stats = walk(store, 0)
        assert again == wanted
        assert server.requests() == [], "all of it lies in the cache"
    assert truth.traffic == Traffic()


def test_requests_and_bytes_are_those_that_the_server_saw(url: str, local: Path, server: Server) -> None:
    server.requests()
    with open_store(url, read_only=True) as store:
        store.get_historical_prices("B", "2024-03-05", "2024-03-14")
        seen = gets(server)
        assert store.traffic.requests == len(seen)
        files = [file for file in local.rglob("*") if file.name in seen]
        assert store.traffic.requested_bytes == sum(file.stat().st_size for file in files)
        weeks = {file.parent.name for file in files if "period=" in str(file)}
        assert weeks == {"period=2024-03-04", "period=2024-03-11"}, "only what holds the range"
        before = store.traffic
        store.get_historical_prices("C", "2024-03-05", "2024-03-14")
        assert server.requests() == []
        assert store.traffic.requests == before.requests
        assert store.traffic.cache_hits == before.cache_hits + 2


def test_the_cache_is_bounded_and_evicts(url: str, local: Path, truth: Any, tmp_path: Path) -> None:
    largest = max(file.stat().st_size for file in local.rglob("period=*/*.parquet"))
    folder = tmp_path / "cache"
    limit = 150_000
    assert limit > largest
    with open_store(url, read_only=True, cache_dir=folder, cache=limit) as store:
        for _ in range(2):
            for symbol in SYMBOLS:
                found = store.get_historical_prices(symbol)
                pd.testing.assert_frame_equal(found, truth.get_historical_prices(symbol))
                held = sum(file.stat().st_size for file in folder.iterdir())
                assert held <= limit
                assert store.traffic.cached_bytes == held
        assert store.traffic.evictions > 0
    # A folder of the user's own stays, and serves the next one.
    assert any(folder.iterdir())
    with open_store(url, read_only=True, cache_dir=folder, cache=limit) as store:
        assert store.traffic.cache_hits > 0
    # Nothing fits: what is asked for is read in pieces.
    with open_store(url, read_only=True, cache=40_000) as store:
        pd.testing.assert_frame_equal(store.get_historical_prices("D"), truth.get_historical_prices("D"))
        assert store.traffic.cached_bytes <= 40_000


def test_a_private_cache_goes_with_the_store(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_store(url, read_only=True) as store:
        store.get_historical_prices("A")
        assert any("cache" in path.name for path in tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_what_lies_wrong_in_a_cache_is_fetched_again(url: str, truth: Any, tmp_path: Path) -> None:
    for _ in range(2):
        with open_store(url, read_only=True, cache_dir=tmp_path) as store:
            pd.testing.assert_frame_equal(store.get_historical_prices("B"), truth.get_historical_prices("B"))
        for file in tmp_path.glob("*.parquet"):
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)


def test_threads_fetch_a_file_once(url: str, truth: Any, server: Server) -> None:
    wanted = truth.get_historical_prices("E")
    with open_store(url, read_only=True) as store:
        server.requests()
        wrong: list[int] = []

        def read(at: int) -> None:
            if not store.get_historical_prices("E").equals(wanted):
                wrong.append(at)

        threads = [threading.Thread(target=read, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        names = gets(server)
        assert wrong == []
        assert len(names) == len(set(names))


READ = """
import sys
from lazybars import open_store
with open_store(sys.argv[1], read_only=True, cache_dir=sys.argv[2], cache=150_000) as store:
    for _ in range(3):
        for symbol in "ABCDE":
            print(symbol, store.get_historical_prices(symbol)["close"].sum())
"""


@pytest.mark.slow
def test_processes_share_a_folder(url: str, truth: Any, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(lazybars.__file__).parents[1])}
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READ, url, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    wanted = {symbol: str(truth.get_historical_prices(symbol)["close"].sum()) for symbol in SYMBOLS}
    for reader in readers:
        out, _ = reader.communicate(timeout=120)
        assert reader.returncode == 0
        assert [line.split() for line in out.splitlines()] == [[s, wanted[s]] for s in SYMBOLS] * 3


def test_it_is_only_read(url: str) -> None:
    with pytest.raises(StoreReadOnly, match="read_only=True"):
        open_store(url)
    with open_store(url, read_only=True) as store, pytest.raises(StoreReadOnly):
        store.write(minutes(1), asset="N", timestep="minute")


def test_what_is_not_there(server: Server, local: Path) -> None:
    with pytest.raises(StoreMissing, match="holds no store"):
        open_store("s3://bars/none", read_only=True)
    gone = server.upload(local, "gone")
    client = server.client()
    for found in client.list_objects_v2(Bucket="bars", Prefix="gone/bars/timestep=minute")["Contents"]:
        client.delete_object(Bucket="bars", Key=found["Key"])
    with open_store(gone, read_only=True) as store:
        with pytest.raises(StoreDamaged, match="manifest names it"):
            store.get_historical_prices("A")
        assert len(store.get_historical_prices("A", timestep="day")) == 300
    harmed = server.upload(local, "harmed")
    for found in client.list_objects_v2(Bucket="bars", Prefix="harmed/bars")["Contents"]:
        client.put_object(Bucket="bars", Key=found["Key"], Body=b"\0" * found["Size"])
    with (
        open_store(harmed, read_only=True) as store,
        pytest.raises(StoreDamaged, match="not what was written"),
    ):
        store.get_historical_prices("A")


def test_no_secret_is_told(url: str, local: Path, tmp_path: Path) -> None:
    for wrong in ("s3://key:secret-word@bars/x", "https://127.0.0.1/x?X-Amz-Signature=secret-word"):
        with pytest.raises(ConfigError, match="environment") as told:
            open_store(wrong, read_only=True)
        assert "secret-word" not in str(told.value)
    with open_store(url, read_only=True, cache_dir=tmp_path) as store:
        store.get_historical_prices("A")
        told = f"{store!r} {store.path} {store.traffic} {store._shared.place.__dict__}"
        settings = store.sql("SELECT * FROM duckdb_settings()").to_pylist()
        assert settings
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in f"{told} {settings}"
    for file in (*local.rglob("*"), *tmp_path.rglob("*")):
        if file.is_file():
            assert KEYS["AWS_SECRET_ACCESS_KEY"].encode() not in file.read_bytes()
    # Whatever a file system says, what the environment keeps secret is not passed on.
    from lazybars.store.parquet.metered import Metered

    with pytest.raises(StoreError) as refused, Metered(url)._told("it"):
        raise PermissionError(f"refused for {KEYS['AWS_SECRET_ACCESS_KEY']}")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(refused.value)
    assert refused.value.__cause__ is None


def test_httpfs_is_used_where_it_is_installed(
    local: Path, monkeypatch: pytest.MonkeyPatch, truth: Any
) -> None:
    """DuckDB then reads addresses itself; shown with one that it reads without an extension."""
    from lazybars.store.parquet import remote

    monkeypatch.setattr(remote, "_HTTPFS", ("file",))
    monkeypatch.setattr(remote, "_has_httpfs", lambda root: True)
    with open_store(f"file://{local}", read_only=True) as store:
        before = store.traffic
        count = "SELECT count(*) AS n FROM ohlcv_data"
        assert store.sql(count).to_pylist() == truth.sql(count).to_pylist()
        assert store.traffic == before, "not through fsspec"


def test_any_address_that_fsspec_knows(local: Path, truth: Any) -> None:
    with open_store(f"file://{local}", read_only=True) as store:
        pd.testing.assert_frame_equal(store.get_historical_prices("A"), truth.get_historical_prices("A"))
        count = "SELECT count(*) AS n FROM ohlcv_data"
        assert store.sql(count).to_pylist() == truth.sql(count).to_pylist()
    with pytest.raises(ConfigError, match="nosuch"):
        open_store("nosuch://bars/x", read_only=True)


@pytest.mark.usefixtures("quiet")
def test_lumibot_is_served_from_there(url: str, truth: Any) -> None:
    pytest.importorskip("lumibot")
    import datetime as dt

    from lumibot.backtesting import PandasDataBacktesting
    from lumibot.entities import Asset

    from lazybars import LazyBars

    seen = []
    for path in (truth.path, url):
        source = LazyBars(PandasDataBacktesting, store=path, assets=list("BCD"), memory="96MB")(
            dt.datetime(2024, 3, 5), dt.datetime(2024, 3, 28), show_progress_bar=False
        )
        source.load_data()
        for day in range(1, 20):
            source._update_datetime(source.datetime_start + dt.timedelta(days=day, hours=10))
            for symbol in "BCD":
                for length, step in ((50, "minute"), (5, "15 minutes")):
                    seen.append(source.get_historical_prices(Asset(symbol), length, step).df)
        stats = source.lazy.stats()
        source.shutdown()
    half = len(seen) // 2
    for one, other in zip(seen[:half], seen[half:], strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert stats.requests > 4
    assert stats.requested_bytes > 0
