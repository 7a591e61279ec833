"""The report of a sweep, and its frame: figures against pandas, and what a name can do to a page."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lazybars
from lazybars.errors import ConfigError
from lazybars.sweep.frame import COLUMNS, frame_of
from lazybars.sweep.job import TrialResult
from lazybars.sweep.report import write_report


def result(number: int, parameters: dict[str, Any], **figures: Any) -> TrialResult:
    what = {"strategy": "/s.py:Trend", "start": "2024-01-02T00:00:00", "end": "2024-02-01T09:30:00"}
    return TrialResult(number=number, **what, parameters=parameters, **{"status": "ok", **figures})


def swept() -> list[TrialResult]:
    rng = np.random.default_rng(0)
    found = []
    for fast in (5, 10):
        for slow in (50.0, 20.0, 100.0):
            for kind in ("<b>x</b>", "y"):
                sharpe, total, down = rng.normal(size=3).tolist()
                given = {"sharpe": sharpe, "total_return": total, "max_drawdown": abs(down)}
                parameters = {"fast": fast, "slow": slow, "ki<i>nd": kind, "fixed": 1}
                found.append(result(len(found), parameters, **given))
    found.append(result(len(found), {"fast": 7, "slow": 20.0}, status="error", error="</td><script>1"))
    return found[::-1]


def figures(page: str) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" data-figure="(\w+)">(.*?)</script>', page, re.DOTALL)
    return {name: json.loads(text) for name, text in found}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "é.html"
    assert write_report(swept(), path) == path
    assert [one.name for one in path.parent.iterdir()] == ["é.html"]
    return path.read_text("utf-8")


def test_a_cell_of_the_heat_map_is_the_best_over_the_other_parameters(page: str) -> None:
    traces = figures(page)["heat"]["data"]
    frame = frame_of(swept())
    pairs = [("fast", "slow"), ("fast", "ki<i>nd"), ("slow", "ki<i>nd")]
    assert len(traces) == len(pairs) * 3
    for at, trace in enumerate(traces):
        x, y = pairs[at // 3]
        figure, best = (("sharpe", "max"), ("total_return", "max"), ("max_drawdown", "min"))[at % 3]
        truth = frame.pivot_table(figure, y, x, best)
        columns = [unescape(text) for text in trace["x"]]
        rows = [unescape(text) for text in trace["y"]]
        for row, cells in zip(rows, trace["z"], strict=True):
            for column, cell in zip(columns, cells, strict=True):
                known = truth.rename(index=str, columns=str)
                expected = known[column].get(row) if column in known else None
                assert cell == expected
    assert [trace["visible"] for trace in traces] == [True] + [False] * 8
    assert [unescape(text) for text in traces[0]["y"]] == ["20.0", "50.0", "100.0"]  # numbers by size
    assert traces[0]["z"][0][1] is None  # the trial that failed


def test_a_line_of_the_parallel_coordinates_is_a_trial(page: str) -> None:
    (trace,) = figures(page)["parallel"]["data"]
    frame = frame_of([one for one in swept() if one.ok])
    dimensions = {unescape(one["label"]): one for one in trace["dimensions"]}
    assert list(dimensions) == ["fast", "slow", "ki<i>nd", "Sharpe", "return", "drawdown"]
    order = np.argsort(frame["sharpe"])
    drawn = np.argsort(dimensions["Sharpe"]["values"])
    for name, column in (("fast", "fast"), ("slow", "slow"), ("return", "total_return")):
        values = np.array(dimensions[name]["values"])
        assert values[drawn].tolist() == frame[column].to_numpy()[order].tolist()
    kinds = dimensions["ki<i>nd"]
    names = [unescape(kinds["ticktext"][at]) for at in kinds["values"]]
    assert np.array(names)[drawn].tolist() == frame["ki<i>nd"].to_numpy()[order].tolist()
    assert "Without these figures, and not drawn: 1." in page


def test_the_page_holds_everything_and_no_name_becomes_markup(page: str) -> None:
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "http" not in outside.replace("http-equiv", "")
    assert "<b>x" not in outside
    assert "<i>nd" not in outside
    assert "<script>1" not in page
    assert "&lt;/td&gt;&lt;script&gt;1" in page
    assert "2024-01-02 to 2024-02-01 09:30:00 \u00b7 13 trials \u00b7 12 ok \u00b7 1 error" in unescape(page)


def test_trials_are_listed_the_best_first_and_those_that_failed_last(page: str) -> None:
    rows = re.findall(r"<tr><td>(\d+)</td>", page)
    best = sorted((one for one in swept() if one.ok), key=lambda one: -(one.sharpe or 0))
    assert [int(row) for row in rows] == [*(one.number for one in best), 12]


@pytest.mark.parametrize(
    "found",
    [
        [result(0, {})],
        [result(0, {"a": 1}, sharpe=1.0, total_return=0.1, max_drawdown=0.0)],
        [result(at, {"a": at}, sharpe=1.0, total_return=0.1, max_drawdown=0.0) for at in range(2)],
        [result(at, {"a": at, "b": at}, status="error", error="x") for at in range(2)],
        [result(0, {"a": [1, {"b": None}]}), result(1, {"a": True}), result(2, {"a": "$title"})],
    ],
)
def test_a_sweep_of_little_has_a_report_too(found: list[TrialResult], tmp_path: Path) -> None:
    page = write_report(found, tmp_path / "r.html").read_text("utf-8")
    assert page.count("<tr><td>") == len(found)


def test_what_cannot_be_reported_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to report"):
        write_report([], tmp_path / "r.html")
    for path in (tmp_path, tmp_path / "nowhere" / "r.html"):
        with pytest.raises(ConfigError, match="cannot be written"):
            write_report(swept(), path)
    assert list(tmp_path.iterdir()) == []


# ---- the frame ------------------------------------------------------------------------------------


def test_the_frame_has_a_row_a_trial_in_order_and_types_that_hold() -> None:
    frame = frame_of(swept())
    assert frame.index.tolist() == list(range(13))
    assert frame.columns.tolist() == ["fast", "slow", "ki<i>nd", "fixed", *COLUMNS]
    assert frame["fast"].dtype == "int64"
    assert frame["slow"].dtype == "float64"
    assert frame["trades"].dtype == "Int64"
    assert frame["status"].tolist() == ["ok"] * 12 + ["error"]
    assert frame.loc[12, "ki<i>nd"] is None
    assert np.isnan(frame.loc[12, "sharpe"])
    empty = frame_of([])
    assert empty.columns.tolist() == list(COLUMNS)
    assert len(empty) == 0
    assert (empty.dtypes == frame[list(COLUMNS)].dtypes).all()


def test_a_parameter_that_bears_a_figures_name_does_not_hide_it() -> None:
    frame = frame_of([result(0, {"trades": "few", "a": 1}, trades=7)])
    assert frame.loc[0, "trades"] == 7
    assert frame.loc[0, "parameters.trades"] == "few"
    assert isinstance(frame, pd.DataFrame)


def test_the_package_is_light() -> None:
    assert not {"plotly", "rich", "pandas"} & {name for name in vars(lazybars) if not name.startswith("_")}
