"""The recorder of inputs: what it records is what Lumibot's own records, frame by frame and in the files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lumibot.backtesting import PandasDataBacktesting
from lumibot.backtesting.market_input_evidence import (
    MarketInputEvidence,
    record_market_input,
    write_market_input_evidence,
)
from lumibot.entities import Asset, Data

from lazybars import LazyBars
from lazybars.adapters.recorder import quicken

_NUMBERS = st.one_of(
    st.floats(width=64), st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 0.1 + 0.2, 1e-320])
)
_WHEN = dt.datetime(2024, 3, 11, 12, tzinfo=dt.timezone.utc)


@st.composite
def frames(draw) -> pd.DataFrame | None:
    """Windows of any kind: plain numbers, and what the quick way leaves to Lumibot."""
    kind = draw(
        st.sampled_from(["plain"] * 6 + ["none", "text", "repeated", "nat", "empty", "no columns", "bool"])
    )
    if kind == "none":
        return None
    rows = 0 if kind == "empty" else draw(st.integers(1, 5))
    index = pd.date_range(
        "2024-03-10 01:57",
        periods=rows,
        freq=draw(st.sampled_from(["1min", "1D"])),
        tz=draw(st.sampled_from(["America/New_York", "UTC", None])),
        unit=draw(st.sampled_from(["ns", "us"])),
    )
    frame = pd.DataFrame(index=index)
    names = (
        ["note"]
        if kind == "no columns"
        else draw(
            st.lists(st.sampled_from(["open", "close", "vwap", "bid", "return"]), min_size=1, unique=True)
        )
    )
    for name in names:
        frame[name] = draw(st.lists(_NUMBERS, min_size=rows, max_size=rows))
    frame["volume" if kind != "no columns" else "more"] = np.arange(rows) * draw(st.integers(-3, 2**40))
    if kind == "text":
        frame["ask"] = "1.0"
    elif kind == "bool":
        frame["split"] = True
    elif kind == "repeated":
        frame = pd.concat([frame, frame])
    elif kind == "nat":
        frame.index = frame.index.where(np.arange(rows) < rows - 1)
    return frame


@given(
    st.lists(st.tuples(frames(), st.integers(0, 2)), min_size=1, max_size=8),
    st.integers(0, 12),
    st.integers(0, 6),
)
def test_it_records_what_lumibots_own_does(asked, max_rows, max_observations):
    ours, theirs = (
        MarketInputEvidence(max_rows=max_rows, max_observations=max_observations) for _ in range(2)
    )
    quicken(ours)
    assert type(ours) is not MarketInputEvidence
    for frame, number in asked:
        outcomes = []
        for recorder in (ours, theirs):
            try:
                recorder.record(
                    asset=Asset("ABC"[number]),
                    timestep=["minute", "day", "15 minutes"][number],
                    when=_WHEN + dt.timedelta(minutes=number),
                    frame=None if frame is None else frame.copy(),
                    purpose="history",
                    quote=[None, Asset("USD", "forex"), None][number],
                )
                outcomes.append(None)
            except Exception as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]
    for name in ("rows", "observations", "incomplete", "seen"):
        assert repr(getattr(ours, name)) == repr(getattr(theirs, name)) or getattr(ours, name) == getattr(
            theirs, name
        )


def test_one_that_has_begun_or_is_not_lumibots_stays_as_it_is():
    begun = MarketInputEvidence()
    begun.record(asset=Asset("A"), timestep="day", when=_WHEN, frame=None, purpose="history")
    quicken(begun)
    assert type(begun) is MarketInputEvidence
    other = object()
    quicken(other)
    quicken(None)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_source_has_one_only_where_something_was_recorded(wrapped, tmp_path):
    index = pd.date_range("2024-01-02 09:30", periods=5, freq="1min", tz="America/New_York")
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 1.0) | {"volume": 5}, index=index)
    data = [Data(Asset("A"), frame, timestep="minute")]
    make = LazyBars(PandasDataBacktesting, memory="128MB") if wrapped else PandasDataBacktesting
    source = make(dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 3), pandas_data=data)
    source.load_data()
    write_market_input_evidence(source, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    record_market_input(
        source=source, asset=Asset("A"), timestep="minute", when=_WHEN, frame=frame, purpose="history"
    )
    assert isinstance(source._market_input_evidence, MarketInputEvidence)
    write_market_input_evidence(source, tmp_path)
    shown = {path.name: path.read_bytes() for path in Path(tmp_path).glob("market_input*")}
    plain = MarketInputEvidence()
    plain.record(asset=Asset("A"), timestep="minute", when=_WHEN, frame=frame, purpose="history")
    source._market_input_evidence = None
    source.__dict__["_market_input_evidence" if not wrapped else "_lazy_recorder"] = plain
    write_market_input_evidence(source, tmp_path / "plain")
    assert shown == {path.name: path.read_bytes() for path in (tmp_path / "plain").glob("market_input*")}
    source.shutdown()
