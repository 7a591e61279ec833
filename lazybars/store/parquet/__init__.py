"""A store as a directory of Parquet files, partitioned by time and read through DuckDB."""
