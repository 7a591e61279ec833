"""Times as text: the formats that a text can have, the one that all of a file's rows have, and its SQL."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from lazybars.errors import AmbiguousInput, BadInput, ConfigError
from lazybars.importers.csv_cells import Cells, listed
from lazybars.store.schema import identifier, literal

__all__ = ["Clock", "clock_of"]

ISO = "ISO 8601"
_EPOCHS = {"epoch s": 1_000_000, "epoch ms": 1_000, "epoch us": 1, "epoch ns": 1}
# As NumPy writes numbers. With fewer digits it has lost what tells one bar from the next.
_SCIENTIFIC = re.compile(r"-?\d\.\d{12,}[eE]\+\d{2}")
# Numbers from 1973 on, of which each can be of one unit alone; before that only the caller can tell.
_MAGNITUDES = {"epoch s": (8, 11), "epoch ms": (11, 14), "epoch us": (14, 17), "epoch ns": (17, 20)}
_ISO_TEXT = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|UTC|[+-]\d{2}(:?\d{2})?))?)?"
)
_ZONED = r".*:\d{2}.*(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)"
# What a date may look like; of the formats in a row any may be meant, of two rows the first is tried first.
_DATES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"(19|20)\d{2}(0\d|1[0-2])[0-3]\d", ("%Y%m%d",)),
    (r"\d{8}", ("%d%m%Y", "%m%d%Y")),
    (r"\d{6}", ("%y%m%d", "%d%m%y", "%m%d%y")),
    (r"\d{4}-\d{1,2}-\d{1,2}", ("%Y-%m-%d",)),
    (r"\d{4}/\d{1,2}/\d{1,2}", ("%Y/%m/%d",)),
    (r"\d{4}\.\d{1,2}\.\d{1,2}", ("%Y.%m.%d",)),
    # With dots it is the custom of places that write the day first, and of no other.
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y",)),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%m.%d.%Y",)),
    (r"\d{1,2}\.\d{1,2}\.\d{2}", ("%d.%m.%y",)),
    *(
        (rf"\d{{1,2}}{sign}\d{{1,2}}{sign}\d{{{digits}}}", tuple(sign.join(one) for one in orders))
        for sign in "/-"
        for digits, orders in (
            (4, (("%d", "%m", "%Y"), ("%m", "%d", "%Y"))),
            (2, (("%d", "%m", "%y"), ("%m", "%d", "%y"), ("%y", "%m", "%d"))),
        )
    ),
    *(
        (
            rf"\d{{1,2}}{sign}[A-Za-z]{{3,9}}{sign}\d{{{digits}}}",
            (f"%d{sign}%b{sign}{year}", f"%d{sign}%B{sign}{year}"),
        )
        for sign in " -"
        for digits, year in ((4, "%Y"), (2, "%y"))
    ),
    (r"[A-Za-z]{3,9} \d{1,2}, ?\d{4}", ("%b %d, %Y", "%B %d, %Y")),
    (r"\d{4}-[A-Za-z]{3}-\d{1,2}", ("%Y-%b-%d",)),
)
_CLOCKS: tuple[tuple[str, str], ...] = (
    (r"\d{1,2}:\d{2}", "%H:%M"),
    (r"\d{1,2}:\d{2}:\d{2}", "%H:%M:%S"),
    (r"\d{1,2}:\d{2}:\d{2}\.\d{1,6}", "%H:%M:%S.%f"),
    (r"\d{1,2}:\d{2}:\d{2}\.\d{7,9}", "%H:%M:%S.%n"),
    (r"\d{1,2}:\d{2} [APap][Mm]", "%I:%M %p"),
    (r"\d{1,2}:\d{2}:\d{2} [APap][Mm]", "%I:%M:%S %p"),
    (r"\d{6}", "%H%M%S"),
    (r"\d{4}", "%H%M"),
)
_ZONES: tuple[tuple[str, str], ...] = (
    ("Z", "Z"),
    (" UTC", " UTC"),
    (" GMT", " GMT"),
    (r"[+-]\d{2}:?\d{2}", "%z"),
    (r" [+-]\d{2}:?\d{2}", " %z"),
    (r" GMT[+-]\d{4}", " GMT%z"),
    (r" [A-Za-z_]+/[A-Za-z_/]+", " %Z"),  # of Interactive Brokers: US/Eastern
)
_MOST_CANDIDATES = 12
_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Clock:
    """How a file writes its times.

    format : as for ``strptime``, "ISO 8601", or "epoch s", "epoch ms", "epoch us", "epoch ns".
    text : SQL of the text that has it. zone : "UTC" where the times themselves say so, "given" where each
    has its own, "" where nothing is said. said : the caller says so.
    """

    format: str
    text: str
    zone: str
    said: bool = False

    @property
    def sql(self) -> str:
        """SQL of the time: an instant, or naive, of UTC or a zone not said; NULL where it does not read."""
        return _parsed(self.format, self.text, self.zone)


def clock_of(cells: Cells, columns: tuple[str, ...], wanted: str | None) -> Clock:
    """Find the format that every row has.

    columns : that of the time, or those of date and time of day. wanted : what the caller says it is.

    Raises
    ------
    AmbiguousInput
        Two formats read all rows, and read them differently.
    BadInput
        None reads them all; says which rows it is about.
    """
    text = _text(cells, columns)
    first = [row[0] for row in cells.rows(f"{text} AS t", f"WHERE {text} IS NOT NULL LIMIT {_LOOKED_AT}")]
    if not first:
        raise BadInput(f"{cells.label}: the column {columns[0]!r} has no time in any row")
    if wanted is not None:
        return _checked(cells, _wanted(cells, wanted, text, first))
    tried: list[Clock] = []
    for group in _candidates(first):
        clocks = [Clock(one, text, _zone(one, first)) for one in group]
        fits = [clock for clock in clocks if not cells.rows("1", f"WHERE {_misread(clock)} LIMIT 1")]
        if fits:
            return _only(cells, fits)
        tried += clocks
    if not tried:
        raise BadInput(
            f"{cells.label}: cannot tell how times such as {first[0]!r} are written: say it with "
            "--date-format, for instance '%d/%m/%Y %H:%M'"
        )
    return _checked(cells, min(tried, key=lambda clock: _misfits(cells, clock)))


def _text(cells: Cells, columns: tuple[str, ...]) -> str:
    """SQL of the text to read: one column, or two joined by a space, times of day filled up with zeros."""
    parts = [f"nullif(trim({identifier(column)}), '')" for column in columns]
    if len(parts) == 1:
        return parts[0]
    digits, longest, most = cells.one(
        f"coalesce(bool_and(regexp_full_match({parts[1]}, '\\d+')), false), "
        f"coalesce(max(length({parts[1]})), 0), coalesce(max(TRY_CAST({parts[1]} AS INTEGER)), 0)"
    )
    if digits and longest <= 2 and 0 < most < 24:
        raise AmbiguousInput(
            f"{cells.label}: the times of day in column {columns[1]!r} are numbers of up to two digits: "
            "hours, or minutes past midnight; write them as 09:00, or give one column with date and time"
        )
    if digits and longest <= 6:
        parts[1] = f"lpad({parts[1]}, {4 if longest <= 4 else 6}, '0')"
    return f"{parts[0]} || ' ' || {parts[1]}"


def _candidates(first: list[str]) -> list[tuple[str, ...]]:
    """Groups of formats that the first times can have, the likeliest group first."""
    if all(_SCIENTIFIC.fullmatch(one) for one in first):
        whole = int(first[0][-2:]) + 1
        return [(next((unit for unit, (_, digits) in _MAGNITUDES.items() if whole <= digits), "epoch ns"),)]
    if all(re.fullmatch(r"-?\d{9,19}(\.\d*)?", one) for one in first):
        dated = [("%Y%m%d%H%M",)] if all(re.fullmatch(r"(19|20)\d{10}", one) for one in first) else []
        dated += [("%Y%m%d%H%M%S",)] if all(re.fullmatch(r"(19|20)\d{12}", one) for one in first) else []
        whole = len(first[0].lstrip("-").partition(".")[0])
        return [*dated, (next(unit for unit, (_, digits) in _MAGNITUDES.items() if whole <= digits),)]
    if all(_ISO_TEXT.fullmatch(one) for one in first):
        return [(ISO,)]
    out: dict[tuple[str, ...], None] = {}
    sample = first[0]
    for (date, dates), gap, clock, zone in itertools.product(
        _DATES, ("", " ", "T", ", ", "  "), (("", ""), *_CLOCKS), (("", ""), *_ZONES)
    ):
        # Without a time of day there is neither a gap nor a zone.
        if (clock[0] == "") != (gap == "") or (clock[0] == "" and zone[0]):
            continue
        if re.fullmatch(date + gap + clock[0] + zone[0], sample):
            out[tuple(f"{one}{gap}{clock[1]}{zone[1]}" for one in dates)] = None
    return list(out)[:_MOST_CANDIDATES]


def _wanted(cells: Cells, wanted: str, text: str, first: list[str]) -> Clock:
    if wanted in _EPOCHS or wanted == ISO:
        return Clock(wanted, text, _zone(wanted, first), True)
    if "%" not in wanted:
        known = ", ".join(map(repr, _EPOCHS))
        raise ConfigError(
            f"--date-format {wanted}: give a format as for strptime, such as '%d/%m/%Y', or {known}"
        )
    try:
        cells.bench.one(f"SELECT try_strptime('', {literal(wanted)})")
    except BadInput as error:
        raise ConfigError(f"--date-format {wanted}: {error}") from error
    return Clock(wanted, text, _zone(wanted, first), True)


def _zone(format_: str, first: list[str]) -> str:
    if format_ in _EPOCHS:
        return "UTC"
    if format_ == ISO:
        return "given" if re.fullmatch(_ZONED, first[0]) else ""
    if "%z" in format_ or "%Z" in format_:
        return "given"
    return "UTC" if format_.endswith(("Z", "UTC", "GMT")) else ""


def _parsed(format_: str, text: str, zone: str) -> str:
    if format_ in _EPOCHS:
        whole = f"TRY_CAST({text} AS DECIMAL(28, 6))"
        if format_ == "epoch ns":
            return f"TRY(make_timestamp_ns(CAST({whole} AS BIGINT)))"
        return f"TRY(make_timestamptz(CAST({whole} * {_EPOCHS[format_]} AS BIGINT)))"
    if format_ == ISO:
        zoned = f"regexp_full_match({text}, {literal(_ZONED)})"
        type_ = "TIMESTAMPTZ" if zone == "given" else "TIMESTAMP"
        return (
            f"CASE WHEN {zoned if zone == 'given' else f'NOT {zoned}'} THEN TRY_CAST({text} AS {type_}) END"
        )
    parsed = f"try_strptime({text}, {literal(format_)})"
    return f"timezone('UTC', CAST({parsed} AS TIMESTAMP))" if zone == "UTC" else parsed


def _misread(clock: Clock) -> str:
    """SQL: the text is there and does not read, or reads as a year that no bar is of."""
    year = f"year(CAST({clock.sql} AS TIMESTAMP))"
    wrong = f"coalesce({year} NOT BETWEEN 1800 AND 2200, true)"
    if clock.format in _EPOCHS and not clock.said:
        low, high = _MAGNITUDES[clock.format]
        wrong += f" OR abs(TRY_CAST({clock.text} AS DOUBLE)) NOT BETWEEN 1e{low} AND 1e{high}"
    return f"{clock.text} IS NOT NULL AND ({wrong})"


def _misfits(cells: Cells, clock: Clock) -> int:
    return int(cells.one(f"count_if({_misread(clock)})")[0])


def _checked(cells: Cells, clock: Clock) -> Clock:
    """The clock, where it reads every row. Raises BadInput where not."""
    count = _misfits(cells, clock)
    if not count:
        return clock
    wrong = cells.wrong(_misread(clock), clock.text)
    raise BadInput(
        f"{cells.label}: {count} times do not read as {clock.format}: {listed(wrong)}: mend those rows, or "
        "say the format with --date-format",
        [(n - 1, f"the time {text!r} is not {clock.format}") for n, text in wrong],
    )


def _only(cells: Cells, fits: list[Clock]) -> Clock:
    """The one of several that all read every row. Raises AmbiguousInput where they differ."""
    chosen = fits[0]
    for other in fits[1:]:
        differ = cells.rows(
            f"{chosen.text}, CAST({chosen.sql} AS VARCHAR), CAST({other.sql} AS VARCHAR)",
            f"WHERE {chosen.sql} IS DISTINCT FROM {other.sql} LIMIT 1",
        )
        if differ:
            text, one, two = differ[0]
            raise AmbiguousInput(
                f"{cells.label}: {text!r} is {one} as {chosen.format} and {two} as {other.format}, and no "
                f"row decides: say it with --date-format '{chosen.format}' or '{other.format}'"
            )
    return chosen
