"""The order of sources, what is kept of assets and sources, and the proposed columns with their types."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from lazybars import LazyBars, iterate
from lazybars.errors import ConfigError, StoreReadOnly, UnknownSeries
from lazybars.model import AssetKey
from lazybars.store import open_store


def three(store, bars):
    """One asset from three sources and another from the last, in that order."""
    for seed, source in enumerate(("x", "y", "z")):
        store.write(bars(seed=seed), asset="A", timestep="minute", source=source)
    store.write(bars(seed=9), asset="B", timestep="minute", source="z")


def test_the_preferred_source_goes_first(store, bars):
    three(store, bars)
    assert store.sources() == ["x", "y", "z"]
    assert store.find("A", "minute").source == "x"
    store.prefer(["z", "y"])
    assert store.sources() == ["z", "y", "x"]
    assert store.find("A", "minute").source == "z"
    assert [(info.label, info.source) for info in store.series()] == [
        ("A minute", "z"), ("B minute", "z"), ("A minute", "y"), ("A minute", "x"),
    ]  # fmt: skip
    assert store.get_historical_prices("A")["close"].tolist() == bars(seed=2)["close"].tolist()
    store.write(bars(seed=5), asset="A", timestep="minute", source="late")
    assert store.sources() == ["z", "y", "x", "late"]
    store.delete("A", "minute", source="z")
    assert store.find("A", "minute").source == "y"
    store.compact()
    assert store.find("A", "minute").source == "y"
    store.prefer("x")
    assert store.find("A", "minute").source == "x"
    store.prefer([])
    assert store.sources() == ["x", "y", "z", "late"]


def test_it_is_kept_in_the_file_and_followed_by_backtests(tmp_path, bars):
    path = tmp_path / "s"
    with open_store(path) as store:
        three(store, bars)
        store.prefer(["y"])
    truth = bars(seed=1)["close"].tolist()
    with open_store(path, read_only=True) as store:
        assert store.find("A", "minute").source == "y"
        with pytest.raises(StoreReadOnly):
            store.prefer([])
    with iterate(path, lookback=10, memory="96MB") as ticks:
        for tick in ticks:
            last = tick["A"].close.tolist()
    assert last == truth[:-1]
    pandas_data = pytest.importorskip("lumibot.backtesting").PandasDataBacktesting
    start = bars().index[0].to_pydatetime()
    source = LazyBars(pandas_data, store=path, memory="128MB")(start, start + pd.Timedelta(days=1))
    source.load_data()
    source._update_datetime(bars().index[-1].to_pydatetime())
    got = source.get_historical_prices("A", 9, "minute").df["close"].tolist()
    source.shutdown()
    assert got == truth[:-1]


def test_what_cannot_be_preferred(store, bars):
    with pytest.raises(ConfigError, match=r"'x'.*the store is empty"):
        store.prefer(["x"])
    three(store, bars)
    store.prefer(["z"])
    with pytest.raises(ConfigError, match="no bars from 'w'; the sources are 'x', 'y', 'z'"):
        store.prefer(["y", "w"])
    with pytest.raises(ConfigError, match="twice"):
        store.prefer(["y", "y"])
    assert store.sources() == ["z", "x", "y"]


def test_metadata_is_json(store, bars):
    store.write(bars(), asset=AssetKey("BTC", "crypto"), timestep="minute", quote="USD", source="feed")
    store.describe_asset(
        "btc", exchange="Kraken", metadata={"sector": "Währung", "lots": [1, 2], "rows": None}
    )
    store.describe_source("feed", {"adjusted": True, "since": "2020"})
    row = store.sql("SELECT * FROM assets").to_pylist()[0]
    assert (row["symbol"], row["exchange"], row["currency"]) == ("BTC", "Kraken", "USD")
    assert json.loads(row["metadata"]) == {
        "series": 1, "timesteps": ["minute"], "sources": ["feed"], "sector": "Währung", "lots": [1, 2],
    }  # fmt: skip
    assert json.loads(store.sql("SELECT config FROM data_sources").to_pylist()[0]["config"]) == {
        "adjusted": True, "since": "2020",
    }  # fmt: skip
    assert store.sql("SELECT metadata->>'$.sector' AS s FROM assets").to_pylist() == [{"s": "Währung"}]
    store.describe_asset(AssetKey("BTC", "crypto"), currency="USDT")
    row = store.sql("SELECT * FROM assets").to_pylist()[0]
    assert (row["exchange"], row["currency"]) == (None, "USDT")
    assert json.loads(row["metadata"])["rows"] == 10
    with pytest.raises(UnknownSeries, match="ETH"):
        store.describe_asset("ETH")
    with pytest.raises(ConfigError, match="'other'"):
        store.describe_source("other", {})
    for wrong in ([1], {"a": {1}}, {"a": float("nan")}, "text"):
        with pytest.raises(ConfigError, match="no JSON object"):
            store.describe_source("feed", wrong)


def test_the_proposed_columns_and_their_types(store, bars):
    """As proposed, but for DOUBLE where DECIMAL would change prices, and times that bear their zone."""
    store.write(bars(), asset="A", timestep="minute", source="feed")
    proposed = {
        "ohlcv_data": "VARCHAR VARCHAR TIMESTAMPTZ VARCHAR DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE VARCHAR "
        "TIMESTAMPTZ",
        "assets": "VARCHAR VARCHAR VARCHAR VARCHAR JSON",
        "data_sources": "VARCHAR TIMESTAMPTZ JSON",
        "cache_ranges": "UUID VARCHAR VARCHAR VARCHAR VARCHAR TIMESTAMPTZ TIMESTAMPTZ TIMESTAMPTZ",
    }
    for view, types in proposed.items():
        got = [row["column_type"] for row in store.sql(f"DESCRIBE {view}").to_pylist()]
        assert [name.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") for name in got] == types.split()
        assert store.sql(f"SELECT * FROM {view}").num_rows > 0
    keys = "asset_symbol, asset_type, timestamp, timeframe, source"
    twice = f"SELECT 1 FROM ohlcv_data GROUP BY {keys} HAVING count(*) > 1"
    assert store.sql(twice).num_rows == 0
