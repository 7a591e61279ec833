"""What the checks of a store's bars find, against defects put there on purpose and exchange_calendars."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exchange_calendars
import numpy as np
import pandas as pd
import pytest

import lazybars
from lazybars import AssetKey, ConfigError, Store, UnknownSeries, cli, open_store
from lazybars.quality import CHECKS, Finding, check, spans

NEW_YORK = "America/New_York"
_SHARED = Path(os.environ.get("LAZYBARS_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with open_store(tmp_path / "bars.duckdb", memory="128MB") as opened:
        yield opened


@pytest.fixture
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span for every day of minutes, so that much lies across the ends of some."""
    monkeypatch.setattr(spans, "_MOST_ROWS", 100)


def minutes_of(calendar: str, start: str, end: str) -> pd.DatetimeIndex:
    """Every minute of the sessions in [start, end] of an exchange, by exchange_calendars."""
    after = pd.Timestamp(end) + pd.Timedelta(days=7)
    found = exchange_calendars.get_calendar(calendar, start=start, end=after, side="left")
    return found.minutes_in_range(
        found.first_minute, found.session_last_minute(found.date_to_session(end, "previous"))
    )


def bars(index: pd.DatetimeIndex, *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(rng.normal(0, 1e-4, len(index)).cumsum()), 2)
    volume = rng.integers(1, 1000, len(index)).astype("float64")
    return pd.DataFrame(
        {"open": close, "high": close + 0.05, "low": close - 0.05, "close": close, "volume": volume},
        index=index.rename("datetime"),
    )


def put(
    store: Store, frame: pd.DataFrame, timestep: str = "minute", asset: Any = "SPY", source: str = "user"
) -> None:
    store.write(frame, asset=asset, timestep=timestep, source=source, mode="replace")


def only(found: list[Finding], name: str) -> Finding:
    """The single finding, of that check."""
    assert [one.check for one in found] == [name], found
    return found[0]


def ns(when: Any) -> int:
    return int(pd.Timestamp(when).value)


# ---- nothing to find ------------------------------------------------------------------------------


def test_whole_sessions_are_clean(store: Store) -> None:
    year = minutes_of("XNYS", "2023-10-02", "2023-12-29")
    put(store, bars(year))
    put(store, bars(year[year.minute.isin([0, 30])]), "hour", "QQQ")
    put(
        store,
        bars(pd.date_range("2024-03-01", "2024-03-20", freq="1min", tz="UTC")),
        asset=AssetKey("BTC", "crypto"),
    )
    dates = exchange_calendars.get_calendar("XNYS", start="1990-01-02", end="2023-12-29").sessions
    put(store, bars(dates.tz_localize(NEW_YORK)), "day", "IBM")
    put(
        store, bars(dates.tz_localize(NEW_YORK) + pd.Timedelta(hours=16)), "day", "IBM", source="at the close"
    )
    put(store, bars(pd.date_range("2020-01-01", "2024-01-01", tz="UTC")), "day", AssetKey("BTC", "crypto"))
    assert check(store) == []


def test_an_empty_store_is_clean(store: Store) -> None:
    assert check(store) == []


# ---- gaps -----------------------------------------------------------------------------------------


def truth(there: pd.DatetimeIndex, calendar: str) -> tuple[int, int, int, Any, Any]:
    """(missing bars, longest gap, missing sessions, first of each), minute by minute."""
    exchange = exchange_calendars.get_calendar(
        calendar, start=there[0].date().isoformat(), end=there[-1].date().isoformat(), side="left"
    )
    gaps: list[pd.DatetimeIndex] = []
    missing: list[pd.Timestamp] = []
    for session in exchange.sessions:
        wanted = exchange.session_minutes(session)
        # Before the first bar and after the last nothing is known to be wanted.
        known = wanted[(wanted > there[0]) & (wanted < there[-1])]
        absent = known.difference(there)
        if len(absent) == len(wanted):
            missing.append(wanted[0])
        else:
            gaps += [absent[part] for part in np.split(np.arange(len(absent)), _breaks(absent)) if len(part)]
    bars_missing = sum(map(len, gaps))
    return (
        bars_missing,
        max(map(len, gaps), default=0),
        len(missing),
        gaps[0][0] if gaps else None,
        missing[:1],
    )


def _breaks(times: pd.DatetimeIndex) -> Any:
    return np.flatnonzero(np.diff(times.as_unit("ns").asi8) != 60_000_000_000) + 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("calendar", ["XNYS", "XLON"])
def test_gaps_are_those_of_the_calendar(store: Store, calendar: str, seed: int, small_spans: None) -> None:
    rng = np.random.default_rng(seed)
    every = minutes_of(calendar, "2023-12-18", "2024-01-03")  # with a half day and holidays
    kept = rng.random(len(every)) < 0.97
    for start in rng.integers(0, len(every), 6):
        kept[start : start + rng.integers(2, 900)] = False
    there = every[kept]
    frame = bars(there)
    put(store, frame.tz_convert(NEW_YORK))
    # Bars outside of the sessions neither fill a gap nor make one.
    early = there[:: len(there) // 9].normalize() + pd.Timedelta(hours=6)
    put(store, pd.concat([frame, bars(early.unique())]).sort_index(), asset="EXT")
    wanted_bars, longest, wanted_sessions, first, first_session = truth(there, calendar)
    assert wanted_sessions
    for asset in ("SPY", "EXT"):
        found = {one.check: one for one in check(store, assets=[asset], calendar=calendar)}
        assert set(found) == {"gaps", "missing sessions"}
        assert found["gaps"].count == wanted_bars
        assert found["gaps"].first_ns == ns(first)
        assert f"the longest gap has {longest} " in found["gaps"].example
        assert found["missing sessions"].count == wanted_sessions
        assert found["missing sessions"].first_ns == ns(first_session[0])


def test_short_gaps_may_be_let_be(store: Store) -> None:
    every = minutes_of("XNYS", "2024-01-02", "2024-01-05")
    kept = np.ones(len(every), bool)
    kept[[50, 100, 101, 200, 201, 202]] = False
    put(store, bars(every[kept]))
    assert [only(check(store, gap_bars=least), "gaps").count for least in (1, 2, 3)] == [6, 5, 3]
    assert check(store, gap_bars=4) == []
    assert check(store, skip=["gaps"]) == []


def test_around_the_clock_every_minute_counts(store: Store) -> None:
    every = pd.date_range("2024-03-08", "2024-03-12", freq="1min", tz="UTC")  # over a clock change
    kept = np.ones(len(every), bool)
    kept[2000:2100] = False
    put(store, bars(every[kept]), asset=AssetKey("BTC", "crypto"))
    found = only(check(store), "gaps")
    assert (found.count, found.first_ns) == (100, ns(every[2000]))
    assert found.first == every[2000].to_pydatetime()


def test_bars_of_several_minutes_have_their_own_step(store: Store) -> None:
    every = minutes_of("XNYS", "2024-01-02", "2024-01-31")
    quarter = every[every.minute % 15 == 0]
    put(store, bars(quarter.delete([77, 78])))
    assert only(check(store), "gaps").count == 2


def test_missing_days_and_days_too_many(store: Store) -> None:
    dates = exchange_calendars.get_calendar("XNYS", start="2023-01-03", end="2023-12-29").sessions
    odd = [pd.Timestamp("2023-07-04"), pd.Timestamp("2023-07-08")]
    kept = dates.delete([10, 11, 150]).union(pd.DatetimeIndex(odd))
    put(store, bars(kept.tz_localize(NEW_YORK)), "day")
    missing, closed = check(store)
    assert (missing.check, missing.count, missing.first_ns) == (
        "missing sessions", 3, ns(dates[10].tz_localize(NEW_YORK)),
    )  # fmt: skip
    assert dates[10].date().isoformat() in missing.example
    assert (closed.check, closed.count, closed.first_ns) == (
        "closed days",
        2,
        ns(odd[0].tz_localize(NEW_YORK)),
    )


def test_minutes_on_closed_days(store: Store) -> None:
    every = minutes_of("XNYS", "2024-07-01", "2024-07-10")
    saturday = pd.date_range("2024-07-06 10:00", periods=5, freq="1min", tz=NEW_YORK)
    holiday = pd.date_range("2024-07-04 10:00", periods=7, freq="1min", tz=NEW_YORK)
    put(store, bars(every.union(saturday).union(holiday)))
    found = only(check(store), "closed days")
    assert (found.count, found.first_ns) == (12, ns(holiday[0]))


# ---- bars -----------------------------------------------------------------------------------------


def spoilt(column: str, rows: list[int], value: float) -> Callable[[pd.DataFrame], None]:
    def spoil(frame: pd.DataFrame) -> None:
        frame.iloc[rows, frame.columns.get_loc(column)] = value

    return spoil


def upside_down(frame: pd.DataFrame) -> None:
    frame.iloc[[5, 390], frame.columns.get_loc("close")] += 0.2


SPOILT: dict[str, tuple[Callable[[pd.DataFrame], None], list[int]]] = {
    "missing prices": (spoilt("open", [3, 400], np.nan), [3, 400]),
    "negative volume": (spoilt("volume", [0, 779], -5.0), [0, 779]),
    "price order": (upside_down, [5, 390]),
}


@pytest.mark.parametrize("name", SPOILT)
def test_bars_that_cannot_be(store: Store, name: str, small_spans: None) -> None:
    frame = bars(minutes_of("XNYS", "2024-01-02", "2024-01-03"))
    spoil, rows = SPOILT[name]
    spoil(frame)
    put(store, frame)
    found = only(check(store), name)
    assert (found.count, found.first_ns) == (len(rows), ns(frame.index[rows[0]]))


def test_zero_and_negative_prices(store: Store) -> None:
    frame = bars(minutes_of("XNYS", "2024-01-02", "2024-01-03"))
    frame.iloc[10, :4] = 0.0
    frame.iloc[20, :4] = [-1.0, -0.5, -2.0, -1.0]
    put(store, frame)
    zero, negative = check(store)
    assert (zero.check, zero.count, zero.first_ns) == ("zero prices", 1, ns(frame.index[10]))
    assert (negative.check, negative.count, negative.first_ns) == ("negative prices", 1, ns(frame.index[20]))
    assert "low -2" in negative.example


def test_spikes_stand_out_from_both_neighbours(store: Store, small_spans: None) -> None:
    frame = bars(minutes_of("XNYS", "2024-01-02", "2024-01-05"))
    high, low = frame.columns.get_loc("high"), frame.columns.get_loc("low")
    frame.iloc[30, high] *= 1.6
    frame.iloc[389, low] /= 1.6
    frame.iloc[500, :4] *= 2.0
    frame.iloc[800, high] *= 1.4  # less than the half
    frame.iloc[1000:, :4] *= 3.1  # and a price that stays where it went, in the middle of a day
    put(store, frame)
    found = only(check(store), "spikes")
    assert (found.count, found.first_ns) == (3, ns(frame.index[30]))
    assert only(check(store, spike=0.3), "spikes").count == 4
    assert check(store, spike=5) == []


@pytest.mark.parametrize("ratio", [2, 1.5, 7, 1 / 10])
@pytest.mark.parametrize("timestep", ["minute", "day"])
def test_a_split_that_nobody_booked(store: Store, ratio: float, timestep: str, small_spans: None) -> None:
    dates = exchange_calendars.get_calendar("XNYS", start="2024-01-02", end="2024-02-28").sessions
    index = (
        dates.tz_localize(NEW_YORK) if timestep == "day" else minutes_of("XNYS", "2024-01-02", "2024-01-09")
    )
    frame = bars(index)
    at = 20 if timestep == "day" else 4 * 390
    frame.iloc[at:, :4] = (frame.iloc[at:, :4] / ratio * 1.015).round(4)
    put(store, frame, timestep)
    found = only(check(store), "unadjusted splits")
    assert (found.count, found.first_ns) == (1, ns(index[at]))
    assert "close before 9" in found.example or "close before 10" in found.example
    # Booked in the daily bars of another source, it is nobody's mistake.
    events = bars(dates.tz_localize(NEW_YORK) + pd.Timedelta(hours=16))
    day = index[at].tz_convert(NEW_YORK).date()
    events["stock_splits"] = np.where(events.index.date == day, ratio, 0.0)
    put(store, events, "day", source="events")
    assert check(store) == []


def test_what_is_no_split(store: Store) -> None:
    index = minutes_of("XNYS", "2024-01-02", "2024-01-10")
    crash, odd, crypto = (
        bars(index),
        bars(index),
        bars(pd.date_range("2024-01-01", "2024-01-05", freq="1h", tz="UTC")),
    )
    crash.iloc[500:, :4] /= 2  # within a day
    odd.iloc[780:, :4] /= 1.75  # overnight, but of no kind of split
    crypto.iloc[29:, :4] /= 2
    put(store, crash, asset="A")
    put(store, odd, asset="B")
    put(store, crypto, "hour", AssetKey("C", "crypto"))
    assert check(store) == []


def test_prices_that_stand_still(store: Store, small_spans: None) -> None:
    frame = bars(minutes_of("XNYS", "2024-01-02", "2024-01-10"))
    for start, length in ((100, 130), (390 * 2 - 70, 200), (1500, 119)):
        frame.iloc[start : start + length, :4] = frame["close"].iloc[start - 1]
        frame.iloc[start : start + length, 4] = 0.0
    frame.iloc[2000:2200, :4] = frame["close"].iloc[1999]  # but traded
    put(store, frame)
    found = only(check(store), "stale prices")
    assert (found.count, found.first_ns) == (2, ns(frame.index[100]))
    assert found.example.startswith("130 bars at ")
    assert found.example.endswith("has 200")
    assert only(check(store, stale_bars=119), "stale prices").count == 3
    assert check(store, stale_bars=201) == []


def test_what_the_store_itself_should_never_hold(store: Store) -> None:
    frame = bars(minutes_of("XNYS", "2024-01-02", "2024-01-03"))
    put(store, frame)
    assert store.sql("SELECT 1 FROM bars").num_rows == len(frame)
    store.sql("INSERT INTO bars SELECT * FROM bars ORDER BY ts LIMIT 3")
    found = check(store)
    assert {one.check for one in found} == {"books", "duplicate times"}
    twice = next(one for one in found if one.check == "duplicate times")
    assert (twice.count, twice.first_ns) == (3, ns(frame.index[0]))
    assert any("duplicates" in one.example for one in found if one.check == "books")


# ---- real bars ------------------------------------------------------------------------------------


def real(name: str) -> pd.DataFrame:
    found = _SHARED / f"{name}.parquet"
    if not found.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{found} is missing")
        pytest.skip(f"{found} is missing")
    return pd.read_parquet(found).set_index("timestamp")


def test_real_splits(store: Store) -> None:
    frame = real("lean__AAPL__1day")
    booked = frame.index[frame["stock_splits"] > 0]
    assert len(booked) == 4
    put(store, frame.drop(columns=["stock_splits"]), "day", "AAPL")
    found = {one.check: one for one in check(store)}
    assert (found["unadjusted splits"].count, found["unadjusted splits"].first_ns) == (4, ns(booked[0]))
    put(store, frame, "day", "AAPL")
    assert "unadjusted splits" not in {one.check for one in check(store)}


def test_real_gaps(store: Store) -> None:
    frame = real("alvinmoore__SNP__1min")
    put(store, frame, asset="SNP")
    wanted_bars, longest, wanted_sessions, first, _ = truth(frame.index, "XNYS")
    found = {one.check: one for one in check(store)}
    assert (found["gaps"].count, found["gaps"].first_ns) == (wanted_bars, ns(first))
    assert f"the longest gap has {longest} " in found["gaps"].example
    assert found["missing sessions"].count == wanted_sessions


# ---- what is asked for ----------------------------------------------------------------------------


def test_only_the_assets_asked_for(store: Store) -> None:
    for symbol in ("A", "B"):
        put(store, bars(minutes_of("XNYS", "2024-01-02", "2024-01-02").delete(7)), asset=symbol)
    assert [one.series for one in check(store, assets=["b"])] == ["B minute"]
    with pytest.raises(UnknownSeries, match="no series of C; the store holds A, B"):
        check(store, assets=["A", "C"])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"calendar": "MOON"}, "MOON is not known"),
        ({"skip": ["gapz"]}, "gapz"),
        ({"spike": 0}, "positive"),
        ({"spike": float("nan")}, "positive"),
        ({"gap_bars": 0}, "positive"),
        ({"stale_bars": 0}, "positive"),
    ],
)
def test_what_cannot_be_meant(store: Store, how: dict[str, Any], said: str) -> None:
    put(store, bars(minutes_of("XNYS", "2024-01-02", "2024-01-02")))
    with pytest.raises(ConfigError, match=said):
        check(store, **how)


def test_findings_are_frozen(store: Store) -> None:
    put(store, bars(minutes_of("XNYS", "2024-01-02", "2024-01-02").delete(7)))
    with pytest.raises(AttributeError):
        only(check(store), "gaps").count = 0  # type: ignore[misc]


# ---- the command ----------------------------------------------------------------------------------


@pytest.fixture
def verify(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("COLUMNS", "250")

    def run(*argv: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lazybars", "verify", *map(str, argv)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_the_command(verify: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    clean, spoiled = tmp_path / "clean.duckdb", tmp_path / "größe.duckdb"
    index = minutes_of("XNYS", "2024-01-02", "2024-01-05")
    with open_store(clean) as one, open_store(spoiled) as other:
        put(one, bars(index))
        put(other, bars(index.delete([3, 4])))
    code, out, _ = verify(clean)
    assert (code, out.strip()) == (0, f"1 series, {len(index):,} bars: nothing found")
    code, out, _ = verify(spoiled)
    assert code == 1
    assert "2024-01-02 09:33" in out
    assert "1 findings (gaps)" in out
    code, out, _ = verify(spoiled, "--json")
    assert code == 1
    said = json.loads(out)
    assert said["checks"] == list(CHECKS)
    (finding,) = said["findings"]
    assert (finding["check"], finding["series"], finding["source"], finding["count"]) == (
        "gaps",
        "SPY minute",
        "user",
        2,
    )
    assert dt.datetime.fromisoformat(finding["first"]) == index[3]
    assert verify(spoiled, "--gap", 3)[0] == 0
    assert verify(spoiled, "--skip", "gaps", "--asset", "spy")[0] == 0
    assert verify(spoiled, "--asset", "QQQ")[0] == 2
    assert verify(spoiled, "--calendar", "MOON")[0] == 2
    assert verify(tmp_path / "none.duckdb")[0] == 2
    (tmp_path / "text.duckdb").write_text("no store")
    assert verify(tmp_path / "text.duckdb")[0] == 2


def test_json_of_whatever_is_found(verify: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    path = tmp_path / "bars.duckdb"
    index = minutes_of("XNYS", "2024-01-02", "2024-01-05")
    frame = bars(index)
    frame["volume"] = 7.0
    frame.iloc[10:12, 4] = -1
    frame.iloc[20, :4] = 0
    frame.iloc[30, 3] = np.nan
    frame.iloc[40:43, 1] *= 3
    frame.iloc[50, 3] = frame.iloc[50, 1] * 1.01
    frame.iloc[60:200, :4] = frame.iloc[60, 3]
    frame.iloc[61:200, 4] = 0
    frame.loc[index >= "2024-01-04", ["open", "high", "low", "close"]] /= 4
    with open_store(path) as store:
        put(store, frame.drop(index[[5, 6]]))
    code, out, _ = verify(path, "--json")
    said = {one["check"]: one["count"] for one in json.loads(out)["findings"]}
    assert code == 1
    assert said == {
        "gaps": 2,
        "negative volume": 2,
        "zero prices": 1,
        "missing prices": 1,
        "spikes": 3,
        "price order": 1,
        "stale prices": 1,
        "unadjusted splits": 1,
    }


def test_calendars_are_loaded_only_for_a_check(tmp_path: Path) -> None:
    code = (
        "import sys, lazybars.quality, lazybars.quality.command\n"
        "print({'pandas', 'pandas_market_calendars'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(lazybars.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
