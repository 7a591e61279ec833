"""Indicators and coarser bars against pandas-ta-classic and pandas on the same bars."""

from __future__ import annotations

import datetime as dt
import functools
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pandas_ta_classic as ta
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lazybars.errors import ConfigError, StoreClosed, UnknownSeries
from lazybars.model import AssetKey
from lazybars.store import open_store, technical

NEW_YORK = "America/New_York"
EPSILON = np.finfo(float).eps
NAMES = [
    *("sma_1", "sma_20", "ema_1", "ema_10", "ema_50", "rsi_1", "rsi_14", "macd_12_26_9", "macd_3_5_50"),
    *("bbands_2_1", "bbands_20_2.5", "atr_1", "atr_14", "vwap", "zscore_2", "zscore_30"),
]


# ---- the truth ------------------------------------------------------------------------------------


def truth(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """What pandas-ta gives of the whole frame, under our names; all NaN where it gives None."""
    kind, *numbers = name.split("_")
    high, low, close = (frame[field].astype(float) for field in ("high", "low", "close"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the zone that its periods do without
        if kind == "bbands":
            suffixes = ["_lower", "_middle", "_upper", "_bandwidth", "_percent"]
            found = ta.bbands(close, int(numbers[0]), float(numbers[1]))
        elif kind == "macd":
            suffixes = ["", "_histogram", "_signal"]
            found = ta.macd(close, *map(int, numbers))
        else:
            suffixes = [""]
            inputs = {"atr": (high, low, close), "vwap": (high, low, close, frame.get("volume"))}
            found = getattr(ta, kind)(*inputs.get(kind, (close,)), *([int(numbers[0])] if numbers else []))
    columns = [name + suffix for suffix in suffixes]
    if found is None:
        return pd.DataFrame(np.nan, index=frame.index, columns=columns)
    return pd.DataFrame(np.asarray(found, float).reshape(len(frame), -1), frame.index, columns)


def slack(frame: pd.DataFrame, name: str) -> tuple[pd.DataFrame, pd.Series]:
    """What rounding alone may do to pandas-ta's own numbers, and the rows where the bars do not move.

    Where a price of 100,000 moves by 0.001, the price less the mean has lost eight digits of sixteen.
    """
    kind, *numbers = name.split("_")
    close = frame["close"].astype(float)
    out = truth(frame, name) * 0.0
    flat = pd.Series(False, frame.index)
    lost = 64 * EPSILON * close.abs().max()
    if kind == "macd":
        out += lost
    if kind in ("bbands", "zscore"):
        window = close.rolling(int(numbers[0]))
        flat = window.max() == window.min()
        rows = np.lib.stride_tricks.sliding_window_view(close, int(numbers[0])) if len(out.dropna()) else []
        std = np.full(len(close), np.nan)
        if len(rows):
            std[-len(rows) :] = rows.std(axis=1)
        with np.errstate(divide="ignore"):
            if kind == "zscore":
                out[name] += lost / std
            else:
                out[f"{name}_bandwidth"] += 100 * lost / close.abs().min()
                out[f"{name}_percent"] += lost / std
    return out, flat


def assert_indicators(got: pd.DataFrame, frame: pd.DataFrame, names: list[str]) -> None:
    """Equal to pandas-ta on the whole frame, cut to the rows that were asked for."""
    expected = pd.concat([truth(frame, name) for name in names], axis=1)
    assert list(got.columns) == list(expected.columns)
    rows = expected.index.isin(got.index)
    pd.testing.assert_index_equal(got.index, frame.index[rows].rename("datetime"), exact="equiv")
    for name in names:
        allowed, flat = slack(frame, name)
        for column in allowed:
            ours, theirs = got[column].to_numpy(), expected[column].to_numpy()[rows]
            near, still = allowed[column].to_numpy()[rows], flat.to_numpy()[rows]
            if name.startswith("zscore"):
                assert np.isnan(ours[still]).all()
            if name.startswith("zscore") or column.endswith("_percent"):
                ours, theirs, near = ours[~still], theirs[~still], near[~still]
            assert (np.isnan(ours) == np.isnan(theirs)).all(), column
            there = ~np.isnan(theirs)
            off = np.abs(ours - theirs)[there]
            bound = 1e-9 * np.abs(theirs[there]) + near[there]
            assert (off <= bound).all(), (column, (off - bound).max())


# ---- the bars -------------------------------------------------------------------------------------


def minutes(rows: int, seed: int = 0, *, level: float = 100.0, step: float = 0.1) -> pd.DataFrame:
    """Bars of whole sessions of 100 minutes, one in ten missing."""
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2024-03-06", periods=rows // 90 + 2)  # the clock changes on the tenth
    index = pd.DatetimeIndex(
        np.concatenate(
            [pd.date_range(day + pd.Timedelta("9h30min"), periods=100, freq="min") for day in days]
        )
    ).tz_localize(NEW_YORK)
    index = index[np.sort(rng.permutation(len(index))[:rows])].rename("datetime")
    close = level + rng.normal(0, step, rows).cumsum()
    spread = np.abs(rng.normal(0, step, (2, rows)))
    return pd.DataFrame(
        {
            "open": close + rng.uniform(-1, 1, rows) * spread.min(axis=0),
            "high": close + spread[0],
            "low": close - spread[1],
            "close": close,
            "volume": rng.integers(0, 1000, rows).astype(float),
        },
        index=index,
    )


def holed(frame: pd.DataFrame) -> pd.DataFrame:
    """Single numbers, whole bars and a whole beginning missing."""
    frame = frame.copy()
    rng = np.random.default_rng(1)
    for field in frame:
        frame.loc[rng.random(len(frame)) < 0.01, field] = np.nan
    frame.iloc[70:75] = np.nan
    frame.iloc[:7] = np.nan
    frame.iloc[7, frame.columns.get_loc("high")] = np.nan
    return frame


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Long spells without a trade."""
    frame = frame.copy()
    for start in (0, 120):
        frame.iloc[start : start + 60, :4] = 101.37
        frame.iloc[start : start + 60, 4] = 0.0
    return frame


FRAMES = {
    "whole": minutes(400),
    "holed": holed(minutes(400)),
    "holed late": minutes(400).assign(close=lambda f: f["close"].where(np.arange(len(f)) != 300)),
    "flat": flat(minutes(400)),
    "never moves": minutes(90).assign(open=7.1, high=7.1, low=7.1, close=7.1),
    "no volume traded": minutes(90).assign(volume=0.0),
    "all missing": minutes(60) * np.nan,
    "one row": minutes(1),
    "two rows": minutes(2),
    "too few": minutes(25),
    "as many as macd takes": minutes(50),
    "high and still": minutes(400, level=1e5, step=1e-3),
    "very small": minutes(400, level=1e-6, step=1e-9),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_indicators_are_those_of_pandas_ta(store, kind):
    frame = FRAMES[kind]
    store.write(frame, asset="A", timestep="minute")
    assert_indicators(store.indicators("A", "minute", names=NAMES), frame, NAMES)


@pytest.mark.parametrize(
    ("file", "timestep", "start", "end"),
    [
        ("alvinmoore__GME__1min", "minute", "2022-03-21", "2022-03-25"),
        ("alvinmoore__SNP__1min", "minute", "2022-03-21 10:07", "2022-03-31 11:00"),
        ("lean__SPY__1hour", "hour", "2019-03-01", "2019-12-01"),
        ("traderewind__KO__1day", "day", "2020-01-01", None),
    ],
)
def test_indicators_of_real_bars(store, real, file, timestep, start, end):
    frame = pd.read_parquet(real(file)).set_index("timestamp").tz_convert(NEW_YORK)
    frame = frame[~frame.index.duplicated()]
    store.write(str(real(file)), asset="A", timestep=timestep)
    got = store.indicators("A", timestep, start, end, NAMES)
    assert 50 < len(got) < len(frame)
    assert_indicators(got, frame, NAMES)


def test_what_is_stored_out_of_order_is_computed_in_order(store):
    frame = minutes(400)
    for part in (frame[200:], frame[:100], frame[100:200]):
        store.write(part, asset="A", timestep="minute")
    assert_indicators(store.indicators("A", "minute", frame.index[150], None, NAMES), frame, NAMES)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A store of one series with holes, and its frame."""
    frame = holed(minutes(600))
    with open_store(tmp_path_factory.mktemp("shared") / "bars.duckdb", memory="64MB") as opened:
        opened.write(frame, asset="A", timestep="minute")
        yield opened, frame


def test_a_signal_longer_than_what_is_asked_for_leaves_the_line(shared):
    store, frame = shared
    got = store.indicators("A", "minute", None, frame.index[20], ["macd_3_5_50"])
    assert got["macd_3_5_50"].notna().any()
    assert_indicators(got, frame, ["macd_3_5_50"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 610),
    st.integers(0, 610),
    st.integers(-70, 70),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
)
def test_values_at_the_start_know_what_was_before(shared, first, last, shift, names):
    store, frame = shared
    at = [frame.index[min(row, len(frame) - 1)] + pd.Timedelta(shift, "s") for row in (first, last)]
    start, end = (None if row >= 600 else time for row, time in zip((first, last), at, strict=True))
    got = store.indicators("A", "minute", start, end, names)
    keep = np.ones(len(frame), bool)
    keep &= (frame.index >= start) if start is not None else True
    keep &= (frame.index <= end) if end is not None else True
    assert len(got) == keep.sum()
    assert_indicators(got, frame, names)


@pytest.mark.parametrize("bars", [2, 20, 200])
def test_no_digit_is_lost_where_a_high_price_hardly_moves(store, bars):
    frame = minutes(1000, level=1e5, step=0.0)
    frame["close"] += np.random.default_rng(3).normal(0, 1e-3, len(frame))
    frame["high"] = frame["low"] = frame["open"] = frame["close"]
    store.write(frame, asset="A", timestep="minute")
    got = store.indicators("A", "minute", names=[f"zscore_{bars}", f"sma_{bars}", f"bbands_{bars}_1"])
    rows = np.lib.stride_tricks.sliding_window_view(frame["close"].to_numpy(np.longdouble), bars)
    mean = rows.mean(axis=1)
    std = rows.std(axis=1)
    score = (rows[:, -1] - mean) / (std * np.sqrt(np.longdouble(bars) / (bars - 1)))
    got = got.iloc[bars - 1 :]
    np.testing.assert_allclose(got[f"zscore_{bars}"], score.astype(float), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(got[f"sma_{bars}"], mean.astype(float), rtol=1e-15)
    np.testing.assert_allclose(got[f"bbands_{bars}_1_upper"], (mean + std).astype(float), rtol=1e-15)


def test_what_is_asked_for_twice_is_there_once_and_a_single_name_will_do(store):
    frame = minutes(60)
    store.write(frame, asset="A", timestep="minute")
    assert list(store.indicators("A", "minute", names=["vwap", "sma_2", "vwap"])) == ["vwap", "sma_2"]
    assert list(store.indicators("A", "minute", names="sma_2")) == ["sma_2"]
    assert len(store.indicators("A", "minute").columns) == 14


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "sma",
            "sma_",
            "sma_0",
            "sma_-1",
            "sma_2.5",
            "sma_20_1",
            "SMA_20",
            "vwap_1",
            "obv_20",
            None,
            20,
        ),
        *("bbands_20", "bbands_1_2", "bbands_20_0", "bbands_20_-2", "bbands_20_nan", "bbands_20_1e2"),
        *("zscore_1", "zscore_1e3", "macd_12_26", "macd_26_12_9", "macd_9_9_9", "macd_1_2_0"),
        *("sma_99999999", "sma_٢٠", "sma_20 ", "sma_20; DROP TABLE bars"),
    ],
)
def test_an_indicator_that_there_is_not(shared, name):
    store, _ = shared
    with pytest.raises(ConfigError, match="indicator"):
        store.indicators("A", "minute", names=[name])


def test_what_cannot_be_asked_for(store):
    store.write(minutes(5).drop(columns="volume"), asset="A", timestep="minute")
    with pytest.raises(ConfigError, match=r"vwap needs volume, and A minute has only open, high, low, close"):
        store.indicators("A", "minute")
    with pytest.raises(ConfigError, match="needs the names"):
        store.indicators("A", "minute", names=[])
    for names in (None, 20, [["sma_20"]]):
        with pytest.raises(ConfigError, match="no indicator"):
            store.indicators("A", "minute", names=names)
    for question in (store.indicators, functools.partial(store.resample, to="1h")):
        with pytest.raises(UnknownSeries, match="the store holds A"):
            question("B", "minute")
        with pytest.raises(UnknownSeries, match="of that asset there is A minute"):
            question("A", "hour")
        with pytest.raises(ConfigError, match="timestep"):
            question("A", "5min")
        with pytest.raises(ConfigError, match="no time"):
            question("A", "minute", start="soon")
    store.close()
    with pytest.raises(StoreClosed):
        store.indicators("A", "minute", names="sma_2")


@pytest.mark.parametrize(
    ("start", "end"), [("2030-01-01", None), (None, "2000-01-01"), ("2024-03-12", "2024-03-11")]
)
def test_a_range_without_bars_has_the_right_columns(shared, start, end):
    store, frame = shared
    got = store.indicators("A", "minute", start, end, NAMES)
    assert got.shape == (0, 16 + 2 * 2 + 2 * 4)
    assert got.index.dtype == frame.index.dtype
    assert set(got.dtypes) == {np.dtype(float)}
    coarse = store.resample("A", "minute", "1h", start, end)
    assert coarse.shape == (0, 5)
    assert coarse.index.dtype == frame.index.dtype


def test_options_and_several_quotes(store):
    calls = minutes(120, 1)
    in_usd, in_eur = minutes(120, 2), minutes(120, 3)
    option = AssetKey("SPY", "option", "2024-06-21", 500.0, "CALL", 100.0)
    coin = AssetKey("BTC", "crypto")
    usd, eur = AssetKey("USD", "forex"), AssetKey("EUR", "forex")
    store.write(calls, asset=option, timestep="minute")
    store.write(in_usd, asset=coin, timestep="minute", quote=usd)
    store.write(in_eur, asset=coin, timestep="minute", quote=eur, source="b")
    for frame, asked in (
        (calls, {"asset": option}),
        (in_usd, {"asset": coin}),
        (in_eur, {"asset": coin, "quote": eur}),
        (in_eur, {"asset": "btc", "quote": eur, "source": "b"}),
    ):
        assert_indicators(
            store.indicators(timestep="minute", names=["ema_10", "sma_20"], **asked),
            frame,
            ["ema_10", "sma_20"],
        )
        pd.testing.assert_frame_equal(
            store.resample(timestep="minute", to="1h", **asked), coarser(frame, "1h")
        )


def test_both_ways_of_computing_see_the_same_bars(store, monkeypatch):
    """A write that comes between the two reads shows in neither."""
    frame, later = minutes(200), minutes(50, 5)
    later.index += pd.Timedelta(days=365)
    store.write(frame, asset="A", timestep="minute")
    windows = technical.rolling.columns

    def then_written(*args):
        found = windows(*args)
        writer = threading.Thread(
            target=store.write, args=(later,), kwargs={"asset": "A", "timestep": "minute"}
        )
        writer.start()
        writer.join()
        return found

    monkeypatch.setattr(technical.rolling, "columns", then_written)
    assert_indicators(
        store.indicators("A", "minute", names=["ema_10", "sma_20"]), frame, ["sma_20", "ema_10"][::-1]
    )
    monkeypatch.undo()
    assert len(store.indicators("A", "minute", names=["ema_10", "sma_20"])) == 250


def test_several_threads_ask_at_once(shared):
    store, frame = shared
    names = ["ema_10", "sma_20", "vwap"]
    days = sorted(set(frame.index.date)) * 4
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda day: store.indicators("A", "minute", day, day, names), days))
    for day, got in zip(days, answers, strict=True):
        assert len(got) == (frame.index.date == day).sum()
        assert_indicators(got, frame, names)


# ---- coarser bars ---------------------------------------------------------------------------------

RULES = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def coarser(frame: pd.DataFrame, to: str) -> pd.DataFrame:
    """pandas' own, without the bins that no bar falls into."""
    bins = frame.resample(to)
    out = bins.agg({field: rule for field, rule in RULES.items() if field in frame})
    out = out[bins.size() > 0].rename_axis("datetime")
    out.index.freq = None
    return out


WIDTHS = ["1min", "5min", "7min", "15min", "90min", "h", "1h", "4h", "24h", "36h", "1D", "2D"]


@pytest.mark.parametrize("kind", ["whole", "holed", "flat", "one row"])
def test_coarser_bars_are_those_of_pandas(store, kind):
    frame = FRAMES[kind]
    store.write(frame, asset="A", timestep="minute")
    for to in WIDTHS:
        pd.testing.assert_frame_equal(store.resample("A", "minute", to), coarser(frame, to), rtol=1e-14)


@pytest.mark.parametrize("to", WIDTHS)
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2024-03-07", "2024-03-14"),  # an hour less on the tenth
        ("2024-10-31 03:17", "2024-11-05 22:22"),  # an hour more on the third
        ("2024-11-03 00:30", "2024-11-03 23:30"),
        ("2024-03-10 01:59", "2024-03-10 03:01"),
    ],
)
def test_bars_of_days_on_which_the_clock_changes(hours, to, start, end):
    store, frame = hours
    stop = pd.Timestamp(end) + (
        pd.Timedelta("1D") - pd.Timedelta(1, "us") if len(end) == 10 else pd.Timedelta(0)
    )
    part = frame[
        (frame.index >= pd.Timestamp(start, tz=NEW_YORK)) & (frame.index <= stop.tz_localize(NEW_YORK))
    ]
    got = store.resample("C", "minute", to, start, end)
    pd.testing.assert_frame_equal(got, coarser(part, to), rtol=1e-14)


@pytest.fixture(scope="module")
def hours(tmp_path_factory):
    """A series around the clock, one bar in twenty minutes, through a whole year."""
    index = pd.date_range("2024-01-01", "2024-12-31", freq="20min", tz=NEW_YORK, name="datetime").as_unit("s")
    rng = np.random.default_rng(0)
    close = 100 + rng.normal(0, 0.1, len(index)).cumsum()
    frame = pd.DataFrame(
        {
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": rng.random(len(index)),
        },
        index=index,
    )[rng.random(len(index)) < 0.9]
    with open_store(tmp_path_factory.mktemp("hours") / "bars.duckdb", memory="64MB") as opened:
        opened.write(frame, asset="C", timestep="minute")
        yield opened, frame


def test_coarser_bars_of_real_ones(store, real):
    frame = pd.read_parquet(real("nautilus__6EH4__1min")).set_index("timestamp").tz_convert(NEW_YORK)
    store.write(str(real("nautilus__6EH4__1min")), asset="E", timestep="minute")
    for to in ("15min", "4h", "1D"):
        pd.testing.assert_frame_equal(store.resample("E", "minute", to), coarser(frame, to), rtol=1e-14)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_coarser_bars_keep_dtypes(store, unit):
    frame = minutes(300).astype({"volume": "int64", "open": "float32"})
    frame.index = frame.index.as_unit(unit)
    frame["bid"] = 1.0
    store.write(frame, asset="A", timestep="minute")
    store.write(frame.drop(columns=["volume"]), asset="B", timestep="minute")
    pd.testing.assert_frame_equal(store.resample("A", "minute", "1h"), coarser(frame, "1h"))
    pd.testing.assert_frame_equal(
        store.resample("B", "minute", "1D"), coarser(frame.drop(columns="volume"), "1D")
    )


@pytest.mark.parametrize(
    "to", ["", "0min", "5", "min5", "5m", "5T", "1W", "1ME", "-5min", "1.5h", "5 min", "9999999min", 5, None]
)
def test_a_width_that_there_is_not(shared, to):
    store, _ = shared
    with pytest.raises(ConfigError, match='"min", "h" or "D"'):
        store.resample("A", "minute", to)


def test_bounds_of_every_kind(store):
    frame = minutes(300)
    store.write(frame, asset="A", timestep="minute")
    day = frame.index[150].date()
    expected = frame[frame.index.date == day]
    for start, end in (
        (day, day),
        (str(day), str(day)),
        (expected.index[0], expected.index[-1].tz_convert("UTC")),
    ):
        assert_indicators(
            store.indicators("A", "minute", start, end, ["sma_20", "vwap"]), frame, ["sma_20", "vwap"]
        )
        assert len(store.indicators("A", "minute", start, end, "vwap")) == len(expected)
    for start in (dt.datetime.min, dt.datetime.min.replace(tzinfo=dt.UTC), "0001-01-01"):
        assert len(store.indicators("A", "minute", start, None, ["sma_20", "ema_10", "vwap"])) == len(frame)
        assert store.resample("A", "minute", "4h", start)["volume"].sum() == frame["volume"].sum()
    naive = dt.datetime.combine(day, dt.time())
    assert store.resample("A", "minute", "1D", naive, day).index.tolist() == [pd.Timestamp(day, tz=NEW_YORK)]
