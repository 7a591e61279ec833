"""The section of RESULTS.md on the comparison: from the rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .records import Record

__all__ = ["BEGIN", "END", "section_of"]

BEGIN, END = "<!-- compare: begin -->", "<!-- compare: end -->"


def section_of(rows: Sequence[Record]) -> str:
    """Markdown, ending with a line break: a table for each size and number of calls, the largest first."""
    tasks = sorted({(row.bars, row.calls, row.assets, row.days) for row in rows}, reverse=True)
    lines: list[str] = []
    for bars, calls, assets, days in tasks:
        of_task = [
            row for row in rows if (row.bars, row.calls, row.assets, row.days) == (bars, calls, assets, days)
        ]
        lines += [
            f"### {bars:,} bars ({assets} assets x {days:,} days), {calls:,} calls",
            "",
            *_task(of_task),
            "",
        ]
    return "\n".join(lines)


def _task(rows: Sequence[Record]) -> Iterator[str]:
    dates = sorted({row.date[:10] for row in rows})
    loads = [row.load for row in rows if row.load is not None]
    yield (
        f"{rows[0].machine}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; "
        f"load before a cell {min(loads):.1f} to {max(loads):.1f}."
    )
    yield ""
    yield "| | peak RSS | CPU | start-up | a call, CPU | half of the calls within | 99 % within |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        if row.status != "ok":
            yield f"| {row.label} | {row.status}: {row.cause} | | | | | |"
            continue
        yield (
            f"| {row.label} | {row.peak_rss_mb:,.0f} MB | {row.cpu_s:,.2f} s | {row.startup_s:,.2f} s | "
            f"{row.call_us:,.0f} us | {row.p50_us:,.0f} us | {row.p99_us:,.0f} us |"
        )
    yield ""
    done = [row for row in rows if row.status == "ok"]
    for what, of in (("RAM", lambda row: row.peak_rss_mb or 0.0), ("CPU time", lambda row: row.cpu_s or 0.0)):
        yield from _place(done, what, of)


def _place(rows: Sequence[Record], what: str, of: Callable[[Record], float]) -> Iterator[str]:
    """Who does with less than lazybars at its best."""
    ours = [row for row in rows if row.contestant == "lazybars"]
    if not ours:
        return
    best = min(ours, key=of)
    less = sorted(
        (row for row in rows if not row.contestant.startswith("lazybars") and of(row) < of(best)), key=of
    )
    if less:
        yield f"- {what}: less than {best.label} took {', '.join(row.label for row in less)}."
    else:
        yield f"- {what}: {best.label} is first."
