"""What LazyBars makes of a source: wrapped, passed through, or given back as it is."""

from __future__ import annotations

import datetime as dt
import logging
from pathlib import Path
from typing import Any

import pytest
from lumibot import backtesting
from lumibot.backtesting import PandasDataBacktesting, PolygonDataBacktesting
from lumibot.data_sources import PandasData
from support import minutes, write_store

from lazybars import ConfigError, LazyBars

START, END = dt.datetime(2024, 3, 4), dt.datetime(2024, 3, 6)
PASSED = [
    "ThetaDataBacktestingPandas",
    "RoutedBacktestingPandas",
    "InteractiveBrokersRESTBacktesting",
    "PolymarketBacktesting",
]


class Downloading(PandasData):
    """A source of a user's own that downloads."""

    def _update_pandas_data(self, *args: Any) -> None: ...


class OwnPolygon(PolygonDataBacktesting):
    """A user's Polygon that loads in a way of its own."""

    def _update_pandas_data(self, *args: Any, **kwargs: Any) -> Any:
        return super()._update_pandas_data(*args, **kwargs)


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_switched_off_it_gives_back_the_very_same_object(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "environment":
        monkeypatch.setenv("LAZYBARS", "off")
    more: dict[str, Any] = {} if how == "environment" else {"enabled": False}
    instance = PandasDataBacktesting(START, END, show_progress_bar=False)
    before = dict(vars(instance))
    for source in (PandasDataBacktesting, PolygonDataBacktesting, instance):
        assert LazyBars(source, memory="64MB", **more) is source
    assert type(instance) is PandasDataBacktesting
    assert vars(instance) == before


def test_switched_off_there_is_no_source_behind_a_store(tmp_path: Path) -> None:
    path = write_store(tmp_path / "bars.duckdb", {"A": minutes(days=1)})
    with pytest.raises(ConfigError, match="no other source behind a store"):
        LazyBars(str(path), enabled=False)


def test_on_is_what_it_is_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAZYBARS", "on")
    assert LazyBars(PandasDataBacktesting) is not PandasDataBacktesting
    monkeypatch.setenv("LAZYBARS", "perhaps")
    with pytest.raises(ConfigError, match="set it to off or on"):
        LazyBars(PandasDataBacktesting)


@pytest.mark.parametrize("name", [*PASSED, "Downloading", "OwnPolygon"])
def test_a_source_that_cannot_be_bounded_is_passed_through_and_says_so_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    cls = globals().get(name) or getattr(backtesting, name)
    with caplog.at_level(logging.WARNING, logger="lazybars"):
        passed = LazyBars(cls, memory="64MB")
    (record,) = caplog.records
    assert f"{name} is passed through" in record.message
    assert "outside memory=" in record.message
    assert (passed.__name__, passed.__module__, passed) == (name, cls.__module__, cls)
    own = {key for key in vars(passed) if not key.startswith(("__", "_abc", "_lazy"))}
    assert own == {"lazy"}
    assert passed.__mro__[1:] == cls.__mro__, "something stands between"
    assert passed.get_quote is cls.get_quote, "Lumibot asks which function it is"
    assert name in passed.lazy.stats().eager
    with pytest.raises(ConfigError, match="wrapped already"):
        LazyBars(passed)


def test_an_instance_that_is_passed_through_keeps_its_class(caplog: pytest.LogCaptureFixture) -> None:
    source = Downloading(START, END, show_progress_bar=False)
    assert LazyBars(source) is source
    assert type(source) is Downloading
    assert list(source.lazy.stats().eager) == ["Downloading"]
    assert "passed through" in caplog.text


def test_what_is_no_source_of_a_backtest_is_refused() -> None:
    with pytest.raises(ConfigError, match="no data source of a backtest"):
        LazyBars(dict)


def test_wrapping_a_class_leaves_the_class_to_be_wrapped_again() -> None:
    first, second = LazyBars(PolygonDataBacktesting), LazyBars(PolygonDataBacktesting, memory="1GB")
    assert first == PolygonDataBacktesting == second
    assert first != second
    assert issubclass(first, PandasData)
    with pytest.raises(ConfigError, match="wrapped already"):
        LazyBars(first)
