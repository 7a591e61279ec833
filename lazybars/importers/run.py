"""From files of one kind into a store: one after the other, each whole or not at all."""

from __future__ import annotations

import datetime as dt
import glob
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lazybars.errors import BadInput, CapTooSmall, ConfigError, UnknownSeries
from lazybars.importers.bench import Bench, open_bench
from lazybars.importers.parts import Kind, Lot, Outcome, Rows, Span, Wishes
from lazybars.importers.staging import Staged, is_held, staged
from lazybars.model import SeriesInfo
from lazybars.store import Storage
from lazybars.store.catalog import identity

__all__ = ["files_of", "import_files"]

_NOTHING_SAID = Wishes()
# What one file does wrong; whatever else goes wrong concerns the next one as well.
_OF_A_FILE = (BadInput, ConfigError, CapTooSmall)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
# Each is a transaction: a file with more holes than this is better asked for again.
_MOST_SPANS = 2_000


def files_of(kind: Kind, pattern: str) -> list[Path]:
    """The files meant: one file, those of a directory and all below it, those of a pattern. Sorted.

    Raises BadInput where there is none.
    """
    path = Path(pattern)
    if path.is_dir():
        found = [one for one in path.rglob("*") if one.is_file() and one.name.lower().endswith(kind.suffixes)]
        if not found:
            raise BadInput(
                f"{pattern}: no file in it ends in {' or '.join(kind.suffixes)}, as those of {kind.name} do"
            )
    else:
        found = [path] if path.exists() else [Path(one) for one in glob.glob(pattern, recursive=True)]
        if not found:
            raise BadInput(f"{pattern}: no such file, and no file matches it as a pattern")
    return sorted(found)


def import_files(
    kind: Kind,
    paths: Sequence[Path],
    store: Storage | None,
    wishes: Wishes = _NOTHING_SAID,
    *,
    found: Callable[[Lot], None] = lambda lot: None,
    done: Callable[[Path], None] = lambda path: None,
) -> list[Outcome]:
    """Import files; gives what became of each series of each file, in their order.

    store : where they go, or None: then they are only looked at. found : called with each lot before it is
    used. done : called with each path when it has been dealt with.

    A file that cannot be taken leaves nothing behind and the next one follows. What is in the store already
    is not written again. A store that several series were written to is compacted. One thread; some 200 MB
    beside the store's own memory, whatever the files' size.
    """
    if kind.named and (wishes.symbol or wishes.quote or wishes.timestep):
        raise ConfigError(
            f"files of kind {kind.name} say themselves whose bars they hold: leave the symbol, quote "
            "and timestep out"
        )
    if kind.check is not None:
        kind.check(paths, wishes)
    run = _Run(store, wishes, found)
    with open_bench() as bench:
        for path in paths:
            run.take(bench, kind, path)
            done(path)
    if store is not None and len({one.series for one in run.outcomes if one.status == "written"}) > 1:
        store.compact()
    return run.outcomes


@dataclass(slots=True)
class _Run:
    store: Storage | None
    wishes: Wishes
    found: Callable[[Lot], None]
    outcomes: list[Outcome] = field(default_factory=list)
    # The source that each series has by itself: two of them must not become one by the caller's name.
    origins: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def take(self, bench: Bench, kind: Kind, path: Path) -> None:
        """All of one file; what is wrong with it is noted."""
        try:
            # Closed at once where it is left early: what it holds open is on the bench.
            with closing(kind.lots(bench, path, self.wishes)) as lots:
                for lot in lots:
                    self.outcomes.append(lot if isinstance(lot, Outcome) else self._one(bench, lot))
        except _OF_A_FILE as error:
            self.outcomes.append(Outcome(path, "failed", detail=str(error)))

    def _one(self, bench: Bench, lot: Lot) -> Outcome:
        try:
            lot = self._named(lot)
            self.found(lot)
            with lot.open(bench) as rows, staged(bench, rows, lot.path.stem) as ready:
                outcome = Outcome(
                    lot.path,
                    "found",
                    lot.label,
                    ready.rows,
                    ready.bars,
                    left_out=rows.left_out,
                    detail=lot.note,
                )
                if self.store is None:
                    return outcome
                return self._stored(bench, self.store, lot, rows, ready, outcome)
        except _OF_A_FILE as error:
            return Outcome(lot.path, "failed", lot.label, detail=str(error))

    def _named(self, lot: Lot) -> Lot:
        if self.wishes.source is None:
            return lot
        named = replace(lot, source=self.wishes.source)
        origin = self.origins.setdefault(_series(named), lot.source)
        if origin != lot.source:
            raise BadInput(
                f"its bars are of {lot.source}, and those of {origin} went to the same series before it: "
                "import them apart, or leave --source out"
            )
        return named

    def _stored(
        self, bench: Bench, store: Storage, lot: Lot, rows: Rows, ready: Staged, outcome: Outcome
    ) -> Outcome:
        info = next((one for one in store.series() if _series_of(one) == _series(lot)), None)
        if not ready.bars:
            outcome = replace(outcome, status="empty")
        elif info is not None and is_held(bench, ready, store, info):
            outcome = replace(outcome, status="unchanged")
        else:
            try:
                summary = store.write(
                    ready.path,
                    asset=lot.asset,
                    timestep=lot.timestep,
                    quote=lot.quote,
                    source=lot.source,
                    tz=ready.zone,
                )
            except BadInput as error:
                raise BadInput(str(error).replace(ready.path.name, lot.path.name), error.rows) from error
            outcome = replace(
                outcome,
                status="written",
                written=summary.rows_written,
                replaced=summary.rows_replaced,
                repaired=summary.repaired,
            )
        if rows.empty is None or ready.bars == ready.rows:
            return outcome
        return replace(outcome, empty_ranges=_mark(store, lot, rows.empty(bench, rows)))


def _mark(store: Storage, lot: Lot, spans: list[Span]) -> int:
    """Note where there are no bars; gives how many ranges were not known before."""
    joined = _joined(spans)
    if len(joined) > _MOST_SPANS:
        return 0
    try:
        known = store.known_empty(lot.asset, lot.timestep, quote=lot.quote, source=lot.source)
    except UnknownSeries:
        known = []
    marked = 0
    for first, last in joined:
        start, end = (_EPOCH + dt.timedelta(microseconds=us) for us in (first, last))
        if any(one <= start and end <= other for one, other in known):
            continue
        try:
            store.mark_empty(lot.asset, lot.timestep, start, end, quote=lot.quote, source=lot.source)
        except BadInput:
            continue  # there are bars in it by now: another file has them
        marked += 1
    return marked


def _joined(spans: list[Span]) -> list[Span]:
    """The spans in order, those that touch as one."""
    out: list[Span] = []
    for first, last in sorted(spans):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return out


def _series(lot: Lot) -> tuple[Any, ...]:
    return (identity(lot.asset), identity(lot.quote), lot.timestep, lot.source)


def _series_of(info: SeriesInfo) -> tuple[Any, ...]:
    return (identity(info.asset), identity(info.quote), info.timestep, info.source)
