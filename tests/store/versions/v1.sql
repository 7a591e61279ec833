-- A store as version 1 of the schema has it: its tables and views, and the rows that two writes to
-- A (an extra column, a hole, a bar before the others) and one to BTC/USD left in them.
CREATE TABLE meta (key VARCHAR, value VARCHAR);
CREATE TABLE bars (series_id INTEGER, ts TIMESTAMPTZ,
        open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE);
CREATE TABLE physical_columns (name VARCHAR, kind VARCHAR, physical VARCHAR);
CREATE TABLE series_catalog (series_id INTEGER,
        symbol VARCHAR, asset_type VARCHAR, expiration VARCHAR, strike DOUBLE, "right" VARCHAR,
        multiplier DOUBLE, auto_expiry VARCHAR, quote JSON, timestep VARCHAR, source VARCHAR,
        rows BIGINT, first_ts TIMESTAMPTZ, last_ts TIMESTAMPTZ, index_unit VARCHAR,
        in_order BOOLEAN, columns JSON, created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ);
CREATE TABLE session_days (series_id INTEGER, day DATE,
        first_ts TIMESTAMPTZ, last_ts TIMESTAMPTZ, rows BIGINT);
CREATE TABLE known_ranges (id UUID, series_id INTEGER, start_ts TIMESTAMPTZ, end_ts TIMESTAMPTZ,
        known_empty BOOLEAN, created_at TIMESTAMPTZ);
CREATE TABLE sources (source_name VARCHAR, priority INTEGER, last_updated TIMESTAMPTZ, config JSON);
CREATE VIEW ohlcv_data AS SELECT c.symbol AS asset_symbol, c.asset_type, b.ts AS timestamp,
        c.timestep AS timeframe, b.open, b.high, b.low, b.close, b.volume, c.source,
        c.updated_at AS created_at
        FROM bars b JOIN series_catalog c USING (series_id);
CREATE VIEW assets AS SELECT symbol, asset_type, NULL::VARCHAR AS exchange,
        min(quote->>'symbol') AS currency,
        json_object('series', count(*), 'rows', sum(rows), 'timesteps', list_sort(list(DISTINCT timestep)),
            'sources', list_sort(list(DISTINCT source))) AS metadata
        FROM series_catalog GROUP BY symbol, asset_type;
CREATE VIEW data_sources AS SELECT source_name, last_updated, config FROM sources;
CREATE VIEW cache_ranges AS SELECT k.id, c.symbol AS asset_symbol, c.asset_type, c.source,
        c.timestep AS timeframe, k.start_ts AS start_time, k.end_ts AS end_time, k.created_at
        FROM known_ranges k JOIN series_catalog c USING (series_id);

INSERT INTO meta VALUES ('application', 'lazybars'), ('schema_version', '1'), ('layout', 'mixed');
INSERT INTO physical_columns VALUES ('bid', 'float', 'x1');
ALTER TABLE bars ADD COLUMN "x1" DOUBLE;
INSERT INTO bars VALUES
    (1, '2024-01-02 14:30:00+00', 100.0, 100.25, 99.75, 100.0, 1.0, 100.0),
    (1, '2024-01-02 14:31:00+00', 100.1, 100.35, 99.85, 100.1, 2.0, NULL),
    (1, '2024-01-02 14:32:00+00', 100.2, 100.45, 99.95, 100.2, 3.0, 100.2),
    (1, '2024-01-02 14:33:00+00', 100.3, 100.55, 100.05, 100.3, 4.0, 100.3),
    (1, '2024-01-02 14:34:00+00', 100.4, 100.65, 100.15, 100.4, 5.0, 100.4),
    (1, '2024-01-01 14:30:00+00', 100.0, 100.25, 99.75, 100.0, 1.0, 100.0),
    (1, '2024-01-01 14:32:00+00', 100.2, 100.45, 99.95, 100.2, 3.0, 100.2),
    (2, '2024-03-08 05:00:00+00', 100.0, 100.25, 99.75, 100.0, NULL, NULL),
    (2, '2024-03-09 05:00:00+00', 100.1, 100.35, 99.85, 100.1, NULL, NULL);
INSERT INTO known_ranges VALUES
    ('f22455d6-cfe4-47ab-8270-d29f91936bf8', 1, '2024-01-01 14:30:00+00', '2024-01-01 14:32:00+00', false, now()),
    ('94ae084d-829e-4a70-bdf3-28d15f7c3f45', 1, '2024-01-02 14:30:00+00', '2024-01-02 14:34:00+00', false, now()),
    ('30e13ed9-9130-45c2-b90d-2c85166a1ec8', 2, '2024-03-08 05:00:00+00', '2024-03-09 05:00:00+00', false, now());
INSERT INTO session_days VALUES
    (1, '2024-01-02', '2024-01-02 14:30:00+00', '2024-01-02 14:34:00+00', 5),
    (1, '2024-01-01', '2024-01-01 14:30:00+00', '2024-01-01 14:32:00+00', 2),
    (2, '2024-03-08', '2024-03-08 05:00:00+00', '2024-03-08 05:00:00+00', 1),
    (2, '2024-03-09', '2024-03-09 05:00:00+00', '2024-03-09 05:00:00+00', 1);
INSERT INTO sources VALUES ('vendor', 0, now(), '{}'), ('other "x"', 0, now(), '{}');
INSERT INTO series_catalog VALUES
    (1, 'A', 'stock', '', 0.0, '', 1.0, '', NULL, 'minute', 'vendor', 7,
        '2024-01-01 14:30:00+00', '2024-01-02 14:34:00+00', 'ns', false,
        '[{"name": "open", "dtype": "float64", "physical": "open", "has_null": false},
          {"name": "high", "dtype": "float64", "physical": "high", "has_null": false},
          {"name": "low", "dtype": "float64", "physical": "low", "has_null": false},
          {"name": "close", "dtype": "float64", "physical": "close", "has_null": false},
          {"name": "volume", "dtype": "int64", "physical": "volume", "has_null": false},
          {"name": "bid", "dtype": "float64", "physical": "x1", "has_null": true}]', now(), now()),
    (2, 'BTC', 'crypto', '', 0.0, '', 1.0, '',
        '{"symbol": "USD", "asset_type": "forex", "expiration": "", "strike": 0.0, "right": "", "multiplier": 1.0, "auto_expiry": ""}',
        'day', 'other "x"', 2, '2024-03-08 05:00:00+00', '2024-03-09 05:00:00+00', 'ns', true,
        '[{"name": "open", "dtype": "float64", "physical": "open", "has_null": false},
          {"name": "high", "dtype": "float64", "physical": "high", "has_null": false},
          {"name": "low", "dtype": "float64", "physical": "low", "has_null": false},
          {"name": "close", "dtype": "float64", "physical": "close", "has_null": false}]', now(), now());
