"""A lazy streaming iterator for a backtest loop of one's own, on the same ring."""

from __future__ import annotations

import datetime as dt
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from lazybars.budget import split
from lazybars.config import Knobs
from lazybars.errors import ConfigError
from lazybars.eviction import Policy
from lazybars.feed import Feed
from lazybars.follow import Follower
from lazybars.grid import Int64s
from lazybars.journal import Regret
from lazybars.model import BAR_FIELDS, NOMINAL_NS, TIMESTEPS, SeriesInfo, asset_key
from lazybars.partition import NEW_YORK, Partitions
from lazybars.planning import Plan, choose
from lazybars.review import journal_of, regret_of
from lazybars.series import StoredSeries
from lazybars.stats import Stats, rss_bytes
from lazybars.store import Storage, open_store

__all__ = ["BarIterator", "Tick", "Window", "iterate"]

Float64s = npt.NDArray[np.float64]
# As `Storage.series_days` gives them.
Days = tuple[Int64s, Int64s, Int64s, Int64s]


class Window:
    """The last bars of one asset that had closed by a tick, oldest first.

    Arrays of shape (n,), n at most the lookback and fewer near the start of the data: float64
    ``open high low close volume`` and int64 ``timestamp`` in ns since the epoch (the start of each
    bar). Read-only; valid for as long as they are held.
    """

    __slots__ = ("_rows", "timestamp")

    def __init__(self, block: Float64s, timestamp: Int64s) -> None:
        self._rows: list[Float64s] = list(block)
        self.timestamp = timestamp

    def __len__(self) -> int:
        return len(self.timestamp)

    @property
    def open(self) -> Float64s:
        return self._rows[0]

    @property
    def high(self) -> Float64s:
        return self._rows[1]

    @property
    def low(self) -> Float64s:
        return self._rows[2]

    @property
    def close(self) -> Float64s:
        return self._rows[3]

    @property
    def volume(self) -> Float64s:
        return self._rows[4]


class Tick(Mapping[str, Window]):
    """One moment of the clock: `now`, and a `Window` per symbol. Valid until the next tick."""

    __slots__ = ("_iterator", "now_ns")

    def __init__(self, iterator: BarIterator, now_ns: int) -> None:
        self._iterator = iterator
        self.now_ns = now_ns

    @property
    def now(self) -> dt.datetime:
        """The clock, in New York time."""
        seconds, rest_ns = divmod(self.now_ns, 1_000_000_000)
        return dt.datetime.fromtimestamp(seconds, NEW_YORK).replace(microsecond=rest_ns // 1000)

    def __getitem__(self, symbol: str) -> Window:
        return self._iterator._window(symbol, self.now_ns)

    def __iter__(self) -> Iterator[str]:
        return iter(self._iterator.symbols)

    def __len__(self) -> int:
        return len(self._iterator.symbols)


class BarIterator(Iterator[Tick]):
    """What :func:`iterate` gives: an iterator of ticks, and a context manager that ends it early.

    symbols : the names that ticks are indexed by, in the order asked for.
    """

    def __init__(
        self,
        store: Storage,
        owned: bool,
        infos: Mapping[str, SeriesInfo],
        start_ns: int,
        end_ns: int,
        lookback: int,
        knobs: Knobs,
        start_rss_bytes: int,
    ) -> None:
        self.symbols = tuple(infos)
        self._lookback = lookback
        self._start_ns, self._end_ns = start_ns, end_ns
        share = split(knobs.memory_bytes)
        limit, beside_bytes = share.pool(store.kept_bytes)
        days = {symbol: store.series_days(info.series_id) for symbol, info in infos.items()}
        first_ns = min(info.first_ns for info in infos.values())
        last_ns = max(info.last_ns for info in infos.values())

        def series_in(partitions: Partitions) -> list[StoredSeries]:
            hours = _hours(days.values(), partitions)
            return [
                StoredSeries(info, partitions, _rows_before(days[symbol], partitions), hours)
                for symbol, info in infos.items()
            ]

        demand, series = choose(knobs.partition, first_ns, last_ns, share, series_in)
        self._partitions = demand.partitions
        self._series: dict[str, StoredSeries] = dict(zip(infos, series, strict=True))
        table_bytes = beside_bytes + 8 * len(self._partitions) * (len(series) + 6) + 2048 * len(series)
        self._plan = demand.plan(share, table_bytes)
        # Whoever opened the store may ask it for more than scans: it keeps the reserve.
        low_bytes = limit if owned else share.engine_limit_bytes
        before_bytes = store.lower_memory(low_bytes, share.engine_limit_bytes - low_bytes)
        self._length_ns = NOMINAL_NS[next(iter(infos.values())).timestep]
        self._feed = Feed(
            store,
            series,
            self._partitions,
            share,
            knobs.policy,
            now_ns=max(start_ns, first_ns),
            prefetch=knobs.prefetch,
            close=store.close if owned else partial(store.restore_memory, before_bytes),
            start_rss_bytes=start_rss_bytes,
            spare_bytes=self._plan.spare_bytes,
        )
        self._feed.ledger.table(table_bytes)
        for one in series:
            one.reach_rows = lookback
        self._part = self._partitions.of(start_ns)
        self._waiting: list[int] = []
        self._feed.start()

    def __next__(self) -> Tick:
        while not self._waiting:
            if self._part > self._partitions.of(self._end_ns) or not self._feed.close.alive:
                # The thread has nothing left to do; the last tick stays good until close().
                self._feed.stop_reading_ahead()
                raise StopIteration
            self._waiting = self._ticks_of(self._part)[::-1]
            self._part += 1
        now_ns = self._waiting.pop()
        self._feed.advance(now_ns)
        return Tick(self, now_ns)

    def __enter__(self) -> BarIterator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the prefetch thread and close what was opened. Repeatable; collection does it too."""
        self._waiting = []
        self._feed.close()

    def stats(self) -> Stats:
        """The figures so far."""
        return self._feed.stats()

    def plan(self) -> Plan:
        """What the iteration needs and how the cap is split."""
        return self._plan

    def regret(self) -> Regret:
        """How well it could have gone: its requests replayed under Belady's rule and LRU."""
        return regret_of(self._feed)

    def report(self, path: str | os.PathLike[str], title: str = "Iteration") -> Path:
        """Write the figures so far as one page of HTML that needs no network; returns its path."""
        from lazybars.report import write_report

        return write_report(journal_of(self._feed, title, str(self._plan)), path)

    def _ticks_of(self, part: int) -> list[int]:
        """The timestamps of a partition at which any asset has a bar, inside the span asked for."""
        self._feed.advance(max(self._partitions.bounds_ns(part)[0], self._start_ns))
        ticks = np.empty(0, dtype=np.int64)
        for one in self._series.values():
            lo, hi = one.span(part)
            if hi > lo:
                instants = self._feed.page(one, part)[1].extras["timestamp"]
                # Most series trade at the same minutes; one at a time takes no room beside the ring.
                if not np.array_equal(ticks, instants):
                    ticks = np.union1d(ticks, instants)
        return list(ticks[(ticks >= self._start_ns) & (ticks <= self._end_ns)].tolist())

    def _window(self, symbol: str, now_ns: int) -> Window:
        one = self._series[symbol]
        feed = self._feed
        feed.calls += 1
        end = self._closed_by(one, now_ns - self._length_ns)
        start = max(end - self._lookback, 0)
        blocks: list[Float64s] = []
        times: list[Int64s] = []
        for part in range(one.part_of(start), one.part_of(end - 1) + 1) if end > start else ():
            lo, hi = one.span(part)
            if lo == hi:
                continue
            _, segment = feed.page(one, part)
            rows = slice(max(start - lo, 0), end - lo)
            blocks.append(segment.block[:, rows])
            times.append(segment.extras["timestamp"][rows].view(np.int64))
        if len(blocks) == 1:
            return Window(blocks[0], times[0])
        if not blocks:
            return Window(np.empty((len(BAR_FIELDS), 0)), np.empty(0, dtype=np.int64))
        block, timestamp = np.concatenate(blocks, axis=1), np.concatenate(times)
        block.flags.writeable = timestamp.flags.writeable = False
        return Window(block, timestamp)

    def _closed_by(self, one: StoredSeries, begun_ns: int) -> int:
        """How many rows of a series had begun by an instant."""
        part = self._partitions.of(begun_ns)
        if begun_ns < self._partitions.edges_ns[part]:
            return 0
        lo, hi = one.span(part)
        if lo == hi:
            return lo
        _, segment = self._feed.page(one, part)
        return lo + int(segment.extras["timestamp"].searchsorted(begun_ns, side="right"))


def _rows_before(days: Days, partitions: Partitions) -> array[int]:
    """Rows of a series before each edge: partitions begin with a local day, so days tell."""
    _, first_ns, _, rows = days
    total = np.concatenate(([0], np.cumsum(rows)))
    return array("q", total[first_ns.searchsorted(partitions.edges_ns)].tolist())


def _hours(universe: Iterable[Days], partitions: Partitions) -> tuple[array[int], array[int]]:
    """First and last bar of any series in each partition; where there is none, its edges."""
    first = np.array(partitions.edges_ns[1:], dtype=np.int64)
    last = np.array(partitions.edges_ns[:-1], dtype=np.int64)
    for _, first_ns, last_ns, _ in universe:
        parts = np.asarray(partitions.edges_ns).searchsorted(first_ns, side="right") - 1
        np.minimum.at(first, parts, first_ns)
        np.maximum.at(last, parts, last_ns)
    return array("q", first.tolist()), array("q", last.tolist())


def _instant_ns(when: Any, *, name: str, end: bool = False) -> int:
    """Nanoseconds of a date, a datetime (New York where it bears no zone) or an ISO text."""
    if isinstance(when, str):
        try:
            when = dt.datetime.fromisoformat(when) if len(when) > 10 else dt.date.fromisoformat(when)
        except ValueError as error:
            raise ConfigError(f"{name}={when!r} is not an ISO date or time") from error
    if isinstance(when, dt.date) and not isinstance(when, dt.datetime):
        when = dt.datetime.combine(when, dt.time.max if end else dt.time.min)
    if not isinstance(when, dt.datetime):
        raise ConfigError(f"{name}={when!r}: give a date, a datetime or an ISO text")
    if when.tzinfo is None:
        when = when.replace(tzinfo=NEW_YORK)
    since = when - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    return int((since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000)


def iterate(
    store: Storage | str | os.PathLike[str],
    assets: Sequence[Any] | str | None = None,
    start: Any = None,
    end: Any = None,
    *,
    lookback: int = 1,
    timestep: str = "minute",
    quote: Any = None,
    memory: str | int = "512MB",
    partition: str = "auto",
    policy: str | Policy = "next-use",
    prefetch: bool = True,
    follow: bool = False,
) -> BarIterator | Follower[Tick]:
    """Walk a clock over stored bars, with the last bars of every asset at each tick.

    The clock stops at every timestamp at which any of the assets has a bar, from ``start`` to
    ``end``, both inclusive. A window holds the bars that have *closed* by then (a bar is stamped at
    its start, so the one that bears the clock's own time is still forming), as they are stored:
    nothing is filled in.

    Parameters
    ----------
    store
        A store or its path.
    assets
        Symbols or assets; None for every series of the timestep.
    start, end
        Dates, datetimes (New York where they bear no zone), ISO texts, or None for all there is. A
        date as ``end`` means through the end of that day.
    lookback
        The most bars a window holds.
    timestep
        "minute", "hour" or "day".
    memory, partition, policy, prefetch
        As for `lazybars.LazyBars`.
    follow
        Whether to wait for new bars at the end, and go on with them as they land: those of this
        process at once, those of others when they close the store.

    Returns
    -------
    BarIterator or Follower
        Close it, use it in ``with``, or let it be collected.

    Raises
    ------
    ConfigError, UnknownSeries, CapTooSmall
        Before the first tick.
    """
    knobs = Knobs.of(
        memory=memory, store=store, assets=None, partition=partition, policy=policy, prefetch=prefetch
    )
    if not isinstance(lookback, int) or isinstance(lookback, bool) or lookback < 1:
        raise ConfigError(f"lookback={lookback!r}: give a whole number of bars, at least 1")
    if timestep not in TIMESTEPS:
        raise ConfigError(f"timestep={timestep!r}: choose one of {', '.join(TIMESTEPS)}")
    start_rss_bytes = rss_bytes()
    owned = isinstance(store, (str, os.PathLike))
    opened: Storage = (
        open_store(store, read_only=True, memory=split(knobs.memory_bytes).engine_limit_bytes, threads=1)
        if isinstance(store, (str, os.PathLike))
        else store
    )
    try:
        infos = _chosen(opened, assets, timestep, quote)
        first_ns = min(info.first_ns for info in infos.values())
        start_ns = first_ns if start is None else _instant_ns(start, name="start")
        stop_ns = None if end is None else _instant_ns(end, name="end", end=True)
        if start_ns > _end_ns(infos, stop_ns) and not (follow and stop_ns is None):
            raise ConfigError(f"start={start} lies behind end={end}")
        if not follow:
            end_ns = _end_ns(infos, stop_ns)
            return BarIterator(opened, owned, infos, start_ns, end_ns, lookback, knobs, start_rss_bytes)

        def walk(since_ns: int) -> BarIterator:
            known = _chosen(opened, assets, timestep, quote)
            until_ns = _end_ns(known, stop_ns)
            return BarIterator(opened, False, known, since_ns, until_ns, lookback, knobs, start_rss_bytes)

        return Follower(opened, owned, walk, start_ns, stop_ns)
    except BaseException:
        if owned:
            opened.close()
        raise


def _end_ns(infos: Mapping[str, SeriesInfo], stop_ns: int | None) -> int:
    return max(info.last_ns for info in infos.values()) if stop_ns is None else stop_ns


def _chosen(store: Storage, assets: Any, timestep: str, quote: Any) -> dict[str, SeriesInfo]:
    """The series asked for, by the name that ticks are indexed with."""
    if assets is None:
        found = [info for info in store.series() if info.timestep == timestep and info.rows]
        infos = {str(info.asset): info for info in reversed(found)}
        if not infos:
            raise ConfigError(f"the store has no {timestep} bars")
        return dict(reversed(infos.items()))
    if isinstance(assets, str) or hasattr(assets, "symbol"):
        assets = [assets]
    return {str(asset_key(asset)): store.find(asset, timestep, quote) for asset in assets}
