"""How technical indicators are spelled."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lazybars.errors import ConfigError

__all__ = ["CUSTOMARY", "Indicator", "parse"]

CUSTOMARY = ("sma_20", "ema_50", "rsi_14", "macd_12_26_9", "bbands_20_2", "atr_14", "vwap", "zscore_30")
_MOST_BARS = 1_000_000

# By kind: how it is spelled, the fewest bars it is defined for, the columns that it gives.
_KINDS = {
    "sma": ("sma_BARS", 1, ("",)),
    "ema": ("ema_BARS", 1, ("",)),
    "rsi": ("rsi_BARS", 1, ("",)),
    "macd": ("macd_FAST_SLOW_SIGNAL", 1, ("", "_histogram", "_signal")),
    "bbands": ("bbands_BARS_DEVIATIONS", 2, ("_lower", "_middle", "_upper", "_bandwidth", "_percent")),
    "atr": ("atr_BARS", 1, ("",)),
    "vwap": ("vwap", 1, ("",)),
    "zscore": ("zscore_BARS", 2, ("",)),
}


@dataclass(frozen=True, slots=True)
class Indicator:
    """One indicator as it was asked for.

    name : its spelling. bars : its lengths, none for vwap, three for macd.
    deviations : the width of bbands in standard deviations, else 0.
    """

    name: str
    kind: str
    bars: tuple[int, ...]
    deviations: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.name + suffix for suffix in _KINDS[self.kind][2])


def parse(name: str) -> Indicator:
    """The indicator that is spelled so. Raises ConfigError, which lists the spellings there are."""
    kind, *numbers = name.split("_") if isinstance(name, str) else [""]
    spelling, fewest, _ = _KINDS.get(kind, ("", 1, ()))
    if not spelling or len(numbers) != spelling.count("_"):
        raise _unknown(name)
    deviations = 0.0
    if kind == "bbands":
        if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", numbers[1]) or float(numbers[1]) <= 0:
            raise _unknown(name)
        deviations = float(numbers.pop())
    if not all(re.fullmatch("[0-9]{1,7}", number) for number in numbers):
        raise _unknown(name)
    bars = tuple(map(int, numbers))
    if bars and not fewest <= min(bars) <= max(bars) <= _MOST_BARS:
        raise ConfigError(f"indicator {name!r}: {kind} takes {fewest} to {_MOST_BARS:,} bars")
    if kind == "macd" and bars[0] >= bars[1]:
        raise ConfigError(f"indicator {name!r}: the fast average must have fewer bars than the slow one")
    return Indicator(name, kind, bars, deviations)


def _unknown(name: object) -> ConfigError:
    spellings = ", ".join(spelling for spelling, _, _ in _KINDS.values())
    return ConfigError(f"no indicator {name!r}; there are {spellings}, for instance {', '.join(CUSTOMARY)}")
