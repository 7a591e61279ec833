"""SQL over some of a store's files: which of them, what of them does not count, in which order."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lazybars.model import BAR_FIELDS
from lazybars.store.parquet.manifest import BarFile, Manifest, Mask
from lazybars.store.ranges import EVER
from lazybars.store.schema import identifier, literal

__all__ = ["FIXED", "Index", "Stretch", "from_sql", "table_sql"]

FIXED = {"series_id": "INTEGER", "ts": "TIMESTAMPTZ", **dict.fromkeys(BAR_FIELDS, "DOUBLE")}


def table_sql(extras: dict[str, str]) -> str:
    """The columns of a table of bars with these beside the seven."""
    return ", ".join(f"{identifier(name)} {kind}" for name, kind in {**FIXED, **extras}.items())


@dataclass(frozen=True, slots=True)
class Stretch:
    """Files to be read at once. in_order : read one after the other, a series' rows ascend in time."""

    files: tuple[BarFile, ...]
    in_order: bool


class Index:
    """The files of one manifest, to be found by series and time. Any thread: it never changes."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._alone: dict[int, list[BarFile]] = {}
        self._shared: dict[str, list[BarFile]] = {}
        for file in manifest.files:
            if file.first_id == file.last_id:
                self._alone.setdefault(file.first_id, []).append(file)
            else:
                self._shared.setdefault(file.timestep, []).append(file)

    def of(
        self, ids: Iterable[int], timesteps: Iterable[str], start_us: int | None, end_us: int | None
    ) -> list[BarFile]:
        """The files that may hold rows of those series, which have those timesteps, by time."""
        ids = list(ids)
        if not ids:
            return []
        start = EVER[0] if start_us is None else start_us
        end = EVER[1] if end_us is None else end_us
        found = [file for one in ids for file in self._alone.get(one, ())]
        found += [file for timestep in timesteps for file in self._shared.get(timestep, ())]
        first, last = min(ids), max(ids)
        return sorted((one for one in found if one.meets(first, last, start, end)), key=_by_time)

    def stretches(
        self, series_id: int, timestep: str, start_us: int | None, end_us: int | None, most_bytes: int
    ) -> list[Stretch]:
        """The files of one series, in stretches that follow each other in time.

        Parameters
        ----------
        most_bytes
            Of the files in a stretch, unless more overlap.
        """
        clusters: list[list[BarFile]] = []
        until = EVER[0]
        for file in self.of([series_id], [timestep], start_us, end_us):
            if clusters and file.first_us <= until:
                clusters[-1].append(file)
            else:
                clusters.append([file])
            until = max(until, file.last_us)
        out: list[Stretch] = []
        run: list[BarFile] = []
        kind: tuple[tuple[str, ...], tuple[Mask, ...]] | None = None
        for cluster in clusters:
            if len(cluster) > 1:
                out += [*_run(run), Stretch(tuple(cluster), False)]
                run = []
                continue
            # Files of one query come in their order only where they are one leg of it.
            now = (cluster[0].columns, self.manifest.masks_of(cluster[0]))
            if now != kind or sum(one.size_bytes for one in run) + cluster[0].size_bytes > most_bytes:
                out += _run(run)
                run = []
            kind = now
            run.append(cluster[0])
        return [*out, *_run(run)]

    def sql(self, files: Sequence[BarFile], paths: Sequence[str], extras: dict[str, str]) -> str:
        """SQL for after FROM: the rows of these files that count.

        Parameters
        ----------
        paths
            Where each file is read.
        extras
            The columns beside the seven of every bar, with their types in DuckDB. A file lacks those that
            came after it.
        """
        groups: dict[tuple[tuple[str, ...], tuple[Mask, ...]], list[str]] = {}
        for file, path in zip(files, paths, strict=True):
            groups.setdefault((file.columns, self.manifest.masks_of(file)), []).append(path)
        legs = [_leg(columns, masks, members, extras) for (columns, masks), members in groups.items()]
        if not legs:
            nothing = (
                f"CAST(NULL AS {kind}) AS {identifier(name)}" for name, kind in (FIXED | extras).items()
            )
            legs = [f"SELECT {', '.join(nothing)} WHERE false"]
        return f"({' UNION ALL '.join(legs)})"


def from_sql(paths: Sequence[str]) -> str:
    """SQL for after FROM of Parquet files with the same columns, by their exact names."""
    listed = ", ".join(literal(glob.escape(path)) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false)"


def _by_time(file: BarFile) -> tuple[int, int, str]:
    return file.first_us, file.first_id, file.path


def _run(files: list[BarFile]) -> list[Stretch]:
    return [Stretch(tuple(files), True)] if files else []


def _leg(columns: Sequence[str], masks: Sequence[Mask], paths: Sequence[str], extras: dict[str, str]) -> str:
    named = [*map(identifier, FIXED)]
    for name, kind in extras.items():
        value = identifier(name) if name in columns else f"CAST(NULL AS {kind})"
        named.append(f"{value} AS {identifier(name)}")
    where = " AND ".join(map(_uncounted, masks)) or "true"
    return f"SELECT {', '.join(named)} FROM {from_sql(paths)} WHERE {where}"


def _uncounted(mask: Mask) -> str:
    sides = [f"series_id <> {mask.series_id:d}"]
    if mask.first_us > EVER[0]:
        sides.append(f"ts < make_timestamptz({mask.first_us:d})")
    if mask.last_us < EVER[1]:
        sides.append(f"ts > make_timestamptz({mask.last_us:d})")
    return f"({' OR '.join(sides)})"
