"""The knobs of `LazyBars` and `iterate`, validated when they are given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lazybars.errors import ConfigError
from lazybars.eviction import Policy, policy_named
from lazybars.model import size_bytes
from lazybars.partition import KINDS

__all__ = ["Knobs"]


@dataclass(frozen=True, slots=True)
class Knobs:
    """How a run may use the machine. None of them changes an answer.

    memory_bytes : the most that lazybars may add to the process.
    store : path of a store, an open store, or None for a private temporary one.
    assets : the universe, or None for the whole store.
    live : whether a line on the terminal follows the run.
    partition : one of `lazybars.partition.KINDS`, or "auto".
    """

    memory_bytes: int
    store: Any
    assets: tuple[Any, ...] | None
    partition: str
    policy: Policy
    prefetch: bool
    live: bool = False

    @classmethod
    def of(
        cls,
        *,
        memory: str | int,
        store: Any,
        assets: Sequence[Any] | None,
        partition: str,
        policy: str | Policy,
        prefetch: bool,
        live: bool = False,
    ) -> Knobs:
        """Knobs from what a caller gives; :class:`ConfigError` says which one cannot be meant."""
        if store is not None and not isinstance(store, (str, os.PathLike)) and not hasattr(store, "scan"):
            raise ConfigError(f"store={store!r}: give a path or an open store")
        if isinstance(assets, str):
            assets = [assets]
        if assets is not None and not assets:
            raise ConfigError("assets is empty: leave it out for the whole store")
        if partition != "auto" and partition not in KINDS:
            raise ConfigError(f'partition={partition!r}: choose one of {", ".join(KINDS)} or "auto"')
        if not isinstance(prefetch, bool):
            raise ConfigError(f"prefetch={prefetch!r}: give True or False")
        if not isinstance(live, bool):
            raise ConfigError(f"live={live!r}: give True or False")
        return cls(
            memory_bytes=size_bytes(memory),
            store=store,
            assets=None if assets is None else tuple(assets),
            partition=partition,
            policy=policy_named(policy),
            prefetch=prefetch,
            live=live,
        )

    def capped(self, most_bytes: int) -> Knobs:
        """The same with a cap of so much at the most."""
        return replace(self, memory_bytes=min(self.memory_bytes, most_bytes))
