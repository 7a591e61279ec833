"""Frames that somebody saved: the columns of typed files under the names that the store knows."""

from __future__ import annotations

from dataclasses import dataclass

from lazybars.errors import AmbiguousInput, BadInput
from lazybars.importers.bench import Bench
from lazybars.importers.csv_names import by_name, meant
from lazybars.importers.symbols import require_told_apart, symbols_in, telling_column
from lazybars.importers.typed import TIME_NAMES, is_number, is_time
from lazybars.model import BAR_FIELDS
from lazybars.store.arrivals import ZONED_TEXT
from lazybars.store.schema import identifier, literal

__all__ = ["Frame", "as_frame", "frame_symbols"]

# Microseconds in the unit of a time that is a number, by the most that it can be.
_UNITS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (1e20, 1e-3))


@dataclass(frozen=True, slots=True)
class Frame:
    """A relation with the columns datetime, open, high, low, close, and whatever else there is.

    relation : what to put after FROM. columns : its columns and their DuckDB types.
    symbol : the column that names the asset of each row, or None.
    """

    relation: str
    columns: dict[str, str]
    symbol: str | None

    @property
    def symbol_sql(self) -> str:
        return f"trim(CAST({identifier(self.symbol or '')} AS VARCHAR))"


def as_frame(bench: Bench, relation: str, label: str) -> Frame:
    """Tell which column is what by its name, as in a text file, and by its type.

    Times that are numbers are taken for seconds, milliseconds, microseconds or nanoseconds since 1970 by
    their size. Raises BadInput where there is no time or no price, AmbiguousInput where numbers can be
    times of two units.
    """
    found = bench.columns(relation)
    names = list(found)
    lower = {name.lower(): name for name in reversed(names)}
    times = [lower[name] for name in TIME_NAMES if name in lower]
    time = next((name for name in times if is_time(found[name])), None)
    if time is None:
        time = next(iter(times), None) or meant("moment", names) or meant("date", names)
    if time is None:
        raise BadInput(f"{label}: no column holds times; the columns are {', '.join(names)}")
    own = {field: lower[field] for field in BAR_FIELDS if field in lower}
    fields = own if own.keys() >= set(BAR_FIELDS[:4]) else by_name([*names, "datetime"], label).fields
    picked = [f"{_moment(bench, relation, time, found[time], label)} AS datetime"]
    picked += [f"{identifier(name)} AS {field}" for field, name in fields.items()]
    taken = {time, *fields.values()}
    clash = {"datetime", *fields}
    rest = [name for name in names if name not in taken and name.lower() not in clash]
    picked += map(identifier, rest)
    framed = f"(SELECT {', '.join(picked)} FROM {relation})"
    texts = [name for name in rest if found[name] == "VARCHAR" or found[name].startswith("ENUM")]
    return Frame(framed, bench.columns(framed), meant("symbol", texts))


def frame_symbols(bench: Bench, frame: Frame, label: str) -> tuple[str, ...]:
    """The symbols in a frame; empty where it names none. Raises AmbiguousInput as ``telling_column`` does."""
    if frame.symbol is not None:
        require_told_apart(
            bench, frame.relation, {}, label, "datetime", "close", frame.symbol_sql, frame.symbol
        )
        return symbols_in(bench, frame.relation, {}, frame.symbol, label)
    telling_column(bench, frame.relation, {}, label, "datetime", "close", ())
    return ()


def _moment(bench: Bench, relation: str, name: str, type_: str, label: str) -> str:
    """SQL of the time in a column."""
    column = identifier(name)
    if type_ == "VARCHAR":
        return _from_text(bench, relation, column)
    if not is_number(type_):
        if not is_time(type_):
            raise BadInput(f"{label}: column {name!r} holds {type_}, not times")
        return column
    low, high = bench.one(f"SELECT min(abs({column})), max(abs({column})) FROM {relation}")
    if high is None:
        raise BadInput(f"{label}: column {name!r} has no time in any row")
    limit, factor = next((one for one in _UNITS if high < one[0]), _UNITS[-1])
    if low < limit / 1e3:
        raise AmbiguousInput(
            f"{label}: column {name!r} holds numbers from {low:,} to {high:,}, which cannot be told to be "
            "times of one unit since 1970: make it a column of timestamps"
        )
    whole = f"CAST({column} AS DECIMAL(28, 6))" if factor >= 1 else f"CAST({column} AS BIGINT)"
    us = f"{whole} * {factor:.0f}" if factor >= 1 else f"{whole} // {1 / factor:.0f}"
    return f"CAST(make_timestamptz(CAST({us} AS BIGINT)) AS TIMESTAMPTZ_NS)"


def _from_text(bench: Bench, relation: str, column: str) -> str:
    """SQL of times written as ISO 8601; what does not read is left for the store to complain about."""
    zoned = f"regexp_full_match({column}, {literal(ZONED_TEXT)})"
    rows, with_zone, instants, naive = bench.one(
        f"SELECT count({column}), count_if({zoned}), count(TRY_CAST({column} AS TIMESTAMPTZ)), "
        f"count(TRY_CAST({column} AS TIMESTAMP)) FROM {relation}"
    )
    if with_zone == instants == rows:
        return f"CAST({column} AS TIMESTAMPTZ_NS)"
    return f"CAST({column} AS TIMESTAMP_NS)" if not with_zone and naive == rows else column
