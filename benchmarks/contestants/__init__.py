"""Who is compared: one module each, imported only in the process that measures it.

A contestant is a class with

- ``__init__(folder, size, cap_bytes, **options)``: opens the bars of ``size`` below ``folder``; when it
  returns, the first bar can be asked for. ``cap_bytes`` is None for those without caps.
- ``move(tick)``: the clock has come to ``tick``; called once a tick, forward only.
- ``ask(asset, tick)``: the last `WINDOW` closes of asset number ``asset``, float64, oldest first.
- ``close()``.
- ``prepare(parquet, folder, size)``, a static method, where it reads a form of its own: writes that from
  the Parquet files, in its own environment.

It may only import the standard library, NumPy, `benchmarks.contest.clock` and its own packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CONTESTANTS", "Contestant"]

_MB = 1_000_000
_CAPS = (96 * _MB, 128 * _MB, 256 * _MB, 512 * _MB, 1000 * _MB)


@dataclass(frozen=True, slots=True)
class Contestant:
    """One line of the table.

    code : "module:Class".
    form : which form of the bars it reads: "parquet", "store", or a name of its own.
    packages : distributions whose versions are recorded.
    caps : caps in bytes, a cell each; empty where it has none.
    environment : whose interpreter it needs, "" for this one.
    ram_bytes_a_bar : RAM that it cannot do without; more than there is, and the cell is refused.
    disk_bytes_a_bar : what its own form takes.
    variables : set in its process's environment.
    """

    code: str
    form: str
    packages: tuple[str, ...]
    caps: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: str = ""
    ram_bytes_a_bar: int = 0
    disk_bytes_a_bar: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)


def _lazy(caps: tuple[int, ...] = (128 * _MB,), **options: Any) -> Contestant:
    return Contestant(
        "benchmarks.contestants.lazy:Lazy", "store", ("lazybars", "lumibot", "duckdb"), caps, options
    )


CONTESTANTS: dict[str, Contestant] = {
    # Lumibot's frames: 240 to 300 bytes a bar, measured.
    "eager": Contestant(
        "benchmarks.contestants.eager:Eager", "parquet", ("lumibot", "pandas"), ram_bytes_a_bar=240
    ),
    "lazybars": _lazy(_CAPS),
    "lazybars-lru": _lazy(policy="lru"),
    "lazybars-noprefetch": _lazy(prefetch=False),
    "lazybars-iterate": Contestant(
        "benchmarks.contestants.iterating:Iterating", "store", ("lazybars", "duckdb"), (128 * _MB,)
    ),
    "duckdb": Contestant("benchmarks.contestants.querying:Query", "store", ("duckdb",)),
    "duckdb-tick": Contestant("benchmarks.contestants.querying:QueryOfTick", "store", ("duckdb",)),
    # One thread is the fastest for reads as small as these, and the leanest.
    "polars": Contestant(
        "benchmarks.contestants.scanning:Scan",
        "parquet",
        ("polars",),
        variables={"POLARS_MAX_THREADS": "1"},
    ),
    "arcticdb": Contestant(
        "benchmarks.contestants.arctic:Range",
        "arctic",
        ("arcticdb", "pandas"),
        environment="arcticdb",
        disk_bytes_a_bar=30,
    ),
    "zipline": Contestant(
        "benchmarks.contestants.portal:Portal",
        "bcolz",
        ("zipline-reloaded", "bcolz-zipline", "pandas"),
        environment="zipline",
        disk_bytes_a_bar=15,
    ),
}
