"""The one place that runs a service manager's program, and waits for it. No file is written here."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import Refused, ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbi_queue.service.definition import Definition

_PATIENCE_S = 90.0
"""Seconds for one command: `systemctl restart` returns only when the old instance has used its 60 s."""
_POLL_S = 0.5
NO_PROGRAM = 127
"""Code of an answer when the program does not exist, as a shell would give it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command as it will be run, with a note for `--dry-run`."""

    argv: tuple[str, ...]
    note: str = ""

    def __str__(self) -> str:
        line = shlex.join(self.argv)
        return f"{line}  # {self.note}" if self.note else line


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended."""

    argv: tuple[str, ...]
    code: int
    text: str

    @property
    def words(self) -> str:
        """The first line of what it said, or its code."""
        lines = self.text.strip().splitlines()
        return lines[0] if lines else f"exit code {self.code}"

    def require(self, what: str, hint: str) -> None:
        """Raise ServiceError with *what* was tried and a *hint*, unless the command succeeded."""
        if self.code != 0:
            raise ServiceError(f"could not {what}: `{shlex.join(self.argv)}` said: {self.words}", hint=hint)


def run(argv: Sequence[str]) -> Answer:
    """Run *argv* and return how it ended; a missing program is an answer, too.

    Raises:
        ServiceError: when it does not end within 90 s.
    """
    command = tuple(argv)
    plain = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, env=plain
        )
    except FileNotFoundError:
        return Answer(command, NO_PROGRAM, f"{command[0]}: no such program")
    except subprocess.TimeoutExpired as exc:
        raise ServiceError(f"`{shlex.join(command)}` did not end within {_PATIENCE_S:g} s") from exc
    return Answer(command, done.returncode, done.stdout + done.stderr)


def wait_until(is_true: Callable[[], bool], patience_s: float) -> bool:
    """Look again and again until *is_true* or *patience_s* has passed; return which."""
    deadline_s = clock.monotonic_s() + patience_s
    while not is_true():
        if clock.monotonic_s() >= deadline_s:
            return False
        time.sleep(min(_POLL_S, patience_s))
    return True


def require_importable(definition: Definition) -> None:
    """Make sure that the interpreter finds cbi-queue from the service's folder, with the service's environment only.

    A checkout that is merely on the shell's path would install and then fail at every start.

    Raises:
        Refused: when it does not.
    """
    probe = (definition.python, "-P", "-c", "import cbi_queue.cli, workers")
    try:
        done = subprocess.run(
            probe,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            cwd=definition.state_dir,
            env=dict(definition.environment),
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Refused(f"the interpreter {definition.python} cannot be run: {exc}") from exc
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Refused(
            f"the interpreter {definition.python} cannot import cbi-queue outside this folder: {last}",
            hint="install cbi-queue into that Python (pip install), then install the service with it",
        )
