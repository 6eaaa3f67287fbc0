"""Runs the programs of a service manager and waits for them. Writes no file."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import Refused, ServiceError
from cbi_queue.regular_files import plain_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbi_queue.service.definition import Definition

_PATIENCE_S = 90.0
"""Seconds for one command: `systemctl restart` returns only when the old instance has ended, which may take 60 s."""
_POLL_S = 0.5
NO_PROGRAM = 127
"""Exit code of an `Answer` when the program does not exist, as in a shell."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that will be run, with a note for `--dry-run`."""

    argv: tuple[str, ...]
    note: str = ""

    def __str__(self) -> str:
        line = shlex.join(self.argv)
        return f"{line}  # {self.note}" if self.note else line


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
            command, check=False, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, env=plain
        )
    except FileNotFoundError:
        return Answer(command, NO_PROGRAM, f"{command[0]}: no such program")
    except subprocess.TimeoutExpired as exc:
        raise ServiceError(
            f"`{shlex.join(command)}` did not end within {_PATIENCE_S:g} s",
            hint="check the service manager, then repeat the command",
        ) from exc
    return Answer(command, done.returncode, done.stdout + done.stderr)


def wait_until(is_true: Callable[[], bool], patience_s: float) -> bool:
    """Wait until *is_true* returns True; return False if it did not within *patience_s* seconds."""
    deadline_s = clock.monotonic_s() + patience_s
    while not is_true():
        if clock.monotonic_s() >= deadline_s:
            return False
        time.sleep(min(_POLL_S, patience_s))
    return True


def require_importable(definition: Definition) -> None:
    """Check that the interpreter finds cbi-queue from the service's folder, with only the service's environment.

    A checkout that is found only through the shell's path would be installed and then fail at every start.

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
        raise Refused(f"the interpreter {definition.python} cannot be started: {plain_words(exc)}") from exc
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Refused(
            f"the interpreter {definition.python} cannot import cbi-queue outside this folder: {last}",
            hint="install cbi-queue into that Python with pip, then run `cbi-queue service install` from it",
        )
