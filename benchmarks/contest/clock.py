"""What is asked, and when: the same requests for every contestant. NumPy and the standard library only,
so that it runs in any contestant's environment."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

__all__ = ["FIRST_DAY", "SESSION_MINUTES", "WINDOW", "Digests", "Size", "Tick", "Walk"]

FIRST_DAY = dt.date(2023, 1, 2)
SESSION_MINUTES = 390
WINDOW = 60
_NEW_YORK = ZoneInfo("America/New_York")
_ASSETS = 100
# A stop of the clock for so many minutes of the sessions, where no number of calls is given.
_PACE_MINUTES = 50


@dataclass(frozen=True, slots=True)
class Tick:
    """One stop of the clock: at ``now_ns`` the last `WINDOW` closed bars are asked of every asset.

    first_ns, last_ns : the stamps (bar starts) of the oldest and the newest of them. Contestants that
        query by range are told them; the others find them.
    """

    now_ns: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Size:
    """Minute bars of ``assets`` stocks over ``days`` weekdays from `FIRST_DAY`, 09:30 to 16:00 New York."""

    assets: int
    days: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """ "20x128" (assets x days), or bars of 100 assets: "1e7" are 256 days of each.

        So that more bars are a longer history and not a wider universe, whose working set grows too.
        Raises ValueError where it is neither, or less than an asset and two days.
        """
        if "x" in text:
            assets, days = (int(part) for part in text.split("x"))
        else:
            assets = _ASSETS
            days = round(int(float(text)) / (assets * SESSION_MINUTES))
        if assets < 1 or days < 2:
            raise ValueError(f"{text!r} is {assets} assets x {days} days: at least 1 x 2 are needed")
        return cls(assets, days)

    def __str__(self) -> str:
        return f"{self.assets}x{self.days}"

    @property
    def bars(self) -> int:
        return self.assets * self.days * SESSION_MINUTES

    @property
    def usual_calls(self) -> int:
        """Every asset asked once in 50 minutes: the same pace, however long the history is."""
        return self.bars // _PACE_MINUTES

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(f"G{number:03d}" for number in range(self.assets))

    @property
    def sessions(self) -> list[dt.date]:
        first = np.datetime64(FIRST_DAY, "D")
        days: list[dt.date] = np.busday_offset(first, np.arange(self.days), roll="forward").tolist()
        return days

    def grid_ns(self) -> npt.NDArray[np.int64]:
        """The start of every bar of an asset, ns since the epoch; shape (days * SESSION_MINUTES,)."""
        opens_s = [dt.datetime.combine(day, dt.time(9, 30), _NEW_YORK).timestamp() for day in self.sessions]
        minutes = np.arange(SESSION_MINUTES, dtype=np.int64) * 60
        return np.add.outer(np.array(opens_s, dtype=np.int64), minutes).ravel() * 1_000_000_000

    def stops(self, calls: int) -> npt.NDArray[np.int64]:
        """Rows of the grid at which the clock stops for so many calls: ascending, evenly spread from the
        second session to the last minute, so that the whole of the data is walked through."""
        rows = self.days * SESSION_MINUTES
        count = min(max(calls // self.assets, 1), rows - SESSION_MINUTES)
        return np.linspace(SESSION_MINUTES, rows - 1, count).astype(np.int64)


class Walk:
    """The requests of one cell: at each of `ticks`, one call for each asset. Forward in time, and through
    the whole of the data, so that a bounded cache has to turn over.

    stops : rows of the grid, shape (len(ticks),).
    """

    def __init__(self, size: Size, calls: int) -> None:
        grid = size.grid_ns()
        self.size = size
        self.stops = size.stops(calls)
        self.ticks = [
            Tick(*times)
            for times in zip(
                grid[self.stops].tolist(),
                grid[self.stops - WINDOW].tolist(),
                grid[self.stops - 1].tolist(),
                strict=True,
            )
        ]

    @property
    def calls(self) -> int:
        return len(self.ticks) * self.size.assets

    def __str__(self) -> str:
        apart = self.size.days * SESSION_MINUTES / len(self.ticks)
        return (
            f"{self.calls:,} calls: {len(self.ticks):,} stops of the clock, {apart:,.0f} session minutes "
            f"apart, from the second to the last of {self.size.days:,} days; at each the last {WINDOW} "
            f"minute bars of all {self.size.assets} assets are asked for, one asset a call"
        )


class Digests:
    """The answers of a walk as one text: what every asset was answered, in whole cents, in order."""

    def __init__(self, assets: int) -> None:
        self._digests = [hashlib.blake2b(digest_size=16) for _ in range(assets)]

    def add(self, asset: int, closes: npt.NDArray[np.float64]) -> None:
        """Take in the closes that an asset was answered, oldest first."""
        self._digests[asset].update(np.rint(closes * 100).astype(np.int64).tobytes())

    def total(self) -> str:
        whole = hashlib.blake2b(digest_size=16)
        for digest in self._digests:
            whole.update(digest.digest())
        return whole.hexdigest()
