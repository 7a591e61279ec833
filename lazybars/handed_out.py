"""What was handed out and is still alive: the strategy holds it, outside the cap."""

from __future__ import annotations

import weakref
from typing import Any

__all__ = ["HandedOut"]

# Few at a time: what lives long is looked through by Python's collector again and again.
_NEW = 256
_KEPT = 4096


class HandedOut:
    """Arrays that were given away, counted for as long as they live. Any thread."""

    def __init__(self) -> None:
        self._new: list[weakref.ref[Any]] = []
        self._kept: list[weakref.ref[Any]] = []
        self._prune_at = _KEPT

    @property
    def nbytes(self) -> int:
        """Bytes of those that are alive."""
        return sum(values.nbytes for ref in [*self._kept, *self._new] if (values := ref()) is not None)

    def pin(self, values: Any) -> None:
        """Remember an array."""
        new = self._new
        new.append(weakref.ref(values))
        if len(new) >= _NEW:
            self._new = []
            self._kept += [ref for ref in new if ref() is not None]
            if len(self._kept) >= self._prune_at:
                self._kept = [ref for ref in self._kept if ref() is not None]
                self._prune_at = max(_KEPT, 2 * len(self._kept))
