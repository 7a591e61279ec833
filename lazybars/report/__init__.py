"""A run's report: one HTML page with all that it shows inside, for reading without a network."""

from lazybars.report.page import write_report

__all__ = ["write_report"]
