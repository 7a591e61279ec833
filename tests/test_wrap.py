"""The front door: what LazyBars takes, what it gives, what it refuses, and what it leaves alone."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import minutes, prefetchers

from lazybars import CapTooSmall, ConfigError, LazyBars, LazyBarsError, Lru, UnknownSeries, open_store

pytest.importorskip("lumibot")

from lumibot.backtesting import PandasDataBacktesting
from lumibot.data_sources import PandasData
from lumibot.entities import Asset, Data

from lazybars.adapters.lumibot_data import LazyData

pytestmark = pytest.mark.usefixtures("nothing_left")

USD = Asset("USD", "forex")
FRAMES = {"AAA": minutes(days=3, rows=60, seed=1), "BBB": minutes(days=3, rows=60, seed=2, keep=0.5)}
START, END = dt.datetime(2024, 3, 4), dt.datetime(2024, 3, 7)


class MyPandas(PandasDataBacktesting):
    """A source of a user's own."""

    flavour = "vanilla"

    def __init__(self, *args: Any, extra: str = "", **kwargs: Any) -> None:
        self.extra = extra
        super().__init__(*args, **kwargs)


def given() -> list[Data]:
    return [Data(Asset(name), frame.copy(), quote=USD) for name, frame in FRAMES.items()]


def made(kind: Any, data: Any = None, **kwargs: Any) -> Any:
    return kind(START, END, pandas_data=data, show_progress_bar=False, **kwargs)


@pytest.fixture
def running() -> Iterator[Callable[[Any], Any]]:
    """Loads a source and ends it with the test."""
    sources: list[Any] = []

    def run(source: Any) -> Any:
        sources.append(source)
        source.load_data()
        source._update_datetime(FRAMES["AAA"].index[100].to_pydatetime())
        return source

    yield run
    for source in sources:
        source.shutdown()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_store(tmp_path / "bars.duckdb") as store:
        for name, frame in FRAMES.items():
            store.write(frame, asset=name, timestep="minute")
    return tmp_path / "bars.duckdb"


def last_closes(source: Any) -> dict[str, float]:
    """The last of five closed bars of every asset that the source has."""
    return {
        key[0].symbol: float(source.get_historical_prices(key[0], 5, "minute").df["close"].iloc[-1])
        for key in source._data_store
    }


CLOSES = {
    name: float(frame["close"].reindex(FRAMES["AAA"].index, method="ffill").iloc[99])
    for name, frame in FRAMES.items()
}


# ---- a class --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [PandasDataBacktesting, PandasData, MyPandas])
def test_a_wrapped_class_is_a_subclass_by_the_same_name(cls: type) -> None:
    lazy = LazyBars(cls)
    assert issubclass(lazy, cls)
    assert lazy is not cls
    assert (lazy.__name__, lazy.__qualname__, lazy.__module__) == (
        cls.__name__,
        cls.__qualname__,
        cls.__module__,
    )
    assert lazy.SOURCE == "PANDAS"
    assert lazy.__mro__.index(cls) < lazy.__mro__.index(PandasData) or cls is PandasData


def test_wrapping_twice_gives_two_classes_with_their_own_knobs() -> None:
    small, large = LazyBars(MyPandas, memory="100MB"), LazyBars(MyPandas, memory="200MB")
    assert small is not large
    assert [kind._lazy_knobs.memory_bytes for kind in (small, large)] == [100_000_000, 200_000_000]


def test_a_class_of_one_s_own_keeps_its_ways(running: Callable[[Any], Any]) -> None:
    source = running(made(LazyBars(MyPandas), given(), extra="cream"))
    assert (source.flavour, source.extra) == ("vanilla", "cream")
    assert isinstance(source, MyPandas)
    assert last_closes(source) == CLOSES


@pytest.mark.parametrize("as_dict", [False, True])
def test_pandas_data_may_be_a_list_or_a_dict(running: Callable[[Any], Any], as_dict: bool) -> None:
    data: Any = {(one.asset, one.quote): one for one in given()} if as_dict else given()
    source = running(made(LazyBars(PandasDataBacktesting), data))
    assert [key[0].symbol for key in source.pandas_data] == list(FRAMES)
    assert all(isinstance(one, LazyData) for one in source._data_store.values())
    assert last_closes(source) == CLOSES


def test_without_pandas_data_and_store_there_is_nothing_in_it_as_in_lumibot() -> None:
    eager, lazy = made(PandasDataBacktesting), made(LazyBars(PandasDataBacktesting))
    assert lazy._data_store == eager._data_store == {}
    lazy.shutdown()


def test_what_the_user_gave_stays_as_it_was(running: Callable[[Any], Any]) -> None:
    data = given()
    by_key = {(one.asset, one.quote): one for one in data}
    frames = [one.df for one in data]
    copies = [one.df.copy(deep=True) for one in data]
    attributes = [dict(vars(one)) for one in data]
    for taken in (data, by_key):
        source = running(made(LazyBars(PandasDataBacktesting), taken))
        source.get_historical_prices(Asset("AAA"), 5, "minute")
    assert [type(one) for one in data] == [Data, Data]
    assert all(one.df is frame for one, frame in zip(data, frames, strict=True))
    for frame, copy in zip(frames, copies, strict=True):
        pd.testing.assert_frame_equal(frame, copy)
    assert [vars(one).keys() for one in data] == [before.keys() for before in attributes]


def test_the_dict_that_the_user_gave_still_holds_his_data(running: Callable[[Any], Any]) -> None:
    by_key = {(one.asset, one.quote): one for one in given()}
    running(made(LazyBars(PandasDataBacktesting), by_key))
    assert [type(one) for one in by_key.values()] == [Data, Data]


# ---- an instance ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [PandasDataBacktesting, MyPandas])
def test_a_wrapped_instance_is_the_same_object(running: Callable[[Any], Any], cls: type) -> None:
    source = made(cls, given())
    lazy = LazyBars(source, memory="200MB")
    assert lazy is source
    assert isinstance(lazy, cls)
    assert type(lazy).__name__ == cls.__name__
    assert last_closes(running(lazy)) == CLOSES
    assert lazy.lazy.stats().cap_bytes == 200_000_000


def test_wrapping_an_instance_leaves_its_class_and_others_alone() -> None:
    one, other = made(PandasDataBacktesting, given()), made(PandasDataBacktesting, given())
    LazyBars(one)
    assert type(other) is PandasDataBacktesting
    assert not hasattr(PandasDataBacktesting, "_lazy_knobs")
    one.shutdown()


def test_an_instance_may_be_served_from_a_store(running: Callable[[Any], Any], path: Path) -> None:
    source = running(LazyBars(made(PandasDataBacktesting), store=path))
    assert last_closes(source) == CLOSES


# ---- a store --------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [True, False])
def test_a_store_goes_by_its_path(running: Callable[[Any], Any], path: Path, as_text: bool) -> None:
    place: Any = str(path) if as_text else path
    for kind in (LazyBars(PandasDataBacktesting, store=place), LazyBars(place)):
        assert issubclass(kind, PandasDataBacktesting)
        source = running(made(kind))
        assert last_closes(source) == CLOSES
        source.shutdown()
    with open_store(path):  # for writing: it was let go of
        pass


def test_an_open_store_is_left_open(running: Callable[[Any], Any], path: Path) -> None:
    with open_store(path, read_only=True) as store:
        for kind in (LazyBars(PandasDataBacktesting, store=store), LazyBars(store)):
            source = running(made(kind))
            assert last_closes(source) == CLOSES
            source.shutdown()
        assert len(store.series()) == 2


def test_a_store_that_this_process_writes_to_is_shared(running: Callable[[Any], Any], path: Path) -> None:
    with open_store(path) as store:
        source = running(made(LazyBars(PandasDataBacktesting, store=path)))
        assert last_closes(source) == CLOSES
        source.shutdown()
        store.write(FRAMES["AAA"], asset="CCC", timestep="minute")


@pytest.mark.parametrize(
    ("assets", "expected"),
    [
        (["BBB"], ["BBB"]),
        (["BBB", "AAA"], ["BBB", "AAA"]),
        ([Asset("AAA")], ["AAA"]),
        ("AAA", ["AAA"]),
        (None, ["AAA", "BBB"]),
    ],
)
def test_assets_choose_the_universe(
    running: Callable[[Any], Any], path: Path, assets: Any, expected: list[str]
) -> None:
    source = running(made(LazyBars(PandasDataBacktesting, store=path, assets=assets)))
    assert [key[0].symbol for key in source._data_store] == expected
    assert source.lazy.plan().series == len(expected)


def test_assets_may_be_pairs_with_their_quote(running: Callable[[Any], Any], tmp_path: Path) -> None:
    usdt = Asset("USDT", "crypto")
    coin = Asset("BTC", "crypto")
    with open_store(tmp_path / "coins.duckdb") as store:
        for quote in (USD, usdt):
            store.write(FRAMES["AAA"], asset=coin, timestep="minute", quote=quote)
    wrapped = LazyBars(PandasDataBacktesting, store=tmp_path / "coins.duckdb", assets=[(coin, usdt)])
    assert list(running(made(wrapped))._data_store) == [(coin, usdt)]


def test_the_universe_decides_the_rows(running: Callable[[Any], Any], path: Path) -> None:
    alone = running(made(LazyBars(PandasDataBacktesting, store=path, assets=["BBB"])))
    eager = made(PandasDataBacktesting, [Data(Asset("BBB"), FRAMES["BBB"].copy())])
    eager.load_data()
    eager._update_datetime(FRAMES["AAA"].index[100].to_pydatetime())
    pd.testing.assert_frame_equal(
        alone.get_historical_prices(Asset("BBB"), 50, "minute").df,
        eager.get_historical_prices(Asset("BBB"), 50, "minute").df,
    )


def test_an_asset_that_the_store_lacks_is_named(path: Path) -> None:
    with pytest.raises(UnknownSeries, match=r"ZZZ.*AAA, BBB"):
        made(LazyBars(PandasDataBacktesting, store=path, assets=["ZZZ"]))
    assert not prefetchers()


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path / "empty.duckdb").close()
    with pytest.raises(ConfigError, match="holds no bars"):
        made(LazyBars(PandasDataBacktesting, store=tmp_path / "empty.duckdb"))


def test_frames_that_are_in_the_store_already_are_not_written_again(
    running: Callable[[Any], Any], tmp_path: Path
) -> None:
    path = tmp_path / "mine.duckdb"
    for _ in range(2):
        source = running(made(LazyBars(PandasDataBacktesting, store=path), given()))
        assert last_closes(source) == CLOSES
        source.shutdown()
    path.chmod(0o444)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    source = running(made(LazyBars(PandasDataBacktesting, store=path), given()))
    assert last_closes(source) == CLOSES
    source.shutdown()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_a_frame_that_has_changed_is_written_beside_the_old_one(
    running: Callable[[Any], Any], tmp_path: Path
) -> None:
    path = tmp_path / "mine.duckdb"
    changed = FRAMES["AAA"].copy()
    changed.iloc[99, changed.columns.get_loc("close")] = 5.0
    for frame in (FRAMES["AAA"], changed, FRAMES["AAA"]):
        source = running(
            made(LazyBars(PandasDataBacktesting, store=path), [Data(Asset("AAA"), frame.copy(), quote=USD)])
        )
        assert last_closes(source)["AAA"] == frame["close"].iloc[99]
        source.shutdown()


def test_a_users_own_series_of_the_same_asset_stay_apart(running: Callable[[Any], Any], path: Path) -> None:
    changed = FRAMES["AAA"] * 2
    data = [Data(Asset("AAA"), changed.copy())]
    source = running(made(LazyBars(PandasDataBacktesting, store=path), data))
    assert last_closes(source) == {"AAA": CLOSES["AAA"] * 2}
    source.shutdown()
    source = running(made(LazyBars(PandasDataBacktesting, store=path)))
    assert last_closes(source) == CLOSES


# ---- what is refused ------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a size in words": ({"memory": "plenty"}, "memory"),
    "no memory": ({"memory": 0}, "memory"),
    "memory of a wrong kind": ({"memory": 1.5e8}, "memory"),
    "a partition that is not there": ({"partition": "2D"}, "partition"),
    "a policy that is not there": ({"policy": "clock"}, "policy"),
    "a policy that ranks nothing": ({"policy": object()}, "policy"),
    "prefetch in words": ({"prefetch": "yes"}, "prefetch"),
    "no assets": ({"assets": []}, "assets"),
    "a store of a wrong kind": ({"store": 7}, "store"),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_is_refused_at_once_to_give(what: str) -> None:
    knobs, name = WRONG[what]
    with pytest.raises(ConfigError, match=name):
        LazyBars(PandasDataBacktesting, **knobs)


@pytest.mark.parametrize("source", [dict, 7, None])
def test_what_is_no_source_of_a_backtest_is_refused(source: Any) -> None:
    with pytest.raises(ConfigError, match="wrap"):
        LazyBars(source)


def test_a_wrapped_source_is_not_wrapped_again() -> None:
    wrapped = LazyBars(PandasDataBacktesting)
    with pytest.raises(ConfigError, match="already"):
        LazyBars(wrapped)
    source = made(wrapped, given())
    with pytest.raises(ConfigError, match="already"):
        LazyBars(source)
    source.shutdown()


def test_a_store_is_given_once(path: Path) -> None:
    with pytest.raises(ConfigError, match="once"):
        LazyBars(path, store=path)


def test_no_error_is_one_that_lumibot_takes_for_no_data() -> None:
    for kind in (CapTooSmall, ConfigError, UnknownSeries):
        assert issubclass(kind, LazyBarsError)
        assert not issubclass(kind, ValueError)


def test_knobs_are_taken_in_every_spelling() -> None:
    policy = Lru()
    kind = LazyBars(PandasDataBacktesting, memory="1.5GB", partition="1W", policy=policy, prefetch=False)
    knobs = kind._lazy_knobs
    assert (knobs.memory_bytes, knobs.partition, knobs.prefetch) == (1_500_000_000, "1W", False)
    assert knobs.policy is policy
    assert LazyBars(PandasDataBacktesting, memory="128MiB")._lazy_knobs.memory_bytes == 128 * 2**20
    assert LazyBars(PandasDataBacktesting, memory=10**8)._lazy_knobs.memory_bytes == 10**8


@pytest.mark.parametrize("partition", ["1D", "25Y", "auto"])
def test_too_small_a_cap_is_refused_before_the_first_bar_and_the_one_named_works(
    running: Callable[[Any], Any], partition: str
) -> None:
    def loaded(memory: int) -> Any:
        source = made(LazyBars(PandasDataBacktesting, memory=memory, partition=partition), given())
        try:
            return running(source)
        except CapTooSmall:
            source.shutdown()
            raise

    refusals = []
    source = None
    while source is None:
        try:
            source = loaded(refusals[-1] if refusals else 1)
        except CapTooSmall as refused:
            refusals.append(refused.needed_bytes)
    # The constructor may name the engine's share, load_data then that with the bars.
    assert len(refusals) in (1, 2)
    memory = refusals[-1]
    assert last_closes(source) == CLOSES
    with pytest.raises(CapTooSmall):
        loaded(memory - 1)


# ---- the environment ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["yahoo", "ThetaData"])
def test_a_source_set_in_the_environment_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    monkeypatch.setenv("BACKTESTING_DATA_SOURCE", value)
    with caplog.at_level(logging.WARNING, logger="lazybars"):
        LazyBars(PandasDataBacktesting)
    assert f"BACKTESTING_DATA_SOURCE={value}" in caplog.text


@pytest.mark.parametrize("value", ["", "none", "None"])
def test_none_in_the_environment_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    monkeypatch.setenv("BACKTESTING_DATA_SOURCE", value)
    with caplog.at_level(logging.WARNING, logger="lazybars"):
        LazyBars(PandasDataBacktesting)
    assert not caplog.text


# ---- its course -----------------------------------------------------------------------------------


def test_shutdown_may_be_called_twice(nothing_left: Path) -> None:
    source = made(LazyBars(PandasDataBacktesting), given())
    source.load_data()
    assert [*nothing_left.iterdir()]
    source.shutdown()
    source.shutdown()
    assert not [*nothing_left.iterdir()]


@pytest.mark.parametrize("how", ["the clock gets there", "the end is moved to the clock"])
def test_a_backtest_that_is_over_holds_no_bars_and_still_answers(
    running: Callable[[Any], Any], path: Path, how: str
) -> None:
    source = running(made(LazyBars(PandasDataBacktesting, store=path)))
    plain = made(PandasDataBacktesting, given())
    plain.load_data()
    assert prefetchers()
    assert last_closes(source)
    assert source.lazy.stats().resident_bytes > 0
    if how == "the clock gets there":
        now = source.datetime_end
        source._update_datetime(now)
    else:
        now = source.get_datetime()
        source.datetime_end = now
    plain._update_datetime(now)
    assert not prefetchers()
    assert source.lazy.stats().resident_bytes == 0
    assert source.datetime_end == now
    assert last_closes(source) == last_closes(plain)
    # Back again, it reads ahead again.
    source._update_datetime(FRAMES["AAA"].index[80].to_pydatetime())
    plain._update_datetime(FRAMES["AAA"].index[80].to_pydatetime())
    assert prefetchers()
    assert last_closes(source) == last_closes(plain)


def test_shutdown_before_load_data_is_fine(nothing_left: Path) -> None:
    source = made(LazyBars(PandasDataBacktesting), given())
    source.shutdown()
    assert not [*nothing_left.iterdir()]


def test_figures_are_there_before_the_data_is_loaded() -> None:
    source = made(LazyBars(PandasDataBacktesting, memory="150MB"), given())
    stats = source.lazy.stats()
    assert stats.cap_bytes == 150_000_000
    assert (stats.hits, stats.misses, stats.calls, stats.resident_bytes) == (0, 0, 0, 0)
    assert stats.held, "the caller's frames are his, and named"
    assert stats.hit_rate != stats.hit_rate
    source.shutdown()


def test_the_plan_before_the_data_is_loaded_says_what_to_do_first() -> None:
    source = made(LazyBars(PandasDataBacktesting), given())
    with pytest.raises(ConfigError, match="load_data"):
        source.lazy.plan()
    source.shutdown()


def test_figures_and_plan_tell_of_the_run(running: Callable[[Any], Any]) -> None:
    source = running(made(LazyBars(PandasDataBacktesting, memory="150MB", partition="1D"), given()))
    last_closes(source)
    stats, plan = source.lazy.stats(), source.lazy.plan()
    assert stats.calls == 2
    assert stats.hits + stats.misses + stats.late >= 2
    assert stats.peak_bytes <= stats.cap_bytes
    assert (plan.series, plan.partition, plan.partitions) == (2, "1D", 3)
    assert plan.rows == 2 * len(FRAMES["AAA"])


def test_figures_can_be_asked_for_after_the_end() -> None:
    source = made(LazyBars(PandasDataBacktesting), given())
    source.load_data()
    source.shutdown()
    assert source.lazy.stats().resident_bytes == 0


def test_what_cannot_be_served_lazily_is_held_whole_and_named(running: Callable[[Any], Any]) -> None:
    data = given()
    data[1] = Data(Asset("BBB"), FRAMES["BBB"].assign(note="text"), quote=USD)
    source = running(made(LazyBars(PandasDataBacktesting), data))
    assert last_closes(source) == CLOSES
    eager = source.lazy.stats().eager
    assert [label for label in eager if "BBB" in label]
    assert not [label for label in eager if "AAA" in label]
