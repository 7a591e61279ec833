"""Bars out of other programs' files: Lumibot's caches, Feather, and text of any common shape."""

from lazybars.importers.alpaca import ALPACA
from lazybars.importers.ccxt import CCXT
from lazybars.importers.csv_file import CSV
from lazybars.importers.databento import DATABENTO
from lazybars.importers.feather import FEATHER
from lazybars.importers.ibkr import IBKR
from lazybars.importers.monthly import MONTHLY
from lazybars.importers.parts import Kind, Lot, Outcome, Wishes
from lazybars.importers.polygon import POLYGON
from lazybars.importers.run import files_of, import_files
from lazybars.importers.thetadata import THETADATA
from lazybars.importers.yahoo import YAHOO

__all__ = ["KINDS", "Kind", "Lot", "Outcome", "Wishes", "files_of", "import_files"]

KINDS = {
    kind.name: kind
    for kind in (ALPACA, CCXT, CSV, DATABENTO, FEATHER, IBKR, MONTHLY, POLYGON, THETADATA, YAHOO)
}
