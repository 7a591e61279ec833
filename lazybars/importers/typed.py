"""Files whose columns have types (Parquet, Feather, DuckDB): which column is what, as a query."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench
from lazybars.importers.parts import Rows, Span
from lazybars.model import BAR_FIELDS
from lazybars.store.schema import identifier

__all__ = ["TIME_NAMES", "is_number", "is_time", "runs_without", "typed_rows", "utc_days"]

TIME_NAMES = ("datetime", "ts_event", "timestamp", "date", "time", "ts", "index", "__index_level_0__")
# What Lumibot's caches note beside the bars.
_BOOKKEEPING = frozenset({"missing", "timestamp", "rtype", "publisher_id", "instrument_id", "ts_event"})
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
_DAY_US = 86_400_000_000


def is_number(type_: str) -> bool:
    """Whether a DuckDB type holds numbers."""
    return _NUMBER.fullmatch(type_) is not None


def is_time(type_: str) -> bool:
    """Whether a DuckDB type holds times, or text that may be one."""
    return type_.startswith("TIMESTAMP") or type_ in ("DATE", "VARCHAR")


def typed_rows(
    label: str,
    relation: str,
    found: Mapping[str, str],
    params: dict[str, Any] | None = None,
    *,
    zone: str | None = "UTC",
    need_price: bool = True,
    without: Sequence[str] = (),
    also: Sequence[str] = (),
    empty: Callable[[Bench, Rows], list[Span]] | None = None,
) -> Rows:
    """The bars of a relation with typed columns.

    found : its columns and their DuckDB types, as ``Bench.columns`` gives them.
    zone : of times that have none; "UTC" turns them into instants.
    need_price : a row is a bar only where it has a price, or a bid or ask. Rows that are marked as
        ``missing`` never are.
    without : columns to leave out, in lower case, beside what is known to be bookkeeping.
    also : columns that the query gives besides, for ``empty`` to look at.

    Numbers and booleans are kept, under their own names; the rest is left out. Raises BadInput where
    there is no time, or no price.
    """
    by_name = {name.lower(): name for name in found}
    times = (by_name[name] for name in TIME_NAMES if name in by_name)
    time = next((name for name in times if is_time(found[name])), None)
    if time is None:
        raise BadInput(f"{label}: no column holds times; the columns are {', '.join(found)}")
    lacking = [name for name in BAR_FIELDS[:4] if name not in by_name]
    hollow = len(lacking) == 4 and "missing" in by_name  # nothing was ever found: it only says so
    if lacking and not hollow:
        raise BadInput(f"{label}: no column {', '.join(lacking)}; the columns are {', '.join(found)}")
    parts, kept, left_out = [f"{_time_sql(time, found[time], zone)} AS datetime"], [], []
    for name, type_ in found.items():
        key = name.lower()
        if key in BAR_FIELDS:
            if not is_number(type_):
                raise BadInput(f"{label}: column {name!r} holds {type_}, not numbers")
            kept.append(key)
            parts.append(f"{_number_sql(name, type_)} AS {key}")
        elif name in also:
            parts.append(identifier(name))
        elif name == time or key in _BOOKKEEPING or key in without:
            continue
        elif is_number(type_) or type_ == "BOOLEAN":
            kept.append(name)
            parts.append(f"{_number_sql(name, type_)} AS {identifier(name)}")
        else:
            left_out.append(name)
    if hollow:
        kept += BAR_FIELDS[:4]
        parts += [f"CAST(NULL AS DOUBLE) AS {name}" for name in BAR_FIELDS[:4]]
    tests = ["false"] if hollow else []
    if "missing" in by_name:
        tests.append(f"NOT coalesce(TRY_CAST({identifier(by_name['missing'])} AS BOOLEAN), false)")
    if need_price and not hollow:
        prices = [f"{_held(by_name[name])}" for name in (*BAR_FIELDS[:4], "bid", "ask") if name in by_name]
        tests.append(f"({' OR '.join(prices)})")
    parts.append(f"{' AND '.join(tests) or 'true'} AS is_a_bar_")
    select = f"SELECT {', '.join(parts)} FROM {relation}"
    return Rows(select, tuple(kept), params or {}, tuple(left_out), zone, empty)


def utc_days(bench: Bench, rows: Rows, *, zone: str) -> list[Span]:
    """The New York days that the rows without a bar stand for; ``zone`` is that of the dates they name."""
    days = bench.rows(
        "SELECT DISTINCT epoch_us(timezone('America/New_York', CAST(day AS TIMESTAMP))), "
        "epoch_us(timezone('America/New_York', CAST(day + 1 AS TIMESTAMP))) - 1 FROM "
        f"(SELECT CAST(timezone('{zone}', CAST(datetime AS TIMESTAMPTZ)) AS DATE) AS day "
        f"FROM ({rows.select}) WHERE NOT is_a_bar_ AND datetime IS NOT NULL) ORDER BY 1",
        rows.params,
    )
    return [(first, last) for first, last in days]


def runs_without(bench: Bench, rows: Rows) -> list[Span]:
    """From the first to the last of each run of rows that are no bars."""
    found = bench.rows(
        "SELECT epoch_us(CAST(min(datetime) AS TIMESTAMPTZ)), epoch_us(CAST(max(datetime) AS TIMESTAMPTZ)) "
        "FROM (SELECT datetime, is_a_bar_, count_if(is_a_bar_) OVER (ORDER BY datetime) AS after "
        f"FROM ({rows.select}) "
        "WHERE datetime IS NOT NULL) WHERE NOT is_a_bar_ GROUP BY after ORDER BY 1",
        rows.params,
    )
    return [(first, last) for first, last in found]


def _time_sql(name: str, type_: str, zone: str | None) -> str:
    column = identifier(name)
    if zone != "UTC" or type_ not in ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATE"):
        return column
    # The session's zone is UTC, so the cast takes a naive time for one of UTC.
    return f"CAST({column} AS {'TIMESTAMPTZ_NS' if type_ == 'TIMESTAMP_NS' else 'TIMESTAMPTZ'})"


def _number_sql(name: str, type_: str) -> str:
    column = identifier(name)
    exact = type_.startswith("DECIMAL") or "HUGE" in type_
    return f"CAST({column} AS DOUBLE)" if exact else column


def _held(name: str) -> str:
    return f"nullif(CAST({identifier(name)} AS DOUBLE), 'NaN'::DOUBLE) IS NOT NULL"
