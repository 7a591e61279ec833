"""A run looked back at: what it wrote down of itself, and how well it could have gone."""

from __future__ import annotations

from lazybars.feed import Feed
from lazybars.journal import Journal, Regret, SeriesCounts
from lazybars.replay import Key, replay
from lazybars.ring import PAGE_OVERHEAD_BYTES

__all__ = ["journal_of", "regret_of"]


def regret_of(feed: Feed) -> Regret:
    """The requests so far, replayed over a ring of the same bytes under Belady's rule and LRU.

    Any thread; after a long run it takes a few seconds.
    """
    with feed.ring.changed:
        feed.ring.settle()
        trace = feed.log.whole_trace()
        accesses, hits = feed.log.accesses, feed.hits()
    ledger, series = feed.ledger, feed.schedule.series

    def page_bytes(key: Key) -> int:
        lo, hi = series[key[0]].span(key[1])
        return series[key[0]].segment_bytes(hi - lo) + PAGE_OVERHEAD_BYTES

    room = ledger.split.ring_bytes - ledger.spare_bytes - ledger.table_bytes
    return replay(trace, room, page_bytes, accesses=accesses, hits=hits)


def journal_of(feed: Feed, title: str, plan: str) -> Journal:
    """All that a report shows. Any thread."""
    regret = regret_of(feed)
    stats = feed.stats()
    schedule = feed.schedule
    with feed.ring.changed:
        samples = [*feed.diary.samples, feed.sample()]
        partitions = feed.diary.spans(schedule.partitions.bounds_ns)
        counts = []
        for series_id, one in schedule.series.items():
            known = schedule.habits[series_id]
            counts.append(
                SeriesCounts(
                    label=one.info.label,
                    hits=known.accesses - known.misses - known.late,
                    misses=known.misses,
                    late=known.late,
                    bypasses=known.bypasses,
                    stall_s=known.stall_s,
                    reach_rows=one.reach_rows,
                    cadence_ticks=known.habit.gap,
                )
            )
    return Journal(
        title=title,
        partition=schedule.partitions.kind,
        policy=getattr(feed.ring.policy, "name", type(feed.ring.policy).__name__),
        plan=plan,
        stats=stats,
        samples=samples,
        series=counts,
        partitions=partitions,
        regret=regret,
    )
