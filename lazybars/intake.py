"""From files to series: which files are meant, whose bars at which timestep lie in one, and into the store.

Nothing here reads prices; the store does, and decides what it takes.
"""

from __future__ import annotations

import glob
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds

from lazybars.errors import BadInput, ConfigError
from lazybars.model import AssetKey, WriteSummary
from lazybars.store import FileMark, FileWrite, Storage
from lazybars.store.arrivals import TIME_NAMES

__all__ = ["FileName", "Intake", "Labels", "file_name", "find_files", "guess_timestep", "split_by_symbol"]

_SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".feather", ".arrow")
_TEXT = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_SYMBOL_NAMES = ("symbol", "ticker")
_STEP = re.compile(r"\d*\s*(?:(?P<minute>m|min|minutes?)|(?P<hour>h|hours?)|(?P<day>d|days?|daily))")
_ROWS_LOOKED_AT = 20_000
# A file each: more symbols than this at once would run into the limit of open files.
_OPEN_FILES = 256
_MOST_SYMBOLS = 100_000
_ROWS_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True)
class FileName:
    """What a file's name says of the bars in it; None for what it does not say."""

    symbol: str
    timestep: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """What the caller says of all files; None leaves it to each file's name, or its spacing.

    symbol_column : the column that holds the symbol, in files of many assets.
    asset_type, quote, mode, tz : as for ``Storage.write``.
    """

    symbol: str | None = None
    symbol_column: str | None = None
    timestep: str | None = None
    asset_type: str = "stock"
    quote: AssetKey | None = None
    source: str | None = None
    mode: str = "upsert"
    tz: str | None = None


@dataclass(slots=True)
class Intake:
    """Writes files to a store, several read at once; a bad one is noted and the next follows.

    A file that is in the store already, the same by its path, size, time and labels, is passed over, so
    that an intake which was interrupted goes on where it stopped.

    again : write such files all the same.
    written : (file, summary) of each series of each file.
    skipped : files that were passed over.
    guessed : timesteps that were told from the spacing, by file.
    failed : why files, or symbols of files, were not stored.
    """

    labels: Labels
    again: bool = False
    written: list[tuple[Path, WriteSummary]] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    guessed: dict[Path, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def files(self, patterns: Sequence[str]) -> list[Path]:
        """The files that the patterns name."""
        found: list[Path] = []
        for pattern in patterns:
            with self._noted(pattern):
                found += find_files(pattern)
        return found

    def take(
        self,
        store: Storage,
        paths: Sequence[Path],
        done: Callable[[Path], None],
        workers: int | None = None,
    ) -> None:
        """Write every file, compact a store that several series were written to.

        Parameters
        ----------
        done
            Called with each path when it has been dealt with.
        workers
            Threads that read ahead, as for ``Storage.write_files``.
        """
        known = set() if self.again else store.marks()
        folders: dict[str, tempfile.TemporaryDirectory[str]] = {}
        at = {os.path.abspath(path): path for path in paths}
        # What of each file is still on its way, and whether all of it went well so far.
        left: dict[str, int] = {}
        split: dict[str, FileMark] = {}

        def settle(name: str) -> None:
            left[name] -= 1
            if left[name]:
                return
            if name in split:  # the mark of a file of one series came with its bars
                store.remember([split.pop(name)])
            if name in folders:
                folders.pop(name).cleanup()
            done(at[name])

        def items() -> Iterator[FileWrite]:
            for path in at.values():
                name = os.path.abspath(path)
                left[name] = 1
                with self._noted(str(path)):
                    mark = FileMark.of(path, json.dumps(asdict(self.labels), sort_keys=True))
                    if mark in known:
                        self.skipped.append(path)
                    else:
                        for item in self._writes(path, mark, folders):
                            if item.mark not in known:
                                left[name] += 1
                                yield item
                        if self.labels.symbol_column is not None and not broken(name):
                            split[name] = mark
                settle(name)

        def broken(name: str) -> bool:
            return any(label.startswith(f"{at[name]} (") for label in self.failed)

        try:
            with closing(store.write_files(items(), workers=workers)) as results:
                for item, outcome in results:
                    assert item.mark is not None
                    name, part = item.mark.path, item.mark.part
                    if isinstance(outcome, BadInput):
                        self.failed[f"{at[name]} ({part})" if part else str(at[name])] = str(outcome)
                        split.pop(name, None)
                    else:
                        self.written.append((at[name], outcome))
                    settle(name)
        finally:
            for folder in folders.values():
                folder.cleanup()
        if len({summary.series.series_id for _, summary in self.written}) > 1:
            store.compact()

    def _writes(
        self, path: Path, mark: FileMark, folders: dict[str, tempfile.TemporaryDirectory[str]]
    ) -> Iterator[FileWrite]:
        """The writes that a file comes to: one, or one for each symbol in it."""
        labels, name = self.labels, file_name(path)
        timestep = labels.timestep or name.timestep
        if timestep is None:
            timestep = self.guessed[path] = guess_timestep(path)

        def write(parts: Sequence[Path], symbol: str, source: str, part: str) -> FileWrite:
            return FileWrite(
                tuple(map(str, parts)),
                AssetKey(symbol.upper(), labels.asset_type),
                timestep,
                labels.quote,
                source,
                labels.mode,
                labels.tz,
                replace(mark, part=part),
            )

        if labels.symbol_column is None:
            _require_one_symbol(path)
            source = labels.source or name.source or "user"
            yield write([path], labels.symbol or name.symbol, source, "")
            return
        folder = folders[mark.path] = tempfile.TemporaryDirectory(prefix="lazybars-")
        for symbol, parts in split_by_symbol(path, labels.symbol_column, Path(folder.name)):
            yield write(parts, symbol, labels.source or "user", symbol)

    @contextmanager
    def _noted(self, label: str) -> Iterator[None]:
        """Take down what is wrong with one file, so that the next can follow."""
        try:
            yield
        except (BadInput, ConfigError) as error:
            self.failed[label] = str(error)


def find_files(pattern: str) -> list[Path]:
    """The bar files that an argument names: one file, those of a directory, those of a glob. Sorted.

    Raises
    ------
    BadInput
        There is none.
    """
    path = Path(pattern)
    if path.is_dir():
        found = [one for one in path.rglob("*") if one.is_file() and _suffix(one)]
        if not found:
            raise BadInput(f"{pattern}: no file in it ends in one of {', '.join(_SUFFIXES)}")
    else:
        found = [path] if path.exists() else [Path(one) for one in glob.glob(pattern, recursive=True)]
        if not found:
            raise BadInput(f"{pattern}: no such file, and no file matches it as a pattern")
    return sorted(found)


def file_name(path: Path) -> FileName:
    """``SPY.parquet`` is SPY; ``vendor__SPY__1min.parquet`` also has a timestep and a source."""
    parts = path.name[: len(path.name) - len(_suffix(path))].split("__")
    step = _STEP.fullmatch(parts[-1].lower()) if len(parts) > 1 else None
    timestep = None
    if step is not None:
        timestep, parts = step.lastgroup, parts[:-1]
    return FileName(parts[-1].upper(), timestep, parts[0] if len(parts) > 1 else None)


def guess_timestep(path: Path) -> str:
    """The timestep of a file's bars, from the most common spacing of its first rows.

    Raises
    ------
    BadInput
        No column holds times, or they are closer than a minute.
    """
    try:
        opened = ds.dataset(str(path), format=_format(path))
        column = _time_column(opened.schema)
        if column is None:
            raise BadInput(
                f"{path.name}: cannot tell the timestep, for no column holds times: give --timestep"
            )
        times = opened.head(_ROWS_LOOKED_AT, columns=[column])[column].drop_null()
        seconds = np.unique(pc.cast(times, pa.timestamp("s"), safe=False).to_numpy().astype(np.int64))
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    if len(seconds) < 2:
        raise BadInput(f"{path.name}: too few bars to tell the timestep: give --timestep")
    spacings, counts = np.unique(np.diff(seconds), return_counts=True)
    common = int(spacings[int(np.argmax(counts))])
    if common < 60:
        raise BadInput(
            f"{path.name}: most bars are {common} s apart; lazybars takes bars of a minute or longer"
        )
    return "minute" if common < 3_600 else "hour" if common < 72_000 else "day"


def _require_one_symbol(path: Path) -> None:
    """Raise BadInput where a column called symbol or ticker holds several: they would become one series."""
    try:
        opened = ds.dataset(str(path), format=_format(path))
        named = [name for name in opened.schema.names if name.lower() in _SYMBOL_NAMES]
        for name in named:
            seen: set[Any] = set()
            for batch in opened.scanner(columns=[name], use_threads=False).to_reader():
                seen.update(pc.unique(batch.column(0)).drop_null().to_pylist())
                if len(seen) > 1:
                    one, other = sorted(map(str, seen))[:2]
                    raise BadInput(
                        f"{path.name}: column {name!r} holds several symbols, {one} and {other} among them: "
                        f"give --symbol-column {name}"
                    )
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error


def split_by_symbol(path: Path, column: str, folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """One pass over a file of many symbols: gives (symbol, its files in order), in order of symbols.

    The files lie in ``folder``, which is the caller's to remove. Text stays text, so that the
    store judges it as it judges the file itself.

    Raises
    ------
    BadInput
        No such column, or a row has no symbol in it.
    """
    try:
        reader = _reader(path)
        if column not in reader.schema.names:
            names = ", ".join(reader.schema.names)
            raise BadInput(f"{path.name}: no column {column!r}; the columns are {names}")
        at = reader.schema.get_field_index(column)
        schema = reader.schema.set(at, pa.field(column, pa.string()))
        ds.write_dataset(
            (_named(batch, at, schema, path.name) for batch in reader),
            folder,
            schema=schema,
            format="csv" if _suffix(path) in _TEXT else "parquet",
            partitioning=ds.partitioning(pa.schema([(column, pa.string())])),
            preserve_order=True,
            max_open_files=_OPEN_FILES,
            max_partitions=_MOST_SYMBOLS,
            min_rows_per_group=_ROWS_AT_ONCE,
        )
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error
    for part in sorted(folder.iterdir()):
        yield (
            unquote(part.name[1:]),
            sorted(part.iterdir(), key=lambda one: int(one.stem.rsplit("-", 1)[1])),
        )


def _suffix(path: Path) -> str:
    """The ending by which a file is known to hold bars, "" where it has none."""
    name = path.name.lower()
    return max((end for end in _SUFFIXES if name.endswith(end)), key=len, default="")


def _format(path: Path) -> Any:
    suffix = _suffix(path)
    if suffix in _TEXT:
        return ds.CsvFileFormat(parse_options=_delimited(path))
    return "feather" if suffix in (".feather", ".arrow") else "parquet"


def _delimited(path: Path) -> pa.csv.ParseOptions:
    return pa.csv.ParseOptions(delimiter="\t" if ".tsv" in _suffix(path) else ",")


def _time_column(schema: pa.Schema) -> str | None:
    """The column that holds the time: by its name, else the first of a time's type."""
    timed = [
        field.name for field in schema if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)
    ]
    by_name = {name.lower(): name for name in reversed(timed)}
    named = [by_name[name] for name in TIME_NAMES if name in by_name]
    return next(iter(named + timed), None)


def _reader(path: Path) -> Any:
    """A file's record batches, with text columns only where the file is text."""
    if _suffix(path) not in _TEXT:
        return ds.dataset(str(path), format=_format(path)).scanner(use_threads=False).to_reader()
    parse = _delimited(path)
    names = pa.csv.open_csv(path, parse_options=parse).schema.names
    as_text = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    return pa.csv.open_csv(path, parse_options=parse, convert_options=as_text)


def _named(batch: pa.RecordBatch, at: int, schema: pa.Schema, label: str) -> pa.RecordBatch:
    """The batch with, for each symbol, the name of a folder that any symbol may have."""
    symbols = pc.utf8_upper(pc.utf8_trim_whitespace(pc.cast(batch.column(at), pa.string())))
    if symbols.null_count or pc.any(pc.equal(symbols, "")).as_py():
        raise BadInput(f"{label}: a row has no symbol in column {schema.names[at]!r}")
    coded = symbols.dictionary_encode()
    folders = pa.array([f"s{quote(symbol, safe='')}" for symbol in coded.dictionary.to_pylist()], pa.string())
    columns = batch.columns
    columns[at] = folders.take(coded.indices)
    return pa.RecordBatch.from_arrays(columns, schema=schema)
