"""Files of many assets: which column says whose bar a row is, and the symbols in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazybars.errors import AmbiguousInput, BadInput
from lazybars.importers.bench import Bench
from lazybars.importers.spacing import times_repeat
from lazybars.store.schema import identifier

__all__ = ["chosen", "require_told_apart", "symbols_in", "telling_column"]

_MOST_SYMBOLS = 10_000
_CLOCK = r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?"
# Of the times: an hour that a clock set back repeats is far less.
_MOST_REPEATED = 0.05
_MOST_ODD_ROWS = 0.005


def symbols_in(
    bench: Bench, relation: str, params: dict[str, Any], column: str, label: str
) -> tuple[str, ...]:
    """The symbols in a column, sorted. Raises BadInput where a row has none, or there are too many."""
    found = bench.rows(
        f"SELECT trim(CAST({identifier(column)} AS VARCHAR)) AS s FROM {relation} GROUP BY s ORDER BY s "
        f"LIMIT {_MOST_SYMBOLS + 1}",
        params,
    )
    if len(found) > _MOST_SYMBOLS:
        raise BadInput(f"{label}: more than {_MOST_SYMBOLS:,} symbols in column {column!r}")
    if any(not symbol for (symbol,) in found):
        raise BadInput(f"{label}: a row has no symbol in column {column!r}")
    return tuple(symbol for (symbol,) in found)


def chosen(symbols: tuple[str, ...], wanted: str | None, label: str) -> tuple[str, ...]:
    """Of several symbols the one that the caller wants; all of them where nothing is said.

    Raises BadInput where it is not among them.
    """
    if wanted is None or len(symbols) < 2:
        return symbols
    found = tuple(symbol for symbol in symbols if symbol.upper() == wanted.upper())
    if not found:
        raise BadInput(f"{label}: no row is of {wanted}; its symbols are {', '.join(symbols[:20])}")
    return found


def telling_column(
    bench: Bench,
    relation: str,
    params: dict[str, Any],
    label: str,
    time: str,
    close: str,
    texts: Sequence[str],
) -> str | None:
    """The column of text that tells rows of one time apart; None where times do not repeat.

    A file of many assets would else become one series, of the first row of each time.

    time, close : SQL. texts : the columns that may tell.

    Raises
    ------
    AmbiguousInput
        Times repeat with other prices, and none of the columns, or more than one, tells the rows apart.
    """
    if not times_repeat(bench, relation, params, time):
        return None
    times, repeated = _repeated(bench, relation, params, close, time)
    if repeated <= _MOST_REPEATED * times:
        return None
    for name in texts:
        column = identifier(name)
        if bench.one(
            f"SELECT bool_and(regexp_full_match(trim({column}), $clock)) FROM {relation}",
            {**params, "clock": _CLOCK},
        )[0]:
            raise AmbiguousInput(
                f"{label}: column {name!r} holds times of day: call it time, or say what each column is with "
                "--columns"
            )
    telling = [name for name in texts if _tells(bench, relation, params, time, close, identifier(name))]
    if len(telling) != 1:
        which = f"{' and '.join(telling)} each tell" if telling else "no column tells"
        raise AmbiguousInput(
            f"{label}: {repeated:,} of {times:,} times are there more than once, with other prices, and "
            f"{which} whose bars the rows are: call the column that does symbol, or say it with --columns"
        )
    return telling[0]


def require_told_apart(
    bench: Bench,
    relation: str,
    params: dict[str, Any],
    label: str,
    time: str,
    close: str,
    symbol: str,
    name: str,
) -> None:
    """Raise AmbiguousInput where rows of one symbol and time have other prices: of expiries, sizes, venues.

    time, close, symbol : SQL. name : of the symbol's column.
    """
    # In a file in order, by symbol or by time first, the same of both are neighbours.
    if not all(
        times_repeat(bench, relation, params, f"row({one}, {other})")
        for one, other in ((symbol, time), (time, symbol))
    ):
        return
    times, repeated = _repeated(bench, relation, params, close, f"{symbol}, {time}")
    if repeated > _MOST_REPEATED * times:
        raise AmbiguousInput(
            f"{label}: {repeated:,} of {times:,} times of a symbol in column {name!r} are there more than "
            "once, with other prices: its rows are of several series; give each in a file of its own, or say "
            "with --columns which column tells them apart"
        )


def _repeated(bench: Bench, relation: str, params: dict[str, Any], close: str, keys: str) -> tuple[int, int]:
    """(how many there are of the keys, for how many of them there is more than one price)"""
    times, repeated = bench.one(
        f"SELECT count(*), count_if(prices > 1) FROM (SELECT count(DISTINCT {close}) AS prices FROM "
        f"{relation} GROUP BY {keys})",
        params,
    )
    return times, repeated


def _tells(bench: Bench, relation: str, params: dict[str, Any], time: str, close: str, column: str) -> bool:
    pairs, odd, names, empty = bench.one(
        f"SELECT count(*), count_if(prices > 1), count(DISTINCT c), count_if(c IS NULL) FROM (SELECT "
        f"CAST({column} AS VARCHAR) AS c, count(DISTINCT {close}) AS prices FROM {relation} "
        f"GROUP BY c, {time})",
        params,
    )
    return not empty and odd <= _MOST_ODD_ROWS * pairs and 2 * names <= pairs
