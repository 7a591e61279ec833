"""What a run has written down of itself, for its report: records only."""

from __future__ import annotations

from dataclasses import dataclass

from lazybars.stats import Stats

__all__ = ["Journal", "PageSpan", "Regret", "Sample", "SeriesCounts"]


@dataclass(frozen=True, slots=True)
class Sample:
    """The run at one moment of the backtest's clock.

    now_ns : the backtest's clock. wall_s : wall time since the run began.
    booked_bytes : all that is booked against the cap, the engine's share included.
    resident_bytes, in_flight_bytes, table_bytes : parts of it. rss_bytes : over the RSS at the start.
    hits, misses, late, stall_s : so far.
    """

    now_ns: int
    wall_s: float
    booked_bytes: int
    resident_bytes: int
    in_flight_bytes: int
    table_bytes: int
    rss_bytes: int
    hits: int
    misses: int
    late: int
    stall_s: float


@dataclass(frozen=True, slots=True)
class SeriesCounts:
    """What one series was asked, and what was learnt of it.

    reach_rows : its longest lookback lately. cadence_ticks : ticks of the clock between requests; 0
        before the second one.
    """

    label: str
    hits: int
    misses: int
    late: int
    bypasses: int
    stall_s: float
    reach_rows: int
    cadence_ticks: int


@dataclass(frozen=True, slots=True)
class PageSpan:
    """One partition's stay in the ring, all series together.

    start_ns, end_ns : the time it covers. loaded_ns, left_ns : the backtest's clock when its first
        segment came and its last one went; left_ns is None while one is there.
    segments : how many came. ahead : how many of them were read ahead. nbytes : their bytes.
    """

    start_ns: int
    end_ns: int
    loaded_ns: int
    left_ns: int | None
    segments: int
    ahead: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Regret:
    """The run's own requests, replayed over a ring of the same bytes that reads nothing ahead.

    accesses : segments asked for in the replay. share : their share of all that the run asked for.
    hit_rate : what the run had. best_rate : Belady's rule. lru_rate : least recently used.
    """

    accesses: int
    share: float
    hit_rate: float
    best_rate: float
    lru_rate: float

    def __str__(self) -> str:
        text = (
            f"hit {self.hit_rate:.1%}, best possible without reading ahead {self.best_rate:.1%}, "
            f"LRU {self.lru_rate:.1%}"
        )
        return text if self.share > 0.999 else f"{text} (replayed: the first {self.share:.0%} of the run)"


@dataclass(frozen=True, slots=True)
class Journal:
    """All that a report shows. `partition` is the kind ("1D", ...), `policy` its name."""

    title: str
    partition: str
    policy: str
    plan: str
    stats: Stats
    samples: list[Sample]
    series: list[SeriesCounts]
    partitions: list[PageSpan]
    regret: Regret | None
