"""Panels, correlations and as-of joins against pandas on the same bars."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazybars.errors import ConfigError, UnknownSeries
from lazybars.model import AssetKey
from lazybars.store import open_store

NEW_YORK = "America/New_York"
USD, EUR = AssetKey("USD", "forex"), AssetKey("EUR", "forex")
COIN = AssetKey("BTC", "crypto")
CALL = AssetKey("SPY", "option", "2024-06-21", 500.0, "CALL", 100.0)


def daily(seed: int, days: pd.DatetimeIndex, keep: float = 1.0, level: float = 100.0) -> pd.DataFrame:
    """A random walk on some of those days."""
    rng = np.random.default_rng(seed)
    close = level * np.exp(rng.normal(0, 0.02, len(days)).cumsum())
    frame = pd.DataFrame(
        {
            "open": close,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "volume": rng.integers(1, 1000, len(days)),
        },
        index=days.rename("datetime"),
    )
    return frame[rng.random(len(days)) < keep]


BUSINESS = pd.bdate_range("2022-01-03", "2023-12-29", tz=NEW_YORK)
ALWAYS = pd.date_range("2023-01-01", "2023-12-31", tz=NEW_YORK)
SERIES = {
    "FULL": daily(0, BUSINESS),
    "HOLES": daily(1, BUSINESS, 0.7),
    "LATE": daily(2, BUSINESS[400:]),
    (COIN, USD): daily(3, ALWAYS, level=1e5),
    (COIN, EUR): daily(4, ALWAYS, 0.9, level=1e5),
    CALL: daily(5, BUSINESS[100:120]),
    "STILL": daily(6, BUSINESS).assign(open=5.3, high=5.3, low=5.3, close=5.3),
    "ONCE": daily(7, BUSINESS[77:78]),
    "ELSEWHERE": daily(8, pd.bdate_range("1999-01-04", periods=30, tz=NEW_YORK)),
    "NAN": daily(9, BUSINESS).assign(close=lambda f: f["close"].where(np.arange(len(f)) % 9 != 0)),
    "ZERO": daily(10, BUSINESS).assign(close=lambda f: f["close"] * (np.arange(len(f)) % 50 > 1), low=0.0),
    "CALLED LAST": daily(11, BUSINESS).assign(bid=1.5, trades=7),
}


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    with open_store(tmp_path_factory.mktemp("many") / "bars.duckdb", memory="64MB") as store:
        for label, frame in SERIES.items():
            asset, quote = label if isinstance(label, tuple) else (label, None)
            store.write(frame, asset=asset, timestep="day", quote=quote)
        yield store


def cut(frame: pd.DataFrame, start: str | None, end: str | None) -> pd.DataFrame:
    """The days from start to end."""
    days = frame.index.tz_localize(None)
    keep = np.ones(len(frame), bool)
    keep &= (days >= start) if start else True
    keep &= (days <= end) if end else True
    return frame[keep]


def side_by_side(labels: list, field: str, start: str | None, end: str | None) -> pd.DataFrame:
    columns = [cut(SERIES[label], start, end)[field] for label in labels]
    out = pd.concat(columns, axis=1).sort_index().rename_axis("datetime")
    out.columns = pd.Index(labels, tupleize_cols=False)
    out.index.freq = None
    return out


SPANS = [(None, None), ("2022-06-06", "2023-02-03"), ("2023-01-07", "2023-01-08"), ("2023-11-30", None)]
CHOICES = [
    list(SERIES),
    ["FULL"],
    ["LATE", "FULL"],
    [(COIN, EUR), "HOLES", (COIN, USD)],
    ["ONCE", "ELSEWHERE", CALL],
]


@pytest.mark.parametrize(("start", "end"), SPANS)
@pytest.mark.parametrize("labels", CHOICES, ids=len)
@pytest.mark.parametrize("field", ["close", "volume"])
def test_a_panel_is_the_reads_side_by_side(held, labels, field, start, end):
    got = held.panel(labels, field, "day", start, end)
    pd.testing.assert_frame_equal(got, side_by_side(labels, field, start, end))


@pytest.mark.parametrize("returns", [True, False])
@pytest.mark.parametrize(("start", "end"), SPANS)
@pytest.mark.parametrize("labels", CHOICES, ids=len)
def test_a_correlation_is_that_of_pandas(held, labels, start, end, returns):
    columns = [cut(SERIES[label], start, end)["close"] for label in labels]
    if returns:
        columns = [column.pct_change(fill_method=None) for column in columns]
    expected = pd.concat(columns, axis=1).corr()
    expected.index = expected.columns = pd.Index(labels, tupleize_cols=False)
    got = held.correlation(labels, "day", start, end, returns=returns)
    pd.testing.assert_frame_equal(got, expected, rtol=1e-9, atol=1e-12)


def test_a_correlation_does_not_depend_on_who_else_is_asked_for(held):
    pair = ["FULL", "HOLES"]
    alone = held.correlation(pair)
    among = held.correlation(list(SERIES))
    np.testing.assert_allclose(alone.loc[pair, pair], among.loc[pair, pair], rtol=1e-14)


def test_high_levels_that_hardly_move(store):
    """Both algorithms sum deviations; with plain sums of squares nothing would be left at 1e5."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1e-3, len(BUSINESS))
    columns = [1e5 + shared + rng.normal(0, 1e-3, len(BUSINESS)) for _ in range(2)]
    for symbol, close in zip("AB", columns, strict=True):
        frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), close), index=BUSINESS)
        store.write(frame, asset=symbol, timestep="day")
    exact = np.corrcoef(np.array(columns) - 1e5)[0, 1]
    got = store.correlation(["A", "B"], returns=False)
    np.testing.assert_allclose(got.loc["A", "B"], exact, rtol=1e-9)


def test_other_columns_and_their_dtypes(held):
    got = held.panel(["CALLED LAST"], "trades", end="2022-01-31")
    assert got["CALLED LAST"].dtype == "int64"
    assert held.panel(["CALLED LAST"], "bid")["CALLED LAST"].eq(1.5).all()
    with pytest.raises(ConfigError, match=r"FULL day has no column 'bid'; it has open, high, low"):
        held.panel(["CALLED LAST", "FULL"], "bid")


def test_columns_that_hold_no_numbers(store):
    frame = daily(0, BUSINESS[:5]).assign(
        note="x", flag=True, when=pd.Timestamp("2020-01-01"), few=pd.array([1, None, 3, 4, 5], "Int64")
    )
    store.write(frame.astype({"close": "float32"}), asset="A", timestep="day")
    store.write(frame[1:].astype({"close": "float32"}), asset="B", timestep="day")
    for field in ("note", "flag", "when"):
        with pytest.raises(ConfigError, match="no number"):
            store.panel(["A"], field)
    assert store.panel(["A", "B"])["B"].dtype == "float32"
    pd.testing.assert_series_equal(
        store.panel(["A"], "few")["A"], frame["few"], check_names=False, check_freq=False
    )


def test_indexes_of_several_resolutions(store):
    frame = daily(0, BUSINESS[:9])
    for unit in ("s", "us"):
        store.write(frame.set_axis(frame.index.as_unit(unit)), asset=unit, timestep="day")
    both = store.panel(["s", "us"])
    assert both.index.unit == "us"
    assert both["s"].tolist() == both["us"].tolist() == frame["close"].tolist()
    assert store.panel(["s"]).index.unit == "s"


def test_assets_of_every_kind(held):
    lumibot = pytest.importorskip("lumibot.entities")
    coin, euro = lumibot.Asset("BTC", "crypto"), lumibot.Asset("EUR", "forex")
    got = held.panel([(coin, euro), lumibot.Asset("FULL"), "full"])
    assert list(got.columns) == [(coin, euro), lumibot.Asset("FULL"), "full"]
    expected = side_by_side([(COIN, EUR), "FULL"], "close", None, None)
    np.testing.assert_array_equal(got.to_numpy()[:, :2], expected.to_numpy())
    np.testing.assert_array_equal(got.to_numpy()[:, 1], got.to_numpy()[:, 2])


@pytest.mark.parametrize("ask", ["panel", "correlation"])
def test_what_cannot_be_asked_for(held, ask):
    question = getattr(held, ask)
    with pytest.raises(ConfigError, match="at least one"):
        question([])
    with pytest.raises(ConfigError, match="'FULL' is among the assets twice"):
        question(["FULL", "LATE", "FULL"])
    for assets in ("FULL", None, 5):
        with pytest.raises(ConfigError, match="give a list"):
            question(assets)
    with pytest.raises(UnknownSeries, match="the store holds"):
        question(["FULL", "NONE"])
    with pytest.raises(UnknownSeries, match="from 'b'"):
        question(["FULL"], source="b")
    for field in ("bid", "timestamp", "", None, 'close" FROM bars; --'):
        with pytest.raises(ConfigError, match="has no column"):
            question(["FULL"], field=field)


def test_a_range_without_bars(held):
    labels = ["FULL", (COIN, USD)]
    empty = held.panel(labels, start="2040-01-01")
    assert empty.shape == (0, 2)
    assert str(empty.index.dtype) == f"datetime64[ns, {NEW_YORK}]"
    assert held.correlation(labels, start="2040-01-01").isna().to_numpy().all()
    joined = held.asof("FULL", "LATE", "day", "2040-01-01")
    assert joined.shape == (0, 10)
    assert str(joined.index.dtype) == f"datetime64[ns, {NEW_YORK}]"


# ---- as-of joins ----------------------------------------------------------------------------------


def merged(
    left: pd.DataFrame, right: pd.DataFrame, start: object, end: object, tolerance: dt.timedelta | None
) -> pd.DataFrame:
    """pandas' own join of the whole frames, cut to the range."""
    out = pd.merge_asof(
        left, right, left_index=True, right_index=True, suffixes=("", "_right"), tolerance=tolerance
    )
    keep = np.ones(len(out), bool)
    keep &= (out.index >= start) if start is not None else True
    keep &= (out.index <= end) if end is not None else True
    return out[keep].rename_axis("datetime")


def irregular(seed: int, rows: int) -> pd.DataFrame:
    """Bars at random minutes of three days."""
    rng = np.random.default_rng(seed)
    index = pd.Timestamp("2024-03-09", tz=NEW_YORK) + pd.to_timedelta(
        np.sort(rng.choice(3 * 24 * 60, rows, replace=False)), "min"
    )
    close = 100 + rng.normal(0, 1, rows).cumsum()
    columns = {"open": close, "high": close + 1, "low": close - 1, "close": close}
    return pd.DataFrame({**columns, "volume": rng.integers(1, 9, rows)}, index=index.rename("datetime"))


LEFT = irregular(0, 400).assign(bid=1.0)
RIGHT = irregular(1, 300).assign(
    close=lambda f: f["close"].where(np.arange(len(f)) % 7 != 0),
    flag=lambda f: f["open"] > 100,
    note=lambda f: np.where(f["open"] > 99, "up", None),
    grade=lambda f: pd.Categorical(np.where(f["open"] > 99, "up", "down")),
    count=lambda f: pd.array(f["volume"], "Int64"),
    seen=lambda f: f.index,
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with open_store(tmp_path_factory.mktemp("pair") / "bars.duckdb", memory="64MB") as store:
        store.write(LEFT, asset="L", timestep="minute")
        store.write(RIGHT, asset=COIN, timestep="minute", quote=EUR)
        store.write(irregular(2, 50), asset=COIN, timestep="minute", quote=USD)
        yield store


def assert_joined(got: pd.DataFrame, expected: pd.DataFrame) -> None:
    if "grade" in expected and expected["grade"].isna().all():
        expected["grade"] = expected["grade"].cat.set_categories(got["grade"].cat.categories)
    pd.testing.assert_frame_equal(got, expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(-20, 3 * 24 * 60), st.integers(0, 2000), st.none() | st.integers(0, 60))
def test_an_asof_join_is_that_of_pandas(pair, first, length, tolerance):
    start = LEFT.index[0].normalize() + pd.Timedelta(first, "min")
    end = start + pd.Timedelta(length, "min")
    allowed = None if tolerance is None else dt.timedelta(minutes=tolerance)
    got = pair.asof("L", (COIN, EUR), "minute", start, end, tolerance=allowed)
    numbers = merged(LEFT, RIGHT, start, end, allowed)
    fields = ["open_right", "high_right", "low_right", "close_right"]
    assert list(got.columns) == list(numbers.columns)
    pd.testing.assert_frame_equal(got[[*LEFT, *fields]], numbers[[*LEFT, *fields]])
    assert got["volume_right"].tolist() == pytest.approx(numbers["volume_right"].tolist(), nan_ok=True)


@pytest.mark.parametrize(
    "tolerance", [None, dt.timedelta(minutes=3), pd.Timedelta(10, "min"), np.timedelta64(1, "h")]
)
def test_every_dtype_survives_a_join(pair, tolerance):
    got = pair.asof("L", (COIN, EUR), tolerance=tolerance)
    expected = merged(LEFT, RIGHT, None, None, None if tolerance is None else pd.Timedelta(tolerance))
    assert_joined(got, expected)
    for name in ("note", "flag"):  # what is missing in a bar is None, a missing bar NaN
        assert [type(value) for value in got[name]] == [type(value) for value in expected[name]]
    assert expected["open_right"].isna().any()


def test_both_ways_around_and_to_itself(pair):
    assert_joined(pair.asof((COIN, EUR), "L"), merged(RIGHT, LEFT, None, None, None))
    itself = pair.asof("L", "L", tolerance=dt.timedelta(0))
    assert itself["close"].tolist() == itself["close_right"].tolist()


def test_coarser_bars_joined_to_finer_ones(pair, tmp_path):
    hourly = LEFT.resample("1h").agg({"open": "first", "high": "max", "low": "min", "close": "last"}).dropna()
    with open_store(tmp_path / "bars.duckdb") as store:
        store.write(LEFT, asset="L", timestep="minute")
        store.write(hourly, asset="L", timestep="hour")
        got = store.asof("L", "L", "minute", LEFT.index[9], right_timestep="hour")
    assert_joined(got, merged(LEFT, hourly, LEFT.index[9], None, None))


def test_what_cannot_be_joined(pair, store):
    for tolerance in (5, "5min", dt.timedelta(minutes=-1)):
        with pytest.raises(ConfigError, match="timedelta"):
            pair.asof("L", "L", tolerance=tolerance)
    with pytest.raises(UnknownSeries, match="BTC"):
        pair.asof("L", "NONE")
    with pytest.raises(UnknownSeries, match="L minute"):
        pair.asof("L", "L", right_timestep="hour")
    store.write(LEFT.assign(close_right=1.0), asset="A", timestep="minute")
    with pytest.raises(ConfigError, match="both give a column 'close_right'"):
        store.asof("A", "A")
