"""How long the bars of a file are, told from the most common spacing of its times."""

from __future__ import annotations

from typing import Any

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench
from lazybars.importers.parts import bar_size

__all__ = ["common_gap_s", "named_size", "times_repeat", "timestep_of"]

_ROWS_LOOKED_AT = 20_000
_FEW_GAPS = 4  # a file of less may be of days with holidays between
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


def timestep_of(
    bench: Bench, relation: str, params: dict[str, Any], time: str, label: str
) -> tuple[str, str]:
    """(timestep, bar size where it is not one of them) by the most common spacing of the first times.

    time : SQL of the time. Raises BadInput where there are too few bars to tell, or they are less than a
    minute or more than four days apart, or none are as near as a day to each other.
    """
    found = _gaps(bench, relation, params, time)
    if not found:
        raise BadInput(f"{label}: too few bars to tell the timestep: give --timestep")
    gap_s, least_s, count = found[0]
    named = named_size(gap_s, label)
    if count >= _FEW_GAPS and least_s >= 1.9 * _DAY_S:
        raise BadInput(
            f"{label}: no two bars are less than {least_s / _DAY_S:.3g} days apart; lazybars takes bars of a "
            "minute to a day, or give --timestep"
        )
    return named


def common_gap_s(bench: Bench, relation: str, params: dict[str, Any], time: str) -> int | None:
    """The most common spacing of the first times in seconds; None where there are not two."""
    found = _gaps(bench, relation, params, time)
    return found[0][0] if found else None


def _gaps(bench: Bench, relation: str, params: dict[str, Any], time: str) -> list[tuple[int, int, int]]:
    """(the most common gap, the least, how many) in seconds; empty where there is none."""
    found: list[tuple[int, int, int]] = bench.rows(
        "SELECT gap, min(gap) OVER (), CAST(sum(count(*)) OVER () AS BIGINT) FROM "
        "(SELECT t - lag(t) OVER (ORDER BY t) AS gap FROM (SELECT DISTINCT "
        f"epoch_us(CAST({time} AS TIMESTAMPTZ)) // 1000000 AS t FROM (SELECT {time} FROM {relation} "
        f"WHERE {time} IS NOT NULL LIMIT {_ROWS_LOOKED_AT}))) WHERE gap > 0 GROUP BY gap "
        "ORDER BY count(*) DESC, gap LIMIT 1",
        params,
    )
    return found


def named_size(seconds: int, label: str) -> tuple[str, str]:
    """(timestep, bar size where it is not one of them) of bars so many seconds apart."""
    if not _MINUTE_S <= seconds <= 4 * _DAY_S:
        raise BadInput(
            f"{label}: most bars are {seconds:,} s apart; lazybars takes bars of a minute to a day, or give "
            "--timestep"
        )
    if seconds % _DAY_S == 0 or seconds > 20 * _HOUR_S:
        return "day", ""
    if seconds % _MINUTE_S:
        return "minute", f"{seconds}s"
    unit, of = ("hour", _HOUR_S) if seconds % _HOUR_S == 0 else ("minute", _MINUTE_S)
    return bar_size(f"{seconds // of}{unit}")


def times_repeat(bench: Bench, relation: str, params: dict[str, Any], time: str) -> bool:
    """Whether a time may be there twice: in a file in order, up or down, equal ones are neighbours.

    time : SQL of it.
    """
    up, down = bench.one(
        "SELECT count_if(t <= before), count_if(t >= before) FROM (SELECT t, lag(t) OVER () AS before FROM "
        f"(SELECT {time} AS t FROM {relation}))",
        params,
    )
    return bool(up and down)
