"""The layout on disk, as SQL: tables, and the views that the proposal names.

``bars`` has neither primary key nor index: one would make the file 4.6 times larger and
writing 3 times slower, and reads prune by the row groups' minima and maxima anyway.
Uniqueness of (series, timestamp) is the work of ``ingest``.
"""

from __future__ import annotations

__all__ = ["ADDED_IN_2", "DDL", "META", "SCHEMA_VERSION", "TABLES", "TABLES_OF", "VIEWS"]

SCHEMA_VERSION = 2

_IN_1 = ("meta", "series_catalog", "session_days", "known_ranges", "sources", "physical_columns", "bars")
# The tables that a store of each version must have, in the order in which a compaction copies them.
TABLES_OF = {1: _IN_1, 2: (*_IN_1[:-1], "bar_revisions", "asset_details", "ingested_files", "bars")}
TABLES = TABLES_OF[SCHEMA_VERSION]

# meta, as it begins. version: how many transactions have changed the store.
META = {
    "application": "lazybars",
    "schema_version": str(SCHEMA_VERSION),
    "layout": "bucketed",
    "version": "0",
}

# What version 2 has over version 1, beside series_catalog.version.
ADDED_IN_2 = (
    # A bar as it was before append() replaced it.
    """CREATE TABLE bar_revisions (series_id INTEGER, ts TIMESTAMPTZ, revised_at TIMESTAMPTZ,
        open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, extras JSON)""",
    """CREATE TABLE asset_details (symbol VARCHAR, asset_type VARCHAR, exchange VARCHAR, currency VARCHAR,
        metadata JSON)""",
    # Which files were ingested whole; part is the symbol in a file of many, '' for the file itself.
    """CREATE TABLE ingested_files (path VARCHAR, size_bytes BIGINT, mtime_ns BIGINT, labels VARCHAR,
        part VARCHAR, rows BIGINT, ingested_at TIMESTAMPTZ)""",
)

DDL = (
    "CREATE TABLE meta (key VARCHAR, value VARCHAR)",
    """CREATE TABLE bars (series_id INTEGER, ts TIMESTAMPTZ,
        open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE)""",
    # Which column x1, x2, ... of bars holds the extra columns of that name and kind.
    "CREATE TABLE physical_columns (name VARCHAR, kind VARCHAR, physical VARCHAR)",
    # version: the store's version after the last change of the series.
    """CREATE TABLE series_catalog (series_id INTEGER,
        symbol VARCHAR, asset_type VARCHAR, expiration VARCHAR, strike DOUBLE, "right" VARCHAR,
        multiplier DOUBLE, auto_expiry VARCHAR, quote JSON, timestep VARCHAR, source VARCHAR,
        rows BIGINT, first_ts TIMESTAMPTZ, last_ts TIMESTAMPTZ, index_unit VARCHAR,
        in_order BOOLEAN, columns JSON, created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ, version BIGINT)""",
    # One row per series and local (New York) date, so that start-up never scans bars.
    """CREATE TABLE session_days (series_id INTEGER, day DATE,
        first_ts TIMESTAMPTZ, last_ts TIMESTAMPTZ, rows BIGINT)""",
    # NOT known_empty: what is known, with bars or without. known_empty: what of that was said to be empty.
    """CREATE TABLE known_ranges (id UUID, series_id INTEGER, start_ts TIMESTAMPTZ, end_ts TIMESTAMPTZ,
        known_empty BOOLEAN, created_at TIMESTAMPTZ)""",
    "CREATE TABLE sources (source_name VARCHAR, priority INTEGER, last_updated TIMESTAMPTZ, config JSON)",
    *ADDED_IN_2,
)

_RANGES = """SELECT k.id, c.symbol AS asset_symbol, c.asset_type, c.source,
    c.timestep AS timeframe, k.start_ts AS start_time, k.end_ts AS end_time, k.created_at
    FROM known_ranges k JOIN series_catalog c USING (series_id)"""

VIEWS = {
    "ohlcv_data": """SELECT c.symbol AS asset_symbol, c.asset_type, b.ts AS timestamp,
        c.timestep AS timeframe, b.open, b.high, b.low, b.close, b.volume, c.source,
        c.updated_at AS created_at
        FROM bars b JOIN series_catalog c USING (series_id)""",
    # What was said of an asset goes before what its series tell.
    "assets": """SELECT a.symbol, a.asset_type, d.exchange, coalesce(d.currency, a.currency) AS currency,
        CASE WHEN d.metadata IS NULL THEN a.found ELSE json_merge_patch(a.found, d.metadata) END AS metadata
        FROM (SELECT symbol, asset_type, min(quote->>'symbol') AS currency,
            json_object('series', count(*), 'rows', sum(rows), 'timesteps',
                list_sort(list(DISTINCT timestep)), 'sources', list_sort(list(DISTINCT source))) AS found
            FROM series_catalog WHERE rows > 0 GROUP BY symbol, asset_type) a
        LEFT JOIN asset_details d USING (symbol, asset_type)""",
    "data_sources": "SELECT source_name, last_updated, config FROM sources",
    "cache_ranges": f"{_RANGES} WHERE NOT k.known_empty",
    "empty_ranges": f"{_RANGES} WHERE k.known_empty",
    # The bars as they were; as they are now they stand in ohlcv_data.
    "revisions": """SELECT c.symbol AS asset_symbol, c.asset_type, r.ts AS timestamp, c.timestep AS timeframe,
        c.source, r.revised_at, r.open, r.high, r.low, r.close, r.volume, r.extras
        FROM bar_revisions r JOIN series_catalog c USING (series_id)""",
}
