"""What is known of a series: the ranges that writes have covered, and those that are known to be empty.

``known_ranges`` holds two disjoint sets for each series. Those that are not ``known_empty`` are all
that is known, with bars or without. Those that are say where of that the source has no bars.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from lazybars.model import NOMINAL_NS, SeriesInfo
from lazybars.store import ranges
from lazybars.store.engine import Engine
from lazybars.store.ranges import Range

__all__ = ["cut", "empty_ranges", "joining", "known_ranges", "learn", "learn_empty", "missing_ranges"]

_HOUR_US = 3_600_000_000
# Where a bar may lie whose neighbours are not known: those of an hour begin at half past as well, those of a
# day at any hour.
_GRID_US = {"minute": 60_000_000, "hour": _HOUR_US // 2, "day": _HOUR_US}


def known_ranges(cur: duckdb.DuckDBPyConnection, series_id: int) -> list[Range]:
    """All that is known of a series, ascending, closed, microseconds."""
    return _ranges(cur, series_id, False)


def empty_ranges(cur: duckdb.DuckDBPyConnection, series_id: int) -> list[Range]:
    """Where a series is known to have no bars, ascending, closed, microseconds."""
    return _ranges(cur, series_id, True)


def reach_us(timestep: str) -> int:
    """How far apart two neighbouring bars may be; a day is an hour longer when the clock is put back."""
    return NOMINAL_NS[timestep] // 1000 + (_HOUR_US if timestep == "day" else 0)


def joining(timestep: str, span: Range, bars: Range | None) -> Callable[[int, int], bool]:
    """Whether a range joins ``span`` (see `ranges.added`): where no bar can lie between the two.

    bars : the first and the last bar of ``span``, where it has any.
    """

    def joins(first: int, last: int) -> bool:
        if last < span[0]:
            return _is_closed(timestep, last, span[0], bars is not None and bars[0] == span[0])
        return _is_closed(timestep, span[1], first, bars is not None and bars[1] == span[1])

    return joins


def _is_closed(timestep: str, end: int, start: int, at_bar: bool) -> bool:
    """Whether no bar can lie after the end of one range and before the start of the next.

    at_bar : one of the two is itself a bar.
    """
    step = NOMINAL_NS[timestep] // 1000
    apart = start - end
    neighbours = {step, reach_us(timestep), 2 * step - reach_us(timestep)}
    if apart <= 1 or apart in neighbours or (at_bar and apart <= step):
        return True
    grid = _GRID_US[timestep]
    return (end // grid + 1) * grid >= start


def learn(cur: duckdb.DuckDBPyConnection, info: SeriesInfo, span: Range, bars: Range) -> None:
    """A write covered ``span``, with the first and last of its bars at ``bars``."""
    known = known_ranges(cur, info.series_id)
    joins = joining(info.timestep, span, bars)
    put_ranges(cur, info.series_id, ranges.added(known, span, joins))
    empty = empty_ranges(cur, info.series_id)
    left = ranges.without(empty, bars)
    if left != empty:
        put_ranges(cur, info.series_id, left, empty=True)


def learn_empty(cur: duckdb.DuckDBPyConnection, info: SeriesInfo, span: Range) -> None:
    """The source has no bars in ``span``."""
    known = known_ranges(cur, info.series_id)
    put_ranges(cur, info.series_id, ranges.added(known, span, joining(info.timestep, span, None)))
    empty = empty_ranges(cur, info.series_id)
    put_ranges(cur, info.series_id, ranges.added(empty, span, ranges.touching(span)), empty=True)


def cut(cur: duckdb.DuckDBPyConnection, series_id: int, span: Range) -> bool:
    """Forget what is known of ``span``; whether anything of the series is known after that."""
    known = ranges.without(known_ranges(cur, series_id), span)
    put_ranges(cur, series_id, known)
    put_ranges(cur, series_id, ranges.without(empty_ranges(cur, series_id), span), empty=True)
    return bool(known)


def missing_ranges(
    engine: Engine, cur: duckdb.DuckDBPyConnection, info: SeriesInfo, wanted: Range
) -> list[Range]:
    """What of ``wanted`` is not known.

    Between a bar and the next there is room for none: what remains after the last known bar is
    missing only where it is a timestep long.
    """
    known = known_ranges(cur, info.series_id)
    out = ranges.gaps(known, wanted)
    if out and out[-1][1] == wanted[1] and out[-1][0] in {end for _, end in known}:
        at, end = out[-1]
        if end - at < NOMINAL_NS[info.timestep] // 1000:
            with engine.bars(info.series_id, info.series_id, at, at) as bars:
                bar = f"SELECT 1 FROM {bars} WHERE series_id = ? AND ts = make_timestamptz(?::BIGINT)"
                if cur.execute(bar, [info.series_id, at]).fetchall():
                    return out[:-1]
    return out


def _ranges(cur: duckdb.DuckDBPyConnection, series_id: int, empty: bool) -> list[Range]:
    return [
        (start, end)
        for start, end in cur.execute(
            "SELECT epoch_us(start_ts), epoch_us(end_ts) FROM known_ranges "
            "WHERE series_id = ? AND known_empty = ? ORDER BY start_ts",
            [series_id, empty],
        ).fetchall()
    ]


def put_ranges(
    cur: duckdb.DuckDBPyConnection, series_id: int, known: list[Range], *, empty: bool = False
) -> None:
    """Make these the ranges of a series."""
    cur.execute("DELETE FROM known_ranges WHERE series_id = ? AND known_empty = ?", [series_id, empty])
    cur.execute(
        "INSERT INTO known_ranges SELECT uuid(), $series, make_timestamptz(r[1]), make_timestamptz(r[2]), "
        "$empty, now() FROM (SELECT unnest($ranges::BIGINT[][]) AS r)",
        {"series": series_id, "empty": empty, "ranges": [list(one) for one in known]},
    )
