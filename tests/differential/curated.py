"""One universe for every corner that Lumibot is known to have, and one walk that asks everything.

Random cases find what nobody thought of; these make sure that what somebody did think of is asked
on every run, and give a failure a name.
"""

from __future__ import annotations

from dataclasses import replace

from .requests import Request, Run, Walk
from .universes import SeriesSpec, UniverseSpec

__all__ = ["CORNERS", "walk_of"]

_A = SeriesSpec("AAA", session_rows=90)
_DAY = SeriesSpec("AAA", timestep="day", calendar="midnight", days=40)
_OPTION = SeriesSpec(
    "AAA",
    "option",
    expiry="2024-03-06",
    strike=100.0,
    right="CALL",
    bid_ask="quotes gaps sizes",
    session_rows=90,
    holes=0.6,
)


def _of(*series: SeriesSpec, **more: object) -> UniverseSpec:
    return UniverseSpec(series=series, **more)  # type: ignore[arg-type]


def _one(**more: object) -> UniverseSpec:
    return _of(replace(_A, **more), replace(_A, symbol="BBB", holes=0.2))  # type: ignore[arg-type]


def _days(**more: object) -> UniverseSpec:
    return _of(replace(_DAY, **more), replace(_DAY, symbol="BBB", listed=9), start=2880, end=45 * 1440)  # type: ignore[arg-type]


CORNERS: dict[str, UniverseSpec] = {
    "plain": _one(),
    "holes": _one(holes=0.4),
    "halts": _one(halts=((0.2, 30), (0.6, 60))),
    "a missing day": _one(missing_days=(5,)),
    "late listing": _one(listed=1),
    "delisted": _of(replace(_A, days=1), replace(_A, symbol="BBB", days=5), end=6 * 1440),
    "extended hours beside regular": _of(
        _A, replace(_A, symbol="BBB", calendar="extended", session_rows=700)
    ),
    "around the clock": _of(
        SeriesSpec("BTC", "crypto", quote="USDT", calendar="24x7", session_rows=1440, days=3)
    ),
    "around the clock, holes, two quotes": _of(
        SeriesSpec("BTC", "crypto", quote="USDT", calendar="24x7", session_rows=1440, days=2, holes=0.1),
        SeriesSpec("BTC", "crypto", quote="USD", calendar="24x7", session_rows=1440, days=2),
    ),
    "clocks go forward": _of(
        SeriesSpec("BTC", "crypto", quote="USD", calendar="24x7", session_rows=1440, days=3),
        _A,
        first_day="2024-03-09",
    ),
    "clocks go back": _of(
        SeriesSpec("BTC", "crypto", quote="USD", calendar="24x7", session_rows=1440, days=3),
        _A,
        first_day="2024-11-02",
    ),
    "clocks go back, futures": _of(
        SeriesSpec("ES", "future", expiry="2024-12-20", calendar="futures", days=4, session_rows=1400),
        first_day="2024-11-01",
    ),
    "five-minute bars": _one(every=5),
    "sparse bars among minutes": _of(_A, replace(_A, symbol="BBB", holes=0.95)),
    "off the minute": _one(odd_seconds=0.5),
    "half a minute late": _one(shift_us=30_000_000),
    "microseconds": _one(shift_us=1, unit="us"),
    "leading nan": _one(nan="leading"),
    "middle nan": _one(nan="middle"),
    "trailing nan": _one(nan="trailing", nan_columns="close"),
    "nan open high low": _one(nan="middle", nan_columns="ohl"),
    "duplicates": _one(duplicates=10),
    "unsorted": _one(unsorted=True),
    "unsorted duplicates": _one(unsorted=True, duplicates=10),
    "integer volume": _one(volume="int"),
    "integer volume, holes": _one(volume="int", holes=0.4),
    "int32 volume": _one(volume="int32"),
    "nan volume": _one(volume="nan"),
    "no volume": _one(volume="missing"),
    "float32": _one(prices="float32", volume="float32"),
    "integer prices": _one(prices="int"),
    "tiny prices": _one(prices="tiny"),
    "negative prices": _one(prices="signed"),
    "worthless for a while": _one(prices="zeros", holes=0.2),
    "extra columns": _one(extras=("vwap", "trades", "flag", "note", "stamp"), holes=0.2),
    "column order and case": _one(reorder=True, titles=True, extras=("vwap",)),
    "time in a column": _one(in_column=True),
    "naive": _one(zone=None),
    "utc, microseconds": _one(zone="UTC", unit="us"),
    "tokyo, seconds": _one(zone="Asia/Tokyo", unit="s"),
    "units mixed": _of(replace(_A, unit="us"), replace(_A, symbol="BBB", unit="ns")),
    "trading hours": _one(calendar="extended", session_rows=960, hours=("09:30", "16:00")),
    "dates cut": _one(days=6, cut=(1, 3)),
    "quotes": _one(bid_ask="quotes"),
    "quotes with gaps and sizes": _one(
        bid_ask="quotes gaps sizes", holes=0.3, calendar="extended", session_rows=960, halts=((0.2, 150),)
    ),
    "quotes with their times": _one(bid_ask="quotes gaps times", holes=0.3),
    "quotes made from the close": _one(bid_ask="quotes synthetic"),
    "options": _of(
        _A, _OPTION, replace(_OPTION, strike=105.0, right="PUT"), replace(_OPTION, expiry="2024-03-08")
    ),
    "a dividend on minute bars": _one(actions="dividend"),
    "splits on minute bars": _one(actions="dividend splits nan"),
    "hours": _of(
        SeriesSpec("AAA", timestep="hour", calendar="rth", days=30, session_rows=7),
        SeriesSpec("BBB", timestep="hour", calendar="clock-hour", days=20, session_rows=7),
        end=35 * 1440,
    ),
    "hours around the clock": _of(
        SeriesSpec("BTC", "crypto", quote="USD", timestep="hour", calendar="24x7", days=20),
        first_day="2024-03-01",
        end=25 * 1440,
    ),
    "hours with holes and quotes": _of(
        SeriesSpec("AAA", timestep="hour", calendar="extended", days=20, holes=0.3, bid_ask="quotes gaps"),
        end=25 * 1440,
    ),
    "days": _days(),
    "days, dividends and splits": _days(actions="dividend splits"),
    "days, adjusted splits": _days(actions="dividend splits adjusted"),
    "days, nan actions": _days(actions="dividend splits nan", volume="int"),
    "days at the close": _days(calendar="close16", actions="dividend splits"),
    "days in utc": _days(calendar="midnight-utc", zone="UTC", actions="splits"),
    "days in utc that know their frequency": _days(calendar="midnight-utc", zone="UTC", freq=True),
    "minutes that know their frequency": _of(
        SeriesSpec(
            "BTC", "crypto", quote="USD", calendar="24x7", session_rows=1440, days=2, zone="UTC", freq=True
        )
    ),
    "days with holes": _days(holes=0.3, nan="middle"),
    "days with quotes": _days(bid_ask="quotes gaps", holes=0.3),
    "days over the clock change": _days(days=20),
    "minutes then days": _of(_A, replace(_DAY, symbol="BBB")),
    "days then minutes": _of(replace(_DAY, symbol="BBB"), _A),
    "minutes, hours, days": _of(
        _A, SeriesSpec("BBB", timestep="hour", calendar="rth", days=4), replace(_DAY, symbol="CCC", days=5)
    ),
    "one bar": _of(replace(_A, days=1, session_rows=1), start=0, end=2880),
    "the window starts before the data": _of(_A, start=-4 * 1440, end=5 * 1440),
    "the window ends within the data": _of(replace(_A, days=5), start=600, end=1440 + 620),
    "the window ends before the data": _of(_A, start=-4 * 1440, end=-1440),
    "the window starts after the data": _of(_A, start=40 * 1440, end=50 * 1440),
    "bars before and after the window alone": _of(
        replace(_A, days=8, missing_days=(5, 6, 7, 8)), start=2 * 1440, end=3 * 1440
    ),
    "a session that begins with a bar off the minute, before any other is listed": _of(
        replace(_A, days=1),
        replace(_A, symbol="BBB", calendar="extended", listed=1, days=1, session_rows=1, shift_us=30_000_000),
        replace(_A, symbol="CCC", listed=1),
    ),
}

_STEPS = {
    "minute": ("minute", "5 minutes", "15min", "hour", "4 hours", "day", "2 days"),
    "hour": ("hour", "4 hours", "day", "minute"),
    "day": ("day", "2 days", "hour"),
}


def walk_of(universe: UniverseSpec, *, whole: bool = False) -> Walk:
    """Every kind of question, at every kind of moment; whole: of every length and step, oftener."""
    asked = [Request(what) for what in ("state", "keys", "index", "days", "frame")]
    abouts = sorted({0, len(universe.series) - 1})
    for about in abouts:
        spec = universe.series[about]
        asked += [Request("history", about, length, spec.timestep, quote="own") for length in (1, 7, 200)]
        steps = _STEPS[spec.timestep] if whole or about == 0 else ("day",)
        asked += [
            Request("history", about, n, step, quote="own")
            for step in steps
            for n in ((1, 7, 60) if whole else (4,))
        ]
        shifts = (0, 1, -1, -2, 3, 500, "90s", "-3600s", "86400s") if whole or about == 0 else (1, -1)
        asked += [Request("history", about, 3, spec.timestep, shift, quote="own") for shift in shifts]
        asked += [Request(what, about, quote="own") for what in ("price", "quote", "apply_splits")]
        asked += [Request("find", about, timestep=step) for step in (None, "minute", "day")]
    asked += [
        Request("between", 0, 1, step, quote="own", span=span)
        for step, span in (("minute", (-700.0, 0.0)), ("day", (-1e5, 1e5)), ("5 minutes", (-700.0, 30.0)))
    ]
    asked += [Request(what, quote="own") for what in ("dividend", "dividends", "splits", "chains")]
    asked += [Request("bars", 0, 5, universe.series[0].timestep, quote="own")]
    asked += [Request("history", -3, 3, "15min"), Request("history", -3, 3, "day")]
    asked += [Request("lines", quote="own"), Request("spread", quote="own")]
    asked += [Request("history", wrong, 2) for wrong in (-1, -2, -3, -4)] + [
        Request("price", -1),
        Request("quote", -1),
    ]
    asked += [Request("history", 0, 0), Request("history", 0, 2.5)]
    later = 1440 if universe.series[0].timestep == "minute" else 10 * 1440
    often = 4 if whole else 1
    runs = (
        Run(-1440.0),
        Run(570.0),
        Run(600.25, 20.0, often),
        Run(659.0, 60.0, 1 + often),
        Run(later + 600.0, 900.0, often),
        Run(2 * later + 123.5, 3600.0, often),
        Run(9 * 1440 + 1.0),
        Run(580.0),
    )
    more = (Run(571.0, 60.0, 4), Run(575.0), Run(1439.5, 60.0, 3), Run(4 * later + 700.0)) if whole else ()
    return Walk(runs + more, tuple(asked))
