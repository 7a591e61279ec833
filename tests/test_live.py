"""The live line as a terminal receives it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pandas as pd
import pytest

from lazybars.live import LiveLine

termios = pytest.importorskip("termios")
pty = pytest.importorskip("pty")

START_NS = pd.Timestamp("2024-01-02 09:30", tz="America/New_York").value
END_NS = pd.Timestamp("2024-01-12 09:30", tz="America/New_York").value
QUARTER_NS = START_NS + (END_NS - START_NS) // 4
ERASE = "\r\x1b[2K"


class Terminal:
    """A pseudo-terminal: what was written into `stream` can be read."""

    def __init__(self, columns: int, encoding: str = "utf-8") -> None:
        self._reading, writing = pty.openpty()
        termios.tcsetwinsize(writing, (24, columns))
        self.stream: TextIO = os.fdopen(writing, "w", encoding=encoding)
        self._encoding = encoding
        os.set_blocking(self._reading, False)

    def raw(self) -> str:
        """What came since the last time."""
        found = b""
        while True:
            try:
                more = os.read(self._reading, 65536)
            except OSError:
                more = b""
            if not more:
                return found.decode(self._encoding)
            found += more

    def lines(self) -> list[str]:
        """Every state of the line, as it is seen."""
        return [re.sub(r"\x1b\[[\d;]*m", "", one) for one in self.raw().split(ERASE)[1:]]

    def hang_up(self) -> None:
        os.close(self._reading)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    found = Terminal(100)
    yield found
    with contextlib.suppress(OSError):
        found.stream.close()


def line_on(stream: TextIO) -> LiveLine:
    return LiveLine(START_NS, END_NS, 256_000_000, stream)


def test_the_line_says_how_the_run_stands(terminal: Terminal) -> None:
    line = line_on(terminal.stream)
    line.update(QUARTER_NS, 103_400_000, 0.987, 1.24)
    (shown,) = terminal.lines()
    for said in ("2024-01-04", " 25.0 %", "RAM 103 of 256 MB", "hit rate 98.7 %", "stall 1.2 s"):
        assert said in shown
    drawn = shown.count("\u2501") + shown.count("\u2578") + shown.count("\u257a")
    assert drawn >= 6, "the bar"
    assert len(shown) < 100
    line.close()


def test_the_date_is_new_yorks(terminal: Terminal) -> None:
    line = line_on(terminal.stream)
    late = pd.Timestamp("2024-01-04 23:30", tz="America/New_York").value
    line.update(late, 0, 1.0, 0.0)
    assert "2024-01-04" in terminal.lines()[0]
    line.close()


def test_it_is_drawn_a_few_times_a_second_however_often_it_is_told(terminal: Terminal) -> None:
    line = line_on(terminal.stream)
    began, told, drawn = time.monotonic(), 0, 0
    while drawn < 4:
        line.update(START_NS + told, 0, 1.0, 0.0)
        told += 1
        drawn += len(terminal.lines())
    assert time.monotonic() - began >= 0.75, "four were drawn, a quarter of a second apart"
    line.close()


def test_closing_draws_the_last_state_and_leaves_the_line(terminal: Terminal) -> None:
    line = line_on(terminal.stream)
    line.update(START_NS, 1_000_000, 0.5, 0.0)
    line.update(END_NS, 77_000_000, 0.9, 3.0)
    line.close()
    last = terminal.lines()[-1]
    assert "2024-01-12 100.0 %" in last
    assert "RAM 77 of 256 MB" in last
    assert last.endswith("\n")
    line.close()
    line.update(END_NS, 0, 1.0, 0.0)
    assert terminal.raw() == ""


def test_a_line_that_was_never_told_anything_writes_nothing(terminal: Terminal) -> None:
    line_on(terminal.stream).close()
    assert terminal.raw() == ""


def test_the_terminal_is_left_as_it_was_without_being_closed(terminal: Terminal) -> None:
    before = (sys.stdout, sys.stderr, threading.active_count())
    line = line_on(terminal.stream)
    line.update(QUARTER_NS, 0, 0.5, 0.0)
    assert (sys.stdout, sys.stderr, threading.active_count()) == before
    assert "\x1b[?25l" not in terminal.raw(), "the cursor was hidden"


@pytest.mark.parametrize("columns", [10, 40, 70, 80, 300])
def test_it_never_wraps(columns: int, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    line = line_on(terminal.stream)
    line.update(QUARTER_NS, 123_456_789_000, 0.987, 12345.6)
    (shown,) = terminal.lines()
    assert 0 < len(shown) < columns
    assert "\n" not in shown
    line.close()


@pytest.mark.parametrize(
    ("rate", "said"), [(float("nan"), "hit rate -"), (0.99999, "99.9 %"), (1.0, "100.0 %"), (0.0, " 0.0 %")]
)
def test_a_hit_rate_is_not_rounded_to_all(rate: float, said: str, terminal: Terminal) -> None:
    line = line_on(terminal.stream)
    line.update(QUARTER_NS, 0, rate, 0.0)
    assert said in terminal.lines()[0]
    line.close()


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "now_ns", "said"),
    [
        (START_NS, END_NS, START_NS - 10**15, "  0.0 %"),
        (START_NS, END_NS, END_NS + 10**15, "100.0 %"),
        (START_NS, START_NS, START_NS, "100.0 %"),
    ],
)
def test_progress_stays_between_nothing_and_all(
    start_ns: int, end_ns: int, now_ns: int, said: str, terminal: Terminal
) -> None:
    line = LiveLine(start_ns, end_ns, 1, terminal.stream)
    line.update(now_ns, 0, 0.5, 0.0)
    assert said in terminal.lines()[0]
    line.close()


# ---- where there is no terminal -------------------------------------------------------------------


def test_nothing_is_written_where_the_stream_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    path = tmp_path / "log.txt"
    with path.open("w") as file:
        for stream in (file, text := io.StringIO()):
            line = line_on(stream)
            line.update(QUARTER_NS, 1, 0.5, 0.0)
            line.close()
    assert path.read_text() == text.getvalue() == ""


def test_nothing_is_written_to_a_terminal_that_cannot_draw_over_a_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    line = line_on(terminal.stream)
    line.update(QUARTER_NS, 1, 0.5, 0.0)
    line.close()
    assert terminal.raw() == ""


def test_a_process_without_stderr_has_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    line = LiveLine(START_NS, END_NS, 1)
    line.update(QUARTER_NS, 1, 0.5, 0.0)
    line.close()


def test_a_run_outlives_its_terminal(terminal: Terminal) -> None:
    line = line_on(terminal.stream)
    line.update(START_NS, 1, 0.5, 0.0)
    terminal.hang_up()
    with pytest.raises(OSError, match="Input/output error"):
        os.write(terminal.stream.fileno(), b"x")
    time.sleep(0.3)  # until it would draw again
    line.update(QUARTER_NS, 1, 0.5, 0.0)
    line.close()


def test_a_run_outlives_a_closed_stream(terminal: Terminal) -> None:
    line = line_on(terminal.stream)
    line.update(START_NS, 1, 0.5, 0.0)
    terminal.stream.close()
    line.close()
    closed = line_on(terminal.stream)
    closed.update(START_NS, 1, 0.5, 0.0)
    closed.close()


def test_a_terminal_of_plain_ascii_gets_plain_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    plain = Terminal(100, "ascii")
    line = line_on(plain.stream)
    line.update(QUARTER_NS, 103_400_000, 0.987, 1.24)
    (shown,) = plain.lines()
    assert "RAM 103 of 256 MB" in shown
    line.close()
    plain.stream.close()


def test_standard_error_is_the_default_and_may_be_piped() -> None:
    code = (
        "from lazybars.live import LiveLine\n"
        f"line = LiveLine({START_NS}, {END_NS}, 10**8)\n"
        f"line.update({QUARTER_NS}, 10**7, 0.5, 0.1)\n"
        "line.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
