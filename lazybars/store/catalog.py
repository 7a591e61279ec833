"""The catalog: which series there are, under which id, with which columns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from lazybars.errors import UnknownSeries
from lazybars.model import AssetKey, Column, SeriesInfo, asset_key
from lazybars.store.engine import Engine
from lazybars.store.kinds import DUCK_TYPES
from lazybars.store.schema import identifier, registered

__all__ = ["Catalog", "Entry", "identity"]

_COLUMNS = (
    'series_id, symbol, asset_type, expiration, strike, "right", multiplier, auto_expiry, quote, timestep, '
    "source, "
    "rows, epoch_us(first_ts), epoch_us(last_ts), index_unit, in_order, columns"
)
# Within a transaction, which has counted itself already.
_VERSION = "(SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'version')"


@dataclass(frozen=True, slots=True)
class Entry:
    """A series and whether its rows lie in time order on disk, so that a read need not sort."""

    info: SeriesInfo
    in_order: bool


def identity(asset: AssetKey | None) -> tuple[Any, ...]:
    """What makes two assets one, as Lumibot compares them: all fields but the multiplier."""
    if asset is None:
        return ()
    return (asset.symbol, asset.asset_type, asset.expiration, asset.strike, asset.right, asset.auto_expiry)


@dataclass(frozen=True, slots=True)
class _Kept:
    """All series as of a version of the store. by_symbol : in upper case."""

    version: int
    entries: tuple[Entry, ...]
    by_symbol: dict[str, list[Entry]]


class Catalog:
    """Reads the catalog once per change of the store. Any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: _Kept | None = None
        # By id, with the store's version when the series last changed.
        self._known: dict[int, tuple[int, Entry]] = {}

    def entries(self) -> tuple[Entry, ...]:
        """All series, by id."""
        return self._current().entries

    def _current(self) -> _Kept:
        kept, version = self._kept, self._engine.version
        if kept is None or kept.version != version:
            with self._engine.cursor() as cur:
                if self._engine.schema_version < 2:
                    rows = cur.execute(f"SELECT {_COLUMNS} FROM series_catalog ORDER BY series_id").fetchall()
                    entries = tuple(map(_entry, rows))
                else:
                    entries = self._refresh(cur)
                entries = tuple(map(self._engine.settled, entries))
            by_symbol: dict[str, list[Entry]] = {}
            for entry in entries:
                by_symbol.setdefault(entry.info.asset.symbol.upper(), []).append(entry)
            kept = self._kept = _Kept(version, entries, by_symbol)
        return kept

    def _called(self, asset: AssetKey) -> list[Entry]:
        """The series of all assets of that symbol, whatever their type; by id."""
        return self._current().by_symbol.get(asset.symbol.upper(), [])

    def _refresh(self, cur: duckdb.DuckDBPyConnection) -> tuple[Entry, ...]:
        """All series, of which only those that changed are read whole."""
        known = self._known
        now = cur.execute("SELECT series_id, version FROM series_catalog ORDER BY series_id").fetchall()
        stale = [series_id for series_id, at in now if known.get(series_id, (-1,))[0] != at]
        fresh: dict[int, Entry] = {}
        if stale:
            rows = cur.execute(
                f"SELECT {_COLUMNS} FROM series_catalog WHERE series_id IN (SELECT unnest(?::INTEGER[]))",
                [stale],
            ).fetchall()
            fresh = {row[0]: _entry(row) for row in rows}
        self._known = {
            series_id: (at, fresh[series_id] if series_id in fresh else known[series_id][1])
            for series_id, at in now
        }
        return tuple(entry for _, entry in self._known.values())

    def exact(self, asset: AssetKey, timestep: str, quote: AssetKey | None, source: str) -> Entry | None:
        """The series that a write under these names goes to, or None."""
        for entry in self._called(asset):
            info = entry.info
            if (
                (info.timestep, info.source) == (timestep, source)
                and identity(info.asset) == identity(asset)
                and identity(info.quote) == identity(quote)
            ):
                return entry
        return None

    def held(self) -> list[Entry]:
        """The series that have bars, the preferred sources first, each in the order of first writing."""
        entries = [entry for entry in self.entries() if entry.info.rows]
        if len({entry.info.source for entry in entries}) > 1:
            order = self.priorities()
            entries.sort(key=lambda entry: (order.get(entry.info.source, 0), entry.info.series_id))
        return entries

    def find(
        self,
        asset: Any,
        timestep: str,
        quote: Any = None,
        source: str | None = None,
        *,
        empty: bool = False,
    ) -> Entry:
        """The series meant; with ``empty`` also one of which only is known that it has no bars.

        A bare symbol means the stock, or else the only asset of that symbol. ``quote=None`` means
        the series without a quote, the one against USD, or the only one. Among several sources
        the one with the lowest ``sources.priority``, then the one written first.
        """
        wanted = asset_key(asset)
        entries = [entry for entry in self._called(wanted) if empty or entry.info.rows]
        assets = [e for e in entries if identity(e.info.asset) == identity(wanted)]
        if not assets and isinstance(asset, str):
            assets = entries
            if len({identity(e.info.asset) for e in assets}) > 1:
                kinds = ", ".join(sorted({f"{e.info.asset} ({e.info.asset.asset_type})" for e in assets}))
                raise UnknownSeries(f"{asset!r} names several assets: {kinds}: give the Asset itself")
        found = [e for e in assets if e.info.timestep == timestep and source in (None, e.info.source)]
        found = _by_quote(found, None if quote is None else asset_key(quote))
        if not found:
            raise UnknownSeries(self._what_there_is(wanted, timestep, quote, source, assets))
        if len(found) == 1:
            return found[0]
        priorities = self.priorities()
        return min(found, key=lambda e: (priorities.get(e.info.source, 0), e.info.series_id))

    def priorities(self) -> dict[str, int]:
        """The number by which each source is preferred, the lowest first."""
        with self._engine.cursor() as cur:
            return dict(cur.execute("SELECT source_name, priority FROM sources").fetchall())

    def _what_there_is(
        self, asset: AssetKey, timestep: str, quote: Any, source: str | None, assets: Sequence[Entry]
    ) -> str:
        asked = f"{asset} ({asset.asset_type}) {timestep}"
        asked += f" against {asset_key(quote)}" if quote is not None else ""
        asked += f" from {source!r}" if source is not None else ""
        if assets:
            listed = ", ".join(f"{e.info.label} from {e.info.source!r}" for e in assets)
            return f"no series {asked}; of that asset there is {listed}"
        symbols = sorted({e.info.asset.symbol for e in self.held()})
        if not symbols:
            return f"no series {asked}: the store is empty"
        more = f" and {len(symbols) - 20} more" if len(symbols) > 20 else ""
        return f"no series {asked}; the store holds {', '.join(symbols[:20])}{more}"


def _by_quote(found: list[Entry], quote: AssetKey | None) -> list[Entry]:
    """Those of one quote: the one asked for; or, where none is, no quote, USD, the only one."""
    by: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in found:
        by.setdefault(identity(entry.info.quote), []).append(entry)
    if quote is not None:
        # Lumibot quotes in USD where nothing is said, so a series without a quote is one in USD.
        return by.get(identity(quote)) or (by.get((), []) if quote.symbol == "USD" else [])
    if len(by) == 1:
        return next(iter(by.values()))
    if () in by:
        return by[()]
    for entries in by.values():
        held = entries[0].info.quote
        if held is not None and held.symbol == "USD":
            return entries
    if by:
        quotes = ", ".join(str(entries[0].info.quote) for entries in by.values())
        raise UnknownSeries(f"{found[0].info.asset} is there against {quotes}: say which with quote=")
    return []


# ------------------------------------------------------------- within a write


def save(cur: duckdb.DuckDBPyConnection, entry: Entry, *, new: bool) -> None:
    """Put an entry into the catalog, within the write's transaction."""
    info = entry.info
    columns = _columns_json(info)
    state = [info.rows, info.first_ns // 1000, info.last_ns // 1000, info.index_unit, entry.in_order, columns]
    if not new:
        cur.execute(
            "UPDATE series_catalog SET rows = ?, first_ts = make_timestamptz(?::BIGINT), "
            "last_ts = make_timestamptz(?::BIGINT), index_unit = ?, in_order = ?, columns = ?, updated_at "
            "= now(), "
            f"version = {_VERSION} WHERE series_id = ?",
            [*state, info.series_id],
        )
        return
    cur.execute(
        "INSERT INTO series_catalog VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "make_timestamptz(?::BIGINT), make_timestamptz(?::BIGINT), ?, ?, ?, now(), now(), "
        f"{_VERSION})",
        [
            info.series_id,
            *dataclasses.astuple(info.asset),
            _quote_json(info),
            info.timestep,
            info.source,
            *state,
        ],
    )


def add_all(cur: duckdb.DuckDBPyConnection, entries: Sequence[Entry]) -> None:
    """Put many new entries into the catalog at once; a statement for each takes a millisecond."""
    if not entries:
        return
    infos = [entry.info for entry in entries]
    assets = zip(*(dataclasses.astuple(info.asset) for info in infos), strict=True)
    names = (field.name for field in dataclasses.fields(AssetKey))
    types = {"strike": pa.float64(), "multiplier": pa.float64()}
    who = {
        **{
            name: pa.array(said, types.get(name, pa.string()))
            for name, said in zip(names, assets, strict=True)
        },
        "quote": pa.array([_quote_json(info) for info in infos], pa.string()),
        "timestep": pa.array([info.timestep for info in infos]),
        "source": pa.array([info.source for info in infos]),
    }
    table = _states(entries)
    for name, said in who.items():
        table = table.append_column(name, said)
    listed = ", ".join(identifier(name) for name in who)
    with registered(cur, "new_series", table):
        cur.execute(
            f"INSERT INTO series_catalog SELECT series_id, {listed}, rows, first_ts, last_ts, index_unit, "
            f"in_order, columns, now(), now(), {_VERSION} FROM new_series"
        )


def save_all(cur: duckdb.DuckDBPyConnection, entries: Sequence[Entry]) -> None:
    """Bring many entries of the catalog up to date at once."""
    with registered(cur, "series_changes", _states(entries)):
        cur.execute(
            "UPDATE series_catalog AS c SET rows = s.rows, first_ts = s.first_ts, last_ts = s.last_ts, "
            "index_unit = s.index_unit, in_order = s.in_order, columns = s.columns, updated_at = now(), "
            f"version = {_VERSION} FROM series_changes s WHERE c.series_id = s.series_id"
        )


def _states(entries: Sequence[Entry]) -> pa.Table:
    """What changes of an entry, a row for each."""
    infos = [entry.info for entry in entries]
    stamp = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "series_id": pa.array([info.series_id for info in infos], pa.int32()),
            "rows": pa.array([info.rows for info in infos], pa.int64()),
            "first_ts": pa.array([info.first_ns // 1000 for info in infos], pa.int64()).cast(stamp),
            "last_ts": pa.array([info.last_ns // 1000 for info in infos], pa.int64()).cast(stamp),
            "index_unit": pa.array([info.index_unit for info in infos]),
            "in_order": pa.array([entry.in_order for entry in entries]),
            "columns": pa.array([_columns_json(info) for info in infos]),
        }
    )


def _quote_json(info: SeriesInfo) -> str | None:
    return None if info.quote is None else json.dumps(dataclasses.asdict(info.quote))


def _columns_json(info: SeriesInfo) -> str:
    return json.dumps([dataclasses.asdict(column) for column in info.columns])


def new_series_id(cur: duckdb.DuckDBPyConnection) -> int:
    return int(cur.execute("SELECT coalesce(max(series_id), 0) + 1 FROM series_catalog").fetchall()[0][0])


def physical_column(cur: duckdb.DuckDBPyConnection, name: str, kind: str) -> str:
    """The column of ``bars`` for extra columns of that name and kind, added where there is none."""
    known = cur.execute("SELECT name, kind, physical FROM physical_columns").fetchall()
    for held_name, held_kind, physical in known:
        if (held_name, held_kind) == (name, kind):
            return str(physical)
    physical = f"x{len(known) + 1}"
    cur.execute(f"ALTER TABLE bars ADD COLUMN {identifier(physical)} {DUCK_TYPES[kind]}")
    cur.execute("INSERT INTO physical_columns VALUES (?, ?, ?)", [name, kind, physical])
    return physical


def physical_kind(cur: duckdb.DuckDBPyConnection, physical: str) -> str:
    """The kind that a column of ``bars`` stores."""
    row = cur.execute("SELECT kind FROM physical_columns WHERE physical = ?", [physical]).fetchall()
    return str(row[0][0]) if row else "float"


def _entry(row: tuple[Any, ...]) -> Entry:
    series_id, *asset, quote, timestep, source, rows, first_us, last_us, unit, in_order, columns = row
    return Entry(
        SeriesInfo(
            series_id,
            AssetKey(*asset),
            None if quote is None else AssetKey(**json.loads(quote)),
            timestep,
            source,
            rows,
            first_us * 1000,
            last_us * 1000,
            tuple(Column(**column) for column in json.loads(columns)),
            unit,
        ),
        in_order,
    )
