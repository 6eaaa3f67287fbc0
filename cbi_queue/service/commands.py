"""The commands of a service manager, and waiting for what they do. Writes no file."""

from __future__ import annotations

import shlex
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import Refused
from cbi_queue.programs import PATIENCE_S
from cbi_queue.regular_files import plain_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.service.definition import Definition

_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Command:
    """A command that will be run, with a note for `--dry-run`."""

    argv: tuple[str, ...]
    note: str = ""

    def __str__(self) -> str:
        line = shlex.join(self.argv)
        return f"{line}  # {self.note}" if self.note else line


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
            timeout=PATIENCE_S,
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
