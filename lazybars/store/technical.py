"""The frame of indicators that one series has, whichever way each is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lazybars.errors import ConfigError
from lazybars.store import recursive, rolling
from lazybars.store.catalog import Entry
from lazybars.store.engine import Engine
from lazybars.store.indicators import CUSTOMARY, parse
from lazybars.store.spans import index_of, snapshot

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame"]


def frame(
    engine: Engine, entry: Entry, start_us: int | None, end_us: int | None, names: Sequence[str]
) -> pd.DataFrame:
    """See :meth:`lazybars.store.analytics.Analytics.indicators`."""
    import pandas as pd

    asked = [names] if isinstance(names, str) or not isinstance(names, Iterable) else names
    wanted = list(dict.fromkeys(parse(name) for name in asked))
    if not wanted:
        raise ConfigError(f"indicators() needs the names of some, for instance {', '.join(CUSTOMARY)}")
    held = [column.name for column in entry.info.columns]
    if "volume" not in held and any(indicator.kind == "vwap" for indicator in wanted):
        raise ConfigError(f"vwap needs volume, and {entry.info.label} has only {', '.join(held)}")
    found = {}
    with snapshot(engine) as cur:
        for kinds, columns in ((rolling.KINDS, rolling.columns), (recursive.KINDS, recursive.columns)):
            own = [indicator for indicator in wanted if indicator.kind in kinds]
            if own:
                times_us, values = columns(engine, cur, entry, start_us, end_us, own)
                found.update(values)
    index = index_of(times_us, entry.info.index_unit)
    order = [column for indicator in wanted for column in indicator.columns]
    return pd.DataFrame({column: found[column] for column in order}, index=index)
