"""An objective for Optuna, in a study as its users run one."""

from __future__ import annotations

from typing import Any

import pytest

import lazybars
from lazybars import ConfigError, SweepFailed
from lazybars.sweep import objective
from sweep.market import Market

optuna = pytest.importorskip("optuna")


def space(trial: Any) -> dict[str, Any]:
    how = trial.suggest_categorical("how", [None, "raise"])
    return {"fast": trial.suggest_int("fast", 2, 3), "slow": 20, "how": how}


def test_a_study_optimises_what_single_trials_come_to(market: Market) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    goal = objective(
        market.strategy,
        market.start,
        market.end,
        store=market.store,
        space=space,
        memory="140MB",
        workers=2,
        value=lambda result: result.final_value or 0.0,
    )
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.GridSampler({"fast": [2, 3], "how": [None, "raise"]}, seed=0),
    )
    study.optimize(goal, n_trials=4, n_jobs=2, catch=SweepFailed)
    truth = {one.parameters["fast"]: one for one in market.sweep({"fast": [2, 3], "slow": [20]})}
    assert len(study.trials) == 4
    for trial in study.trials:
        if trial.params["how"] is None:
            assert trial.value == truth[trial.params["fast"]].final_value
            assert trial.user_attrs["trades_hash"] == truth[trial.params["fast"]].trades_hash
        else:
            assert trial.state.name == "FAIL"
            assert trial.user_attrs["status"] == "error"
    assert study.best_value == max(one.final_value or 0 for one in truth.values())


def test_a_value_that_is_no_figure_is_refused(market: Market) -> None:
    with pytest.raises(ConfigError, match="sharpe"):
        objective(market.strategy, market.start, market.end, store=market.store, space=space, value="status")
    with pytest.raises(lazybars.CapTooSmall):
        objective(market.strategy, market.start, market.end, store=market.store, space=space, memory="50MB")
