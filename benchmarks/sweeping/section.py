"""The section of RESULTS.md on sweeps: from the rows alone, between two marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.results import put_between

from .rows import Row

__all__ = ["put_section", "section_of", "wrong"]

_BEGIN, _END = "<!-- sweeps: begin -->", "<!-- sweeps: end -->"
_MOST_OVER_MB = 512
_LEAST_RATIO = 1.7


def wrong(rows: Sequence[Row]) -> list[str]:
    """Where two sides of the same trials did not come to the same, bit for bit."""
    known: dict[tuple[int, int, int], tuple[str, str]] = {}
    said = []
    for row in rows:
        if row.part == "short":
            continue
        first = row.number if row.part == "single" else 0
        for at, outcome in enumerate(row.outcome.split(), first):
            name = f"{row.part}, {row.side}, {row.workers} at a time"
            before, other = known.setdefault((row.assets, row.days, at), (outcome, name))
            if before != outcome:
                said.append(f"trial {at} of {row.bars:,} bars ends otherwise in {name!r} than in {other!r}")
    return said


def put_section(path: Path, rows: Sequence[Row]) -> None:
    """Put the section between its marks in a file, in place of what is there; ConfigError without marks."""
    put_between(path, _BEGIN, _END, section_of(rows))


def section_of(rows: Sequence[Row]) -> str:
    """The section as Markdown, ending with a line break."""
    counts = sorted({row.number for row in rows if row.part == "sweep"}, reverse=True)
    parts = [*(_sweep(rows, count) for count in counts), _total(rows), _short(rows)]
    return "\n".join(line for part in parts for line in (*part, "")) if rows else ""


def _sweep(rows: Sequence[Row], count: int) -> Iterator[str]:
    """The sweeps of so many trials."""
    swept = [row for row in rows if row.part == "sweep" and row.number == count]
    swept.sort(key=lambda row: row.workers)
    last = swept[-1]
    size = last.assets, last.days
    single = [
        row for row in rows if row.part == "single" and (row.assets, row.days) == size and row.number < count
    ]
    yield f"### {last.number} trials over {_millions(last)} bars ({last.assets} assets x {last.days} days)"
    yield ""
    yield _when([*swept, *single])
    yield ""
    yield "| | wall | CPU | peak PSS in all | PSS over baseline | RSS that trials added | load |"
    yield "|---|---|---|---|---|---|---|"
    if single:
        wall_s, peak_mb = sum(row.wall_s or 0 for row in single), max(row.peak_mb or 0 for row in single)
        yield (
            f"| Lumibot alone, {len(single)} single runs | {wall_s:,.0f} s | | {peak_mb:,.0f} MB each | | | "
            f"{_load(single)} |"
        )
    for row in swept:
        yield (
            f"| sweep, {row.workers} at a time, memory={row.memory_mb:.0f} MB | {row.wall_s:,.1f} s | "
            f"{row.cpu_s:,.1f} s | {row.peak_mb:,.0f} MB | {row.over_mb:,.0f} MB | {row.added_mb:,.0f} MB | "
            f"{_load([row])} |"
        )
    yield ""
    yield from (f"- {row.workers} at a time: {row.note}." for row in swept if row.note)
    if len(swept) > 1:
        ratio = (swept[0].wall_s or 0) / (last.wall_s or 1)
        yield (
            f"- {last.workers} workers are {ratio:.2f} times as fast as one, the start of Python and "
            f"of the sweep included (target {_LEAST_RATIO}: {_met(ratio >= _LEAST_RATIO)})."
        )
    worst = max(last.over_mb or 0, last.added_mb or 0)
    yield (
        f"- Over baseline they take {worst:,.0f} MB at most (target {_MOST_OVER_MB}: "
        f"{_met(worst <= _MOST_OVER_MB)})."
    )
    same = [*swept, *single]
    alike = not wrong(same) and len(single) == last.number
    yield (
        "- Final value, return, CAGR, drawdown, Sharpe, and time, symbol, side, quantity and price of each "
        f"fill are the same bits with one worker, with {last.workers}, and in {len(single)} single runs of "
        f"Lumibot alone with every bar in RAM ({_met(alike)})."
    )


def _total(rows: Sequence[Row]) -> Iterator[str]:
    total = [row for row in rows if row.part == "total"]
    if not total:
        return
    one = total[0]
    counts = sorted({row.number for row in total})
    yield f"### Trials at once, {_millions(one)} bars ({one.assets} assets x {one.days} days)"
    yield ""
    yield _when(total)
    yield ""
    yield f"| the machine's PSS in all, at its peak | {' | '.join(f'{count}' for count in counts)} |"
    yield "|---" * (len(counts) + 1) + "|"
    for side in ("eager", "lazy"):
        found = {row.number: row for row in total if row.side == side}
        cells = [f"{found[count].peak_mb:,.0f} MB" if count in found else "" for count in counts]
        name = (
            "Lumibot alone" if side == "eager" else "lazybars, 128 MB a trial, with the sweep's own process"
        )
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    lazy = {row.number: row.peak_mb or 0 for row in total if row.side == "lazy"}
    eager = {row.number: row.peak_mb or 0 for row in total if row.side == "eager"}
    if len(lazy) > 1 and len(eager) > 1:
        few, many = min(lazy), max(lazy)
        step = (lazy[many] - lazy[few]) / (many - few)
        eager_step = (eager[max(eager)] - eager[min(eager)]) / (max(eager) - min(eager))
        yield (
            f"A further trial takes {step:,.0f} MB, against {eager_step:,.0f} MB. The file itself is in the "
            "system's page cache, once for all trials, and given up when memory is short."
        )


def _short(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.part == "short":
            yield f"### {row.number} short trials in one sweep"
            yield ""
            yield _when([row])
            yield ""
            yield from (f"- {one}" for one in row.note.split(", "))


def _when(rows: Sequence[Row]) -> str:
    days = sorted({row.date[:10] for row in rows})
    machines = sorted({row.machine for row in rows})
    return f"{' and '.join(dict.fromkeys((days[0], days[-1])))}; {'; '.join(machines)}."


def _load(rows: Sequence[Row]) -> str:
    loads = [row.load or 0 for row in rows]
    return " to ".join(dict.fromkeys((f"{min(loads):.1f}", f"{max(loads):.1f}")))


def _millions(row: Row) -> str:
    return f"{row.bars / 1e6:.1f} million" if row.bars >= 1e6 else f"{row.bars:,}"


def _met(yes: bool) -> str:
    return "met" if yes else "**NOT met**"
