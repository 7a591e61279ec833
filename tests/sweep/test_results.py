"""The file of results: what a killed sweep leaves, and what is not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import lazybars
from lazybars.errors import ConfigError
from lazybars.sweep.job import Job, TrialResult
from lazybars.sweep.results import Results
from sweep.market import lines

JOB = Job(
    strategy="/s.py:S",
    start="2024-01-02T00:00:00",
    end="2024-01-03T00:00:00",
    store="/bars.duckdb",
    assets=None,
    backtest={},
    memory_bytes=1,
    slack_bytes=None,
    timeout_s=None,
)


def done(number: int, status: str = "ok") -> tuple[Job, TrialResult]:
    job = JOB.trial({"n": number, "name": "é\n\u2028"})
    reply = {"status": status, "final_value": 0.1 + number, "hit_rate": float("nan"), "said": "ignored"}
    return job, TrialResult.of(number, job.what, reply)


def written(path: Path, *statuses: str) -> bytes:
    results = Results(path)
    for number, status in enumerate(statuses):
        results.add(*done(number, status))
    results.close()
    return path.read_bytes()


def test_every_line_is_json_of_its_own_and_keeps_every_bit(tmp_path: Path) -> None:
    path = tmp_path / "é.jsonl"
    written(path, "ok", "error")
    rows = lines(path)
    assert [row["parameters"] for row in rows] == [{"n": n, "name": "é\n\u2028"} for n in range(2)]
    assert [row["final_value"] for row in rows] == [0.1, 1.1]
    assert rows[0]["hit_rate"] is None
    assert "said" not in rows[0]
    again = Results(path)
    job, result = done(1, "error")
    assert TrialResult.of(1, job.what, again.done[job.identity]) == result
    again.close()


def test_what_did_not_end_well_is_done_unless_it_shall_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    written(path, "ok", "timeout", "killed", "memory", "error")
    results = Results(path)
    assert len(results.done) == 5
    results.close()
    results = Results(path, retry=True)
    assert list(results.done) == [done(0)[0].identity]
    results.add(*done(1, "ok"))
    results.close()
    results = Results(path, retry=True)
    assert list(results.done) == [done(0)[0].identity, done(1)[0].identity]
    results.close()


def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    whole = written(path, "ok", "ok")
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        results = Results(path)
        assert len(results.done) == 1
        results.add(*done(5))
        results.close()
        assert [row["parameters"]["n"] for row in lines(path)] == [0, 5]


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n",
        b"hello",
        b"{}\n",
        b'{"lazybars_sweep":1,}\n',
        b'{"lazybars_sweep":1,"status":"ok"}\n',
        b'{"lazybars_sweep":2,"status"',
        b"\n",
        b"\x00\x00\x00",
        b"PAR1",
    ],
)
def test_a_file_of_others_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.jsonl"
    good = written(tmp_path / "good.jsonl", "ok")
    for before in (b"", good):
        path.write_bytes(before + content)
        with pytest.raises(ConfigError, match=f"line {2 if before else 1} is no result"):
            Results(path)
        assert path.read_bytes() == before + content


def test_places_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "r.jsonl", tmp_path / "\x00"):
        with pytest.raises(ConfigError, match="cannot be written"):
            Results(path)
    with pytest.raises(ConfigError, match="JSON lines"):
        Results(tmp_path / "r.parquet")
    assert not (tmp_path / "r.parquet").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told() -> None:
    results = Results("/dev/full")
    with pytest.raises(ConfigError, match="No space left"):
        results.add(*done(0))
    results.close()


def test_two_sweeps_cannot_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    held = Results(path)
    code = f"from lazybars.sweep.results import Results; Results({str(path)!r})"
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(lazybars.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert "in use by another sweep" in there.stderr
    held.close()
    Results(path).close()


def test_what_decides_a_result_decides_its_identity() -> None:
    identity = json.loads(JOB.trial({"b": 1, "a": 2}).identity)
    assert identity["parameters"] == {"a": 2, "b": 1}
    assert {"strategy", "start", "end", "store"} < set(identity)
    assert not {"memory_bytes", "slack_bytes", "timeout_s"} & set(identity)
