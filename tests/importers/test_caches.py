"""Lumibot's caches, written by its own functions; what is stored against pandas reading the same file."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from lumibot.entities import Asset

from lazybars import AssetKey
from lazybars.errors import BadInput, ConfigError
from lazybars.importers import KINDS, files_of

USD = AssetKey("USD", "forex")
NEW_YORK = "America/New_York"
OHLCV = ["open", "high", "low", "close", "volume"]

Bars = Callable[..., pd.DataFrame]
Sessions = Callable[..., pd.DatetimeIndex]


def same(stored: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Values, dtypes, order of columns and times; the index as the store gives it, in New York."""
    expected = expected.tz_convert(NEW_YORK).rename_axis("datetime")
    pd.testing.assert_frame_equal(stored, expected, check_freq=False, check_exact=True)


def day(text: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    start = pd.Timestamp(text, tz=NEW_YORK)
    return start, start + pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)


# ---- polygon --------------------------------------------------------------------------------------


def polygon_file(
    asset: Asset, frame: pd.DataFrame, timespan: str, missing: list[dt.date], **quote: Any
) -> Path:
    from lumibot.tools import polygon_helper

    records = [
        {
            **dict(zip(OHLCV, row, strict=True)),
            "vwap": row[3],
            "timestamp": int(time.timestamp() * 1000),
            "transactions": 7 + i,
            "otc": None,
        }
        for i, (time, row) in enumerate(zip(frame.index, frame[OHLCV].to_numpy().tolist(), strict=True))
    ]
    path = polygon_helper.build_cache_filename(asset, timespan, **quote)
    held = polygon_helper.update_polygon_data(None, records)
    polygon_helper.update_cache(path, held, missing)
    return path


def test_polygon_bars_and_their_extra_columns(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions
) -> None:
    missing = [dt.date(2024, 1, 1), dt.date(2024, 7, 4), dt.date(2024, 7, 5)]
    path = polygon_file(Asset("SPY"), bars(sessions()), "minute", missing, quote_asset=Asset("USD", "forex"))
    assert path.name == "stock_SPY_USD_minute.parquet"
    outcome = imported.one("polygon", path)
    assert (outcome.status, outcome.rows, outcome.bars) == ("written", 93, 90)
    assert imported.series() == [(AssetKey("SPY"), USD, "minute", "polygon", 90)]
    truth = pd.read_parquet(path).set_index("datetime")
    truth = truth[truth["missing"].isna()].drop(columns=["missing", "timestamp", "otc"])
    same(imported.frame(), truth)
    assert imported.empty() == [
        day("2024-01-01"),
        (pd.Timestamp("2024-07-04", tz=NEW_YORK), day("2024-07-05")[1]),
    ]


def test_polygon_holes_in_winter_are_of_their_own_date(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions
) -> None:
    path = polygon_file(Asset("SPY"), bars(sessions()), "minute", [dt.date(2024, 1, 15)])
    held = pd.read_parquet(path)
    at = held.loc[held["missing"] == True, "datetime"].iloc[0]  # noqa: E712 - the column holds None as well
    assert at == pd.Timestamp("2024-01-15 04:56", tz="UTC")  # still the 14th in New York
    imported.one("polygon", path)
    assert imported.empty() == [day("2024-01-15")]


def test_polygon_without_any_bar_only_tells_what_is_empty(cache: Path, imported: Any) -> None:
    from lumibot.tools import polygon_helper

    path = polygon_helper.build_cache_filename(Asset("XYZ"), "day")
    polygon_helper.update_cache(path, None, [dt.date(2024, 3, 4)])
    outcome = imported.one("polygon", path)
    assert (outcome.status, outcome.bars, outcome.empty_ranges) == ("empty", 0, 1)
    assert imported.series() == []
    assert imported.empty() == [day("2024-03-04")]
    before = imported.digest()
    imported.one("polygon", path)
    assert imported.digest() == before


@pytest.mark.parametrize(
    ("asset", "quote", "key", "quote_key"),
    [
        (Asset("BTC", "crypto"), Asset("USD", "forex"), AssetKey("BTC", "crypto"), USD),
        (Asset("EUR", "forex"), Asset("USD", "forex"), AssetKey("EUR", "forex"), USD),
        (Asset("SPX", "index"), None, AssetKey("SPX", "index"), None),
        (Asset("BRK.B"), None, AssetKey("BRK.B"), None),
        (
            Asset("SPY", "option", expiration=dt.date(2024, 1, 19), strike=457.5, right="CALL"),
            None,
            AssetKey("SPY", "option", "2024-01-19", 457.5, "CALL", 100.0),
            None,
        ),
    ],
)
def test_polygon_names(
    cache: Path,
    imported: Any,
    bars: Bars,
    sessions: Sessions,
    asset: Asset,
    quote: Any,
    key: AssetKey,
    quote_key: Any,
) -> None:
    path = polygon_file(asset, bars(sessions()), "hour", [], quote_asset=quote)
    imported.one("polygon", path)
    assert imported.series() == [(key, quote_key, "hour", "polygon", 90)]


def test_polygon_beside_bars(cache: Path, imported: Any, bars: Bars, sessions: Sessions) -> None:
    path = polygon_file(Asset("SPY"), bars(sessions()), "minute", [])
    pd.DataFrame({"execution_date": ["2020-08-31"], "split_to": [4]}).to_parquet(
        path.with_name(path.stem + "_splits.parquet")
    )
    (path.parent / "option_chains").mkdir()
    pd.DataFrame({"data": ["{}"]}).to_parquet(path.parent / "option_chains" / "SPY_2024-01-02.parquet")
    (path.parent / "stock_QQQ_minute.parquet").write_bytes(path.read_bytes()[:-40])
    path.with_name("notes.parquet").write_bytes(path.read_bytes())
    outcomes = {one.path.name: one for one in imported.take("polygon", cache)}
    assert {name: one.status for name, one in outcomes.items()} == {
        path.name: "written",
        "stock_SPY_minute_splits.parquet": "skipped",
        "SPY_2024-01-02.parquet": "skipped",
        "stock_QQQ_minute.parquet": "failed",
        "notes.parquet": "failed",
    }
    assert "stock_SPY_USD_minute.parquet" in outcomes["notes.parquet"].detail
    assert imported.series() == [(AssetKey("SPY"), None, "minute", "polygon", 90)]


# ---- thetadata ------------------------------------------------------------------------------------


def theta_file(asset: Asset, frame: pd.DataFrame, timespan: str, style: str, missing: list[dt.date]) -> Path:
    from lumibot.tools import thetadata_helper

    path = thetadata_helper.build_cache_filename(asset, timespan, style)
    held = thetadata_helper.update_df(None, frame.reset_index())
    thetadata_helper.update_cache(path, held, None, missing_dates=missing)
    return path


def test_theta_bars_are_joined_with_their_quotes(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions
) -> None:
    times = sessions()
    ohlc, quotes = bars(times[:-5]), pd.DataFrame(index=times[3:].tz_convert("UTC").rename("datetime"))
    quotes["bid"], quotes["ask"] = np.arange(len(quotes)) / 4, np.arange(len(quotes)) / 4 + 0.25
    quotes["bid_size"] = np.arange(len(quotes))
    missing = [dt.date(2024, 1, 15)]
    path = theta_file(Asset("SPY"), ohlc, "minute", "ohlc", missing)
    beside = theta_file(Asset("SPY"), quotes, "minute", "quote", missing)
    outcomes = {one.path.name: one for one in imported.take("thetadata", cache)}
    assert outcomes[beside.name].status == "skipped"
    assert outcomes[path.name].status == "written", outcomes[path.name].detail
    truth = pd.concat(
        [
            one[~one["missing"].astype(bool)].drop(columns="missing")
            for one in (pd.read_parquet(file).set_index("datetime") for file in (path, beside))
        ],
        axis=1,
    ).sort_index()
    assert truth["open"].isna().sum() == 5
    assert truth["bid"].isna().sum() == 3
    same(imported.frame(), truth.astype("float64"))
    assert imported.series()[0][:4] == (AssetKey("SPY"), None, "minute", "thetadata")
    assert imported.empty() == [day("2024-01-15")]


def test_theta_zero_prices_are_no_bars_unless_quoted(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions
) -> None:
    from lumibot.tools import thetadata_helper

    frame = bars(sessions(days=1, minutes=20))
    frame["bid"], frame["ask"] = 0.0, 0.0
    frame.iloc[4:9, :4] = 0.0
    frame.iloc[6, 5] = 1.5  # a bid
    path = thetadata_helper.build_cache_filename(Asset("SPY"), "minute", "ohlc")
    path.parent.mkdir(parents=True)
    frame.reset_index().to_parquet(path)
    imported.one("thetadata", path)
    truth = thetadata_helper.load_cache(path).drop(columns="missing")
    assert len(truth) == 16
    same(imported.frame(), truth)


def test_theta_options_days_and_what_is_no_bar(cache: Path, imported: Any, bars: Bars) -> None:
    from lumibot.tools import thetadata_helper

    option = Asset("SPY", "option", expiration=dt.date(2024, 1, 19), strike=450, right="PUT")
    days = pd.bdate_range("2024-01-02", periods=8, tz=NEW_YORK) + pd.Timedelta(hours=16)
    frame = bars(days)
    frame["symbol"], frame["right"] = "SPY", "PUT"
    path = theta_file(option, frame, "day", "ohlc", [])
    snapshot = thetadata_helper.build_snapshot_cache_filename(
        option, trading_day=dt.date(2024, 1, 2), interval_label="1m", start_time="09:30", end_time="09:35",
        datastyle="quote",
    )  # fmt: skip
    snapshot.parent.mkdir(parents=True)
    frame.to_parquet(snapshot)
    alone = theta_file(Asset("QQQ"), frame[["close"]].rename(columns={"close": "bid"}), "minute", "quote", [])
    outcomes = {one.path.name: one for one in imported.take("thetadata", cache)}
    assert outcomes[path.name].status == "written", outcomes[path.name].detail
    assert outcomes[path.name].left_out == ()
    assert outcomes[snapshot.name].status == "skipped"
    assert outcomes[alone.name].status == "failed"
    assert "quotes alone" in outcomes[alone.name].detail
    key = AssetKey("SPY", "option", "2024-01-19", 450.0, "PUT", 100.0)
    assert imported.series() == [(key, None, "day", "thetadata", 8)]
    same(imported.frame(), pd.read_parquet(path).set_index("datetime")[OHLCV])


# ---- ibkr -----------------------------------------------------------------------------------------


def ibkr_path(asset: Asset, timestep: str, **more: Any) -> Path:
    from lumibot.tools import ibkr_helper

    given = {"quote": None, "exchange": None, "source": "Trades", "include_after_hours": False, **more}
    return ibkr_helper._cache_file_for(asset=asset, timestep=timestep, **given)


def test_ibkr_days_with_placeholders(cache: Path, imported: Any, bars: Bars) -> None:
    from lumibot.tools import ibkr_helper

    days = pd.bdate_range("2024-01-02", periods=10, tz=NEW_YORK) + pd.Timedelta(hours=16)
    frame = bars(days).tz_convert(NEW_YORK)
    frame["missing"], frame["dividend"], frame["_split_adjusted"] = False, 0.0, True
    frame["_ibkr_split_basis"] = "x"
    holes = ibkr_helper._daily_missing_placeholders(
        [days[3]], retry_after=dt.datetime(2024, 2, 1, tzinfo=dt.timezone.utc)
    )
    path = ibkr_path(Asset("SPY"), "day", equity_basis="SPLIT_V1_" + "ab" * 32)
    ibkr_helper._write_cache_frame(path, ibkr_helper._merge_frames(frame.drop(days[3]), holes))
    outcome = imported.one("ibkr", path)
    assert (outcome.rows, outcome.bars, outcome.left_out) == (10, 9, ("_ibkr_split_basis",))
    source = "ibkr:AUTO:TRADES:RTH:SESSION_DATE_V2_VOL_V1_SPLIT_V1_" + "ab" * 32
    assert imported.series() == [(AssetKey("SPY"), USD, "day", source, 9)]
    truth = pd.read_parquet(path)
    truth = truth[~truth["missing"].astype(bool)][[*OHLCV, "dividend", "_split_adjusted"]]
    same(imported.frame(), truth.astype({**dict.fromkeys(OHLCV, "float64"), "_split_adjusted": bool}))
    assert imported.empty() == [day("2024-01-05")]


def test_ibkr_windows_asked_for_in_vain(cache: Path, imported: Any, bars: Bars, sessions: Sessions) -> None:
    from lumibot.tools import ibkr_helper
    from lumibot.tools.ibkr_history_health import HistoryOutcome

    future = Asset("MES", "future", expiration=dt.date(2024, 3, 15))
    path = ibkr_path(future, "minute", exchange="CME", include_after_hours=True)
    ibkr_helper._write_cache_frame(path, bars(sessions(days=2)).tz_convert(NEW_YORK))
    utc = dt.timezone.utc
    start, end = dt.datetime(2024, 1, 2, 22, tzinfo=utc), dt.datetime(2024, 1, 2, 23, tzinfo=utc)
    ibkr_helper._record_missing_window(
        asset=future, quote=None, timestep="minute", exchange="CME", source="Trades",
        include_after_hours=True, start_dt=start, end_dt=end, reason="closed",
        outcome=HistoryOutcome.CONFIRMED_NO_DATA,
    )  # fmt: skip
    opened = pd.Timestamp("2024-01-04 09:30", tz=NEW_YORK)
    marker = ibkr_helper._minute_session_markers([(opened, opened)], retry_after=end)
    ibkr_helper._write_cache_frame(path, ibkr_helper._merge_frames(pd.read_parquet(path), marker))
    outcome = imported.one("ibkr", path)
    assert (outcome.rows, outcome.bars) == (63, 60)
    assert imported.series() == [
        (AssetKey("MES", "future", "2024-03-15"), USD, "minute", "ibkr:CME:TRADES:AHR:VOL_V1", 60)
    ]
    assert imported.empty() == [
        (pd.Timestamp(start).tz_convert(NEW_YORK), pd.Timestamp(end).tz_convert(NEW_YORK))
    ]


@pytest.mark.parametrize(
    ("asset", "timestep", "more", "key", "quote", "found"),
    [
        (Asset("BTC", "crypto"), "hour", {"quote": Asset("USDT", "crypto"), "exchange": "PAXOS"},
         AssetKey("BTC", "crypto"), AssetKey("USDT", "crypto"), ("hour", "ibkr:PAXOS:TRADES:RTH:VOL_V1")),
        (Asset("BRK.B"), "15minute", {"source": "Bid_Ask"},
         AssetKey("BRK_B"), USD, ("minute", "ibkr:AUTO:BID_ASK:RTH:15minute")),
        (Asset("SPY", "option", expiration=dt.date(2024, 1, 19), strike=457.5, right="CALL"), "minute", {},
         AssetKey("SPY", "option", "2024-01-19", 457.5, "CALL", 100.0), USD,
         ("minute", "ibkr:AUTO:TRADES:RTH:VOL_V1")),
        (Asset("MES", "cont_future"), "minute", {"source": "Midpoint"},
         AssetKey("MES", "cont_future"), USD, ("minute", "ibkr:AUTO:MIDPOINT:RTH")),
        (Asset("SPX", "index"), "day", {}, AssetKey("SPX", "index"), USD,
         ("day", "ibkr:AUTO:TRADES:RTH:SESSION_DATE_V2")),
    ],
)  # fmt: skip
def test_ibkr_names(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions, asset: Asset, timestep: str,
    more: dict[str, Any], key: AssetKey, quote: AssetKey, found: tuple[str, str],
) -> None:  # fmt: skip
    from lumibot.tools import ibkr_helper

    ibkr_helper._write_cache_frame(path := ibkr_path(asset, timestep, **more), bars(sessions(days=1)))
    imported.one("ibkr", path)
    assert imported.series() == [(key, quote, *found, 30)]


def test_ibkr_variants_do_not_become_one_series(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions
) -> None:
    from lumibot.tools import ibkr_helper

    for seed, after_hours in enumerate((False, True)):
        path = ibkr_path(Asset("SPY"), "minute", include_after_hours=after_hours)
        ibkr_helper._write_cache_frame(path, bars(sessions(days=1), seed=seed))
    assert [one.status for one in imported.take("ibkr", cache)] == ["written", "written"]
    assert len(imported.series()) == 2
    first, second = imported.take("ibkr", cache, source="mine")
    assert (first.status, second.status) == ("written", "failed")
    assert "RTH" in second.detail
    assert "AHR" in second.detail


def test_ibkr_seconds_are_refused(cache: Path, imported: Any, bars: Bars, sessions: Sessions) -> None:
    from lumibot.tools import ibkr_helper

    ibkr_helper._write_cache_frame(path := ibkr_path(Asset("SPY"), "5second"), bars(sessions(days=1)))
    (outcome,) = imported.take("ibkr", path)
    assert outcome.status == "failed"
    assert "5second" in outcome.detail


# ---- databento ------------------------------------------------------------------------------------


@pytest.mark.parametrize("polars", [False, True])
def test_databento_contracts(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions, polars: bool
) -> None:
    from lumibot.tools import databento_helper, databento_helper_polars

    module = databento_helper_polars if polars else databento_helper
    raw = bars(sessions()).rename_axis("ts_event").reset_index()
    raw["ts_event"] = raw["ts_event"].astype("datetime64[ns, UTC]")
    raw["rtype"], raw["publisher_id"], raw["instrument_id"], raw["symbol"] = 33, 1, 4916, "ESH4"
    raw["volume"] = raw["volume"].astype("uint64")
    window = (dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 31))
    future = Asset("ES", "future")
    path = module._build_cache_filename(future, *window, "minute", symbol_override="ESH4")
    module._save_cache(module._normalize_databento_dataframe(raw), path)
    outcome = imported.one("databento", path)
    assert outcome.left_out == ("symbol",)
    assert imported.series() == [(AssetKey("ESH4", "future"), None, "minute", "databento", 90)]
    truth = pd.read_parquet(path)
    assert truth.columns[0] in ("ts_event", "datetime", "index")
    same(imported.frame(), truth.set_index(truth.columns[0])[OHLCV])


def test_databento_names_and_overlapping_windows(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions
) -> None:
    from lumibot.tools import databento_helper

    whole = bars(sessions(days=4))
    future = Asset("ES", "future", expiration=dt.date(2024, 3, 15))
    for first, last in ((0, 70), (40, 120)):
        window = (whole.index[first].to_pydatetime(), whole.index[last - 1].to_pydatetime())
        path = databento_helper._build_cache_filename(future, *window, "minute")
        databento_helper._save_cache(whole.iloc[first:last], path)
    stock = databento_helper._build_cache_filename(
        Asset("AAPL"), dt.date(2024, 1, 2), dt.date(2024, 1, 9), "day"
    )
    databento_helper._save_cache(whole.iloc[:5], stock)
    assert {one.status for one in imported.take("databento", cache)} == {"written"}
    assert imported.series() == [
        (AssetKey("AAPL"), None, "day", "databento", 5),
        (AssetKey("ES", "future", "2024-03-15"), None, "minute", "databento", 120),
    ]
    assert {one.status for one in imported.take("databento", cache)} == {"unchanged"}


# ---- ccxt -----------------------------------------------------------------------------------------


def ccxt_file(symbol: str, timeframe: str, *frames: pd.DataFrame) -> Path:
    from lumibot.tools.ccxt_data_store import CcxtCacheDB

    cached = object.__new__(CcxtCacheDB)  # its __init__ asks the exchange
    cached.exchange_id = "binance"
    for frame in frames:
        cached._cache_ohlcv(symbol, frame, timeframe)
    return Path(cached.get_cache_file_name(symbol, timeframe))


def ccxt_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The bars as Lumibot hands them to its cache: naive UTC times."""
    out = frame.tz_convert("UTC").tz_localize(None).reset_index()
    return out.assign(missing=0)


def ccxt_truth(path: Path) -> pd.DataFrame:
    """What Lumibot serves from a file."""
    from lumibot.tools.ccxt_data_store import CcxtCacheDB

    cached = object.__new__(CcxtCacheDB)
    cached.exchange_id = path.parent.name
    symbol, timeframe = path.stem.rsplit("_", 1)
    frame = cached.get_data_from_cache(
        symbol.replace("_", "/"), timeframe, dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1)
    )
    return frame.tz_localize("UTC")[OHLCV]


def test_ccxt_serves_what_lumibot_serves(cache: Path, imported: Any, real: Any) -> None:
    frame = real("aiquant__BTCUSDT__1min").iloc[:3000]
    frame = frame.assign(low=frame["low"] + 0.0004)  # beyond the three digits of its DECIMAL
    path = ccxt_file("BTC/USDT", "1m", ccxt_frame(frame.iloc[1500:]), ccxt_frame(frame.iloc[:1500]))
    imported.one("ccxt", path)
    usdt = AssetKey("USDT", "crypto")
    assert imported.series() == [(AssetKey("BTC", "crypto"), usdt, "minute", "ccxt:binance", 3000)]
    truth = ccxt_truth(path)
    assert not np.array_equal(truth["low"], frame["low"])
    pd.testing.assert_frame_equal(
        imported.frame(), truth.tz_convert(NEW_YORK).rename_axis("datetime"), check_index_type=False
    )


def test_ccxt_missing_rows_repeated_rows_and_holes(cache: Path, imported: Any, bars: Bars) -> None:
    times = pd.date_range("2024-01-01", periods=50, freq="1h", tz="UTC")
    frame = ccxt_frame(bars(times))
    frame.loc[10:12, "missing"] = 1
    frame.loc[20, "close"] = np.nan
    frame.loc[30, "volume"] = np.nan
    path = ccxt_file("ETH/USD", "1h", frame, frame.iloc[40:45])
    outcome = imported.one("ccxt", path)
    assert (outcome.rows, outcome.bars, outcome.written) == (55, 51, 46)
    assert imported.series() == [(AssetKey("ETH", "crypto"), USD, "hour", "ccxt:binance", 46)]
    pd.testing.assert_frame_equal(
        imported.frame(),
        ccxt_truth(path).tz_convert(NEW_YORK).rename_axis("datetime"),
        check_index_type=False,
    )
    assert [(one.tz_convert("UTC"), two.tz_convert("UTC")) for one, two in imported.empty()] == [
        (times[10], times[12]),
        (times[20], times[20]),
    ]


def test_ccxt_foreign_files_are_told_from_its_own(cache: Path, imported: Any, tmp_path: Path) -> None:
    folder = tmp_path / "kraken"
    folder.mkdir()
    with duckdb.connect(folder / "A_USD_1m.duckdb") as con:
        con.execute("CREATE VIEW candles AS SELECT * FROM read_text('/etc/hostname')")
    with duckdb.connect(folder / "B_USD_1m.duckdb") as con:
        con.execute("CREATE TABLE candles (datetime TIMESTAMP, price DOUBLE)")
    (folder / "C_USD_1m.duckdb").write_text("no database")
    (folder / "D_USD_1m.duckdb").write_bytes(b"")
    (folder / "odd.duckdb").write_bytes(b"")
    outcomes = {one.path.name[0]: one for one in imported.take("ccxt", folder)}
    assert {one.status for one in outcomes.values()} == {"failed"}
    assert "no table candles" in outcomes["A"].detail
    assert "no column open" in outcomes["B"].detail
    assert "BTC_USDT_1m.duckdb" in outcomes["o"].detail
    assert imported.series() == []


# ---- alpaca ---------------------------------------------------------------------------------------


def alpaca_file(
    cache: Path, frame: pd.DataFrame, base: Asset, quote: Asset, timestep: str, **more: Any
) -> Path:
    """As AlpacaBacktesting saves it: filled at the times of trading, in the market's zone."""
    import pytz
    from lumibot.backtesting import AlpacaBacktesting

    source = object.__new__(AlpacaBacktesting)  # its __init__ asks Alpaca
    zone = pytz.timezone(NEW_YORK)
    key = source._get_asset_key(
        base_asset=base, quote_asset=quote, timestep=timestep, tzinfo=zone,
        **{"market": "NYSE", "auto_adjust": False, "data_datetime_start": dt.datetime(2024, 1, 2),
           "data_datetime_end": dt.datetime(2024, 2, 2), **more},
    )  # fmt: skip
    saved = frame.tz_convert(zone).rename_axis("timestamp").reset_index()[["timestamp", *OHLCV]]
    if timestep == "minute":
        times = pd.date_range(frame.index[0], frame.index[-1], freq="1min").tz_convert(zone)
        saved = source._reindex_and_fill(saved, times, timestep)
    path = cache / "alpaca" / f"{key}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    saved.to_csv(path, index=False)
    return path


def test_alpaca_bars_with_their_fillers(cache: Path, imported: Any, bars: Bars, sessions: Sessions) -> None:
    frame = bars(sessions(days=1)).iloc[[*range(10), *range(13, 30)]]
    path = alpaca_file(cache, frame, Asset("SPY"), Asset("USD", "forex"), "minute", auto_adjust=True)
    imported.one("alpaca", path)
    assert imported.series() == [(AssetKey("SPY"), USD, "minute", "alpaca:NYSE:AA", 30)]
    truth = pd.read_csv(path)
    truth.index = pd.to_datetime(truth.pop("timestamp"), utc=True)
    assert (truth["volume"] == 0).sum() == 3
    same(imported.frame(), truth)


@pytest.mark.parametrize(
    ("base", "quote", "timestep", "market", "key", "quote_key", "found"),
    [
        (Asset("BTC", "crypto"), Asset("USD", "forex"), "hour", "24/7", AssetKey("BTC", "crypto"), USD,
         ("hour", "alpaca:24-7")),
        (Asset("SPY"), Asset("USD", "forex"), "15 minutes", "NYSE", AssetKey("SPY"), USD,
         ("minute", "alpaca:NYSE:15minute")),
        (Asset("SPY", "option", expiration=dt.date(2024, 1, 19), strike=457.5, right="CALL"),
         Asset("USD", "forex"), "day", "NYSE",
         AssetKey("SPY", "option", "2024-01-19", 457.5, "CALL", 100.0), USD, ("day", "alpaca:NYSE")),
    ],
)  # fmt: skip
def test_alpaca_names(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions, base: Asset, quote: Asset, timestep: str,
    market: str, key: AssetKey, quote_key: AssetKey, found: tuple[str, str],
) -> None:  # fmt: skip
    path = alpaca_file(cache, bars(sessions(days=1)), base, quote, timestep, market=market)
    imported.one("alpaca", path)
    assert imported.series() == [(key, quote_key, *found, 30)]


def test_alpaca_files_of_others_are_refused(
    cache: Path, imported: Any, bars: Bars, sessions: Sessions
) -> None:
    path = alpaca_file(cache, bars(sessions(days=1)), Asset("SPY"), Asset("USD", "forex"), "hour")
    path.with_name("SPY.csv").write_text(path.read_text())
    naive = pd.read_csv(path)
    naive["timestamp"] = naive["timestamp"].str[:19]
    naive.to_csv(path, index=False)
    first, second = imported.take("alpaca", cache)
    assert (first.status, second.status) == ("failed", "failed")
    assert "no zone" in first.detail
    assert "not named" in second.detail


# ---- the monthly cache ----------------------------------------------------------------------------


@pytest.fixture
def monthly(cache: Path, bars: Bars) -> Callable[..., Path]:
    """Reads bars through Lumibot's shared cache, so that it writes them; gives the series' directory."""
    from lumibot.tools import shared_bar_cache

    def make(times: pd.DatetimeIndex, symbol: str = "SPY", *, seed: int = 0, shift: float = 0.0) -> Path:
        frame = bars(times, seed=seed).rename_axis("timestamp")
        frame[OHLCV[:4]] = (frame[OHLCV[:4]] + shift).round(2)
        scope = shared_bar_cache.credential_scope("schwab", "someone")
        series = shared_bar_cache.BarSeries.make("schwab", symbol, "1minute", scope=scope, adjusted=True)
        shared_bar_cache._reset_process_memory()
        shared_bar_cache.read_bars(
            series,
            times[0],
            times[-1],
            lambda start, end: frame[start:end],
            now=times[-1] + pd.Timedelta(days=2),
        )
        return shared_bar_cache._series_dir(series)

    return make


def test_monthly_bars_of_one_series(monthly: Callable[..., Path], imported: Any, sessions: Sessions) -> None:
    folder = monthly(sessions("2024-01-30", days=4))
    files = sorted(folder.glob("*.parquet"))
    assert [file.name for file in files] == ["2024-01.parquet", "2024-02.parquet"]
    assert {one.status for one in imported.take("monthly", folder, symbol="SPY")} == {"written"}
    source = f"schwab:{folder.name[:12]}"
    assert imported.series() == [(AssetKey("SPY"), None, "minute", source, 120)]
    same(imported.frame(), pd.concat(map(pd.read_parquet, files)))


def test_monthly_does_not_say_whose_bars_they_are(
    monthly: Callable[..., Path], imported: Any, sessions: Sessions
) -> None:
    folder = monthly(sessions(days=2))
    (outcome,) = imported.take("monthly", folder)
    assert outcome.status == "failed"
    assert folder.name[:12] in outcome.detail
    assert "60 minute bars between 9" in outcome.detail
    assert "--symbol" in outcome.detail
    monthly(sessions(days=2), "QQQ", seed=1)
    with pytest.raises(BadInput, match="files of 2 series"):
        imported.take("monthly", folder.parents[2], symbol="SPY")
    assert imported.series() == []


def test_monthly_older_generations_are_left_out(
    monthly: Callable[..., Path], imported: Any, sessions: Sessions
) -> None:
    january, february = sessions("2024-01-30", days=2), sessions("2024-02-01", days=2)
    monthly(january)
    folder = monthly(february.union(january), shift=-50)  # prices changed in the past
    assert json.loads((folder / "series.json").read_text())["epoch"] == 1
    old = folder / "2023-12.parquet"
    body = pd.read_parquet(folder / "2024-01.parquet")
    body.attrs["sharedBars"]["epoch"] = 0
    body.to_parquet(old)
    outcomes = {one.path.name: one.status for one in imported.take("monthly", folder, symbol="SPY")}
    assert outcomes == {
        "2023-12.parquet": "skipped",
        "2024-01.parquet": "written",
        "2024-02.parquet": "written",
    }


# ---- what no kind takes ---------------------------------------------------------------------------


def test_yahoo_pickles_are_never_loaded(cache: Path, imported: Any, tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "loaded",))  # type: ignore[return-value]

    folder = cache / "yahoo"
    folder.mkdir(parents=True)
    (folder / "SPY_1d.pickle").write_bytes(pickle.dumps(Trap()))
    (outcome,) = imported.take("yahoo", folder)
    assert outcome.status == "failed"
    assert "runs whatever code" in outcome.detail
    assert "to_parquet" in outcome.detail
    assert not (tmp_path / "loaded").exists()


def test_what_the_files_say_themselves_cannot_be_said_again(imported: Any, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").touch()
    with pytest.raises(ConfigError, match="leave the symbol"):
        imported.take("polygon", tmp_path / "x.parquet", symbol="SPY")


def test_there_must_be_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no file in it ends in"):
        files_of(KINDS["ccxt"], str(tmp_path))
    with pytest.raises(BadInput, match="no such file"):
        files_of(KINDS["ccxt"], str(tmp_path / "none.duckdb"))
