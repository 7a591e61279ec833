"""Universes of real bars. They have the quirks that nobody would think of making."""

from __future__ import annotations

from .universes import SeriesSpec, UniverseSpec

__all__ = ["REAL"]

_DAY = 1440


def _stock(symbol: str, file: str, window: tuple[str, str] | None = None, **more: object) -> SeriesSpec:
    return SeriesSpec(symbol, file=f"{file}.parquet", window=window, **more)  # type: ignore[arg-type]


def _minutes(*series: SeriesSpec, first_day: str, days: int) -> UniverseSpec:
    return UniverseSpec(first_day=first_day, series=series, start=570, end=days * _DAY)


REAL: dict[str, UniverseSpec] = {
    "minute stocks, extended hours, an illiquid one": _minutes(
        _stock("AAPL", "alvinmoore__AAPL__1min", ("2022-03-14", "2022-03-21"), days=8),
        _stock("GME", "alvinmoore__GME__1min", ("2022-03-15", "2022-03-19"), days=6),
        _stock("SNP", "alvinmoore__SNP__1min", ("2022-03-14", "2022-03-25"), days=11),
        first_day="2022-03-14",
        days=12,
    ),
    "an index and a sparse stock, regular hours": _minutes(
        _stock("GSPC", "alvinmoore__GSPC__1min", kind="index", days=14, window=("2022-04-01", "2022-04-18")),
        _stock("SNP", "alvinmoore__SNP__1min", ("2022-04-01", "2022-04-18"), days=14),
        first_day="2022-04-01",
        days=18,
    ),
    "minute stocks of separate years, over a split": _minutes(
        _stock("AAPL", "lean__AAPL__1min", days=5),
        _stock("SPY", "lean__SPY__1min", ("2013-10-04", "2014-06-09"), days=5),
        first_day="2014-06-05",
        days=5,
    ),
    "bitcoin around the clock, over a clock change": _minutes(
        _stock(
            "BTC",
            "aiquant__BTCUSDT__1min",
            ("2026-03-06", "2026-03-10"),
            kind="crypto",
            quote="USDT",
            calendar="24x7",
            days=5,
        ),
        first_day="2026-03-06",
        days=5,
    ),
    "bitcoin on separate days": _minutes(
        _stock(
            "BTC",
            "lean__BTCUSD__1min",
            ("2016-10-07", "2017-04-06"),
            kind="crypto",
            quote="USD",
            calendar="24x7",
            days=4,
        ),
        first_day="2016-10-07",
        days=100,
    ),
    "a future with its daily break": _minutes(
        _stock(
            "6E",
            "nautilus__6EH4__1min",
            ("2024-01-01", "2024-01-10"),
            kind="future",
            expiry="2024-03-18",
            calendar="futures",
            days=9,
        ),
        first_day="2024-01-02",
        days=9,
    ),
    "hours": UniverseSpec(
        first_day="2019-02-25",
        start=0,
        end=900 * _DAY,
        series=(
            _stock("AAPL", "lean__AAPL__1hour", ("2019-01-01", "2021-03-31"), timestep="hour", days=700),
            _stock("SPY", "lean__SPY__1hour", ("2019-03-01", "2020-12-31"), timestep="hour", days=600),
        ),
    ),
    "hours with duplicates, extended": UniverseSpec(
        first_day="2023-08-01",
        start=0,
        end=500 * _DAY,
        series=(
            _stock("SPY", "moneytree__SPY__1hour", ("2023-07-01", "2024-08-30"), timestep="hour", days=390),
        ),
    ),
    "days with dividends and splits": UniverseSpec(
        first_day="2011-02-23",
        start=0,
        end=5400 * _DAY,
        series=tuple(
            _stock(s, f"traderewind__{s}__1day", timestep="day", calendar="midnight", days=5000)
            for s in ("AAPL", "GE", "KO", "O", "TSLA")
        ),
    ),
    "raw days, two calendars of different length": UniverseSpec(
        first_day="1998-01-02",
        start=_DAY,
        end=8600 * _DAY,
        series=(
            _stock("AAPL", "lean__AAPL__1day", timestep="day", calendar="midnight", days=8400),
            _stock("KO", "traderewind__KO__1day", timestep="day", calendar="midnight", days=8400),
        ),
    ),
    "minutes and days in one universe": _minutes(
        _stock("AAPL", "alvinmoore__AAPL__1min", ("2022-03-14", "2022-03-18"), days=5),
        _stock(
            "GE",
            "traderewind__GE__1day",
            ("2022-01-03", "2022-03-31"),
            timestep="day",
            calendar="midnight",
            days=17,
        ),
        first_day="2022-03-14",
        days=6,
    ),
}
