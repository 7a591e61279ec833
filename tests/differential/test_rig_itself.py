"""The rig finds what it is for, and nothing where there is nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Asset, Bars, Quote

from .curated import CORNERS, walk_of
from .drawn import explore
from .exact import Raised, differences, fingerprint
from .requests import Request, Run, Walk
from .rig import Differs, Factory, check, eager, of_class, script
from .universes import SeriesSpec, UniverseSpec, build

EAGER: Any = PandasDataBacktesting
INDEX = pd.date_range("2024-03-04 09:30", periods=4, freq="min", tz="America/New_York", name="datetime")
FRAME = pd.DataFrame({"open": [1.0, 2.0, 3.0, np.nan], "volume": [1, 2, 3, 4]}, index=INDEX)


def broken(change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> Factory:
    """Eager Lumibot, but for what ``change`` does to every frame with some rows."""

    class PandasDataBacktesting(EAGER):  # the name matters to Lumibot
        def get_historical_prices(self, *args: Any, **kwargs: Any) -> Any:
            bars = super().get_historical_prices(*args, **kwargs)
            if bars is None or len(bars.df) < 2:
                return bars
            changed = change(bars.df.copy())
            bars._df = changed  # past Bars, which would put the zone right again
            return None if changed is None else bars

    return of_class(PandasDataBacktesting)


def _one_ulp(frame: pd.DataFrame) -> pd.DataFrame:
    column = frame["close"].to_numpy(dtype="float64").copy()
    column[-1] = np.nextafter(column[-1], np.inf)
    return frame.assign(close=column) if str(frame["close"].dtype) == "float64" else frame


def _float_volume(frame: pd.DataFrame) -> pd.DataFrame:
    return (
        frame.assign(volume=frame["volume"].astype("float64"))
        if str(frame["volume"].dtype) == "int64"
        else frame
    )


def _other_unit(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_axis(frame.index.as_unit("us" if frame.index.unit == "ns" else "ns"))


def _swapped(frame: pd.DataFrame) -> pd.DataFrame:
    names = list(frame.columns)
    return frame[[names[1], names[0], *names[2:]]]


FAULTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame | None]] = {
    "one ulp": _one_ulp,
    "float volume": _float_volume,
    "index unit": _other_unit,
    "index name": lambda frame: frame.rename_axis(None),
    "index zone": lambda frame: frame.tz_convert("UTC"),
    "column order": _swapped,
    "column gone": lambda frame: frame.drop(columns="return"),
    "row gone": lambda frame: frame.iloc[1:],
    "none": lambda frame: None,
    "freq": lambda frame: (
        frame.set_axis(pd.DatetimeIndex(frame.index, freq=None)) if frame.index.freq else frame
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    found = 0
    for corner in ("integer volume", "around the clock"):
        try:
            check(CORNERS[corner], walk_of(CORNERS[corner]), broken(FAULTS[fault]), brief=True)
        except Differs:
            found += 1
    assert found


def test_a_row_of_the_future_is_found() -> None:
    class PandasDataBacktesting(EAGER):
        def get_historical_prices(
            self, asset: Any, length: int, *args: Any, timeshift: Any = None, **kwargs: Any
        ) -> Any:
            peek = -1 if timeshift is None else timeshift
            return super().get_historical_prices(asset, length, *args, timeshift=peek, **kwargs)

    with pytest.raises(Differs):
        explore(
            lambda universe, walk: check(universe, walk, of_class(PandasDataBacktesting), brief=True),
            answers=5_000,
        )


def test_a_price_of_another_type_is_found() -> None:
    class PandasDataBacktesting(EAGER):
        def get_last_price(self, *args: Any, **kwargs: Any) -> Any:
            price = super().get_last_price(*args, **kwargs)
            return None if price is None else float(price)

    with pytest.raises(Differs, match=r"float64.*builtins.float|numpy.*builtins"):
        explore(
            lambda universe, walk: check(universe, walk, of_class(PandasDataBacktesting), brief=True),
            answers=5_000,
        )


def test_eager_against_itself_has_no_differences() -> None:
    assert explore(lambda universe, walk: check(universe, walk, eager), answers=6_000) >= 6_000


def test_a_failure_shrinks_to_a_script_that_shows_it(tmp_path: Any) -> None:
    """The report's script, with the broken source in lazybars' place, prints two different frames."""
    universe = UniverseSpec(series=(SeriesSpec(days=1, session_rows=5),))
    walk = Walk((Run(570.0, 60.0, 4),), (Request("price"), Request("history", length=2)))
    with pytest.raises(Differs, match=r"session_rows=(2|3)"):
        check(universe, walk, broken(_one_ulp))
    asked = [(None, None), (universe.moment(573.0), Request("history", length=2))]
    text = script(universe, asked, walk)
    source = (
        "class Wrong(PandasDataBacktesting):\n"
        "    def get_historical_prices(self, *a, **k):\n"
        "        bars = super().get_historical_prices(*a, **k)\n"
        "        bars._df = bars.df + 1\n"
        "        return bars\n\n\ndef LazyBars(kind):\n    return Wrong\n"
    )
    text = text.replace("from lazybars import LazyBars\n", source)
    path = tmp_path / "case.py"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    theirs, ours = done.stdout.split("expected:")[1].split("got:")
    assert theirs.count("open") == ours.count("open") > 0
    assert theirs.strip() != ours.strip()


def test_a_universe_is_made_again_to_the_bit_and_survives_json() -> None:
    import json

    spec = UniverseSpec(
        seed=7, series=(SeriesSpec(holes=0.3, duplicates=3, bid_ask="quotes gaps"), SeriesSpec("BBB"))
    )
    again = UniverseSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    for one, other in zip(build(spec), build(again), strict=True):
        assert one.df is not other.df
        assert differences(one.df, other.df) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1.0, 1),
        (1.0, np.float64(1.0)),
        (1.0, Decimal("1.0")),
        (0.0, -0.0),
        (np.float64(0.1), np.nextafter(np.float64(0.1), 1)),
        (float("nan"), -float("nan")),
        (np.int64(1), np.float64(1)),
        (None, float("nan")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([1, 2], [1]),
        (INDEX[0], INDEX[0].as_unit("us")),
        (INDEX[0], INDEX[0].tz_convert("UTC")),
        (INDEX[0], INDEX[0].to_pydatetime()),
        (FRAME, FRAME.astype({"volume": "float64"})),
        (FRAME, FRAME[["volume", "open"]]),
        (FRAME, FRAME.rename_axis(None)),
        (FRAME, FRAME.set_axis(INDEX.as_unit("us"))),
        (FRAME, FRAME.set_axis(pd.DatetimeIndex(INDEX, freq=None))),
        (FRAME, FRAME.iloc[:3]),
        (FRAME, FRAME.assign(open=[1.0, 2.0, 3.0, -np.nan])),
        (FRAME, FRAME.astype({"volume": object})),
        (Raised("builtins.ValueError", "no"), Raised("builtins.KeyError", "no")),
        (Raised("builtins.ValueError", "no"), Raised("builtins.ValueError", "yes")),
        (Quote(Asset("A"), price=1.0, raw_data={"a": 1}), Quote(Asset("A"), price=1.0, raw_data={"a": 1.0})),
        (Bars(FRAME.assign(close=1.0), "X", Asset("A")), Bars(FRAME.assign(close=1.0), "Y", Asset("A"))),
    ],
)
def test_what_equality_would_forgive_is_a_difference(one: Any, other: Any) -> None:
    assert differences(one, other)
    assert differences(one, one) == []


def test_a_fingerprint_tells_bits_types_and_names() -> None:
    others = [
        FRAME.astype({"volume": "float64"}),
        FRAME.rename_axis(None),
        FRAME.set_axis(INDEX.as_unit("us")),
        FRAME.assign(open=[1.0, 2.0, 3.0, 4.0]),
    ]
    assert fingerprint(FRAME) == fingerprint(FRAME.copy())
    assert len({fingerprint(frame) for frame in [FRAME, *others]}) == 5
