"""Many series side by side: panels, correlations, as-of joins."""

from __future__ import annotations

import datetime as dt
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from lazybars.errors import ConfigError
from lazybars.model import Column
from lazybars.store import read
from lazybars.store.catalog import Entry
from lazybars.store.engine import Engine
from lazybars.store.kinds import arrow_type, kind_of
from lazybars.store.schema import identifier
from lazybars.store.spans import as_dtype, index_of, snapshot, within

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Picked", "asof", "correlation", "panel", "picked"]

_BATCH_ROWS = 65_536
_UNITS = ("s", "ms", "us", "ns")
_RIGHT = "_right"


@dataclass(frozen=True, slots=True)
class Picked:
    """One column of one series, and what its owner calls it."""

    label: Hashable
    entry: Entry
    column: Column


def picked(labels: Sequence[Hashable], entries: Sequence[Entry], field: str) -> list[Picked]:
    """The column of that name of each. Raises ConfigError where one has none, or none of numbers."""
    if not labels:
        raise ConfigError("no assets: give at least one")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ConfigError(f"{twice!r} is among the assets twice")
    return [Picked(label, entry, _number(entry, field)) for label, entry in zip(labels, entries, strict=True)]


def _number(entry: Entry, field: str) -> Column:
    columns = {column.name: column for column in entry.info.columns}
    if field not in columns:
        raise ConfigError(f"{entry.info.label} has no column {field!r}; it has {', '.join(columns)}")
    column = columns[field]
    if column.dtype == "bool" or kind_of(column.dtype) not in ("float", "int"):
        raise ConfigError(f"column {field!r} of {entry.info.label} is {column.dtype}, and no number")
    return column


@contextmanager
def _selection(
    engine: Engine, picks: Sequence[Picked], start_us: int | None, end_us: int | None
) -> Iterator[tuple[str, list[int | list[int]]]]:
    """A query of (k, ts, value), which of the picks, when and what, in no order; and its parameters.

    Joined to the ids, not filtered by a list of them: the join skips row groups that hold none of
    them, and rows within those, for any number of ids.
    """
    held, bounds = within(start_us, end_us)
    legs: list[str] = []
    params: list[int | list[int]] = []
    ids = [pick.entry.info.series_id for pick in picks]
    with engine.bars(min(ids), max(ids), start_us, end_us) as bars:
        for physical in dict.fromkeys(pick.column.physical for pick in picks):
            own = [(ids[k], k) for k, pick in enumerate(picks) if pick.column.physical == physical]
            legs.append(
                f"SELECT k, ts, CAST({identifier(physical)} AS DOUBLE) AS value FROM {bars} "
                "JOIN (SELECT unnest(?::INTEGER[]) AS series_id, unnest(?::INTEGER[]) AS k) "
                f"USING (series_id) WHERE {held}"
            )
            params += [[series_id for series_id, _ in own], [k for _, k in own], *bounds]
        yield " UNION ALL ".join(legs), params


def panel(engine: Engine, picks: Sequence[Picked], start_us: int | None, end_us: int | None) -> pd.DataFrame:
    """See :meth:`lazybars.store.analytics.Analytics.panel`."""
    import pandas as pd

    with snapshot(engine) as cur, _selection(engine, picks, start_us, end_us) as (rows, params):
        times = cur.sql(f"SELECT DISTINCT epoch_us(ts) AS us FROM ({rows}) ORDER BY us", params=params)
        times_us = times.to_arrow_table().column(0).to_numpy()
        grid = np.full((len(picks), len(times_us)), np.nan)
        cells = cur.sql(f"SELECT k, epoch_us(ts), value FROM ({rows})", params=params)
        with cells.to_arrow_reader(_BATCH_ROWS) as batches:
            for batch in batches:
                number, us, values = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
                grid[number, np.searchsorted(times_us, us)] = values
    finest = max((pick.entry.info.index_unit for pick in picks), key=_UNITS.index)
    frame = pd.DataFrame(grid.T, index=index_of(times_us, finest), columns=_labels(picks))
    for k, pick in enumerate(picks):
        if pick.column.dtype != "float64":
            frame.isetitem(k, as_dtype(grid[k], pick.column.dtype))
    return frame


def correlation(
    engine: Engine, picks: Sequence[Picked], start_us: int | None, end_us: int | None, returns: bool
) -> pd.DataFrame:
    """See :meth:`lazybars.store.analytics.Analytics.correlation`."""
    import pandas as pd

    # Levels are counted from their mean: what all of them share costs digits, and changes no correlation.
    change = "value / lag(value) OVER (PARTITION BY k ORDER BY ts) - 1"
    level = "value - avg(value) FILTER (WHERE isfinite(value)) OVER (PARTITION BY k)"
    with engine.cursor() as cur, _selection(engine, picks, start_us, end_us) as (rows, params):
        values = f"SELECT k, ts, {change if returns else level} AS value FROM ({rows})"
        table = cur.sql(
            f"WITH usable AS MATERIALIZED (SELECT * FROM ({values}) WHERE isfinite(value)) "
            "SELECT a.k, b.k, corr(a.value, b.value) FROM usable a JOIN usable b "
            "ON a.ts = b.ts AND a.k <= b.k GROUP BY a.k, b.k",
            params=params,
        ).to_arrow_table()
    first, second, found = (column.to_numpy() for column in table.columns)
    grid = np.full((len(picks), len(picks)), np.nan)
    grid[first, second] = grid[second, first] = np.clip(found, -1.0, 1.0)
    return pd.DataFrame(grid, index=_labels(picks), columns=_labels(picks))


def _labels(picks: Sequence[Picked]) -> pd.Index:
    import pandas as pd

    return pd.Index([pick.label for pick in picks], tupleize_cols=False)


def asof(
    engine: Engine,
    left: Entry,
    right: Entry,
    start_us: int | None,
    end_us: int | None,
    tolerance: dt.timedelta | None,
) -> pd.DataFrame:
    """See :meth:`lazybars.store.analytics.Analytics.asof`."""
    import pandas as pd

    tolerance_us = _tolerance_us(tolerance)
    names = _joined_names(left, right)
    ours, theirs = list(left.info.columns), list(right.info.columns)
    with snapshot(engine) as cur:
        held, bounds = within(start_us, end_us)
        right_us = _right_from(engine, cur, right, start_us, tolerance_us)
        before, reach = within(right_us, end_us)
        fresh = "true" if tolerance_us is None else f"epoch_us(l.ts) - epoch_us(r.ts) <= {tolerance_us:d}"
        ids = left.info.series_id, right.info.series_id
        with (
            engine.bars(ids[0], ids[0], start_us, end_us) as left_bars,
            engine.bars(ids[1], ids[1], right_us, end_us) as right_bars,
        ):
            table = cur.sql(
                f"SELECT epoch_us(l.ts), r.ts IS NOT NULL AND {fresh} AS matched, "
                f"{', '.join(f'l.c{at}' for at in range(len(ours)))}, "
                f"{', '.join(f'CASE WHEN {fresh} THEN r.c{at} END' for at in range(len(theirs)))} "
                f"FROM (SELECT ts, {_numbered(ours)} FROM {left_bars} WHERE series_id = ? AND {held}) l "
                f"ASOF LEFT JOIN (SELECT ts, {_numbered(theirs)} FROM {right_bars} "
                f"WHERE series_id = ? AND {before}) r "
                "ON l.ts >= r.ts ORDER BY l.ts",
                params=[ids[0], *bounds, ids[1], *reach],
            ).to_arrow_table()
    index = index_of(table.column(0).to_numpy(), left.info.index_unit)
    matched = table.column(1).to_numpy()
    columns = zip(names, [*ours, *theirs], table.columns[2:], strict=True)
    out = {name: _values(values, column.dtype) for name, column, values in columns}
    for name in names[len(ours) :]:
        if out[name].dtype == object:  # pandas' own mark of what is not there
            out[name][~matched] = np.nan
    return pd.DataFrame({name: series.array for name, series in out.items()}, index=index)


def _numbered(columns: Sequence[Column]) -> str:
    return ", ".join(f"{identifier(column.physical)} AS c{at}" for at, column in enumerate(columns))


def _joined_names(left: Entry, right: Entry) -> list[str]:
    """Left's names and right's, those of right that left has too with a suffix, as merge_asof has it."""
    ours = [column.name for column in left.info.columns]
    theirs = [column.name + _RIGHT * (column.name in ours) for column in right.info.columns]
    names = ours + theirs
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{left.info.label} and {right.info.label} would both give a column {twice!r}")
    return names


def _right_from(
    engine: Engine,
    cur: duckdb.DuckDBPyConnection,
    right: Entry,
    start_us: int | None,
    tolerance_us: int | None,
) -> int | None:
    """From where right has to be read: its last bar at or before the start, unless that is too old."""
    if start_us is None:
        return None
    found = read.last_before(engine, cur, right.info.series_id, start_us * 1000, [])
    first_us = start_us if found is None else int(found[0]) // 1000
    return first_us if tolerance_us is None else max(first_us, start_us - tolerance_us)


def _tolerance_us(tolerance: Any) -> int | None:
    if tolerance is None:
        return None
    if isinstance(tolerance, np.timedelta64):
        tolerance = tolerance.astype("m8[us]").item()
    if not isinstance(tolerance, dt.timedelta) or tolerance < dt.timedelta(0):
        raise ConfigError(f"tolerance={tolerance!r}: give a timedelta that is not negative")
    return int(tolerance // dt.timedelta(microseconds=1))


def _values(values: pa.ChunkedArray, dtype: str) -> Any:
    """A column as its owner wrote it; numpy's integers and booleans give way where one is missing."""
    series = values.cast(arrow_type(dtype, values.type)).to_pandas()
    own = dtype[0].isupper() or dtype in ("boolean", "string", "category")
    return series.astype(dtype) if own else series
