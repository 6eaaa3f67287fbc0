"""A process that is asked answers, or its end is told in words; real processes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from cbi_queue.child_answers import answer_of
from cbi_queue.errors import CbiError

if TYPE_CHECKING:
    from pathlib import Path


def asked(tmp_path: Path, program: str, within_s: float = 20.0) -> dict[str, object]:
    """Ask a Python that runs *program* whatever module it is given."""
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!{sys.executable}\n{program}\n")
    interpreter.chmod(0o700)
    words = {"to": "count", "work": "the count", "hint": "later", "left": "; nothing was left"}
    return answer_of("jobs.counting", {"upto": 3}, str(interpreter), within_s=within_s, **words)


def test_json_goes_in_and_comes_out_on_one_thread(tmp_path: Path) -> None:
    program = (
        "import json, os, sys; print(json.dumps(json.load(sys.stdin) | {'threads': os.environ['OMP_NUM_THREADS']}))"
    )
    assert asked(tmp_path, program) == {"upto": 3, "threads": "1"}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit('a\\nlast words')", "the count failed: last words; nothing was left"),
        ("open('/absent/file')", "the count failed: No such file or directory: '/absent/file'; nothing was left"),
        ("import sys; sys.exit(3)", "its process ended with 3 and no word of why"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL, as when memory runs out; nothing was left"),
    ],
)
def test_a_failure_says_how_it_ended(tmp_path: Path, program: str, words: str) -> None:
    with pytest.raises(CbiError, match=words):
        asked(tmp_path, program)


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """Every test fails that leaves a process running."""
    with pytest.raises(CbiError, match="the count took longer than 1 s and was ended; nothing was left"):
        asked(tmp_path, "import time; time.sleep(600)", within_s=1.0)


def test_one_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(CbiError, match=r"cannot count: .*absent cannot be started: No such file"):
        answer_of("jobs.counting", {}, str(tmp_path / "absent"), within_s=1.0, to="count", work="it", hint="no")
