"""Text files of any common shape: comma, semicolon or tab, with names above the columns or without."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench, parquet
from lazybars.importers.csv_cells import Cells
from lazybars.importers.csv_numbers import NULL_TEXTS
from lazybars.importers.csv_shape import NO_PRICE, CsvShape, shape_of
from lazybars.importers.csv_text import Layout, layout_of, readable, with_footer
from lazybars.importers.parts import Kind, Lot, Lots, Rows, Wishes, quote_key
from lazybars.model import BAR_FIELDS, AssetKey
from lazybars.store.schema import identifier, literal

__all__ = ["CSV", "SUFFIXES", "csv_rows", "read_text"]

SUFFIXES = tuple(
    f"{end}{packed}" for end in (".csv", ".tsv", ".txt") for packed in ("", ".gz", ".zst", ".bz2")
)
# As Binance names what it publishes: BTCUSDT-1m-2024-01.csv
_BINANCE = re.compile(r"(?P<symbol>[A-Z0-9]+)-(?P<size>\d+[a-z]+)-\d{4}-\d{2}(-\d{2})?")


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    with read_text(bench, path, wishes) as (shape, cells):
        symbol, source = _named(path)
        for one in shape.symbols or (wishes.symbol or shape.layout.symbol or symbol,):
            where = ""
            if shape.symbols:
                where = f" WHERE trim({identifier(str(shape.roles.symbol))}) = {literal(one)}"
            rows = csv_rows(shape, cells, where)

            @contextmanager
            def opened(bench: Bench, rows: Rows = rows) -> Iterator[Rows]:
                yield rows

            asset, quote = _pair((wishes.symbol or one).upper(), wishes)
            named = ":".join(filter(None, (source or "csv", shape.size)))
            yield Lot(path, asset, shape.timestep, named, opened, quote, str(shape))


@contextmanager
def read_text(bench: Bench, path: Path, wishes: Wishes) -> Iterator[tuple[CsvShape, Cells]]:
    """A file's shape, and its cells."""
    layout = layout_of(path, wishes.delimiter)
    with ExitStack() as spool:
        try:
            raw = spool.enter_context(_spooled(bench, path, layout))
        except BadInput as error:
            layout = with_footer(path, layout)
            if not layout.footer:
                # What follows are settings of DuckDB's reader, which nobody can set here.
                text = str(error).partition("Possible fixes")[0].partition("CSV Error on ")
                raise BadInput(
                    f"{path.name} cannot be read as text with columns: {text[2] or text[0]}"
                ) from error
            raw = spool.enter_context(_spooled(bench, path, layout))
        cells = Cells(bench, *parquet([raw]), path.name)
        yield shape_of(cells, layout, wishes), cells


@contextmanager
def _spooled(bench: Bench, path: Path, layout: Layout) -> Iterator[Path]:
    """All cells of a file as text, in a Parquet file."""
    names = ", ".join(map(identifier, layout.names))
    query = f"SELECT * FROM {_reader(layout)} WHERE coalesce({names}) IS NOT NULL"
    with bench.folder() as folder, readable(path, layout, folder) as plain:
        params = {"file": [glob.escape(str(plain.absolute()))], "nulls": list(NULL_TEXTS)}
        with bench.spooled(query, params) as raw:
            yield raw


def csv_rows(shape: CsvShape, cells: Cells, where: str = "") -> Rows:
    """The bars of a file whose shape is known. A row without a price is a bar, as it is to pandas."""
    time = shape.clock.sql
    stamp = "TIMESTAMP_NS" if shape.zone and shape.clock.zone != "UTC" else "TIMESTAMPTZ_NS"
    parts = [f"CAST({time} AS {stamp}) AS datetime"]
    columns = {**shape.roles.fields, **shape.kept}
    for name, source in columns.items():
        value = (
            f"CAST({identifier(source)} AS BIGINT)" if source in shape.whole else shape.figures.sql(source)
        )
        if shape.billionths and name in BAR_FIELDS[:4]:
            value = f"nullif({shape.figures.sql(source)}, {NO_PRICE}) / 1e9"
        parts.append(f"{value} AS {identifier(name)}")
    select = f"SELECT {', '.join(parts)}, true AS is_a_bar_ FROM {cells.relation}{where}"
    return Rows(select, tuple(columns), cells.params, shape.left_out, shape.zone or None)


def _reader(layout: Layout) -> str:
    names = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in layout.names)
    return (
        "read_csv($file, auto_detect = false, header = false, all_varchar = true, quote = '\"', "
        f"escape = '\"', skip = {layout.skip - layout.torn:d}, delim = {literal(layout.delimiter)}, "
        f"columns = {{{names}}}, encoding = 'utf-8', nullstr = $nulls)"
    )


def _pair(symbol: str, wishes: Wishes) -> tuple[AssetKey, AssetKey | None]:
    """(asset, quote) of a symbol: of crypto and forex BTC/USDT names both."""
    asset_type, quote = wishes.asset_type or "stock", wishes.quote
    if quote is None and asset_type in ("crypto", "forex") and symbol.count("/") == 1:
        symbol, _, second = symbol.partition("/")
        quote = quote_key(second)
    return AssetKey(symbol, asset_type), quote


def _named(path: Path) -> tuple[str, str | None]:
    """(symbol, source) as the file's name has them."""
    stem = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    match = _BINANCE.fullmatch(stem)
    if match is not None:
        return match["symbol"], "binance"
    from lazybars.intake import file_name  # it brings pandas in, by way of pyarrow.dataset

    said = file_name(Path(f"{stem}.csv"))
    return said.symbol, said.source


CSV = Kind("csv", SUFFIXES, _lots, named=False)
