"""Numbers as text: which sign is the decimal's, which stands between thousands, and the SQL to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lazybars.errors import AmbiguousInput, ConfigError
from lazybars.importers.csv_cells import Cells
from lazybars.store.schema import identifier, literal

__all__ = ["NULL_TEXTS", "Figures", "figures_of"]

NULL_TEXTS = ("", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "null", "NULL", "None", "<NA>", "#N/A", "-", "--")
_BLANK = "[\\s\u00a0\u202f]"
_CURRENCY = f"{_BLANK}*[$€£¥]{_BLANK}*|^{_BLANK}+|{_BLANK}+$"
# Blanks and apostrophes stand between thousands, or the text is no number: 110'16 is 110 and a half.
_BETWEEN = "[\\s'\u2019\u00a0\u202f]"
_GROUPED = rf"[+-]?\d{{1,3}}({_BETWEEN}\d{{3}})+([.,]\d*)?[KMBTkmbt]?"
# Text that tells the decimal sign: (pattern, sign). Three digits after a single sign tell nothing.
_EVIDENCE = (
    (r"[+-]?\d{1,3}(,\d{3})+\.\d*", "."),
    (r"[+-]?\d{1,3}(,\d{3}){2,}", "."),
    (r"[+-]?\d*\.(\d{0,2}|\d{4,})", "."),
    (r"[+-]?\d{4,}\.\d+|[+-]?0*\.\d+", "."),
    (r"[+-]?\d{1,3}(\.\d{3})+,\d*", ","),
    (r"[+-]?\d{1,3}(\.\d{3}){2,}", ","),
    (r"[+-]?\d*,(\d{0,2}|\d{4,})", ","),
    (r"[+-]?\d{4,},\d+|[+-]?0*,\d+", ","),
)
_SUFFIXES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclass(frozen=True, slots=True)
class Figures:
    """How a file writes its numbers.

    decimal : "." or ",". plain : nothing but digits, a point, a sign and an exponent, so that a cast reads
    them. suffixes : some end in K, M, B or T, for thousands, millions and so on.
    """

    decimal: str = "."
    plain: bool = True
    suffixes: bool = False

    def sql(self, column: str) -> str:
        """SQL of a column's numbers as DOUBLE; NULL where the text is none."""
        name = identifier(column)
        if self.plain:
            return f"TRY_CAST({name} AS DOUBLE)"
        text = f"upper({_bare(name)})"
        other = "." if self.decimal == "," else ","
        head = f"regexp_replace({text}, '[KMBT]$', '')" if self.suffixes else text
        group, point = ("\\" + one for one in (other, self.decimal))
        shape = rf"[+-]?(\d+|\d{{1,3}}({group}\d{{3}})+)?({point}\d*)?(E[+-]?\d+)?"
        number = f"TRY_CAST(replace(replace({head}, '{other}', ''), '{self.decimal}', '.') AS DOUBLE)"
        value = f"CASE WHEN regexp_full_match({head}, {literal(shape)}) THEN {number} END"
        if not self.suffixes:
            return value
        factors = " ".join(f"WHEN '{sign}' THEN {factor:.0f}" for sign, factor in _SUFFIXES.items())
        return f"{value} * CASE right({text}, 1) {factors} ELSE 1 END"

    @property
    def thousands(self) -> str:
        """The sign that may stand between thousands; "" where none does."""
        if self.plain:
            return ""
        return "." if self.decimal == "," else ","


def figures_of(cells: Cells, columns: Sequence[str], wanted: str | None) -> Figures:
    """Find out how the numbers in the columns are written, from all rows.

    wanted : the decimal sign, where the caller says it. Raises AmbiguousInput where a comma could be the
    decimal's or the thousands' throughout, or both signs are the decimal's in some rows.
    """
    if wanted not in (None, ".", ","):
        raise ConfigError(f"--decimal {wanted}: give . or ,")
    names = [identifier(column) for column in columns]
    plain = " AND ".join(
        f"bool_and({name} IS NULL OR TRY_CAST({name} AS DOUBLE) IS NOT NULL AND NOT contains({name}, '_'))"
        for name in names
    )
    if wanted != "," and cells.one(plain)[0]:
        return Figures()
    bare = f"regexp_replace({_bare('c')}, '[KMBTkmbt]$', '')"
    tests = ", ".join(f"count_if(regexp_full_match(d, {literal(pattern)}))" for pattern, _ in _EVIDENCE)
    suffixed, commas, *hits = cells.bench.one(
        f"SELECT count_if(regexp_full_match(c, '.*\\d[KMBTkmbt]')), count_if(contains(d, ',')), {tests} FROM "
        f"(SELECT c, {bare} AS d FROM (SELECT unnest([{', '.join(names)}]) AS c FROM {cells.relation}))",
        cells.params,
    )
    found = {sign: sum(n for n, (_, of) in zip(hits, _EVIDENCE, strict=True) if of == sign) for sign in ".,"}
    if wanted is None and found["."] and found[","]:
        raise AmbiguousInput(
            f"{cells.label}: the decimal sign is a point in {found['.']} cells and a comma in {found[',']}: "
            "say which with --decimal"
        )
    if wanted is None and commas and not found["."] and not found[","]:
        raise AmbiguousInput(
            f"{cells.label}: a comma stands before three digits in {commas} cells, and nothing tells whether "
            "it is the decimal sign or stands between thousands: say it with --decimal , or --decimal ."
        )
    return Figures(wanted or ("," if found[","] else "."), False, bool(suffixed))


def _bare(text: str) -> str:
    """SQL of a text without signs of money, and without blanks and apostrophes between thousands."""
    plain = f"regexp_replace({text}, {literal(_CURRENCY)}, '', 'g')"
    ungrouped = f"regexp_replace({plain}, {literal(_BETWEEN)}, '', 'g')"
    return f"CASE WHEN regexp_full_match({plain}, {literal(_GROUPED)}) THEN {ungrouped} ELSE {plain} END"
