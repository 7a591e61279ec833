"""The store: bars of many series on disk. Sole importer of duckdb."""

from lazybars.store.interface import Storage
from lazybars.store.loading import FileMark, FileWrite
from lazybars.store.sqlstore import Store
from lazybars.store.store import open_store
from lazybars.store.verify import Finding

__all__ = ["FileMark", "FileWrite", "Finding", "Storage", "Store", "open_store"]
