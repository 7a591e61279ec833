"""The shape of a text file of bars: everything that has to be known to read it, found out and shown first."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lazybars.errors import AmbiguousInput, BadInput
from lazybars.importers.csv_cells import Cells, listed
from lazybars.importers.csv_names import Roles, by_choice, by_name, by_place
from lazybars.importers.csv_numbers import Figures, figures_of
from lazybars.importers.csv_text import Layout
from lazybars.importers.csv_times import Clock, clock_of
from lazybars.importers.parts import CRYPTO, Wishes, bar_size
from lazybars.importers.spacing import common_gap_s, named_size, timestep_of
from lazybars.importers.symbols import chosen, require_told_apart, symbols_in, telling_column
from lazybars.model import BAR_FIELDS, NOMINAL_NS
from lazybars.store.arrivals import MARKET_ZONE, zone_name
from lazybars.store.schema import identifier

__all__ = ["NO_PRICE", "CsvShape", "shape_of"]

_POINTLESS = frozenset({"closetime", "ignore"})  # of Binance's klines
# DataBento's own columns: without its option pretty_px, prices are whole billionths beside them.
_DATABENTO = frozenset({"rtype", "publisher_id", "instrument_id"})
NO_PRICE = "9223372036854775807"  # as DataBento writes it there
_MOST_ODD_ROWS = 0.01
_LOOKED_AT = 1_000
_MONTHLY = ("M", "1M", "MN", "MN1")
_DAILY = ("d", "day", "daily", "1d")
_SPELLED = {"\t": "tab", " ": "space", ",": "comma", ";": "semicolon", "|": "bar"}


@dataclass(frozen=True, slots=True)
class CsvShape:
    """What was found out about a text file. ``str`` shows it, a line for each thing.

    layout : encoding, delimiter, header, names. roles : which column is what. clock : how times are written.
    figures : how numbers are. zone : of the times; "" where each has its own. zone_why : what says so.
    timestep, size : of the bars; size where it is not one minute, hour or day. symbols : those in the
    file's column of symbols, if it has one. whole : columns of whole numbers without a gap. kept : name to
    column of the numbers beside the bars'. left_out : all other columns. billionths : prices are whole
    numbers of them, as DataBento writes them.
    """

    layout: Layout
    roles: Roles
    clock: Clock
    figures: Figures
    zone: str
    zone_why: str
    timestep: str
    size: str
    symbols: tuple[str, ...]
    whole: frozenset[str]
    kept: dict[str, str]
    left_out: tuple[str, ...]
    billionths: bool = False

    def __str__(self) -> str:
        layout, roles = self.layout, self.roles
        delimiter = _SPELLED.get(layout.delimiter, repr(layout.delimiter))
        above = f"line {layout.skip} names the columns" if layout.header else "no names above the columns"
        zone = f"zone {self.zone or 'in each'} ({self.zone_why})"
        thousands = f", {self.figures.thousands!r} between thousands" if self.figures.thousands else ""
        unit = "; prices in billionths, as DataBento writes them" if self.billionths else ""
        fields = ", ".join(f"{field} = {name}" for field, name in roles.fields.items())
        lines = {
            "text": f"{layout.encoding}, {delimiter} between columns, {above}",
            "time": f"{' and '.join(roles.time)} as {self.clock.format}, {zone}",
            "bars": f"{fields}; {self.size or self.timestep}",
            "numbers": f"{self.figures.decimal!r} is the decimal sign{thousands}{unit}",
            "symbols": ", ".join([*self.symbols[:5], *(["..."] if len(self.symbols) > 5 else [])]),
            "kept as well": ", ".join(self.kept),
            "left out": ", ".join(self.left_out),
            "last line": layout.footer and f"{layout.footer.strip()} (no row, left out)",
        }
        return "\n".join(f"{what}: {said}" for what, said in lines.items() if said)


def shape_of(cells: Cells, layout: Layout, wishes: Wishes) -> CsvShape:
    """Find out the shape of a text file, from all of its cells.

    Raises
    ------
    AmbiguousInput
        Dates or numbers can be read in two ways, and no row decides.
    BadInput
        There are no bars in it, or a cell cannot be read; says which.
    """
    if not cells.one("count(*)")[0]:
        raise BadInput(f"{cells.label} has no rows")
    roles = _roles(cells, layout, wishes)
    figures = figures_of(cells, list(roles.fields.values()), wishes.decimal)
    _require_numbers(cells, roles, figures)
    if not layout.header and wishes.columns is None:
        _require_order(cells, roles, figures)
    clock = clock_of(cells, roles.time, wishes.date_format)
    zone, why = _zone(clock, roles, wishes)
    kept = _numeric(cells, roles, figures)
    roles = _with_symbols(cells, roles, clock, figures, kept)
    symbols: tuple[str, ...] = ()
    if roles.symbol is not None:
        symbols = symbols_in(cells.bench, cells.relation, cells.params, roles.symbol, cells.label)
    timestep, size = _timestep(cells, roles, clock, wishes)
    columns = [*roles.fields.values(), *kept.values()]
    return CsvShape(
        layout,
        roles,
        clock,
        figures,
        zone,
        why,
        timestep,
        size,
        chosen(symbols, wishes.symbol, cells.label),
        _whole(cells, columns) if figures.plain else frozenset(),
        kept,
        tuple(name for name in roles.rest if name not in kept),
        figures.plain and _in_billionths(cells, layout, roles),
    )


def _roles(cells: Cells, layout: Layout, wishes: Wishes) -> Roles:
    if wishes.columns is not None:
        return by_choice(layout.names, wishes.columns, cells.label)
    if layout.header:
        return by_name(layout.names, cells.label)
    first = cells.rows("*", "LIMIT 1")[0]
    return by_place(layout.names, [cell or "" for cell in first], cells.label)


def _with_symbols(cells: Cells, roles: Roles, clock: Clock, figures: Figures, kept: dict[str, str]) -> Roles:
    """The roles, with a column of symbols where the rows are of many assets and one column tells them."""
    close = figures.sql(roles.fields["close"])
    if roles.symbol is not None:
        asset = f"trim({identifier(roles.symbol)})"
        require_told_apart(
            cells.bench, cells.relation, cells.params, cells.label, clock.sql, close, asset, roles.symbol
        )
        return roles
    texts = [source for name, source in roles.rest.items() if name not in kept]
    symbol = telling_column(cells.bench, cells.relation, cells.params, cells.label, clock.sql, close, texts)
    rest = {name: source for name, source in roles.rest.items() if source != symbol}
    return replace(roles, symbol=symbol, rest=rest)


def _require_numbers(cells: Cells, roles: Roles, figures: Figures) -> None:
    """Raise BadInput where a price or a volume is no number."""
    if figures.plain:
        return  # which has been found out by reading them all
    tests = {
        field: f"{identifier(name)} IS NOT NULL AND {figures.sql(name)} IS NULL"
        for field, name in roles.fields.items()
    }
    counts = cells.one(", ".join(f"count_if({test})" for test in tests.values()))
    for (field, test), count in zip(tests.items(), counts, strict=True):
        if count:
            wrong = cells.wrong(test, identifier(roles.fields[field]))
            raise BadInput(
                f"{cells.label}: {field} is not a number in {count} rows: {listed(wrong)}",
                [(n - 1, f"{field} is {text!r}, not a number") for n, text in wrong],
            )


def _require_order(cells: Cells, roles: Roles, figures: Figures) -> None:
    """Raise AmbiguousInput where columns without names do not read as open, high, low and close."""
    opening, high, low, close = (figures.sql(roles.fields[field]) for field in BAR_FIELDS[:4])
    rows, odd = cells.one(
        f"count({close}), count(*) FILTER ({high} < greatest({opening}, {low}, {close}) "
        f"OR {low} > least({opening}, {close}))"
    )
    if not rows:
        raise BadInput(
            f"{cells.label}: its columns have no names, and no row has a close: say what they are "
            "with --columns"
        )
    if odd > _MOST_ODD_ROWS * rows:
        raise AmbiguousInput(
            f"{cells.label}: its columns have no names, and {', '.join(roles.fields.values())} are not open, "
            f"high, low, close in {odd} of {rows} rows: say what they are with --columns"
        )


def _zone(clock: Clock, roles: Roles, wishes: Wishes) -> tuple[str, str]:
    """(zone, what says so). The zone is empty where each time has its own."""
    if clock.zone == "given":
        return "", "each time has it"
    if clock.zone == "UTC":
        return "UTC", "by the format"
    if wishes.tz is not None:
        return zone_name(wishes.tz), "by --tz"
    if any(sign in name.lower() for name in roles.time for sign in ("utc", "gmt")):
        return "UTC", "by the column's name"
    if wishes.asset_type in CRYPTO:
        return "UTC", "assumed for crypto; --tz says another"
    return MARKET_ZONE, "assumed; --tz says another"


def _timestep(cells: Cells, roles: Roles, clock: Clock, wishes: Wishes) -> tuple[str, str]:
    if wishes.timestep is not None:
        return wishes.timestep, ""
    times = f"(SELECT {clock.sql} AS t FROM {cells.relation})"
    if roles.period is not None:
        said = cells.rows(f"DISTINCT trim({identifier(roles.period)}) AS s", "ORDER BY s LIMIT 2")
        if len(said) > 1:
            raise AmbiguousInput(
                f"{cells.label}: bars of more than one size in column {roles.period!r}, {said[0][0]!r} and "
                f"{said[1][0]!r} among them: give each size in a file of its own"
            )
        found = _period(said[0][0]) if said[0][0] else None
        if found is not None:
            _require_spacing(cells, times, roles.period, said[0][0], *found)
            return found
    return timestep_of(cells.bench, times, cells.params, "t", cells.label)


def _require_spacing(cells: Cells, times: str, column: str, text: str, timestep: str, size: str) -> None:
    """Raise AmbiguousInput where bars are nearer to each other than the size that a column says."""
    count = int(size.removesuffix(timestep) or 1)
    if timestep == "day" and count > 1:
        raise BadInput(f"{cells.label}: bars of {text!r}, by column {column!r}, are longer than a day")
    size_s = count * NOMINAL_NS[timestep] // 1_000_000_000
    gap_s = common_gap_s(cells.bench, times, cells.params, "t")
    if gap_s is not None and gap_s < 0.9 * size_s:  # a day may have 23 hours
        raise AmbiguousInput(
            f"{cells.label}: by column {column!r} its bars are of {text!r}, {size_s:,} s, but most are "
            f"{gap_s:,} s apart: say --timestep"
        )


def _period(text: str) -> tuple[str, str] | None:
    """A bar size as Stooq and others write it: D, 5 or 60 for minutes, 1h, 15min. M alone is a month."""
    if text in _MONTHLY:
        raise BadInput(f"bars of a month ({text!r}) are longer than a day")
    if text.isdigit() and int(text) > 0:
        return named_size(60 * int(text), text)
    if text.lower() in _DAILY:
        return "day", ""
    try:
        return bar_size(text.lower().replace("min", "m"))
    except BadInput:
        return None


def _numeric(cells: Cells, roles: Roles, figures: Figures) -> dict[str, str]:
    """Of the other columns those that hold numbers and nothing else, by the name to keep them under."""
    rest = {
        name: source
        for name, source in roles.rest.items()
        if "".join(filter(str.isalnum, name.lower())) not in _POINTLESS
    }
    if not rest:
        return {}
    tests = ", ".join(
        f"bool_and({column} IS NULL OR {figures.sql(name)} IS NOT NULL) AND count({column}) > 0"
        for name in rest.values()
        for column in [identifier(name)]
    )
    return {name: rest[name] for name, holds in zip(rest, cells.one(tests), strict=True) if holds}


def _in_billionths(cells: Cells, layout: Layout, roles: Roles) -> bool:
    """Whether a file with DataBento's columns has no price with a point: it writes one in all or in none."""
    if not {name.lower() for name in layout.names} >= _DATABENTO:
        return False
    prices = [identifier(roles.fields[field]) for field in BAR_FIELDS[:4]]
    tests = " AND ".join(f"bool_and(regexp_full_match({price}, '-?\\d+'))" for price in prices)
    return bool(cells.one(tests)[0])


def _whole(cells: Cells, columns: list[str]) -> frozenset[str]:
    """The columns that hold whole numbers in every row."""
    few = replace(cells, relation=f"(SELECT * FROM {cells.relation} LIMIT {_LOOKED_AT})")
    return frozenset(_all_whole(cells, _all_whole(few, columns)))


def _all_whole(cells: Cells, columns: list[str]) -> list[str]:
    if not columns:
        return []
    tests = ", ".join(
        f"coalesce(bool_and(coalesce(regexp_full_match({name}, '\\s*[+-]?\\d{{1,15}}\\s*'), false)), false)"
        for name in map(identifier, columns)
    )
    return [name for name, whole in zip(columns, cells.one(tests), strict=True) if whole]
