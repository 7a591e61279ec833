"""Feather and Arrow files: frames as their owners saved them, and the Polygon cache of older Lumibots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from lazybars.errors import BadInput
from lazybars.importers.bench import Bench
from lazybars.importers.parts import Kind, Lot, Lots, Rows, Wishes
from lazybars.importers.polygon import polygon_name
from lazybars.importers.spacing import timestep_of
from lazybars.importers.typed import TIME_NAMES, typed_rows, utc_days
from lazybars.model import AssetKey

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

    @contextmanager
    def rows(bench: Bench) -> Iterator[Rows]:
        with _opened(bench, path) as relation:
            yield typed_rows(
                path.name,
                relation,
                bench.columns(relation),
                zone="UTC" if cached else wishes.tz,
                need_price=bool(cached),
                empty=(lambda bench, rows: utc_days(bench, rows, zone="UTC")) if cached else None,
            )

    if cached is not None:
        asset, quote, timestep, size = cached
        yield Lot(path, asset, timestep, ":".join(filter(None, ("polygon", size))), rows, quote)
        return
    from lazybars.intake import file_name  # it brings pandas in, by way of pyarrow.dataset

    said = file_name(path)
    timestep, size = wishes.timestep or said.timestep or "", ""
    if not timestep:
        with _opened(bench, path) as relation:
            found = bench.columns(relation)
            time = next((name for name in found if name.lower() in TIME_NAMES), None)
            if time is None:
                raise BadInput(f"{path.name}: no column holds times; the columns are {', '.join(found)}")
            timestep, size = timestep_of(bench, relation, {}, f'"{time}"', path.name)
    asset = AssetKey((wishes.symbol or said.symbol).upper(), wishes.asset_type or "stock")
    source = ":".join(filter(None, (said.source or "feather", size)))
    yield Lot(path, asset, timestep, source, rows, wishes.quote)


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
