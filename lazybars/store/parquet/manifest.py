"""The manifest of a Parquet store: which files are the store, as of its latest write.

A file once written is never changed. A write adds files and replaces the manifest; rows of older files
that it replaced or deleted are hidden by masks, until a compaction writes the partition anew.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass

from lazybars.errors import StoreDamaged, StoreForeign, StoreNewer
from lazybars.store.days import ZONE
from lazybars.store.tables import SCHEMA_VERSION

__all__ = ["FORMAT", "LOOSE", "NAME", "BarFile", "Book", "Manifest", "Mask", "period_bounds_us", "period_sql"]

NAME = "manifest.json"
# How files are laid out; the tables beside the bars have lazybars.store.tables.SCHEMA_VERSION.
FORMAT = 1
# What Hive calls a partition whose key is NULL: files of many periods, until they are compacted.
LOOSE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Book:
    """A file with the rows of one table beside the bars.

    path : relative to the store. digest : blake2b of its bytes.
    """

    path: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class BarFile:
    """A file of bars, in the order series, time.

    path : relative to the store, with "/". digest : blake2b of its bytes.
    period : the first day of its partition as ISO text, or LOOSE.
    number : the manifest's version that it came with.
    first_id .. last_id, first_us .. last_us : of its rows; series ids, microseconds since the epoch.
    columns : the columns of ``bars`` that it has beside the seven that every file has.
    """

    path: str
    size_bytes: int
    digest: str
    timestep: str
    period: str
    number: int
    rows: int
    first_id: int
    last_id: int
    first_us: int
    last_us: int
    columns: tuple[str, ...] = ()

    def meets(self, first_id: int, last_id: int, start_us: int, end_us: int) -> bool:
        """Whether it may hold rows of series first_id..last_id in the closed range of time."""
        return (
            self.first_id <= last_id
            and self.last_id >= first_id
            and self.first_us <= end_us
            and self.last_us >= start_us
        )


@dataclass(frozen=True, slots=True)
class Mask:
    """Rows of a series in a closed range of time that do not count in files with a lower ``number``."""

    number: int
    series_id: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of a store; each write, and each compaction, makes the next.

    files : by first_us. books : by the name of their table.
    """

    version: int = 0
    files: tuple[BarFile, ...] = ()
    masks: tuple[Mask, ...] = ()
    books: dict[str, Book] = dataclasses.field(default_factory=dict)

    @property
    def named(self) -> list[BarFile | Book]:
        """Every file that is the store."""
        return [*self.files, *self.books.values()]

    @property
    def paths(self) -> set[str]:
        return {one.path for one in self.named}

    @property
    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in self.named)

    def masks_of(self, file: BarFile) -> tuple[Mask, ...]:
        """What of a file does not count."""
        return tuple(
            mask
            for mask in self.masks
            if mask.number > file.number
            and file.meets(mask.series_id, mask.series_id, mask.first_us, mask.last_us)
        )

    def after(
        self, version: int, new: Sequence[BarFile], masks: Sequence[Mask], books: dict[str, Book]
    ) -> Manifest:
        """The next version: with more files, rows hidden in the old ones, and these books."""
        # A file of which a later mask leaves nothing is let go of; masks that hide nothing any more as well.
        kept = [one for one in self.files if not any(_hides(mask, one) for mask in masks)]
        files = tuple(sorted((*kept, *new), key=lambda one: (one.first_us, one.first_id, one.path)))
        every = (*self.masks, *masks)
        hiding = tuple(
            mask
            for mask in every
            if any(
                one.number < mask.number
                and one.meets(mask.series_id, mask.series_id, mask.first_us, mask.last_us)
                for one in files
            )
        )
        return Manifest(version, files, hiding, books)

    def to_json(self) -> str:
        """As text, a file a line."""
        head = {
            "application": "lazybars",
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "version": self.version,
            "books": {name: dataclasses.asdict(book) for name, book in self.books.items()},
            "masks": [dataclasses.astuple(mask) for mask in self.masks],
            "columns": [field.name for field in dataclasses.fields(BarFile)],
        }
        lines = ",\n".join(json.dumps(dataclasses.astuple(one)) for one in self.files)
        return json.dumps(head, indent=1)[:-2] + f',\n "files": [\n{lines}\n]}}\n'

    @classmethod
    def of_json(cls, text: str | bytes, place: str) -> Manifest:
        """From what :meth:`to_json` gave. Raises StoreForeign, StoreNewer, StoreDamaged."""
        try:
            held = json.loads(text)
        except ValueError as error:
            raise StoreDamaged(
                f"{place}: {NAME} is damaged or cut short: restore it from a copy or ingest again ({error})"
            ) from error
        if not isinstance(held, dict) or held.get("application") != "lazybars":
            raise StoreForeign(f"{place}: {NAME} is not one that lazybars wrote: give another path")
        try:
            if held["format"] > FORMAT or held["schema_version"] > SCHEMA_VERSION:
                raise StoreNewer(
                    f"{place}: it has format {held['format']} and schema {held['schema_version']}, this "
                    f"lazybars knows up to {FORMAT} and {SCHEMA_VERSION}: upgrade lazybars"
                )
            rows = (dict(zip(held["columns"], row, strict=True)) for row in held["files"])
            return cls(
                int(held["version"]),
                tuple(BarFile(**{**row, "columns": tuple(row["columns"])}) for row in rows),
                tuple(Mask(*mask) for mask in held["masks"]),
                {name: Book(**book) for name, book in held["books"].items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreDamaged(
                f"{place}: {NAME} lacks what it should have: restore it from a copy or ingest "
                f"again ({error!r})"
            ) from error


def _hides(mask: Mask, file: BarFile) -> bool:
    return (
        mask.number > file.number
        and file.first_id == file.last_id == mask.series_id
        and mask.first_us <= file.first_us
        and file.last_us <= mask.last_us
    )


# ------------------------------------------------------------------- periods

# A partition is a week of minute bars (from Monday), a year of hourly ones, ten years of daily ones;
# all of New York's days, as the partitions of a run are.
_PERIODS = {"minute": "week", "hour": "year", "day": "decade"}


def period_sql(timestep: str, day: str) -> str:
    """SQL of the first day of the partition that a New York day belongs to."""
    return f"CAST(date_trunc('{_PERIODS[timestep]}', {day}) AS DATE)"


def period_bounds_us(timestep: str, first: dt.date) -> tuple[int, int]:
    """The closed range of microseconds of the partition that begins with that day."""
    if timestep == "minute":
        after = first + dt.timedelta(days=7)
    else:
        after = first.replace(year=first.year + (1 if timestep == "hour" else 10))
    zone, epoch = zoneinfo.ZoneInfo(ZONE), dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    start, stop = (dt.datetime(day.year, day.month, day.day, tzinfo=zone) - epoch for day in (first, after))
    micro = dt.timedelta(microseconds=1)
    return start // micro, stop // micro - 1
