"""Runs other programs of the system and waits for them: exit code and output, in plain English. Writes no file."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S = 90.0
"""Seconds for one command: `systemctl restart` returns only when the old instance has ended, which may take 60 s."""
NO_PROGRAM = 127
"""Exit code of an `Answer` when the program does not exist, as in a shell."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The exit code and output of a command."""

    argv: tuple[str, ...]
    code: int
    text: str

    @property
    def words(self) -> str:
        """The first line of its output, or its exit code."""
        lines = self.text.strip().splitlines()
        return lines[0] if lines else f"exit code {self.code}"

    def require(self, what: str, hint: str) -> None:
        """Raise ServiceError with *what* was attempted and a *hint*, unless the command succeeded."""
        if self.code != 0:
            raise ServiceError(f"cannot {what}: `{shlex.join(self.argv)}` failed: {self.words}", hint=hint)


def run(argv: Sequence[str]) -> Answer:
    """Run *argv*; a program that does not exist is an `Answer` as well.

    Raises:
        ServiceError: when it does not end within 90 s.
    """
    command = tuple(argv)
    plain = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, env=plain
        )
    except FileNotFoundError:
        return Answer(command, NO_PROGRAM, f"{command[0]}: no such program")
    except subprocess.TimeoutExpired as exc:
        raise ServiceError(
            f"`{shlex.join(command)}` did not end within {PATIENCE_S:g} s",
            hint="check that program, then repeat the command",
        ) from exc
    return Answer(command, done.returncode, done.stdout + done.stderr)
