"""The dry run of all caps and partition sizes, and the cap from which more RAM buys next to nothing."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazybars.budget import reserved_bytes, smallest_cap, split
from lazybars.errors import ConfigError
from lazybars.forecast.lifetimes import Lifetimes, Universe
from lazybars.forecast.simulation import Counts, Pace, simulate
from lazybars.model import NOMINAL_NS, TIMESTEPS, SeriesInfo, asset_key, size_bytes
from lazybars.partition import KINDS, Partitions
from lazybars.planning import Demand, Plan
from lazybars.store import Storage, open_store
from lazybars.store.read import instant_us

__all__ = ["KNEE_RULE", "Forecast", "Prospect", "forecast"]

# Measured, benchmarks/RESULTS.md, 2026-11-23: a bar takes the prefetch thread 0.23 us to read and repair,
_ROWS_PER_S = 1e6 / 0.23
# a query for a week of one asset 3.1 ms, of which 0.4 ms are its 1,950 bars,
_SCAN_S = 2.7e-3
# and a request for 60 bars 15 us.
_REQUEST_S = 15e-6
# Caps of a ladder, where none are given.
_STEPS = 8
_NEAR = 1.05
KNEE_RULE = (
    "the smallest cap at which reading, and waiting for it, take at most 5 % longer than at any other cap"
)
_CADENCE = re.compile(r"\s*(\d+)\s*(m|min|h|d)\s*", re.IGNORECASE)
_UNITS_NS = {"m": NOMINAL_NS["minute"], "h": NOMINAL_NS["hour"], "d": NOMINAL_NS["day"]}


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a run comes to at one cap and partition size. Where it does not work all counts are 0.

    needed_cap_bytes : the smallest cap that works with these partitions. why : what is missing, or "".
    working_set_bytes : the most that the windows of one tick reach.
    ring_bytes : what the cap leaves for segments.
    asked : segments asked for, one or more a window. misses : of those, not there, so waited for.
    reads : segments read, ahead of the clock or at a miss. bypasses : misses served and not kept.
    evictions : segments let go of before the end. bytes_read : of the segments read.
    read_s : seconds that all reads take. stall_s : seconds of them that the strategy waits.
    peak_bytes : the most that is booked against the cap, to within a segment.
    """

    cap_bytes: int
    partition: str
    works: bool
    why: str
    needed_cap_bytes: int
    working_set_bytes: int
    ring_bytes: int = 0
    asked: int = 0
    misses: int = 0
    reads: int = 0
    bypasses: int = 0
    evictions: int = 0
    bytes_read: int = 0
    read_s: float = 0.0
    stall_s: float = 0.0
    peak_bytes: int = 0

    @property
    def needed_mb(self) -> str:
        """``needed_cap_bytes`` in MB, rounded up: it works when it is given as it is shown."""
        return f"{math.ceil(self.needed_cap_bytes / 1e5) / 10:,.1f} MB"

    @property
    def hits(self) -> int:
        return self.asked - self.misses

    @property
    def hit_rate(self) -> float:
        """Hits over segments asked for; NaN where none are."""
        return self.hits / self.asked if self.asked else float("nan")

    @property
    def cost_s(self) -> float:
        """What the knee is decided by: all reads, and those that are waited for once more."""
        return self.read_s + self.stall_s


@dataclass(frozen=True, slots=True)
class Forecast:
    """What :func:`forecast` gives.

    series, rows, ticks : how many the run goes over. assumptions : what times and counts rest on.
    prospects : by partition size, then by cap.
    """

    series: int
    rows: int
    ticks: int
    lookback: int
    timestep: str
    assumptions: str
    prospects: tuple[Prospect, ...]

    def knee(self) -> Prospect | None:
        """The smallest cap from which more RAM buys next to nothing; None where no cap works.

        It is the smallest cap whose ``cost_s`` (seconds of reads, plus seconds of waiting for them) is
        within 5 % of the least at any cap and partition size; of its partition sizes the one with the
        least.
        """
        working = [one for one in self.prospects if one.works]
        least_s = min((one.cost_s for one in working), default=0.0)
        near = [one for one in working if one.cost_s <= _NEAR * least_s]
        return min(near, key=lambda one: (one.cap_bytes, one.cost_s, one.peak_bytes), default=None)


def forecast(
    store: Storage | str | os.PathLike[str],
    *,
    assets: Sequence[Any] | str | None = None,
    timestep: str = "minute",
    start: Any = None,
    end: Any = None,
    lookback: int = 60,
    cadence: str | None = None,
    caps: Sequence[str | int] | None = None,
    partitions: Sequence[str] = ("1D", "1W", "1M"),
    prefetch: bool = True,
    read_delay_s: float = 0.0,
    rows_per_s: float = _ROWS_PER_S,
) -> Forecast:
    """Predict a run over a store, for several caps and partition sizes, from metadata alone.

    The run asks every asset for its last ``lookback`` closed bars at every tick, through a ring under
    next use. Segments are as `lazybars.iterate` holds them: stored bars, 48 bytes each. Lumibot's have a
    row of 48 bytes for each moment at which any asset has a bar, so its figures are the same where
    hardly any are missing.

    Parameters
    ----------
    store
        A store or its path.
    assets, timestep, start, end, lookback
        As for `lazybars.iterate`.
    cadence
        How far apart ticks are, from each day's first bar to its last: "5min", "1h", "1D", or Lumibot's
        spelling "5M". None for every bar.
    caps
        As `memory`; None for eight, from the smallest that works to one that misses nothing twice.
    partitions
        Partition sizes, of `lazybars.partition.KINDS`.
    prefetch
        Whether a thread reads ahead.
    read_delay_s
        What a slow disk adds to each scan.
    rows_per_s
        Bars read a second.

    Raises
    ------
    ConfigError, UnknownSeries, StoreError
    """
    _check(timestep, lookback, partitions, caps, read_delay_s, rows_per_s)
    cap_bytes = None if caps is None else sorted({size_bytes(cap) for cap in caps})
    cadence_ns = None if cadence is None else _cadence_ns(cadence, timestep)
    opened = open_store(store, read_only=True) if isinstance(store, (str, os.PathLike)) else store
    try:
        universe = _universe(opened, assets, timestep, start, end, cadence_ns)
    finally:
        if opened is not store:
            opened.close()
    pace = Pace(rows_per_s, _SCAN_S + read_delay_s, _REQUEST_S, split(smallest_cap(0)).read_rows)
    outlooks = [_Outlook.of(universe, kind, lookback) for kind in dict.fromkeys(partitions)]
    if cap_bytes is None:
        cap_bytes = _ladder(outlooks)
    return Forecast(
        series=len(universe.infos),
        rows=sum(info.rows for info in universe.infos),
        ticks=len(universe.ticks_ns),
        lookback=lookback,
        timestep=timestep,
        assumptions=_assumptions(pace, read_delay_s, prefetch),
        prospects=tuple(one.at(cap, pace, prefetch=prefetch) for one in outlooks for cap in cap_bytes),
    )


@dataclass(frozen=True, slots=True)
class _Outlook:
    """One partition size: what is the same at every cap."""

    kind: str
    life: Lifetimes
    plan: Plan

    @classmethod
    def of(cls, universe: Universe, kind: str, lookback: int) -> _Outlook:
        partitions = Partitions.covering(kind, universe.first_ns, universe.last_ns)
        series = len(universe.infos)
        # The largest segment alone decides what works, so no other series need be planned for.
        demand = Demand.of([universe.busiest(partitions)], partitions)
        share = split(1 << 60)
        _, beside_bytes = share.pool(universe.kept_bytes)
        plan = demand.plan(share, beside_bytes + 8 * len(partitions) * (series + 6) + 2048 * series)
        return cls(kind, Lifetimes.of(universe, partitions, lookback), plan)

    @property
    def aside_bytes(self) -> int:
        """What of the ring is not for segments."""
        return self.plan.spare_bytes + self.plan.table_bytes

    @property
    def comfortable_cap_bytes(self) -> int:
        return smallest_cap(int(self.life.held_bytes.max(initial=0)) + self.aside_bytes)

    def at(self, cap_bytes: int, pace: Pace, *, prefetch: bool) -> Prospect:
        needed = self.plan.needed_cap_bytes
        prospect = Prospect(
            cap_bytes=cap_bytes,
            partition=self.kind,
            works=cap_bytes >= needed,
            why="" if cap_bytes >= needed else f"needs at least {needed} bytes",
            needed_cap_bytes=needed,
            working_set_bytes=int(self.life.asked_bytes.max(initial=0)),
        )
        if not prospect.works:
            return prospect
        room_bytes = split(cap_bytes).ring_bytes - self.aside_bytes
        counts = simulate(self.life, room_bytes, self.plan.largest_segment_bytes, pace, prefetch=prefetch)
        return dataclasses.replace(
            prospect,
            ring_bytes=room_bytes,
            peak_bytes=reserved_bytes() + self.plan.table_bytes + counts.booked_bytes,
            **{name: getattr(counts, name) for name in Counts.__slots__ if name != "booked_bytes"},
        )


def _ladder(outlooks: Sequence[_Outlook]) -> list[int]:
    """Caps from the smallest that works to one that is comfortable, in whole MB; their rings grow evenly."""
    least = min(one.plan.needed_cap_bytes for one in outlooks) - reserved_bytes()
    most = max(one.comfortable_cap_bytes for one in outlooks) - reserved_bytes()
    rings = np.geomspace(least, max(most, least), _STEPS)
    return sorted({-(-int(np.ceil(ring) + reserved_bytes()) // 10**6) * 10**6 for ring in rings})


def _check(
    timestep: str,
    lookback: int,
    partitions: Sequence[str],
    caps: Sequence[str | int] | None,
    read_delay_s: float,
    rows_per_s: float,
) -> None:
    if timestep not in TIMESTEPS:
        raise ConfigError(f"timestep={timestep!r}: choose one of {', '.join(TIMESTEPS)}")
    if not isinstance(lookback, int) or isinstance(lookback, bool) or lookback < 1:
        raise ConfigError(f"lookback={lookback!r}: give a whole number of bars, at least 1")
    if isinstance(partitions, str) or not partitions or not set(partitions) <= set(KINDS):
        raise ConfigError(f"partitions={partitions!r}: give some of {', '.join(KINDS)}")
    if caps is not None and (isinstance(caps, str) or not caps):
        raise ConfigError(f"caps={caps!r}: give some, or leave it out for those that suit the store")
    if not 0 <= read_delay_s < float("inf"):
        raise ConfigError(f"read_delay_s={read_delay_s!r}: give seconds, 0 or more")
    if not 0 < rows_per_s < float("inf"):
        raise ConfigError(f"rows_per_s={rows_per_s!r}: give bars a second, more than 0")


def _cadence_ns(cadence: str, timestep: str) -> int:
    match = _CADENCE.fullmatch(cadence)
    if match is None or not int(match[1]):
        raise ConfigError(f'cadence={cadence!r}: give minutes, hours or days as "5min", "1h" or "1D"')
    cadence_ns = int(match[1]) * _UNITS_NS[match[2][0].lower()]
    if cadence_ns < NOMINAL_NS[timestep]:
        raise ConfigError(
            f"cadence={cadence!r} is shorter than a {timestep} bar: leave it out to stop at every bar"
        )
    return cadence_ns


def _universe(
    store: Storage, assets: Any, timestep: str, start: Any, end: Any, cadence_ns: int | None
) -> Universe:
    if assets is None:
        held = [info for info in store.series() if info.timestep == timestep]
        # Of one asset from several sources the preferred one, which comes first.
        infos: list[SeriesInfo] = list({str(info.asset): info for info in reversed(held)}.values())[::-1]
        if not infos:
            raise ConfigError(f"the store has no {timestep} bars")
    else:
        if isinstance(assets, str) or hasattr(assets, "symbol"):
            assets = [assets]
        infos = list({str(asset_key(one)): store.find(one, timestep) for one in assets}.values())
        if not infos:
            raise ConfigError("assets is empty: leave it out for the whole store")
    start_us, end_us = instant_us(start), instant_us(end, end=True)
    start_ns = min(info.first_ns for info in infos) if start_us is None else start_us * 1000
    end_ns = max(info.last_ns for info in infos) if end_us is None else end_us * 1000
    if start_ns > end_ns:
        raise ConfigError(f"start={start} lies behind end={end}")
    return Universe(store, infos, start_ns, end_ns, cadence_ns)


def _assumptions(pace: Pace, read_delay_s: float, prefetch: bool) -> str:
    said = [
        f"{pace.rows_per_s / 1e6:.3g} million bars read a second"
        + (", given" if pace.rows_per_s != _ROWS_PER_S else ""),
        f"{_SCAN_S * 1e3:g} ms a scan" + (f", and {read_delay_s * 1e3:g} of delay" if read_delay_s else ""),
        f"requests of {pace.request_s * 1e6:g} us, behind which reading ahead is hidden"
        if prefetch
        else "nothing is read ahead",
        "a day's bars evenly spaced",
    ]
    return "; ".join(said) + ". Times are those of benchmarks/RESULTS.md."
