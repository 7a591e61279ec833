"""Numbers as a report's reader wants them: with a unit, and never rounded to what they are not."""

from __future__ import annotations

import math

__all__ = ["megabytes", "percent", "seconds", "share"]

_NONE = "\u2013"


def share(part: float, whole: float) -> float:
    """Part over whole; NaN where there is no whole."""
    return part / whole if whole > 0 else math.nan


def megabytes(nbytes: int) -> str:
    """Bytes in MB of 10^6."""
    return f"{nbytes / 1e6:,.1f} MB"


def percent(rate: float) -> str:
    """A share in percent. What is not quite all, or not quite nothing, is not said to be."""
    if not math.isfinite(rate):
        return _NONE
    for digits in (1, 2, 3):
        text = f"{100 * rate:,.{digits}f}"
        if rate in (0, 1) or float(text.replace(",", "")) not in (0, 100):
            return f"{text} %"
    return "over 99.999 %" if rate > 0.5 else "under 0.001 %"


def seconds(time_s: float) -> str:
    """A duration, in the unit that suits it."""
    if not math.isfinite(time_s):
        return _NONE
    if time_s >= 120:
        whole = round(time_s)
        return f"{whole // 60:,} min {whole % 60} s"
    if time_s >= 1 or time_s == 0:
        return f"{time_s:.2f} s"
    return f"{1e3 * time_s:.2f} ms" if time_s >= 1e-3 else f"{1e6 * time_s:.1f} \u00b5s"
