"""Text files of many shapes; what is stored against pandas, told by hand how to read the same file."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lazybars import AmbiguousInput, AssetKey, BadInput, ConfigError, open_store
from lazybars.importers import Wishes
from lazybars.importers.bench import open_bench
from lazybars.importers.csv_file import read_text
from lazybars.importers.csv_shape import CsvShape

NEW_YORK = "America/New_York"
USD = AssetKey("USD", "forex")
OHLCV = ["open", "high", "low", "close", "volume"]
START = dt.datetime(2024, 1, 2, 9, 30)
ROWS = [
    (
        round(100 + i / 10, 2),
        round(101.25 + i / 10, 2),
        round(98.75 + i / 10, 2),
        round(100.5 + i / 10, 2),
        1000 + i,
    )
    for i in range(30)
]


SMALL = [(o - 80, h - 80, low - 80, c - 80, v) for o, h, low, c, v in ROWS]


def lines(form: str, *, step: int = 1, start: dt.datetime = START, rows: list[Any] = ROWS) -> str:
    """A line for each bar: t, o, h, l, c, v, i by their names; times are ``step`` minutes apart."""
    return "".join(
        form.format(t=start + dt.timedelta(minutes=i * step), e=_epoch(start) + 60 * i * step, i=i,
                    **dict(zip("ohlcv", row, strict=True))) + "\n"
        for i, row in enumerate(rows)
    )  # fmt: skip


def _epoch(naive: dt.datetime) -> int:
    return int(naive.replace(tzinfo=dt.timezone.utc).timestamp())


def frame(
    path: Path, times: Callable[[pd.DataFrame], Any], names: dict[str, str], **how: Any
) -> pd.DataFrame:
    """pandas' reading: ``how`` for read_csv, ``times`` from the frame to its index, ``names`` to keep."""
    read = pd.read_csv(path, **how)
    index = pd.DatetimeIndex(times(read))
    if index.tz is None:
        index = index.tz_localize(NEW_YORK)
    return read[list(names)].rename(columns=names).set_index(index.tz_convert(NEW_YORK).rename("datetime"))


@dataclass
class Shape:
    """A file's text, and how pandas has to be told to read it."""

    text: str
    times: Callable[[pd.DataFrame], Any]
    names: dict[str, str]
    how: dict[str, Any] = field(default_factory=dict)
    wishes: dict[str, Any] = field(default_factory=dict)
    encoding: str = "utf-8"
    suffix: str = ".csv"


def titled(*names: str) -> dict[str, str]:
    return dict(zip(names, OHLCV, strict=False))


TITLES = titled("Open", "High", "Low", "Close", "Volume")
LOWER = titled(*OHLCV)
PLACES = {i + 1: name for i, name in enumerate(OHLCV)}
BARE = {"header": None}
DAY = 1440
HEAD = "Date,Open,High,Low,Close,Volume\n"
SHAPES: dict[str, Shape] = {
    "Yahoo, with a row of nulls": Shape(
        "Date,Open,High,Low,Close,Adj Close,Volume\n"
        + lines("{t:%Y-%m-%d},{o},{h},{l},{c},{c},{v}", step=DAY)
        + "2024-03-01,null,null,null,null,null,null\n",
        lambda f: pd.to_datetime(f["Date"]),
        {**TITLES, "Adj Close": "Adj Close"},
    ),
    "Stooq": Shape(
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        + lines("AAPL.US,5,{t:%Y%m%d},{t:%H%M%S},{o},{h},{l},{c},{v},0", step=5),
        lambda f: pd.to_datetime(f["<DATE>"] + f["<TIME>"], format="%Y%m%d%H%M%S"),
        {**titled("<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"), "<OPENINT>": "<OPENINT>"},
        {"dtype": {"<DATE>": str, "<TIME>": str}},
        suffix=".txt",
    ),
    "Binance klines": Shape(
        lines("{e}000,{o},{h},{l},{c},{v}.25,{e}999,1.5,20,2.5,3.5,0"),
        lambda f: pd.to_datetime(f[0], unit="ms", utc=True),
        {**PLACES, 7: "quote_volume", 8: "trades", 9: "taker_base_volume", 10: "taker_quote_volume"},
        BARE,
    ),
    "Binance klines since 2025, in microseconds": Shape(
        lines("{e}000000,{o},{h},{l},{c},{v}.25,{e}999999,1.5,20,2.5,3.5,0"),
        lambda f: pd.to_datetime(f[0], unit="us", utc=True),
        {**PLACES, 7: "quote_volume", 8: "trades", 9: "taker_base_volume", 10: "taker_quote_volume"},
        BARE,
    ),
    "semicolons and decimal commas": Shape(
        "Datum;Eröffnung;Hoch;Tief;Schlusskurs;Volumen\n"
        + lines("{t:%d/%m/%Y};{o:.2f};{h:.2f};{l:.2f};{c:.2f};{v}", step=DAY)
        .replace(".", ",").replace("/", "."),
        lambda f: pd.to_datetime(f["Datum"], format="%d.%m.%Y"),
        titled("Eröffnung", "Hoch", "Tief", "Schlusskurs", "Volumen"),
        {"sep": ";", "decimal": ",", "dtype": {"Volumen": float}},
    ),
    "decimal commas and points between thousands, as Windows has them": Shape(
        "Datum;Eröffnung;Hoch;Tief;Schluss;€\n"
        + lines("{t:%Y-%m-%d};1#1{o:06.3f};1#1{h:06.3f};1#1{l:06.3f};1#1{c:06.3f};ü", step=DAY, rows=SMALL)
        .replace(".", ",").replace("#", "."),
        lambda f: pd.to_datetime(f["Datum"]),
        titled("Eröffnung", "Hoch", "Tief", "Schluss"),
        {"sep": ";", "decimal": ",", "thousands": ".", "encoding": "windows-1252"},
        encoding="windows-1252",
    ),
    "day first, as one row tells": Shape(
        "Date,Time,Open,High,Low,Close,Volume\n"
        + lines("{t:%d/%m/%Y},{t:%H:%M},{o},{h},{l},{c},{v}", step=600, start=dt.datetime(2024, 2, 3, 4)),
        lambda f: pd.to_datetime(f["Date"] + " " + f["Time"], format="%d/%m/%Y %H:%M"),
        TITLES,
        wishes={"timestep": "hour"},
    ),
    "month first, as one row tells": Shape(
        "Date,Open,High,Low,Close,Volume\n" + lines("{t:%m/%d/%Y},{o},{h},{l},{c},{v}", step=DAY),
        lambda f: pd.to_datetime(f["Date"], format="%m/%d/%Y"),
        TITLES,
    ),
    "dates that are the same both ways": Shape(
        "Date,Time,Open,High,Low,Close,Volume\n"
        + lines("{t:%d/%m/%Y},{t:%H:%M},{o},{h},{l},{c},{v}", start=dt.datetime(2024, 2, 2, 9)),
        lambda f: pd.to_datetime(f["Date"] + " " + f["Time"], format="%d/%m/%Y %H:%M"),
        TITLES,
    ),
    "a format that the caller says": Shape(
        "Date,Open,High,Low,Close,Volume\n" + lines("{t:%d/%m/%Y %H:%M},{o},{h},{l},{c},{v}"),
        lambda f: pd.to_datetime(f["Date"], format="%d/%m/%Y %H:%M").dt.tz_localize("Europe/Berlin"),
        TITLES,
        wishes={"date_format": "%d/%m/%Y %H:%M", "tz": "Europe/Berlin"},
    ),
    "epoch seconds": Shape(
        "Timestamp,Open,High,Low,Close,Volume\n" + lines("{e},{o},{h},{l},{c},{v}"),
        lambda f: pd.to_datetime(f["Timestamp"], unit="s", utc=True),
        TITLES,
    ),
    "epoch seconds with a point": Shape(
        "Timestamp,Open,High,Low,Close,Volume\n" + lines("{e}.0,{o},{h},{l},{c},{v}"),
        lambda f: pd.to_datetime(f["Timestamp"].astype("int64"), unit="s", utc=True),
        TITLES,
    ),
    "epoch nanoseconds, many symbols, windows": Shape(
        "ticker,volume,open,close,high,low,window_start,transactions\n"
        + lines("SPY,{v},{o},{c},{h},{l},{e}000000000,{i}"),
        lambda f: pd.to_datetime(f["window_start"], unit="ns", utc=True),
        {"volume": "volume", "open": "open", "close": "close", "high": "high", "low": "low",
         "transactions": "transactions"},
    ),
    "times with their offset": Shape(
        "datetime,open,high,low,close,volume\n" + lines("{t:%Y-%m-%dT%H:%M:%S}-03:00,{o},{h},{l},{c},{v}"),
        lambda f: pd.to_datetime(f["datetime"], utc=True),
        LOWER,
    ),
    "times with a Z": Shape(
        "datetime,open,high,low,close,volume\n" + lines("{t:%Y-%m-%dT%H:%M:%S}.000Z,{o},{h},{l},{c},{v}"),
        lambda f: pd.to_datetime(f["datetime"], utc=True),
        LOWER,
    ),
    "Dukascopy": Shape(
        "Gmt time,Open,High,Low,Close,Volume\n" + lines("{t:%d.%m.%Y %H:%M:%S}.000,{o},{h},{l},{c},{v}.5"),
        lambda f: pd.to_datetime(f["Gmt time"], format="%d.%m.%Y %H:%M:%S.%f", utc=True),
        TITLES,
    ),
    "MetaTrader 5": Shape(
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        + lines("{t:%Y.%m.%d}\t{t:%H:%M:%S}\t{o}\t{h}\t{l}\t{c}\t{v}\t{i}\t3"),
        lambda f: pd.to_datetime(f["<DATE>"] + f["<TIME>"], format="%Y.%m.%d%H:%M:%S"),
        {"<OPEN>": "open", "<HIGH>": "high", "<LOW>": "low", "<CLOSE>": "close", "<VOL>": "volume",
         "<TICKVOL>": "<TICKVOL>", "<SPREAD>": "<SPREAD>"},
        {"sep": "\t"},
        suffix=".tsv",
    ),
    "HistData, without names": Shape(
        lines("{t:%Y%m%d %H%M%S};{o};{h};{l};{c};{v}"),
        lambda f: pd.to_datetime(f[0], format="%Y%m%d %H%M%S"),
        PLACES,
        {"sep": ";", **BARE},
    ),
    "date and time without names": Shape(
        lines("{t:%m/%d/%Y},{t:%H:%M},{o},{h},{l},{c},{v}", step=DAY),
        lambda f: pd.to_datetime(f[0] + f[1], format="%m/%d/%Y%H:%M"),
        {i + 2: name for i, name in enumerate(OHLCV)},
        BARE,
    ),
    "times of day without their zeros": Shape(
        "Date,Time,Open,High,Low,Close,Volume\n"
        + "".join(f"20240102,{i},{o},{h},{low},{c},{v}\n" for i, (o, h, low, c, v) in enumerate(ROWS)),
        lambda f: pd.to_datetime("20240102" + f["Time"].astype(str).str.zfill(4), format="%Y%m%d%H%M"),
        TITLES,
    ),
    "Investing.com": Shape(
        '\ufeff"Date","Price","Open","High","Low","Vol.","Change %"\n'
        + "".join(
            f'"{START + dt.timedelta(days=i):%m/%d/%Y}","{c * 50:,.2f}","{o * 50:,.2f}","{h * 50:,.2f}",'
            f'"{low * 50:,.2f}","{v / 1000:.3f}K","0.35%"\n'
            for i, (o, h, low, c, v) in enumerate(ROWS)
        ),
        lambda f: pd.to_datetime(f["Date"], format="%m/%d/%Y"),
        {"Open": "open", "High": "high", "Low": "low", "Price": "close", "Vol.": "volume"},
        {"thousands": ",", "encoding": "utf-8-sig", "converters": {"Vol.": lambda t: float(t[:-1]) * 1000}},
    ),
    "Nasdaq.com, with dollars": Shape(
        "Date,Close/Last,Volume,Open,High,Low\n" + lines("{t:%m/%d/%Y},${c},{v},${o},${h},${l}", step=DAY),
        lambda f: pd.to_datetime(f["Date"], format="%m/%d/%Y"),
        {"Close/Last": "close", "Volume": "volume", "Open": "open", "High": "high", "Low": "low"},
        {"converters": dict.fromkeys(["Close/Last", "Open", "High", "Low"], lambda t: float(t.lstrip("$"))),
         "dtype": {"Volume": float}},
    ),
    "Alpha Vantage": Shape(
        "timestamp,1. open,2. high,3. low,4. close,5. volume\n" + lines("{t},{o},{h},{l},{c},{v}"),
        lambda f: pd.to_datetime(f["timestamp"]),
        titled("1. open", "2. high", "3. low", "4. close", "5. volume"),
    ),
    "CryptoDataDownload, newest first below a title": Shape(
        "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USDT\n"
        + "\n".join(reversed(lines("{e},x,BTC/USDT,{o},{h},{l},{c},{v}.5,2.5").splitlines())) + "\n",
        lambda f: pd.to_datetime(f["unix"], unit="s", utc=True),
        {**titled("open", "high", "low", "close", "Volume BTC"), "Volume USDT": "Volume USDT"},
        {"skiprows": 1},
        {"asset_type": "crypto"},
    ),
    "yfinance": Shape(
        "Price,Close,High,Low,Open,Volume\nTicker,SPY,SPY,SPY,SPY,SPY\nDate,,,,,\n"
        + lines("{t:%Y-%m-%d},{c},{h},{l},{o},{v}", step=DAY),
        lambda f: pd.to_datetime(f["Price"]),
        {"Close": "close", "High": "high", "Low": "low", "Open": "open", "Volume": "volume"},
        {"skiprows": [1, 2]},
    ),
    "yfinance before it named its two levels": Shape(
        ",Close,High,Low,Open,Volume\n,SPY,SPY,SPY,SPY,SPY\nDate,,,,,\n"
        + lines("{t:%Y-%m-%d},{c},{h},{l},{o},{v}", step=DAY),
        lambda f: pd.to_datetime(f["Unnamed: 0"]),
        {"Close": "close", "High": "high", "Low": "low", "Open": "open", "Volume": "volume"},
        {"skiprows": [1, 2]},
    ),
    "yfinance grouped by ticker": Shape(
        "Ticker,SPY,SPY,SPY,SPY,SPY\nPrice,Open,High,Low,Close,Volume\nDatetime,,,,,\n"
        + lines("{t:%Y-%m-%d %H:%M}:00+00:00,{o},{h},{l},{c},{v}"),
        lambda f: pd.to_datetime(f["Price"]),
        TITLES,
        {"skiprows": [0, 2]},
    ),
    "prices called by the symbol, as R's quantmod has them": Shape(
        "Index,SPY.Open,SPY.High,SPY.Low,SPY.Close,SPY.Volume,SPY.Adjusted\n"
        + lines("{t:%Y-%m-%d},{o},{h},{l},{c},{v},{c}", step=DAY),
        lambda f: pd.to_datetime(f["Index"]),
        {
            **titled("SPY.Open", "SPY.High", "SPY.Low", "SPY.Close", "SPY.Volume"),
            "SPY.Adjusted": "SPY.Adjusted",
        },
    ),
    "columns aligned with spaces": Shape(
        "      Date   Open    High     Low   Close  Volume\n"
        + lines("{t:%Y-%m-%d} {o:>6} {h:>8} {l:>7} {c:>7}  {v:>6}  ", step=DAY),
        lambda f: pd.to_datetime(f["Date"]),
        TITLES,
        {"sep": r"\s+"},
        suffix=".txt",
    ),
    "pandas' own, with an index without a name": Shape(
        ",open,high,low,close,volume\n" + lines("{t},{o},{h},{l},{c},{v}"),
        lambda f: pd.to_datetime(f["Unnamed: 0"]),
        LOWER,
    ),
    "a delimiter at the end of each row": Shape(
        "Date;Open;High;Low;Close;Volume\n" + lines("{t:%Y-%m-%d};{o};{h};{l};{c};{v};", step=DAY),
        lambda f: pd.to_datetime(f["Date"]),
        TITLES,
        {"sep": ";", "index_col": False, "usecols": range(6)},
    ),
    "names of months, and noon": Shape(
        "Date,Open,High,Low,Close,Volume\n" + lines('"{t:%b %d, %Y, %I:%M %p}",{o},{h},{l},{c},{v}', step=60),
        lambda f: pd.to_datetime(f["Date"], format="%b %d, %Y, %I:%M %p"),
        TITLES,
    ),
    "UTF-16, as Excel has it": Shape(
        "Date\tOpen\tHigh\tLow\tClose\tVolume\n" + lines("{t:%Y/%m/%d}\t{o}\t{h}\t{l}\t{c}\t{v}", step=DAY),
        lambda f: pd.to_datetime(f["Date"]),
        TITLES,
        {"sep": "\t", "encoding": "utf-16"},
        encoding="utf-16",
        suffix=".txt",
    ),
    "Windows line ends, spaces, blank lines": Shape(
        "Date, Open, High, Low, Close, Volume\r\n\r\n"
        + lines("{t}, {o}, {h}, {l}, {c}, {v}").replace("\n", "\r\n") + "\r\n",
        lambda f: pd.to_datetime(f["Date"]),
        TITLES,
        {"skipinitialspace": True},
    ),
    "columns that the caller names": Shape(
        "a,b,c,d,e,f,g\n" + lines("x,{v},{c},{l},{h},{o},{t}"),
        lambda f: pd.to_datetime(f["g"]),
        {"b": "volume", "c": "close", "d": "low", "e": "high", "f": "open"},
        wishes={"columns": ("-", "volume", "close", "low", "high", "open", "datetime")},
    ),
    "names above that end in another way than the rows": Shape(
        HEAD.replace("\n", "\r\n") + lines("{t:%Y-%m-%d},{o},{h},{l},{c},{v}", step=DAY),
        lambda f: pd.to_datetime(f["Date"]),
        TITLES,
    ),
    "the same in UTF-16": Shape(
        HEAD.replace("\n", "\r\n") + lines("{t:%Y-%m-%d},{o},{h},{l},{c},{v}", step=DAY),
        lambda f: pd.to_datetime(f["Date"]),
        TITLES,
        {"encoding": "utf-16"},
        encoding="utf-16",
    ),
    "Barchart, with a sentence at the end": Shape(
        "Symbol,Time,Open,High,Low,Last,Change,%Chg,Volume\n"
        + lines("AAPL,{t:%m/%d/%Y},{o},{h},{l},{c},0.5,0.1%,{v}", step=DAY)
        + '"Downloaded from Barchart.com as of 02-01-2024 12:03pm CST"\n',
        lambda f: pd.to_datetime(f["Time"], format="%m/%d/%Y"),
        {**titled("Open", "High", "Low", "Last", "Volume"), "Change": "Change"},
        {"skipfooter": 1, "engine": "python"},
    ),
    "a zone by its name, as Interactive Brokers has it": Shape(
        "date,open,high,low,close,volume\n"
        + lines("{t:%Y%m%d %H:%M:%S} US/Central,{o},{h},{l},{c},{v}"),
        lambda f: pd.to_datetime(f["date"].str[:17]).dt.tz_localize("US/Central"),
        LOWER,
    ),
    "numbers as NumPy saves them": Shape(
        "".join(
            " ".join(f"{value:.18e}" for value in (_epoch(START) + 60 * i, *row)) + "\n"
            for i, row in enumerate(ROWS)
        ),
        lambda f: pd.to_datetime(f[0].astype("int64"), unit="s", utc=True),
        PLACES,
        {**BARE, "sep": " "},
    ),
    "Polish": Shape(
        "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen\n"
        + lines("{t:%Y-%m-%d},{o},{h},{l},{c},{v}", step=DAY),
        lambda f: pd.to_datetime(f["Data"]),
        titled("Otwarcie", "Najwyzszy", "Najnizszy", "Zamkniecie", "Wolumen"),
    ),
    "Chinese": Shape(
        "日期,开盘,收盘,最高,最低,成交量\n" + lines("{t:%Y-%m-%d},{o},{c},{h},{l},{v}", step=DAY),
        lambda f: pd.to_datetime(f["日期"]),
        dict(zip(["开盘", "收盘", "最高", "最低", "成交量"], ["open", "close", "high", "low", "volume"],
                 strict=True)),
    ),
    "a column that counts the rows beside the date": Shape(
        "Index," + HEAD + lines("{i},{t:%Y-%m-%d},{o},{h},{l},{c},{v}", step=DAY),
        lambda f: pd.to_datetime(f["Date"]),
        {**TITLES, "Index": "Index"},
    ),
    "a comma between thousands that the caller says": Shape(
        "Date;Open;High;Low;Close\n" + lines("{t:%Y-%m-%d};1,200;1,201;1,199;1,200", step=DAY),
        lambda f: pd.to_datetime(f["Date"]),
        titled("Open", "High", "Low", "Close"),
        {"sep": ";",
         "converters": dict.fromkeys(["Open", "High", "Low", "Close"], lambda t: float(t.replace(",", "")))},
        {"decimal": "."},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_found_out_and_read_as_pandas_reads_it(name: str, imported: Any, tmp_path: Path) -> None:
    shape = SHAPES[name]
    path = tmp_path / f"bars{shape.suffix}"
    path.write_bytes(shape.text.encode(shape.encoding))
    outcome = imported.one("csv", path, **shape.wishes)
    assert outcome.status == "written"
    truth = frame(path, shape.times, shape.names, **shape.how).sort_index()
    stored = imported.frame()
    assert set(stored.columns) == set(truth.columns)
    pd.testing.assert_frame_equal(
        stored, truth[list(stored.columns)], check_freq=False, check_index_type=False, check_exact=True
    )
    assert imported.one("csv", path, **shape.wishes).status == "unchanged"


def test_what_was_found_out_reads_like_this(imported: Any, tmp_path: Path) -> None:
    path = tmp_path / "vendor__EURUSD__1h.csv"
    path.write_text(
        "Zeit;Open;High;Low;Close;Vol;Note\n"
        + lines("{t:%d/%m/%Y %H:%M};{o:.1f};{h:.2f};{l:.2f};{c:.1f};{v};x", step=60)
        .replace(".", ",").replace("/", ".")
    )  # fmt: skip
    outcome = imported.one("csv", path, asset_type="forex")
    assert outcome.detail.splitlines() == [
        "text: utf-8, semicolon between columns, line 1 names the columns",
        "time: Zeit as %d.%m.%Y %H:%M, zone America/New_York (assumed; --tz says another)",
        "bars: open = Open, high = High, low = Low, close = Close, volume = Vol; hour",
        "numbers: ',' is the decimal sign, '.' between thousands",
        "left out: Note",
    ]
    assert imported.series() == [(AssetKey("EURUSD", "forex"), None, "hour", "vendor", 30)]


def test_the_shape_is_a_frozen_record(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(SHAPES["epoch seconds"].text)
    with open_bench() as bench, read_text(bench, path, Wishes()) as (shape, _):
        assert isinstance(shape, CsvShape)
        assert (shape.clock.format, shape.zone, shape.timestep, shape.layout.delimiter) == (
            "epoch s", "UTC", "minute", ",",
        )  # fmt: skip
        with pytest.raises(AttributeError):
            shape.timestep = "day"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "wishes", "said"),
    [
        ("Date,Open,High,Low,Close\n" + lines("{t:%d/%m/%Y},{o},{h},{l},{c}", rows=ROWS[:9], step=DAY), {},
         ["'02/01/2024'", "2024-01-02", "2024-02-01", "--date-format '%d/%m/%Y' or '%m/%d/%Y'"]),
        ("Date,Open,High,Low,Close\n" + lines("{t:%d-%m-%y},{o},{h},{l},{c}", rows=ROWS[:9], step=DAY), {},
         ["--date-format"]),
        ("Date;Open;High;Low;Close\n" + lines("{t};1,200;1,201;1,199;1,200"), {}, ["120 cells", "--decimal"]),
        ("Date;Open;High;Low;Close\n" + lines("{t};1,2;1.2;1,1;1,2"), {}, ["a point in 30", "a comma in 90"]),
        (lines("{t},{h},{o},{l},{c},{v}"), {}, ["30 of 30 rows", "--columns"]),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_asked_for(
    text: str, wishes: dict[str, Any], said: list[str], imported: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with (
        open_bench() as bench,
        pytest.raises(AmbiguousInput) as raised,
        read_text(bench, path, Wishes(**wishes)),
    ):
        pass
    assert all(one in str(raised.value) for one in said), raised.value
    (outcome,) = imported.take("csv", path, **wishes)
    assert outcome.status == "failed"
    assert imported.series() == []


GOOD = lines("{t},{o},{h},{l},{c},{v}")


@pytest.mark.parametrize(
    ("text", "wishes", "said"),
    [
        ("", {}, "is empty"),
        (HEAD, {}, "no rows"),
        ("hello\nworld\n", {}, "no table"),
        ("\0\1\2" * 99, {}, "no text"),
        (HEAD + GOOD + "2024-02-01,1,x,0.5,1,9\n", {}, "high is not a number in 1 rows: 'x' in row 31"),
        (HEAD + GOOD + "2024-02-30,1,2,0.5,1,9\n", {}, "not read as ISO 8601: '2024-02-30' in row 31"),
        (HEAD + GOOD + "2024-02-01T09:30:00Z,1,2,0.5,1,9\n", {}, "do not read as ISO 8601"),
        (HEAD + GOOD + "2024-02-01,1,2\n", {}, "Line: 32"),
        (HEAD + GOOD + "2024-02-\n", {}, "Line: 32"),
        ("Symbol," + HEAD + lines("BRK B,{t},{o},{h},{l},{c},{v}") + "BRK B\n", {}, "Line: 32"),
        (HEAD + GOOD + ",1,2,0.5,1,9\n", {}, "is empty"),
        (HEAD + GOOD + "2024-02-01,1,0.5,2,1,9\n", {}, "high is below low"),
        (HEAD + GOOD + "2024-02-01,inf,inf,1,1,9\n", {}, "infinite"),
        (HEAD.replace("Close", "x") + GOOD, {}, "no column for close"),
        (HEAD.replace("Date", "x") + GOOD, {}, "no column for the time"),
        (HEAD + lines("{e}000,{o},{h},{l},{c},{v}") + lines("{e},{o},{h},{l},{c},{v}"), {}, "epoch ms"),
        (HEAD + lines("in {t:%Y},{o},{h},{l},{c},{v}"), {}, "cannot tell how times such as 'in 2024'"),
        (HEAD + lines("{e},{o},{h},{l},{c},{v}", rows=ROWS[:1]), {}, "give --timestep"),
        (HEAD + "".join(f"{1704205800 + i},1,2,0.5,1,9\n" for i in range(9)), {}, "1 s apart"),
        (HEAD + lines("{t:%Y-%m-%d},{o},{h},{l},{c},{v}", step=7 * DAY), {}, "604,800 s apart"),
        (HEAD + lines("{t},{o},{h},{l},{c},{v}", start=dt.datetime(2024, 3, 10, 1, 45)), {}, "never happens"),
        (HEAD + GOOD, {"tz": "Mars"}, "no time zone"),
        (HEAD + GOOD, {"date_format": "ISO"}, "--date-format ISO"),
        (HEAD + GOOD, {"date_format": "%Q"}, "--date-format %Q"),
        (HEAD + GOOD, {"date_format": "%d/%m/%Y"}, "30 times do not read as %d/%m/%Y"),
        (HEAD + GOOD, {"decimal": ";"}, "--decimal ;"),
        (HEAD + GOOD, {"delimiter": "|"}, "with '|' between them"),
        (HEAD + GOOD, {"columns": ("datetime", "open")}, "6 columns"),
        (HEAD + GOOD, {"columns": ("datetime", "open", "high", "low", "volume", "-")}, "close is not among"),
        (HEAD + GOOD, {"columns": ("datetime", "open", "open", "low", "close", "-")}, "twice"),
        ("Price,Close,Close,High,Low,Open\nTicker,SPY,QQQ,SPY,SPY,SPY\nDate,,,,,\n" + GOOD, {}, "2 symbols"),
        ("Ticker,SPY,SPY,QQQ,QQQ,QQQ\nPrice,Open,High,Low,Close,Volume\nDate,,,,,\n" + GOOD, {}, "2 symbols"),
        ("Date,A.Open,A.High,A.Low,A.Close,B.Open\n" + GOOD, {}, "no column for open, high, low, close"),
        ("Date,Adj Open,Adj High,Adj Low,Adj Close,Volume\n" + GOOD, {}, "no column for open, high"),
        (lines("{t:%Y-%m-%d},,,,,", step=DAY), {}, "no row has a close"),
        ("Symbol," + HEAD + lines(",{t},{o},{h},{l},{c},{v}"), {}, "no symbol"),
    ],
)  # fmt: skip
def test_a_bad_file_says_what_is_wrong_and_leaves_nothing(
    text: str, wishes: dict[str, Any], said: str, imported: Any, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a_bad.csv").write_text(text)
    (tmp_path / "in" / "good.csv").write_text(HEAD + GOOD)
    bad, good = imported.take("csv", tmp_path / "in", **wishes)
    assert bad.status == "failed"
    assert said in bad.detail, bad.detail
    if not wishes:
        assert good.status == "written"
        assert [one[0].symbol for one in imported.series()] == ["GOOD"]


def test_many_symbols_in_one_file(imported: Any, tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    symbols = ["spy", "QQQ", "BRK B", "X'Y"]
    path.write_text(
        "symbol,datetime,open,high,low,close,volume\n"
        + "".join(f"{symbols[i % 4]}," + line + "\n" for i, line in enumerate(GOOD.splitlines()))
    )
    outcomes = imported.take("csv", path)
    assert [one.status for one in outcomes] == ["written"] * 4
    read = pd.read_csv(path)
    assert [(one[0].symbol, one[4]) for one in imported.series()] == [
        (symbol.upper(), int((read["symbol"] == symbol).sum())) for symbol in sorted(symbols)
    ]
    assert {one.status for one in imported.take("csv", path)} == {"unchanged"}


@pytest.mark.parametrize("mixed", [False, True])
def test_a_column_that_tells_the_rows_apart_is_that_of_the_symbols(
    mixed: bool, imported: Any, tmp_path: Path
) -> None:
    path = tmp_path / "all_stocks.csv"
    other = [tuple(value + 50 for value in row) for row in ROWS]
    rows = [lines("{t},{o},{h},{l},{c},{v},x,AAL"), lines("{t},{o},{h},{l},{c},{v},x,AAPL", rows=other)]
    if mixed:
        both = zip(*(one.splitlines() for one in rows), strict=True)
        rows = ["".join(f"{line}\n" for pair in both for line in pair)]
    path.write_text(HEAD.replace("\n", ",Note,Name\n") + "".join(rows))
    outcomes = imported.take("csv", path)
    assert [(one.status, one.written) for one in outcomes] == [("written", 30)] * 2
    assert "symbols: AAL, AAPL" in outcomes[0].detail
    with open_store(imported.path, read_only=True) as store:
        for symbol, truth in (("AAL", ROWS), ("AAPL", other)):
            stored = store.get_historical_prices(symbol)
            assert [tuple(row) for row in stored.to_numpy()] == truth
    assert {one.status for one in imported.take("csv", path)} == {"unchanged"}


def test_one_symbol_of_many(imported: Any, tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("Symbol," + HEAD + lines("SPY,{t},{o},{h},{l},{c},{v}")
                    + lines("QQQ,{t},{o},{h},{l},{c},1"))  # fmt: skip
    assert imported.one("csv", path, symbol="qqq").written == 30
    assert [one[0].symbol for one in imported.series()] == ["QQQ"]
    assert set(imported.frame()["volume"]) == {1}
    (outcome,) = imported.take("csv", path, symbol="IWM")
    assert "no row is of IWM; its symbols are QQQ, SPY" in outcome.detail


@pytest.mark.parametrize(
    ("names", "rows", "said"),
    [
        ("", "{t},{o},{h},{l},{c},{v}", "no column tells"),
        (",PERMNO", "{t},{o},{h},{l},{c},{v},{i}", "no column tells"),
        (",Name,Code", "{t},{o},{h},{l},{c},{v},n#,c#", "Name and Code each tell"),
    ],
)
def test_times_that_repeat_with_other_prices_are_not_one_series(
    names: str, rows: str, said: str, imported: Any, tmp_path: Path
) -> None:
    other = [tuple(value + 50 for value in row) for row in ROWS]
    path = tmp_path / "all.csv"
    path.write_text(
        HEAD.replace("\n", f"{names}\n")
        + lines(rows).replace("#", "1")
        + lines(rows, rows=other).replace("#", "2")
    )
    (outcome,) = imported.take("csv", path)
    assert outcome.status == "failed"
    assert "30 of 30 times" in outcome.detail
    assert said in outcome.detail
    assert imported.series() == []


@pytest.mark.parametrize(
    ("name", "wishes", "asset", "quote", "source"),
    [
        ("BTCUSDT-1m-2024-01.csv", {"asset_type": "crypto"}, AssetKey("BTCUSDT", "crypto"), None, "binance"),
        ("vendor__SPY__1min.csv.gz", {}, AssetKey("SPY"), None, "vendor"),
        ("vendor__SPY__1min.csv.bz2", {}, AssetKey("SPY"), None, "vendor"),
        ("größe [1].txt", {"source": "mine"}, AssetKey("GRÖSSE [1]"), None, "mine"),
        ("x.csv", {"symbol": "spy", "quote": USD}, AssetKey("SPY"), USD, "csv"),
        ("x.csv", {"symbol": "BTC/USDT", "asset_type": "crypto"}, AssetKey("BTC", "crypto"),
         AssetKey("USDT", "crypto"), "csv"),
    ],
)  # fmt: skip
def test_names(
    name: str, wishes: dict[str, Any], asset: AssetKey, quote: AssetKey | None, source: str, imported: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / name
    text = ("datetime,open,high,low,close,volume\n" + GOOD).encode()
    packed = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
    path.write_bytes(packed(text))
    imported.one("csv", path, **wishes)
    assert imported.series() == [(asset, quote, "minute", source, 30)]


@pytest.mark.parametrize("pretty", [False, True])
def test_databento_counts_prices_in_billionths(pretty: bool, imported: Any, tmp_path: Path) -> None:
    path = tmp_path / "glbx-mdp3-20240102.ohlcv-1m.csv"
    prices = [f"{price:.2f}" for row in ROWS for price in row[:4]]
    written = [f"{price}0000000" if pretty else f"{price}0000000".replace(".", "") for price in prices]
    if not pretty:
        written[4] = prices[4] = str(2**63 - 1)  # their way to say that there is none
    path.write_text(
        "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol\n"
        + "".join(
            f"{_epoch(START) + 60 * i}000000000,33,1,5482,{','.join(written[4 * i : 4 * i + 4])},{i},ESH4\n"
            for i in range(30)
        )
    )
    imported.one("csv", path)
    expected = np.array([float(price) if "." in price else np.nan for price in prices]).reshape(30, 4)
    np.testing.assert_array_equal(imported.frame()[OHLCV[:4]].to_numpy(), expected)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    from lazybars.importers import KINDS, import_files

    path = tmp_path / "a.csv"
    path.write_text(HEAD + GOOD)
    shown: list[str] = []
    (outcome,) = import_files(KINDS["csv"], [path], None, found=lambda lot: shown.append(lot.note))
    assert (outcome.status, outcome.rows, outcome.bars) == ("found", 30, 30)
    assert "as ISO 8601" in shown[0]
    assert [one.name for one in tmp_path.iterdir()] == ["a.csv"]


def test_real_bars_in_text(imported: Any, real: Callable[[str], pd.DataFrame], tmp_path: Path) -> None:
    bars = real("alvinmoore__SNP__1min")
    for name, how in {
        "iso.csv": {},
        "comma.csv": {"sep": ";", "decimal": ","},
        "day.csv": {"date_format": "%d/%m/%Y %H:%M:%S%z"},
    }.items():
        bars.to_csv(tmp_path / name, **how)
        imported.path.unlink(missing_ok=True)
        imported.one("csv", tmp_path / name)
        stored = imported.frame()
        truth = bars.tz_convert(NEW_YORK)
        truth.index = truth.index.as_unit("ns")
        truth = truth[~truth.index.duplicated()].sort_index()
        pd.testing.assert_frame_equal(
            stored.astype("float64"), truth.astype("float64"), check_freq=False, check_exact=True
        )


def test_a_row_that_is_there_twice_stays_once(imported: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEAD + GOOD + GOOD.replace(",1000", ",7"))
    outcome = imported.one("csv", path)
    assert outcome.repaired == {"unsorted rows": 1, "duplicate timestamps": 30}
    np.testing.assert_array_equal(imported.frame()["volume"], 1000 + np.arange(30))
    assert imported.one("csv", path).status == "unchanged"


def test_nothing_stays_behind(nothing_left: Path, imported: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + GOOD)
    (tmp_path / "b.csv").write_text(HEAD + GOOD + "2024-02-01,1,x,0.5,1,9\n")
    for name in ("a.csv", "b.csv"):
        imported.take("csv", tmp_path / name)
    with pytest.raises(ConfigError):
        imported.take("ccxt", tmp_path / "a.csv", symbol="A")
    with pytest.raises(BadInput):
        imported.take("csv", tmp_path / "none.csv")
