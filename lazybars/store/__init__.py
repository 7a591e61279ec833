"""The store: bars of many series in one DuckDB file. Sole importer of duckdb."""

from lazybars.store.loading import FileMark, FileWrite
from lazybars.store.store import Store, open_store
from lazybars.store.verify import Finding

__all__ = ["FileMark", "FileWrite", "Finding", "Store", "open_store"]
