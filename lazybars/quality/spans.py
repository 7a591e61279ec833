"""A series piece by piece: spans of whole days that hold few enough bars to be sorted in little RAM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lazybars.model import SeriesInfo
from lazybars.quality.calendars import Int64s
from lazybars.store import Storage

__all__ = ["Span", "spans"]

_MOST_ROWS = 250_000
_FIRST_NS, _LAST_NS = -(2**63 - 1), 2**63 - 1  # the years 1677 and 2262


@dataclass(frozen=True, slots=True)
class Span:
    """The bars in [start_ns, end_ns] of a series, and the one before and after them to compare with.

    before_ns, after_ns : when the neighbouring spans end and begin; out of all range where there is none.
    """

    store: Storage
    info: SeriesInfo
    start_ns: int
    end_ns: int
    before_ns: int
    after_ns: int

    def rows(self, select: str, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of ``select`` over the table ``bar``.

        It has us (microseconds since the epoch), o, h, l, c, v, and of the bars before and after us_before,
        c_before and c_after; ``inside`` says that a bar is of this span and not only there to compare.
        """
        volume = "volume" if any(column.name == "volume" for column in self.info.columns) else "NULL"
        bar = (
            f"WITH bar AS (SELECT *, us BETWEEN $start AND $end AS inside, lag(us) OVER w AS us_before, "
            "lag(c) OVER w AS c_before, lead(c) OVER w AS c_after FROM (SELECT epoch_us(ts) AS us, open AS "
            f"o, high AS h, low AS l, close AS c, {volume} AS v FROM bars WHERE series_id = $series "
            "AND ts BETWEEN make_timestamptz($before::BIGINT) AND make_timestamptz($after::BIGINT)) "
            "WINDOW w AS (ORDER BY us))"
        )
        bounds = {
            "series": self.info.series_id,
            "start": self.start_ns // 1000,
            "end": self.end_ns // 1000,
            "before": self.before_ns // 1000,
            "after": self.after_ns // 1000,
        }
        found: list[dict[str, Any]] = self.store.sql(
            f"{bar} {select}", {**bounds, **(params or {})}
        ).to_pylist()
        return found


def spans(store: Storage, info: SeriesInfo) -> Iterator[Span]:
    """The spans of a series, in order; every bar is inside exactly one."""
    _, first_ns, last_ns, rows = store.series_days(info.series_id)
    cuts = _cuts(rows)
    for k, (lo, hi) in enumerate(pairwise(cuts)):
        yield Span(
            store,
            info,
            int(first_ns[lo]),
            int(last_ns[hi - 1]),
            int(last_ns[lo - 1]) if k else _FIRST_NS,
            int(first_ns[hi]) if hi < len(rows) else _LAST_NS,
        )


def _cuts(rows: Int64s) -> list[int]:
    """Where spans of whole days begin, and the end."""
    cuts, held = [0], 0
    for day, count in enumerate(rows):
        if held and held + int(count) > _MOST_ROWS:
            cuts.append(day)
            held = 0
        held += int(count)
    return [*cuts, len(rows)] if len(rows) else [0]
