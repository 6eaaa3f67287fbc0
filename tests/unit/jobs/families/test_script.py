"""The secrets of a script: read whole from a file that is its owner's alone, or refused before anything starts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from cbi_queue.models.parameters.script import ScriptParams
from jobs.families.script import Script
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path


def task(folder: Path, content: bytes, mode: int = 0o600) -> Any:
    """A task whose script takes its secrets from a file with *content*."""
    path = folder / "secrets"
    path.write_bytes(content)
    path.chmod(mode)
    params = ScriptParams(command=("true",), workdir=str(folder), environment_file=str(path))
    spec = SimpleNamespace(typed_params=params, name="mine")
    return SimpleNamespace(spec=spec, assignment=SimpleNamespace(attempt=1))


def test_secrets_reach_the_script(tmp_path: Path) -> None:
    """Comments and empty lines say nothing; what stands behind the first `=` is the value as it is."""
    script = Script()
    script.prepare(task(tmp_path, b"# mine\n\nKEY=a = 'b'\r\nEMPTY=\n"))
    assert {name: script._environment[name] for name in ("KEY", "EMPTY", "CBI_QUEUE_JOB")} == {
        "KEY": "a = 'b'", "EMPTY": "", "CBI_QUEUE_JOB": "mine.1"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"KEY=hunter2", 0o640, "can be read by others; run `chmod 600"),
        (b"hunter2\n", 0o600, "line 1, is not NAME=value"),
        (b"KEY=hunter2\xff", 0o600, "is not UTF-8 text"),
        (b"KEY=hunter2\n" * 10_000, 0o600, "has more than 65,536 bytes"),
    ],
)
def test_a_wrong_file_is_refused_without_showing_what_it_holds(
    tmp_path: Path, content: bytes, mode: int, words: str
) -> None:
    """A file that was cut at its limit would give half a secret."""
    with pytest.raises(BrokenSpec) as refused:
        Script().prepare(task(tmp_path, content, mode))
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)
