"""A dry run: what a run over a store would come to at each cap and partition size. No bar is read."""

from lazybars.forecast.dry_run import Forecast, Prospect, forecast

__all__ = ["Forecast", "Prospect", "forecast"]
