"""One line on the terminal that follows a run."""

from __future__ import annotations

import math
import sys
import time
from typing import TextIO

from rich.console import Console
from rich.control import Control
from rich.progress_bar import ProgressBar
from rich.segment import ControlType
from rich.text import Text

from lazybars.partition import new_york_date

__all__ = ["LiveLine"]

_INTERVAL_S = 0.25
_LONGEST_BAR = 30
_SHORTEST_BAR = 6


class LiveLine:
    """The clock's date and progress, RAM against the cap, hit rate and stall, in one line drawn over itself.

    It starts no thread, hides no cursor and takes no stream over: whatever ends the run, the terminal is
    as it was. What others print in between lands behind the line, and the next one is drawn below it.
    Where the stream is no terminal, nothing is ever written; where the terminal goes away, it falls
    silent and the run goes on.

    Owner: the thread that drives the clock. :meth:`close` may be called from any thread, and again.
    """

    def __init__(self, start_ns: int, end_ns: int, cap_bytes: int, stream: TextIO | None = None) -> None:
        """Follow a clock from `start_ns` to `end_ns`; `stream` is stderr unless one is given."""
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._cap_bytes = cap_bytes
        self._console = _console(sys.stderr if stream is None else stream)
        self._due_s = math.inf if self._console is None else -math.inf
        self._last: tuple[int, int, float, float] | None = None

    def update(self, now_ns: int, booked_bytes: int, hit_rate: float, stall_s: float) -> None:
        """Say how the run stands. Draws at most four times a second, and else only compares the time."""
        self._last = (now_ns, booked_bytes, hit_rate, stall_s)
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + _INTERVAL_S
            self._draw()

    def close(self) -> None:
        """Draw how the run ended, and leave the line."""
        self._due_s = math.inf
        if self._last is not None:
            self._draw(end="\n")
        self._console = None

    def _draw(self, end: str = "") -> None:
        console, last = self._console, self._last
        if console is None or last is None:
            return
        text, done = self._text(*last)
        # A line as wide as the terminal would wrap.
        room = console.width - 1
        bar = min(room - text.cell_len - 2, _LONGEST_BAR)
        try:
            # One write: what is printed inside is kept until the end.
            with console:
                console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
                if bar >= _SHORTEST_BAR:
                    console.print(
                        ProgressBar(
                            total=1.0,
                            completed=done,
                            width=bar,
                            complete_style="blue",
                            finished_style="green",
                        ),
                        end="",
                    )
                    text = Text("  ") + text
                console.print(text, end=end, width=room, no_wrap=True, overflow="crop", crop=True)
        except (OSError, ValueError):
            self._due_s, self._console = math.inf, None

    def _text(self, now_ns: int, booked_bytes: int, hit_rate: float, stall_s: float) -> tuple[Text, float]:
        """The line without its bar, and how much of the clock's way is done."""
        way_ns = self._end_ns - self._start_ns
        done = min(max((now_ns - self._start_ns) / way_ns, 0.0), 1.0) if way_ns > 0 else 1.0
        # Not quite all hits is not rounded to all.
        percent = 100 * hit_rate if hit_rate == 1 else min(100 * hit_rate, 99.9)
        rate = "-" if math.isnan(hit_rate) else f"{percent:.1f} %"
        text = Text.assemble(
            (f"{new_york_date(now_ns)} ", "bold"),
            f"{100 * done:5.1f} %  ",
            ("RAM ", "dim"),
            f"{booked_bytes / 1e6:,.0f} of {self._cap_bytes / 1e6:,.0f} MB  ",
            ("hit rate ", "dim"),
            f"{rate}  ",
            ("stall ", "dim"),
            f"{stall_s:,.1f} s",
        )
        return text, done


def _console(stream: TextIO | None) -> Console | None:
    """A console on a stream that is a terminal which can draw over a line; else None."""
    if stream is None or stream.closed or not stream.isatty():
        return None
    console = Console(file=stream, force_jupyter=False, highlight=False)
    return None if console.is_dumb_terminal or not console.is_terminal else console
