"""What the columns of a text file mean: by their names, or by their places where they have none."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lazybars.errors import BadInput, ConfigError
from lazybars.model import BAR_FIELDS

__all__ = ["Roles", "by_choice", "by_name", "by_place", "meant"]

# Names as _plain gives them; in each row the one to be preferred comes first.
_MEANING = {
    "moment": "unixtimestamp unixtime unix epoch timestampms timestampns opentime starttime windowstart "
    "datetime datetimeutc timestamp timestamputc utctime utc gmttime localtime tsevent ts beginsat "
    "candlebegintime startat timeperiodstart barstart index column0 unnamed0",
    "date": "date dtyyyymmdd dateutc tradedate tradingdate businessdate day datum fecha data 日期 日付",
    "time": "time timeutc timeofday zeit uhrzeit hora heure 时间",
    "open": "open o openprice opening openingprice priceopen first eröffnung eröffn ouverture ouv apertura "
    "abertura otwarcie 开盘 开盘价 始値",
    "high": "high h highprice max hoch höchst haut plushaut máximo maximo máxima massimo najwyzszy najwyższy "
    "最高 最高价 高値",
    "low": "low l lowprice min tief tiefst bas plusbas mínimo minimo mínima najnizszy najniższy 最低 最低价 "
    "安値",
    "close": "close c closeprice closing closingprice closelast last lastprice settle price schluss "
    "schlusskurs zuletzt clôture cloture dernier cierre fechamento último ultimo chiusura zamkniecie "
    "zamknięcie 收盘 收盘价 終値",
    "volume": "volume vol v tradevolume basevolume volumen wolumen qty quantity "
    "totaltradedquantity tottrdqty tickvolume tickvol 成交量 出来高",
    "symbol": "symbol ticker sym pair instrument contract stock tscode secid tic 股票代码",
    "period": "per period timeframe interval",
}
# What stands before a price's name and is no symbol: these are other prices than those traded at.
_NO_SYMBOLS = ("adj", "adjusted", "adj.", "bid", "ask", "mid", "prev", "previous")
_COUNTERS = ("index", "column0", "unnamed0")
_KLINES = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades"),
    *("taker_base_volume", "taker_quote_volume", "-"),
)


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what, by the file's own names.

    time : one column, or that of the date and that of the time of day. fields : "open" ... "volume" to its
    column. symbol, period : where each row says its symbol, or its bar size. rest : all others, by the
    name that they are kept under.
    """

    time: tuple[str, ...]
    fields: dict[str, str]
    symbol: str | None
    period: str | None
    rest: dict[str, str]


def meant(role: str, names: Sequence[str], taken: Collection[str] = ()) -> str | None:
    """The column that is called as a role is, of those that are not taken."""
    plain = {_plain(name): name for name in reversed(names)}
    spelled = (plain.get(one) for one in _MEANING[role].split())
    return next((name for name in spelled if name is not None and name not in taken), None)


def by_name(names: Sequence[str], label: str) -> Roles:
    """From a header. Raises BadInput where time or prices cannot be told."""
    bare = [re.sub(r"[._]\d+$", "", name.strip().lower()) for name in names]
    if sum(bare.count(price) > 1 for price in ("open", "high", "low")) > 1:
        raise BadInput(
            f"{label}: the columns {', '.join(names)} have prices of several symbols side by side: say with "
            "--columns which of them to take, '-' for each of the others"
        )
    fields = _fields(names)
    if "volume" not in fields:  # "Volume BTC", "Volume USDT": the first counts what is traded
        counted = [name for name in names if _plain(name).startswith("volume")]
        fields |= dict(zip(["volume"], counted, strict=False))
    lacking = [field for field in BAR_FIELDS[:4] if field not in fields]
    taken = set(fields.values())
    moment, date, clock = (meant(role, names, taken) for role in ("moment", "date", "time"))
    if date is not None and moment is not None and _plain(moment) in _COUNTERS:
        moment = None  # it counts the rows, or is an index of shares
    both = date is not None and clock is not None
    time = tuple(filter(None, (date, clock) if both else (moment or date or clock,)))
    if lacking or not time:
        raise BadInput(
            f"{label}: no column for {', '.join(lacking or ['the time'])}; the columns are "
            f"{', '.join(names)}: say what they are with --columns"
        )
    symbol, period = meant("symbol", names), meant("period", names)
    used = {*time, *fields.values(), symbol, period}
    return Roles(time, fields, symbol, period, {name: name for name in names if name not in used})


def _fields(names: Sequence[str]) -> dict[str, str]:
    """The columns of prices and volume; SPY.Open and SPY_Open are as Open where there is one symbol."""
    fields = {field: name for field in BAR_FIELDS if (name := meant(field, names)) is not None}
    if any(field in fields for field in BAR_FIELDS[:4]):
        return fields
    ends = [re.fullmatch(r"(.+)[._ ](open|high|low|close|volume)", name, re.IGNORECASE) for name in names]
    found = {match[2].lower(): match for match in ends if match is not None}
    single = len({match[1] for match in ends if match is not None}) == 1
    adjusted = any(match[1].lower() in _NO_SYMBOLS for match in found.values())
    return (
        fields
        if not single or adjusted
        else {field: found[field][0] for field in BAR_FIELDS if field in found}
    )


def by_place(names: Sequence[str], first: Sequence[str], label: str) -> Roles:
    """Without a header: symbol, date, time, open, high, low, close, volume, in this order, of what is there.

    first : the cells of the first row.
    """
    if len(names) == len(_KLINES) and all(re.fullmatch(r"\d{10,19}", first[i].strip()) for i in (0, 6)):
        return by_choice(names, _KLINES, label)
    at = 1 if re.fullmatch(r"\s*[A-Za-z][\w.\-/^=]*\s*", first[0]) else 0
    two = re.fullmatch(r"\s*\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*", first[at + 1]) or (
        re.fullmatch(r"\s*(19|20)\d{6}\s*", first[at])
        and re.fullmatch(r"\s*\d{4}(\d\d)?\s*", first[at + 1])
        and len(names) - at > 6
    )
    chosen = [
        *(["symbol"] * at),
        *(["date", "time"] if two else ["datetime"]),
        "open",
        "high",
        "low",
        "close",
    ]
    if len(names) < len(chosen):
        raise BadInput(
            f"{label}: {len(names)} columns without names are too few: say what they are with --columns"
        )
    rest = ["volume", *(f"column{i}" for i in range(len(names)))]
    return by_choice(names, [*chosen, *rest[: len(names) - len(chosen)]], label)


def by_choice(names: Sequence[str], chosen: Sequence[str], label: str) -> Roles:
    """As the caller says. Raises ConfigError where that does not fit."""
    if len(chosen) != len(names):
        raise ConfigError(
            f"{label} has {len(names)} columns ({', '.join(names)}), and --columns names {len(chosen)}"
        )
    meant = {role: name for role, name in zip(chosen, names, strict=True) if role != "-"}
    if len(meant) < sum(role != "-" for role in chosen):
        raise ConfigError(f"--columns {','.join(chosen)}: a name stands there twice")
    time = tuple(meant[role] for role in ("date", "time") if role in meant)
    for role in ("open_time", "datetime"):
        time = (meant[role],) if role in meant else time
    lacking = [role for role in BAR_FIELDS[:4] if role not in meant]
    if not time or lacking:
        what = ", ".join([*([] if time else ["datetime"]), *lacking])
        raise ConfigError(f"--columns {','.join(chosen)}: {what} is not among them")
    fields = {role: meant[role] for role in BAR_FIELDS if role in meant}
    taken = {*time, *fields.values(), meant.get("symbol"), meant.get("period")}
    rest = {role: name for role, name in meant.items() if name not in taken}
    return Roles(time, fields, meant.get("symbol"), meant.get("period"), rest)


def _plain(name: str) -> str:
    """Lower case, letters and digits only, without the number that some put in front ("1. open")."""
    return re.sub(r"^\d+(?=[^\W\d])", "", re.sub(r"[\W_]+", "", name.lower()))
