"""Row checks: one aggregate scan says whether anything is wrong, a second one where.

The expressions here are also those that the write inserts, so what was checked is what is stored.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from dataclasses import dataclass

import duckdb

from lazybars.errors import BadInput
from lazybars.model import BAR_FIELDS
from lazybars.store.arrivals import ZONED_TEXT, Arrival
from lazybars.store.kinds import DUCK_TYPES, Field
from lazybars.store.schema import floored, identifier, literal

__all__ = ["Findings", "inspect", "instant_sql", "value_sql"]

# Yahoo's adjusted prices break the order of high and low by up to 3e-14 of the price.
_ORDER_TOLERANCE = 1e-9
_EXACT_INTEGERS = 2**53  # volume is stored as DOUBLE
_SLOT_US = 900_000_000  # 15 minutes: every clock change in use begins and ends on such a slot
_FIRST_ROWS = 20


@dataclass(frozen=True, slots=True)
class Findings:
    """What the rows of an arrival are like.

    rows : number of rows. out_of_order : rows with a time before that of the row above.
    repeated : rows with the same time as the row above.
    first_us, last_us : smallest and largest time, microseconds since the epoch, UTC.
    nulls : how many rows are NaN or NULL, by column.
    """

    rows: int
    out_of_order: int
    repeated: int
    first_us: int
    last_us: int
    nulls: dict[str, int]

    @property
    def is_sorted(self) -> bool:
        """Whether every time is after the one before it."""
        return not self.out_of_order and not self.repeated


def inspect(cur: duckdb.DuckDBPyConnection, arrival: Arrival) -> Findings:
    """Scan an arrival. Raises BadInput with the rows that cannot be stored, so that none of them is."""
    tests = _tests(arrival)
    counts = [f"count_if({predicate})" for _, predicate in tests]
    held = [f"count({_alias(i)})" for i in range(len(arrival.fields))]
    query = (
        "SELECT count(*), count_if(us < before), count_if(us = before), min(us), max(us), "
        f"{', '.join(counts + held)} "
        f"FROM (SELECT *, lag(us) OVER () AS before FROM ({_inner(arrival)}))"
    )
    row = cur.execute(query, arrival.params).fetchall()[0]
    rows, out_of_order, repeated, first, last = row[:5]
    if not rows:
        raise BadInput(
            f"{arrival.label} has no rows; where the source says that there are none, note that with "
            "mark_empty()"
        )
    bad = {reason: n for (reason, _), n in zip(tests, row[5 : 5 + len(tests)], strict=True) if n}
    if bad:
        counted = "; ".join(f"{n} where {reason}" for reason, n in bad.items())
        raise _rejection(
            cur,
            arrival,
            f"{arrival.label}: {rows} rows, of which cannot be stored: {counted}",
            [(reason, predicate) for reason, predicate in tests if reason in bad],
        )
    if arrival.is_local:
        _check_clock_changes(cur, arrival, rows)
        to_utc = f"epoch_us(timezone({literal(arrival.zone)}, make_timestamp(?::BIGINT)))"
        first, last = cur.execute(f"SELECT {to_utc}, {to_utc}", [first, last]).fetchall()[0]
    nulls = {field.name: rows - n for field, n in zip(arrival.fields, row[5 + len(tests) :], strict=True)}
    return Findings(rows, out_of_order, repeated, first, last, nulls)


def instant_sql(arrival: Arrival) -> str:
    """SQL of the row's time as TIMESTAMPTZ."""
    raw = _time_sql(arrival)
    if arrival.is_local:
        return f"timezone({literal(arrival.zone)}, CAST({raw} AS TIMESTAMP))"
    return f"make_timestamptz({_epoch_us(raw, arrival.time.is_ns)})"


def _epoch_us(value: str, is_ns: bool) -> str:
    # epoch_us takes no TIMESTAMPTZ_NS; what this division would lose has been rejected by then.
    return f"epoch_ns({value}) // 1000" if is_ns else f"epoch_us({value})"


def value_sql(field: Field) -> str:
    """SQL of a column's value as it is stored; NULL is the one way to say that a value is missing."""
    column = identifier(field.source)
    if field.kind == "instant":
        return f"make_timestamptz({_epoch_us(column, '[ns' in field.dtype)})"
    if field.as_text and field.kind == "bool":
        return f"lower({column}) = 'true'"
    cast = "TRY_CAST" if field.as_text else "CAST"
    value = f"{cast}({column} AS {DUCK_TYPES[field.kind]})"
    return f"nullif({value}, 'NaN'::DOUBLE)" if field.kind == "float" else value


# ---------------------------------------------------------------------- tests


def _alias(i: int) -> str:
    return f"c{i}"


def _time_sql(arrival: Arrival) -> str:
    column = identifier(arrival.time.source)
    if arrival.time.form == "zoned text":
        return f"TRY_CAST({column} AS TIMESTAMPTZ_NS)"
    if arrival.time.form == "text":
        return f"TRY_CAST({column} AS TIMESTAMP_NS)"
    return f"CAST({column} AS TIMESTAMP)" if arrival.time.form == "date" else column


def _inner(arrival: Arrival) -> str:
    time = _time_sql(arrival)
    us = _epoch_us(time, arrival.time.is_ns)
    parts = [f"{time} AS t", f"{us} AS us", f"{identifier(arrival.time.source)} AS raw_t"]
    for i, field in enumerate(arrival.fields):
        parts.append(f"{value_sql(field)} AS {_alias(i)}")
        parts.append(f"{identifier(field.source)} AS raw_{_alias(i)}")
    return f"SELECT {', '.join(parts)} FROM {arrival.relation}"


def _tests(arrival: Arrival) -> list[tuple[str, str]]:
    """(reason, SQL predicate) of everything that makes a row impossible to store."""
    time = identifier(arrival.time.source)
    tests = [(f"{time} is empty", "raw_t IS NULL")]
    if arrival.time.form in ("text", "zoned text"):
        tests.append(
            (f"{time} is not a time in ISO form, such as 2024-01-31 09:30", "raw_t IS NOT NULL AND t IS NULL")
        )
        wanted = "NOT " if arrival.time.form == "zoned text" else ""
        zoned = f"regexp_full_match(CAST(raw_t AS VARCHAR), {literal(ZONED_TEXT)})"
        tests.append((f"{time} has a zone in some rows only", f"raw_t IS NOT NULL AND {wanted}{zoned}"))
    if arrival.time.is_ns:
        tests.append((f"{time} is finer than a microsecond: floor it to 'us'", "epoch_ns(t) % 1000 <> 0"))
    at: dict[str, str] = {}
    for i, field in enumerate(arrival.fields):
        name, value = field.name, _alias(i)
        at[name] = value
        raw = f"raw_{value}"
        if field.as_text:
            text = f"lower(CAST({raw} AS VARCHAR)) NOT IN ('nan', '-nan')"
            tests.append((f"{name} is not a number", f"{raw} IS NOT NULL AND {value} IS NULL AND {text}"))
        if name in BAR_FIELDS:
            tests.append((f"{name} is infinite", f"isinf({value})"))
            if "int" in field.dtype.lower() and not field.as_text:
                beyond = f"{raw} > {_EXACT_INTEGERS} OR {raw} < -{_EXACT_INTEGERS}"
                tests.append((f"{name} is an integer beyond 2**53, which DOUBLE rounds", beyond))
        if field.kind == "instant" and "[ns" in field.dtype:
            tests.append(
                (f"{name} is finer than a microsecond: floor it to 'us'", f"epoch_ns({raw}) % 1000 <> 0")
            )
    high, low = at["high"], at["low"]
    tests.append(("high is below low", f"{high} < {low} - {_ORDER_TOLERANCE} * abs({low})"))
    return tests


def _rejection(
    cur: duckdb.DuckDBPyConnection, arrival: Arrival, message: str, tests: list[tuple[str, str]]
) -> BadInput:
    """A BadInput with the first rows that any of the tests hits, zero-based in the order of the input."""
    cases = " ".join(f"WHEN {predicate} THEN {literal(reason)}" for reason, predicate in tests)
    hits = cur.execute(
        f"SELECT n, why FROM (SELECT row_number() OVER () - 1 AS n, CASE {cases} END AS why "
        f"FROM ({_inner(arrival)})) WHERE why IS NOT NULL ORDER BY n LIMIT {_FIRST_ROWS}",
        arrival.params,
    ).fetchall()
    first = ", ".join(str(n) for n, _ in hits[:5])
    more = ", ..." if len(hits) > 5 else ""
    return BadInput(f"{message} (rows {first}{more}, counted from 0). Nothing was written.", hits)


# ------------------------------------------------------------------ the clock


def _check_clock_changes(cur: duckdb.DuckDBPyConnection, arrival: Arrival, rows: int) -> None:
    """Raise BadInput where a naive time happens twice, or never, in its zone."""
    us = _epoch_us(_time_sql(arrival), arrival.time.is_ns)
    distinct = f"SELECT DISTINCT {floored(us, _SLOT_US)} FROM {arrival.relation}"
    slots = [row[0] for row in cur.execute(distinct, arrival.params).fetchall()]
    twice, never = _odd_slots(slots, arrival.zone)
    tests = []
    for name, odd in (("happens twice", twice), ("never happens", never)):
        if odd:
            listed = ", ".join(map(str, odd))
            tests.append(
                (f"the local time {name} in {arrival.zone}", f"{floored('us', _SLOT_US)} IN ({listed})")
            )
    if tests:
        raise _rejection(
            cur,
            arrival,
            f"{arrival.label}: {rows} rows with naive times; for some, "
            f"{' and for some '.join(reason for reason, _ in tests)}: give times with their zone, or the "
            "right tz=",
            tests,
        )


def _odd_slots(slots: list[int], zone: str) -> tuple[list[int], list[int]]:
    """The quarter hours of local time that are ambiguous, and those that do not exist."""
    tz = zoneinfo.ZoneInfo(zone)
    epoch = dt.datetime(1970, 1, 1)
    by_day: dict[int, list[int]] = {}
    for slot in slots:
        by_day.setdefault(slot // 96, []).append(slot)
    twice, never = [], []
    for day, members in by_day.items():
        start = (epoch + dt.timedelta(days=day)).replace(tzinfo=tz)
        # Days without a change are the rule, and asking for every quarter hour of them is slow.
        if (start - dt.timedelta(days=1)).utcoffset() == (start + dt.timedelta(days=2)).utcoffset():
            continue
        for slot in members:
            local = epoch + dt.timedelta(microseconds=slot * _SLOT_US)
            early, late = (local.replace(tzinfo=tz, fold=fold).utcoffset() for fold in (0, 1))
            assert early is not None
            assert late is not None
            if early > late:
                twice.append(slot)
            elif early < late:
                never.append(slot)
    return sorted(twice), sorted(never)
