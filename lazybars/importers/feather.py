"""Feather and Arrow files: frames as their owners saved them, and the Polygon cache of older Lumibots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench
from lazybars.importers.framed import as_frame, frame_symbols
from lazybars.importers.parts import CRYPTO, Kind, Lot, Lots, Rows, Span, Wishes
from lazybars.importers.polygon import polygon_name
from lazybars.importers.spacing import timestep_of
from lazybars.importers.symbols import chosen
from lazybars.importers.typed import typed_rows, utc_days
from lazybars.model import AssetKey
from lazybars.store.arrivals import zone_name
from lazybars.store.schema import literal

__all__ = ["FEATHER"]


class _ArrowFile:
    """An Arrow IPC file or stream, scanned anew each time. Batches are mapped, and decoded one by one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        source = pa.memory_map(str(self._path))
        try:
            file = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).__arrow_c_stream__(requested_schema)
        batches = (file.get_batch(i) for i in range(file.num_record_batches))
        return pa.RecordBatchReader.from_batches(file.schema, batches).__arrow_c_stream__(requested_schema)


def _lots(bench: Bench, path: Path, wishes: Wishes) -> Lots:
    cached = _cached(path.stem)
    if cached is not None:
        asset, quote, timestep, size = cached
        rows = _reader(path, "", "UTC", need_price=True, empty=_empty_days)
        yield Lot(path, asset, timestep, ":".join(filter(None, ("polygon", size))), rows, quote)
        return
    from lazybars.intake import file_name  # it brings pandas in, by way of pyarrow.dataset

    said, zone = file_name(path), _zone(wishes)
    timestep, size = wishes.timestep or said.timestep or "", ""
    with _opened(bench, path) as relation:
        frame = as_frame(bench, relation, path.name)
        symbols = frame_symbols(bench, frame, path.name)
        if not timestep:
            timestep, size = timestep_of(bench, frame.relation, {}, "datetime", path.name)
    source = ":".join(filter(None, (said.source or "feather", size)))
    for symbol in chosen(symbols, wishes.symbol, path.name) or ("",):
        asset = AssetKey((wishes.symbol or symbol or said.symbol).upper(), wishes.asset_type or "stock")
        note = f"one of {len(symbols)} symbols in column {frame.symbol}" if len(symbols) > 1 else ""
        yield Lot(path, asset, timestep, source, _reader(path, symbol, zone), wishes.quote, note)


def _zone(wishes: Wishes) -> str:
    """Of times that have none: what the caller says, or UTC for crypto as in a text file, or New York."""
    return "UTC" if wishes.tz is None and wishes.asset_type in CRYPTO else zone_name(wishes.tz)


def _reader(path: Path, symbol: str, zone: str, **how: Any) -> Callable[[Bench], Any]:
    """What opens the bars of a symbol, or all bars of a file that names none."""

    @contextmanager
    def rows(bench: Bench) -> Iterator[Rows]:
        with _opened(bench, path) as relation:
            frame = as_frame(bench, relation, path.name)
            where = f" WHERE {frame.symbol_sql} = {literal(symbol)}" if symbol else ""
            yield typed_rows(
                path.name,
                f"(SELECT * FROM {frame.relation}{where})",
                frame.columns,
                zone=zone,
                **{"need_price": False, **how},
            )

    return rows


def _empty_days(bench: Bench, rows: Rows) -> list[Span]:
    return utc_days(bench, rows, zone="UTC")


def _cached(stem: str) -> tuple[AssetKey, AssetKey | None, str, str] | None:
    """What the name says where it is one of the Polygon cache."""
    try:
        return polygon_name(stem)
    except BadInput:
        return None


@contextmanager
def _opened(bench: Bench, path: Path) -> Iterator[str]:
    try:
        pa.ipc.open_file(pa.memory_map(str(path)))
    except (pa.ArrowInvalid, OSError):
        try:
            pa.ipc.open_stream(pa.memory_map(str(path)))
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    with bench.registered(_ArrowFile(path)) as relation:
        yield relation


FEATHER = Kind("feather", (".feather", ".arrow", ".arrows", ".ipc"), _lots, named=False)
