"""The snippets of the documents run, in their order, as a reader would run them.

A fence opened with ``python`` (or ``python run``) is executed, one opened with ``python no-run`` is
only compiled. All of one document share one process and one empty working directory.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MUST_RUN = ("README.md",)
DOCUMENTS = [path.name for path in sorted(ROOT.glob("*.md"))]
_FENCE = re.compile(r"^```python(?P<how>[^\n]*)\n(?P<code>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[str, int, str]]:
    """(how, line of the document that the code begins at, code) of each fence of Python."""
    return [
        (found["how"].strip() or "run", text.count("\n", 0, found.start("code")) + 1, found["code"])
        for found in _FENCE.finditer(text)
    ]


def script(text: str) -> str:
    """The snippets that run, each on the lines that it has in the document: tracebacks point there."""
    lines: list[str] = []
    for how, line, code in blocks(text):
        if how == "run":
            lines += [""] * (line - 1 - len(lines)) + code.splitlines()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", MUST_RUN)
def test_there_are_snippets(name: str) -> None:
    assert any(how == "run" for how, _, _ in blocks((ROOT / name).read_text()))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_fence_says_how_it_is_meant_and_compiles(name: str) -> None:
    for how, line, code in blocks((ROOT / name).read_text()):
        assert how in ("run", "no-run"), f"{name}:{line}: ```python {how}"
        compile("\n" * (line - 1) + code, name, "exec")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_snippets_run(name: str, tmp_path: Path) -> None:
    code = script((ROOT / name).read_text())
    if not code.strip():
        pytest.skip("no snippets to run")
    program = tmp_path / f"{Path(name).stem}.py"
    program.write_text(code)
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BACKTESTING_DATA_SOURCE": "none",
        "LUMIBOT_DISABLE_DOTENV": "1",
        # Whatever would go to the network fails at once instead of waiting.
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, str(program)], cwd=work, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


# ---- the harness itself ---------------------------------------------------------------------------

SAMPLE = """text
```python
one = 1
```
```console
$ not python
```
```python no-run
this.is_only(compiled)
```
```python run
assert one == 1
```
"""


def test_snippets_share_a_namespace_and_keep_their_lines() -> None:
    assert [(how, line) for how, line, _ in blocks(SAMPLE)] == [("run", 3), ("no-run", 9), ("run", 12)]
    assert script(SAMPLE).splitlines()[2] == "one = 1"
    assert script(SAMPLE).splitlines()[11] == "assert one == 1"
    exec(compile(script(SAMPLE), "SAMPLE", "exec"), {})
