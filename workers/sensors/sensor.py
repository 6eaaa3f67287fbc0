"""What every sensor is: a name, a kind of reading, and `read`. And how sensors read files and run commands.

What a sensor cannot measure is `Unknown` with why. What it raises, and impossible values, are caught one level up
(`answers`, `plausibility`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.process_identity import ProcessIdentity
    from cbi_queue.readings.values import Reading, Unknown

COMMAND_TIMEOUT_S = 4.0
"""Seconds that a command gets; its sensor counts as hung a little later."""

Runner = Callable[[Sequence[str]], str]
"""Runs a command and returns its standard output; raises OSError or `subprocess.SubprocessError`."""


class Sensor(Protocol):
    """One source of one kind of reading."""

    name: str
    """The source, for people: "notify(3)", "/proc/meminfo"."""
    kind: str
    """Field of `Readings` that it fills, or part of it."""
    is_slow: bool
    """It may hang or take long (a command, a driver): it is read in a separate thread."""
    every: int
    """It is read at every n-th sample, 1 to 4: expensive sensors are read less often, and stay fresh (5 samples)."""

    def read(self, now_s: float) -> Reading | Unknown:
        """Take a reading; *now_s* is the current boot-clock second and becomes its time."""


@runtime_checkable
class Watching(Protocol):
    """A sensor that measures the trainer's processes."""

    def watch(self, trainer: ProcessIdentity | None) -> None:
        """Measure *trainer* and what it starts from now on; None: there is no trainer."""


class TrainerSensor:
    """The part of a `Watching` sensor that stores the trainer."""

    _trainer: ProcessIdentity | None = None

    def watch(self, trainer: ProcessIdentity | None) -> None:
        """Measure *trainer* from now on; None: there is no trainer."""
        self._trainer = trainer


@runtime_checkable
class Following(Protocol):
    """A sensor that needs to know how a trainer's work goes: a script that follows it."""

    def work_begins(self) -> None:
        """Note that a trainer has prepared and begins to work."""

    def epoch_done(self) -> None:
        """Note that a trainer has finished an epoch."""

    def work_rests(self) -> None:
        """Note that a trainer is paused now."""


@runtime_checkable
class Closing(Protocol):
    """A sensor that holds something: a child process, a token, a driver's session."""

    def close(self) -> None:
        """Release it. May be called twice."""


def run_command(arguments: Sequence[str]) -> str:
    """Run a command of the system in the C locale (for decimal points) and return its output; its exit code is ignored,
    because `notifyutil` fails with 0.

    Raises:
        OSError: when there is no such command.
        subprocess.TimeoutExpired: after `COMMAND_TIMEOUT_S`; the command has been killed.
    """
    done = subprocess.run(
        list(arguments),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        timeout=COMMAND_TIMEOUT_S, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    return done.stdout


def read_text(path: str | Path) -> str | None:
    """Return the content of a small kernel file; None when it does not exist or may not be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - half the cost, at every sample
            return file.read()
    except OSError:
        return None
