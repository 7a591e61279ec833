"""Hypothesis strategies: universes, clocks and questions.

They draw words and small numbers, never rows: one example costs a few dozen draws and yields a few
hundred answers. What shrinks towards the left of a list is the ordinary case.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from .requests import Request, Run, Walk
from .universes import SeriesSpec, UniverseSpec

__all__ = ["FULL", "SHARDS", "cases", "explore", "universes", "walks"]

FULL = os.environ.get("LAZYBARS_PROFILE") == "full"
SEED = int(os.environ.get("LAZYBARS_SEED", "0"))  # another seed, other cases
SHARDS = 16 if FULL else 4  # what one test would draw is drawn by so many, for several cores to share

# Ordinary weeks, both weeks of clock change, a year's end, a leap day, a half day.
FIRST_DAYS = (
    "2024-03-04",
    "2024-03-08",
    "2024-11-01",
    "2024-12-30",
    "2024-02-28",
    "2023-11-22",
    "2022-03-10",
)
TIMESTEPS = (
    "minute",
    None,
    "minute",
    None,
    "day",
    "5 minutes",
    "15min",
    "hour",
    "1hour",
    "4 hours",
    "2 days",
    "1D",
    "5m",
)
ODD_TIMESTEPS = ("7 minutes", "90 minutes", "1 week", "", "second", "3h")
LENGTHS = (1, 2, 3, 5, 10, 20, 60, 100, 1000, 0)
SHIFTS: tuple[int | str | None, ...] = (
    None,
    0,
    1,
    -1,
    2,
    5,
    -2,
    -5,
    60,
    1000,
    "60s",
    "90s",
    "3600s",
    "86400s",
    "-60s",
)

share = st.sampled_from((0.0, 0.0, 0.05, 0.3, 0.7))
rarely = st.sampled_from((False,) * 7 + (True,))


def _warts(draw: Any) -> dict[str, Any]:
    """The unordinary things about one series, each usually absent."""

    def seldom(values: Any, other: Any) -> Any:
        return draw(st.sampled_from(values)) if draw(st.integers(0, 3)) == 3 else other

    return {
        "listed": seldom((1, 2, 3), 0),
        "holes": draw(share),
        "halts": seldom((((0.3, 20),), ((0.1, 5), (0.6, 90)), ((0.5, 300),)), ()),
        "missing_days": seldom(((5,), (8,), (2, 3)), ()),
        "odd_seconds": seldom((0.05, 0.5, 1.0), 0.0),
        "shift_us": seldom((30_000_000, 1_000, 1, 999_999), 0),
        "nan": seldom(("leading", "middle", "trailing", "leading middle trailing"), ""),
        "nan_columns": draw(st.sampled_from(("all", "close", "ohl", "open"))),
        "duplicates": seldom((1, 5, 40), 0),
        "unsorted": seldom((True,), False),
        "prices": seldom(("floats", "float32", "tiny", "int", "signed", "zeros"), "cents"),
        "volume": draw(st.sampled_from(("float", "int", "int", "nan", "missing", "float32", "int32"))),
        "extras": seldom((("vwap",), ("vwap", "trades", "flag"), ("note",), ("stamp", "vwap")), ()),
        "bid_ask": seldom(
            ("quotes", "quotes gaps", "quotes gaps sizes", "quotes synthetic", "quotes gaps times"), ""
        ),
        "unit": seldom(("us", "ms", "s"), "ns"),
        "freq": seldom((True,), False),
        "zone": seldom(("UTC", None, "Asia/Tokyo", "America/New_York"), "America/New_York"),
        "titles": seldom((True,), False),
        "in_column": seldom((True,), False),
        "reorder": seldom((True,), False),
        "hours": seldom(
            (("09:30", "16:00"), ("10:00", "15:30"), ("04:00", "20:00"), ("00:00", "23:59:59")), None
        ),
        "cut": seldom(((0, 2), (1, 9), (-3, 1)), None),
    }


@st.composite
def series(draw: Any, number: int, timestep: str) -> SeriesSpec:
    kind = draw(st.sampled_from(("stock", "stock", "stock", "crypto", "future", "forex", "index", "option")))
    what: dict[str, Any] = {"symbol": "ABCDEFGH"[number] * 3, "kind": kind, "timestep": timestep}
    quotes: dict[str, tuple[str | None, ...]] = {"crypto": ("USD", "USDT"), "forex": ("USD", "JPY", None)}
    what["quote"] = draw(st.sampled_from(quotes.get(kind, (None, "USD"))))
    if kind == "option":
        what |= {"expiry": draw(st.sampled_from(("2024-03-06", "2024-11-04", "2025-01-17"))), "symbol": "AAA"}
        what |= {"strike": float(100 + number), "right": draw(st.sampled_from(("CALL", "PUT")))}
    if kind == "future":
        what["expiry"] = draw(st.sampled_from(("2024-03-15", "2025-06-20")))
    calendars = {
        "minute": ("rth", "rth", "24x7", "extended", "futures", "half-day"),
        "hour": ("clock-hour", "rth", "24x7", "futures", "extended"),
        "day": ("midnight", "close16", "midnight-utc"),
    }
    what["calendar"] = draw(st.sampled_from(calendars[timestep]))
    rows = {"minute": 120, "hour": 24, "day": 1}[timestep]
    what["days"] = draw(st.integers(1, 5)) if timestep == "minute" else draw(st.integers(1, 40))
    what["session_rows"] = draw(st.integers(1, rows * 3))
    what["every"] = draw(st.sampled_from((1, 1, 1, 5, 15) if timestep == "minute" else (1, 1, 1, 2)))
    if timestep == "day" or draw(st.integers(0, 5)) == 5:
        what["actions"] = draw(
            st.sampled_from(
                ("", "dividend", "splits", "dividend splits", "dividend splits nan", "splits adjusted")
            )
        )
    return SeriesSpec(**what, **_warts(draw))


@st.composite
def universes(draw: Any, most: int = 4) -> UniverseSpec:
    main = draw(st.sampled_from(("minute", "minute", "minute", "day", "day", "hour")))
    mixed = draw(rarely)
    count = draw(st.integers(1, most))
    steps = [draw(st.sampled_from(("minute", "day", "hour"))) if mixed and n else main for n in range(count)]
    specs = tuple(draw(series(n, step)) for n, step in enumerate(steps))
    span = max(spec.days + spec.listed for spec in specs)
    start = draw(st.sampled_from((570, 0, -1440, 1440, 2010, 960)))
    return UniverseSpec(
        seed=draw(st.integers(0, 1000)),
        first_day=draw(st.sampled_from(FIRST_DAYS)),
        series=specs,
        start=start,
        end=start + draw(st.integers(1, max(2, span + 2))) * 1440 + draw(st.sampled_from((0, 390, -1))),
        as_dict=draw(rarely),
    )


@st.composite
def requests(draw: Any, universe: UniverseSpec, *, frames: bool = True) -> Request:
    about = draw(st.integers(0, len(universe.series) - 1))
    coarse = {"minute": 0, "hour": 1, "day": 2}[universe.series[about].timestep]
    asked = (TIMESTEPS, ("hour", "2 hours", "day", "4 hours"), ("day", "day", "2 days", "1D"))[coarse]
    what = draw(
        st.sampled_from(
            ("history",) * 9
            + ("price",) * 3
            + ("quote",) * 2
            + ("bars", "prices", "between", "dividends", "splits")
            + ("dividend", "apply_splits", "chains", "days", "index", "find", "state", "keys")
            + ("lines", "spread")
            + ("frame",) * frames
        )
    )
    return Request(
        what,
        about=draw(st.integers(-4, -1)) if draw(st.integers(0, 11)) == 11 else about,
        length=draw(st.sampled_from(LENGTHS)) if draw(st.integers(0, 19)) < 19 else 2.5,
        timestep=draw(
            st.sampled_from(asked if draw(st.integers(0, 9)) < 8 else (*TIMESTEPS, *ODD_TIMESTEPS))
        ),
        shift=draw(st.sampled_from(SHIFTS)) if draw(st.booleans()) else None,
        quote=draw(st.sampled_from(("own",) * 5 + (None, "usd", "wrong"))),
        after_hours=draw(st.booleans()),
        span=draw(
            st.sampled_from(
                ((-60.0, 0.0), (-1440.0, 60.0), (0.0, -30.0), (-1e5, 1e5), (-0.5, 0.5), (10.0, 4000.0))
            )
        ),
    )


@st.composite
def runs(draw: Any, universe: UniverseSpec) -> Run:
    """Mostly inside some series' sessions; else around midnight, before the first bar, after the last."""
    spec = draw(st.sampled_from(universe.series))
    fine = draw(st.sampled_from((0.0, 0.0, 0.0, 0.5, 0.25, 59.999999 / 60, 1e-6 / 60)))
    count = draw(st.sampled_from((1, 2, 5, 12, 30)))
    if draw(st.integers(0, 4)) < 4:
        day = spec.listed + draw(st.integers(0, spec.days - 1))
        opens = (
            570
            if spec.timestep == "day"
            else {"extended": 240, "24x7": 0, "futures": -360}.get(spec.calendar, 570)
        )
        minute = opens + draw(st.sampled_from((0, 1, 5, 30, 64, spec.session_rows // 2, spec.session_rows)))
        stride = draw(st.sampled_from((60.0, 60.0, 300.0, 10.0, 0.5, 1020.0, -60.0)))
        if spec.timestep != "minute":
            stride = draw(st.sampled_from((3600.0, 86400.0, 60.0, 1800.0, -86400.0)))
    else:
        day = draw(st.integers(-1, spec.listed + spec.days + 4))
        minute = draw(st.sampled_from((570, 600, 959, 960, 961, 1080, 0, 1, 240, 1200, 1439, 120)))
        stride = draw(st.sampled_from((60.0, 3600.0, 86400.0, 0.5, -60.0)))
    return Run(day * 1440 + minute + fine, stride, count)


@st.composite
def walks(draw: Any, universe: UniverseSpec, *, frames: bool = True) -> Walk:
    return Walk(
        runs=tuple(draw(st.lists(runs(universe), min_size=2, max_size=5))),
        requests=tuple(draw(st.lists(requests(universe, frames=frames), min_size=4, max_size=14))),
        hook=not draw(rarely),
        stamps=draw(rarely),
        loads=draw(st.sampled_from((1,) * 12 + (2, 2, 2, 3))),
        early=draw(st.sampled_from((0,) * 15 + (3,))),
    )


@st.composite
def cases(draw: Any, *, frames: bool = True) -> tuple[UniverseSpec, Walk]:
    universe = draw(universes())
    return universe, draw(walks(universe, frames=frames))


def explore(
    judge: Callable[[UniverseSpec, Walk], int], *, answers: int, strategy: Any = None, shard: int = 0
) -> int:
    """Draw cases and judge them until so many answers were compared; gives how many were.

    The same seed and shard draw the same cases, so that a failure of CI is a failure at home. Making
    a failing case smaller is left to the judge: see ``smaller``.
    """
    compared, failed = 0, list[AssertionError]()

    for batch in itertools.count((SEED * 100 + shard) * 1_000_000):

        @seed(batch)
        @settings(
            max_examples=max(2, min(25, answers // 250)),
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy if strategy is not None else cases())
        def one(case: tuple[UniverseSpec, Walk]) -> None:
            nonlocal compared
            if failed:
                return
            try:
                compared += judge(*case)
            except AssertionError as error:  # kept from hypothesis, which would play it again and again
                failed.append(error)

        one()
        if failed:
            raise failed[0]
        if compared >= answers:
            return compared
    raise AssertionError("unreachable")
