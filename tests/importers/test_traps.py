"""Files that read without a fault and would be stored wrongly: refused with a cure, or read right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

HEAD = "Date,Open,High,Low,Close,Volume"
LOWER = "datetime,open,high,low,close,volume"


def text(head: str, rows: Any) -> str:
    return "\n".join([head, *rows]) + "\n"


MINUTES = [f"2024-01-16 09:{30 + i}" for i in range(20)]
DAYS = [f"2024-01-{2 + i:02d}" for i in range(20)]

# File, and what the refusal says.
REFUSED = {
    "a time of day under a name that is not known": (
        text(
            "Date,Time (ET),Open,High,Low,Close,Volume",
            [f"2024-01-{d},09:3{m},1,2,.5,1.{m}{d},9" for d in (16, 17, 18) for m in range(4)],
        ),
        r"'Time \(ET\)' holds times of day.*--columns",
    ),
    "expiries of one symbol": (
        text(
            "Symbol,Expiry,Date,Open,High,Low,Close,Volume",
            [f"SPY,2024-0{e}-15,{day},470,480,460,47{e},0" for day in DAYS for e in (3, 6, 9)],
        ),
        "20 of 20 times of a symbol in column 'Symbol'.*with other prices",
    ),
    "the same by expiry": (
        text(
            "Symbol,Expiry,Date,Open,High,Low,Close,Volume",
            [f"SPY,2024-0{e}-15,{day},470,480,460,47{e},0" for e in (3, 6, 9) for day in DAYS],
        ),
        "20 of 20 times of a symbol in column 'Symbol'.*with other prices",
    ),
    "bars of two sizes": (
        text(
            f"{LOWER},interval",
            [f"{at},1,2,.5,1.5,9,1m" for at in MINUTES]
            + [f"2024-01-16 1{hour}:00,1,2,.5,1.7,9,5m" for hour in range(5)],
        ),
        "more than one size in column 'interval', '1m' and '5m'",
    ),
    "months": (
        text(
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
            [f"AAPL.US,M,2020{month:02d}01,000000,1,2,.5,1,9,0" for month in range(1, 12)],
        ),
        "bars of a month .* longer than a day",
    ),
    "weeks by their column": (
        text(f"{LOWER},interval", [f"2024-01-{1 + 7 * i:02d},1,2,.5,1,9,7d" for i in range(4)]),
        "'7d', by column 'interval', are longer than a day",
    ),
    "seconds in a column that is read as minutes": (
        text(f"{LOWER},interval", [f"{at},1,2,.5,1,9,60" for at in MINUTES]),
        "'60', 3,600 s, but most are 60 s apart: say --timestep",
    ),
    "three days a bar": (
        text(HEAD, [f"{day},1,2,.5,1,9" for day in DAYS[::3]]),
        "no two bars are less than 3 days apart.*--timestep",
    ),
    "symbols side by side under one name": (
        text(f"{HEAD},Open,High,Low,Close,Volume", [f"{day},1,2,.5,1,9,11,12,10,11,9" for day in DAYS]),
        "several symbols side by side: say with --columns",
    ),
    "the same as pandas numbers them": (
        text(f"{HEAD},Open.1,High.1,Low.1,Close.1", [f"{day},1,2,.5,1,9,11,12,10,11" for day in DAYS]),
        "several symbols side by side: say with --columns",
    ),
    "thirty-seconds of a point": (
        text(HEAD, [f"{day},110'16,111'08,109'02,110'20,9" for day in DAYS]),
        'open is not a number in 20 rows: "110\'16"',
    ),
    "a blank where a point was": (
        text(HEAD, [f"{day},100 5,101 5,99 5,100 6,9" for day in DAYS]),
        "open is not a number in 20 rows",
    ),
    "hours in the column of times": (
        text("Date,Time,Open,High,Low,Close,Volume", [f"20240116,{h},1,2,.5,1,9" for h in range(8, 18)]),
        "up to two digits: hours, or minutes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_nothing_is_stored(name: str, imported: Any, tmp_path: Path) -> None:
    content, says = REFUSED[name]
    path = tmp_path / "bars.csv"
    path.write_text(content)
    (outcome,) = imported.take("csv", path)
    assert outcome.status == "failed"
    assert re.search(says, outcome.detail), outcome.detail
    assert imported.series() == []


def test_with_the_timestep_said_the_size_is_not_questioned(imported: Any, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(text(f"{LOWER},interval", [f"{at},1,2,.5,1,9,60" for at in MINUTES]))
    assert imported.one("csv", path, timestep="minute").status == "written"
    assert len(imported.frame()) == 20


@pytest.mark.parametrize("first", ["symbol", "time"])
def test_bars_of_symbols_in_either_order_are_told_apart(first: str, imported: Any, tmp_path: Path) -> None:
    keys = [(s, at) for s in "BA" for at in MINUTES]
    if first == "time":
        keys.sort(key=lambda key: key[1])
    path = tmp_path / "bars.csv"
    path.write_text(text(f"symbol,{LOWER}", [f"{s},{at},1,2,.5,1.{ord(s)},9" for s, at in keys]))
    imported.take("csv", path)
    assert [(row[0].symbol, row[4]) for row in imported.series()] == [("A", 20), ("B", 20)]


TITLES = ['"By X\non a day"', '"By X\n\nfor me\non a day"\n', 'By "X"', "By X\n"]


@pytest.mark.parametrize("title", TITLES)
def test_titles_above_the_header_cost_no_bar(title: str, imported: Any, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(f"{title}\n" + text(HEAD, [f"{day},1,2,.5,1,{i}" for i, day in enumerate(DAYS)]))
    imported.one("csv", path)
    assert imported.frame()["volume"].tolist() == list(range(20))


def test_columns_called_as_ours_are_columns_like_any_other(imported: Any, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(text(f"{LOWER},bar,us", [f"{at},1,2,.5,1,9,{i % 2},{i}" for i, at in enumerate(MINUTES)]))
    assert imported.one("csv", path).written == 20
    assert imported.frame()["bar"].tolist() == [0, 1] * 10
    assert imported.frame()["us"].tolist() == list(range(20))
    assert imported.one("csv", path).status == "unchanged"


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("{at:%d/%m/%Y %H:%M} UTC", "%d/%m/%Y %H:%M UTC"),
        ("{at:%Y%m%dT%H%M%S}Z", "%Y%m%dT%H%M%SZ"),
        ("{at:%Y-%m-%d %H:%M:%S}Z", "ISO 8601"),
        ("{at:%d.%m.%Y %H:%M} GMT", "%d.%m.%Y %H:%M GMT"),
    ],
)
def test_a_format_that_is_said_keeps_its_zone(form: str, wanted: str, imported: Any, tmp_path: Path) -> None:
    times = pd.date_range("2024-02-01 09:30", periods=20, freq="1min", tz="UTC")
    path = tmp_path / "bars.csv"
    path.write_text(text(LOWER, [f"{form.format(at=at)},1,2,.5,1,9" for at in times]))
    imported.one("csv", path, date_format=wanted)
    assert (imported.frame().index == times).all()


def test_signs_of_money_and_of_thousands_are_no_digits(imported: Any, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(
        text(HEAD.replace(",", ";"), [f"{day};$ 1'110,25;€1 211,08;1'009,02;1110,20 €;9 000" for day in DAYS])
    )
    imported.one("csv", path)
    assert imported.frame().to_numpy().tolist() == [[1110.25, 1211.08, 1009.02, 1110.2, 9000.0]] * 20


@pytest.mark.parametrize(("asset_type", "zone"), [("crypto", "UTC"), ("stock", "America/New_York")])
def test_naive_frames_are_of_the_zone_that_texts_are(
    asset_type: str, zone: str, imported: Any, tmp_path: Path
) -> None:
    times = pd.date_range("2024-01-16 09:30", periods=9, freq="1min")
    bars = pd.DataFrame(dict.fromkeys(["open", "high", "low", "close", "volume"], 1.0), index=range(9))
    bars.insert(0, "datetime", times)
    bars.to_feather(tmp_path / "BTC.feather")
    imported.one("feather", tmp_path / "BTC.feather", asset_type=asset_type)
    assert (imported.frame().index == times.tz_localize(zone)).all()
