"""The same bars in every form that a contestant reads, each made once; and what the answers are."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lazybars import AssetKey, open_store
from lazybars.demo.universes import Bars, Generated

from .clock import WINDOW, Digests, Size, Walk

__all__ = ["NoRoom", "Stores", "filled"]

_USD = AssetKey("USD", "forex")
_ROW_GROUP = 16_384
# On disk, while it is made: a store is written, and then once more by compact().
_DISK_BYTES_A_BAR = {"parquet": 22, "store": 34}


class NoRoom(Exception):
    """The disk has not the room that a form of the bars takes."""


def filled(bars: Bars, size: Size) -> Bars:
    """Without holes: a missing minute repeats the bar before it (the first ones, the first there is).

    Lumibot fills holes so and nobody else does; on whole sessions all have to answer the same.
    """
    grid = size.grid_ns()
    at = np.maximum(bars.times_ns.searchsorted(grid, side="right") - 1, 0)
    return Bars(bars.symbol, grid, {name: column[at] for name, column in bars.columns.items()})


@dataclass(frozen=True)
class Stores:
    """Everything made from the bars of one size, below ``folder``."""

    folder: Path
    size: Size

    def path(self, form: str) -> Path:
        """Where the bars lie in that form: "parquet", "store", or a contestant's own."""
        return self.folder / str(self.size) / form

    def bars(self) -> Iterator[Bars]:
        """Asset by asset."""
        return (filled(bars, self.size) for bars in Generated(self.size.assets, self.size.days).bars())

    def make(
        self,
        form: str,
        say: Callable[[str], None],
        write: Callable[[Path], None] | None = None,
        disk_bytes_a_bar: int = 0,
    ) -> Path:
        """The folder of that form, written where it is not there; half of one is written anew.

        Parameters
        ----------
        say
            Takes what was written, and how long that took.
        write, disk_bytes_a_bar
            For a form that is neither "parquet" nor "store": writes it to the empty folder that it is
            given, and how much disk it takes.

        Raises
        ------
        NoRoom
            With the bytes that are needed and those that are free.
        """
        path = self.path(form)
        if path.exists():
            return path
        self._require_room(form, disk_bytes_a_bar or _DISK_BYTES_A_BAR[form])
        began = time.perf_counter()
        fresh = self.path(f"{form}.part")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True, mode=0o700)
        (write or {"parquet": self._write_parquet, "store": self._write_store}[form])(fresh)
        fresh.rename(path)
        held = sum(file.stat().st_size for file in _files(path))
        say(
            f"  wrote {self.size.bars:,} bars as {form}: {held / self.size.bars:.1f} bytes a bar, "
            f"{held / 1e9:.2f} GB, in {time.perf_counter() - began:,.0f} s"
        )
        return path

    def _require_room(self, form: str, a_bar: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        needed, free = self.size.bars * a_bar, shutil.disk_usage(self.folder).free
        if needed > free:
            raise NoRoom(
                f"{self.size.bars:,} bars as {form} take {needed / 1e9:.1f} GB of disk to write; "
                f"{free / 1e9:.1f} GB are free: give another --workdir or a smaller size"
            )

    def _write_parquet(self, folder: Path) -> None:
        """Hive partitions: symbol=G000/year=2023/bars.parquet."""
        for bars in self.bars():
            table = bars.table()
            years = bars.times_ns.astype("datetime64[ns]").astype("datetime64[Y]").astype(int) + 1970
            for year in np.unique(years).tolist():
                place = folder / f"symbol={bars.symbol}" / f"year={year}"
                place.mkdir(parents=True)
                part = table.filter(pa.array(years == year))
                pq.write_table(part, place / "bars.parquet", row_group_size=_ROW_GROUP, compression="zstd")

    def _write_store(self, folder: Path) -> None:
        with open_store(folder / "bars.duckdb", memory="1GB") as store:
            for bars in self.bars():
                store.write(bars.table(), asset=bars.symbol, timestep="minute", quote=_USD)
            store.compact()

    def warm(self, form: str) -> None:
        """Read every file once, so that all begin with the same page cache, as far as it holds them."""
        for path in _files(self.path(form)):
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 22):
                    pass

    def truth(self, walk: Walk) -> str:
        """The right answers of a walk, taken from the generated bars themselves; kept for the next time."""
        path = self.folder / str(self.size) / "truth.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        key = str(walk.calls)
        if key not in known:
            digests = Digests(self.size.assets)
            for number, bars in enumerate(self.bars()):
                closes = bars.columns["close"].astype(float)
                for row in walk.stops.tolist():
                    digests.add(number, closes[row - WINDOW : row])
            known[key] = digests.total()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".part").write_text(json.dumps(known))
            os.replace(path.with_suffix(".part"), path)
        return known[key]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
