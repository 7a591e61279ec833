"""Which series is meant, what there is, and the names that the proposal gives."""

from __future__ import annotations

import datetime as dt

import pytest

from lazybars.errors import ConfigError, UnknownSeries
from lazybars.model import AssetKey
from lazybars.store import catalog, open_store

USD = AssetKey("USD", "forex")
BTC = AssetKey("BTC", "crypto")


def test_bare_symbol_means_the_stock_or_the_only_asset(store, bars):
    store.write(bars(), asset=BTC, timestep="minute", quote=USD)
    assert store.find("btc", "minute").asset == BTC
    store.write(bars(), asset="BTC", timestep="minute")
    assert store.find("BTC", "minute").asset.asset_type == "stock"
    assert store.find(BTC, "minute").asset == BTC


def test_several_assets_of_one_symbol_must_be_told_apart(store, bars):
    for day in ("2024-03-15", "2024-06-21"):
        store.write(bars(), asset=AssetKey("ES", "future", expiration=day), timestep="minute")
    with pytest.raises(UnknownSeries, match=r"several assets.*2024-03-15.*2024-06-21"):
        store.find("ES", "minute")


def test_multiplier_does_not_tell_assets_apart(store, bars):
    store.write(bars(), asset=AssetKey("ES", "future", multiplier=50.0), timestep="minute")
    assert store.find(AssetKey("ES", "future"), "minute").asset.multiplier == 50.0


def test_quote(store, bars):
    store.write(bars(), asset=BTC, timestep="minute", quote=AssetKey("EUR", "forex"))
    assert store.find(BTC, "minute").quote.symbol == "EUR"
    store.write(bars(), asset=BTC, timestep="minute", quote=AssetKey("USDT", "crypto"))
    with pytest.raises(UnknownSeries, match="EUR, USDT"):
        store.find(BTC, "minute")
    store.write(bars(), asset=BTC, timestep="minute", quote=USD)
    assert store.find(BTC, "minute").quote == USD
    with pytest.raises(UnknownSeries, match="against GBP; of that asset there is BTC/EUR"):
        store.find(BTC, "minute", quote=AssetKey("GBP", "forex"))
    store.write(bars(), asset="SPY", timestep="minute")
    assert store.find("SPY", "minute", quote=USD).quote is None


def test_sources_stand_side_by_side_in_their_order(store, bars):
    store.write(bars(seed=1), asset="A", timestep="minute", source="first")
    store.write(bars(seed=2), asset="A", timestep="minute", source="second")
    assert store.find("A", "minute").source == "first"
    assert store.find("A", "minute", source="second").source == "second"
    store.sql("UPDATE sources SET priority = -1 WHERE source_name = 'second'")
    assert store.find("A", "minute").source == "second"
    with pytest.raises(UnknownSeries, match=r"from 'third'.*from 'first'"):
        store.find("A", "minute", source="third")


def test_unknown_series_names_what_there_is(store, bars):
    with pytest.raises(UnknownSeries, match="store is empty"):
        store.find("A", "minute")
    store.write(bars(), asset="SPY", timestep="minute")
    with pytest.raises(UnknownSeries, match="the store holds SPY"):
        store.read("QQQ", "minute")
    with pytest.raises(UnknownSeries, match="of that asset there is SPY minute"):
        store.find("SPY", "day")
    with pytest.raises(ConfigError, match="minute, hour, day"):
        store.find("SPY", "1D")


def test_hostile_names(store, bars):
    names = ['"; DROP TABLE bars; --', "O'NEIL", "ÄÖ 漢字", "a\\b%_"]
    for i, name in enumerate(names):
        frame = bars(seed=i).assign(**{name: 1.0})
        store.write(frame, asset=AssetKey(name), timestep="minute", source=name)
    for i, name in enumerate(names):
        got = store.get_historical_prices(AssetKey(name), source=name)
        assert got["close"].tolist() == bars(seed=i)["close"].tolist()
        assert name in got
    assert sorted(key.symbol for key in store.assets()) == sorted(names)
    assert store.verify() == []


def test_every_kind_of_lumibot_asset(store, bars):
    asset_class = pytest.importorskip("lumibot.entities").Asset
    day = dt.date(2024, 6, 21)
    assets = [
        asset_class("SPY"),
        asset_class("SPY", asset_type="option", expiration=day, strike=500, right="CALL"),
        asset_class("SPY", asset_type="option", expiration=day, strike=500, right="PUT"),
        asset_class("ES", asset_type="future", expiration=day),
        asset_class("ES", asset_type="cont_future"),
        asset_class("BTC", asset_type="crypto"),
        asset_class("EUR", asset_type="forex"),
        asset_class("SPX", asset_type="index"),
    ]
    for i, asset in enumerate(assets):
        store.write(bars(seed=i), asset=asset, timestep="minute", quote=asset_class("USD", "forex"))
    assert len(store.series()) == len(assets) == len(store.assets())
    for i, asset in enumerate(assets):
        assert store.get_historical_prices(asset)["close"].tolist() == bars(seed=i)["close"].tolist()


def test_the_proposed_names_can_be_queried(store, bars):
    store.write(bars(), asset=BTC, timestep="minute", quote=USD, source="vendor")
    columns = {
        "ohlcv_data": "asset_symbol asset_type timestamp timeframe open high low close volume source "
        "created_at",
        "assets": "symbol asset_type exchange currency metadata",
        "data_sources": "source_name last_updated config",
        "cache_ranges": "id asset_symbol asset_type source timeframe start_time end_time created_at",
    }
    for table, names in columns.items():
        assert store.sql(f"SELECT * FROM {table}").column_names == names.split()
    got = store.sql(
        "SELECT count(*) AS n, sum(volume) AS v FROM ohlcv_data WHERE asset_symbol = ? AND timeframe = ?",
        ["BTC", "minute"],
    ).to_pylist()
    assert got == [{"n": 10, "v": float(bars()["volume"].sum())}]
    assert store.sql("SELECT currency FROM assets WHERE symbol = $s", {"s": "BTC"}).to_pylist() == [
        {"currency": "USD"}
    ]
    assert str(store.sql("SELECT timestamp FROM ohlcv_data").schema[0].type) == "timestamp[us, tz=UTC]"


def test_a_look_up_does_not_go_through_every_series(tmp_path, monkeypatch):
    bar = {"timestamp": dt.datetime(2024, 1, 2, tzinfo=dt.timezone.utc), "open": 1, "high": 1, "low": 1}
    names = [f"S{number}" for number in range(300)]
    with open_store(tmp_path / "many.duckdb") as store:
        store.append_all({name: {**bar, "close": at} for at, name in enumerate(names)}, timestep="day")
        compared = []
        own = catalog.identity
        monkeypatch.setattr(catalog, "identity", lambda asset: compared.append(asset) or own(asset))
        assert store.find("s250", "day").asset == AssetKey("S250")
        assert store.get_historical_prices("S17", timestep="day")["close"].tolist() == [17]
        with pytest.raises(UnknownSeries):
            store.find("S300", "day")
        assert 0 < len(compared) < 20
        store.append({**bar, "close": 9}, asset="S250", timestep="day")
        assert store.get_historical_prices("S250", timestep="day")["close"].tolist() == [9]
