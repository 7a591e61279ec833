"""A text file's first lines: encoding, delimiter, where the table begins, what its columns are called."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from lazybars.errors import BadInput

__all__ = ["Layout", "layout_of", "readable", "with_footer"]

_SAMPLE_BYTES = 1 << 18
_TAIL_BYTES = 1 << 12
_MOST_TITLE_LINES = 50
_FEWEST_COLUMNS = 5  # a time and four prices
_DELIMITERS = ("\t", ";", "|", ",", " ")
_PACKED = {
    ".zip": "unzip it first",
    ".rar": "unpack it first",
    ".7z": "unpack it first",
    ".xlsx": "save it as CSV first",
    ".xls": "save it as CSV first",
}
_LINE_ENDS = re.compile(r"\r\n|\n|\r(?!$)")
_NUMBER_LIKE = re.compile(
    r"[+\-$€£]?[\d.,'\s]*\d[\d.,'\s]*(%|[KMBT]|E[+\-]?\d+)?|[-.]*|nan|null|none|n/?a", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the text is cut into rows and cells.

    encoding : "utf-8", "utf-16" or "windows-1252". skip : lines before the first row of data. header :
    whether names stood above them. names : the columns' names, or column0, column1, ... symbol : what a
    second line of the header, as yfinance writes it, says of all columns. mixed : lines do not all end in
    the same way. footer : a last line that is a sentence and no row. aligned : runs of spaces are one
    delimiter. torn : of the lines before the header, those that go on with a quoted cell.
    """

    encoding: str
    delimiter: str
    skip: int
    header: bool
    names: tuple[str, ...]
    symbol: str | None = None
    mixed: bool = False
    footer: str = ""
    aligned: bool = False
    torn: int = 0


def layout_of(path: Path, delimiter: str | None = None) -> Layout:
    """Look at a file's first lines. Raises BadInput where they are no table of bars."""
    if path.suffix.lower() in _PACKED:
        raise BadInput(f"{path.name}: {_PACKED[path.suffix.lower()]}")
    raw, whole = _first_bytes(path)
    if not raw.strip():
        raise BadInput(f"{path.name} is empty")
    encoding, text = _decoded(raw, path)
    lines = re.split(r"\r\n|\n|\r", text)
    if not whole and len(lines) > 1:
        lines.pop()  # cut in two
    aligned = any("  " in line or line.startswith(" ") for line in lines)
    if delimiter == " " or (delimiter is None and not any(_table(lines, one) for one in _DELIMITERS[:-1])):
        lines = [_aligned(line) for line in lines]
    found = [one for one in ([delimiter] if delimiter else _DELIMITERS) if _table(lines, one) is not None]
    if not found:
        raise BadInput(
            f"{path.name}: its first {len(lines)} lines are no table of {_FEWEST_COLUMNS} columns, with "
            + (repr(delimiter) if delimiter else "comma, semicolon, tab, bar or space")
            + " between them"
        )
    best = found[0]
    start, width = _table(lines, best) or (0, 0)
    rows = [next(csv.reader([line], delimiter=best), []) for line in lines[max(0, start - 1) : start + 5]]
    above = rows.pop(0) if start else []
    names = tuple(f"column{i}" for i in range(width))
    mixed = len(set(_LINE_ENDS.findall(text))) > 1
    layout = Layout(encoding, best, start, False, names, mixed=mixed, aligned=aligned and best == " ")
    # Each line with its end, so that a cell that is quoted over several of them is one.
    titles = csv.reader((line + "\n" for line in lines[:start]), delimiter=best)
    layout = replace(layout, torn=start - sum(1 for _ in titles))
    if len(above) == width - 1 and _is_header(above):  # every row of data ends with a delimiter
        return replace(layout, header=True, names=_unique([*above, ""]))
    if not _is_header(rows[0]):
        return layout
    layout = replace(layout, skip=start + 1, header=True, names=_unique(rows[0]))
    return _yfinance(layout, rows, path)


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    """The sample, and whether it is all there is."""
    with _unpacked(path) as stream:
        raw = stream.read(_SAMPLE_BYTES)
        return raw, len(raw) < _SAMPLE_BYTES


def _decoded(raw: bytes, path: Path) -> tuple[str, str]:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16", raw[: len(raw) // 2 * 2].decode("utf-16", "replace")
    if b"\0" in raw:
        raise BadInput(f"{path.name} is no text: it holds NUL bytes")
    for cut in range(4):  # the sample may end within a character
        try:
            return "utf-8", raw[: len(raw) - cut].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
    # Of Windows, which has most of latin-1; its five unused bytes only ever stand in words.
    return "windows-1252", raw.decode("windows-1252", "replace")


def with_footer(path: Path, layout: Layout) -> Layout:
    """The layout with the file's last line, where that is a sentence ("Downloaded from ..."). Streams."""
    tail = b""
    with _unpacked(path) as stream:
        while chunk := stream.read(_SAMPLE_BYTES):
            tail = (tail + chunk)[-_TAIL_BYTES:]
    lines = [line for line in tail.decode(layout.encoding, "replace").splitlines() if line.strip()]
    last = lines[-1] if len(lines) > 1 else ""
    cells = [cell for cell in next(csv.reader([last], delimiter=layout.delimiter), []) if cell.strip()]
    # A row that was cut off is no sentence.
    sentence = len(cells) == 1 and re.fullmatch(r"[^\W\d_]+\W* .*[^\W\d_]{2}.*", cells[0].strip())
    return replace(layout, footer=last) if sentence else layout


@contextmanager
def readable(path: Path, layout: Layout, folder: Path) -> Iterator[Path]:
    """The file as DuckDB reads it: itself, or a plain copy in ``folder`` for as long as the block lasts.

    The copy is in UTF-8, its lines end alike, and it has no footer. Streams.
    """
    unpacks = path.suffix.lower() != ".bz2"  # DuckDB does not
    plain = layout.encoding == "utf-8" and not layout.mixed and not layout.footer and not layout.aligned
    if plain and unpacks:
        yield path
        return
    copy = folder / "plain.csv"
    encoding = "utf-8-sig" if layout.encoding == "utf-8" else layout.encoding
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)
    try:
        with _unpacked(path) as packed, copy.open("w", encoding="utf-8", newline="") as out:
            held = ""
            while chunk := packed.read(_SAMPLE_BYTES):
                text = held + decoder.decode(chunk)
                # The end may be the footer.
                cut = max(len(text) - _TAIL_BYTES, 0) if layout.footer else len(text)
                if layout.aligned:
                    cut = text.rfind("\n", 0, cut) + 1
                out.write(_aligned(text[:cut]) if layout.aligned else text[:cut])
                held = text[cut:]
            held = (held + decoder.decode(b"", final=True)).rstrip().removesuffix(layout.footer)
            out.write(_aligned(held) if layout.aligned else held)
            out.write("\n")
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _aligned(text: str) -> str:
    """Whole lines with one space for each run of them, and none at either end."""
    return re.sub(r"(?m)^ +| +$", "", re.sub(" {2,}", " ", text))


@contextmanager
def _unpacked(path: Path) -> Iterator[Any]:
    """A file's bytes, unpacked where it is packed. Raises BadInput where that fails."""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            yield stream
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error


def _table(lines: list[str], delimiter: str) -> tuple[int, int] | None:
    """(line of its first row, columns) where most of the lines are rows of one width; None where not."""
    rows = [next(csv.reader([line], delimiter=delimiter), []) for line in lines]
    widths = Counter(len(row) for row in rows if row)
    width = max(widths, key=lambda n: (widths[n], n), default=0)
    if width < _FEWEST_COLUMNS:
        return None
    start = next(i for i, row in enumerate(rows) if len(row) == width)
    body = [row for row in rows[start:] if row]
    if start > _MOST_TITLE_LINES or 2 * widths[width] < len(body):
        return None
    # Of a delimiter that only happens to be there the pieces hold others of the kind.
    others = "".join(set("\t;|") - {delimiter})
    pieces = [cell for row in body for cell in row]
    torn = sum(any(other in cell for other in others) for cell in pieces)
    return None if torn > 0.05 * len(pieces) else (start, width)


def _is_header(row: list[str]) -> bool:
    """Names have letters, and none of them reads as a number or an empty cell of data."""
    named = [cell for cell in row if re.search(r"[^\W\d_]", cell)]
    return 2 * len(named) > len(row) and not any(
        cell.strip() and _NUMBER_LIKE.fullmatch(cell.strip()) for cell in row
    )


def _unique(names: list[str]) -> tuple[str, ...]:
    """Names as they are, numbered where they are empty or there twice, whatever the case."""
    out: list[str] = []
    seen: set[str] = set()
    for i, name in enumerate(names):
        plain = name.strip() or f"column{i}"
        while plain.lower() in seen:
            plain = f"{plain}_{i}"
        seen.add(plain.lower())
        out.append(plain)
    return tuple(out)


def _yfinance(layout: Layout, rows: list[list[str]], path: Path) -> Layout:
    """Three lines of header as pandas writes yfinance's columns: prices, tickers, and the index's name.

    Tickers stand first where they were grouped by; the names of the two lines, Price and Ticker, are
    newer than the lines.
    """
    if len(rows) < 3 or not all(rows[:3]) or any(rows[2][1:]) or not re.search(r"[^\W\d_]", rows[2][0]):
        return layout
    prices, tickers = (rows[1], rows[0]) if rows[0][:1] == ["Ticker"] else (rows[0], rows[1])
    if tickers[0] not in ("Ticker", "") or not _is_header(prices):
        return layout
    symbols = set(tickers[1:])
    if len(symbols) != 1:
        raise BadInput(
            f"{path.name}: the bars of {len(symbols)} symbols stand beside each other: write a file for "
            "each, or one below the other with a column for the symbol"
        )
    names = _unique([rows[2][0], *prices[1:]])
    return replace(layout, skip=layout.skip + 2, names=names, symbol=symbols.pop())
