"""Sweeps: one strategy, many sets of parameters, each in a process of its own under one memory cap.

`sweep` starts here and ends in `session`, which asks a backend, `pool` or `cluster`, for processes
(`process`), which run `worker`. Light to import: pandas, rich and Lumibot come with what needs them.
"""

from lazybars.sweep.entry import sweep
from lazybars.sweep.job import TrialResult
from lazybars.sweep.optimise import objective
from lazybars.sweep.session import Sweep
from lazybars.sweep.spans import Fold, Span, walk_forward

__all__ = ["Fold", "Span", "Sweep", "TrialResult", "objective", "sweep", "walk_forward"]

# In the package, `lazybars.sweep` is the function: what else is here is to be found on it as well.
sweep.objective = objective  # type: ignore[attr-defined]
