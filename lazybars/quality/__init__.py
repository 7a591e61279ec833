"""Whether bars are what they should be: gaps, spikes, impossible prices, splits that nobody booked."""

from lazybars.quality.checking import CHECKS, check
from lazybars.quality.finding import Finding

__all__ = ["CHECKS", "Finding", "check"]
