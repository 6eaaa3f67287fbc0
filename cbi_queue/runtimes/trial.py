"""Checks whether a runtime's Python can train: it imports everything and trains a tiny net for one step."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TRIAL_TIMEOUT_S = 180.0
"""Seconds. Importing TensorFlow takes 3 to 6, and ten times as long on a busy machine or a cold disk."""
MODULES = {"tensorflow": "jobs.keras_check"}
"""Backend -> the program that tries it; it prints a JSON object, or fails with the reason on its last line."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial."""

    fault: str | None
    """Why it cannot train; None when it can."""
    seen: dict[str, Any] = field(default_factory=dict)
    """Versions and devices."""


def try_out(interpreter: str, backend: str, cwd: Path) -> TrialResult:
    """Run the trial of *backend* on *interpreter*, in the folder *cwd*, as the slot would run a trainer."""
    command = [interpreter, "-P", "-m", MODULES[backend]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_TIMEOUT_S, check=False, cwd=cwd)
    except OSError as exc:
        return TrialResult(f"{interpreter} cannot be started: {exc.strerror}")
    except subprocess.TimeoutExpired:
        return TrialResult(f"{interpreter} did not answer within {TRIAL_TIMEOUT_S:.0f} s")
    if done.returncode != 0:
        ended = f"killed by signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        return TrialResult((done.stderr.strip().splitlines() or [ended])[-1])
    try:
        seen = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return TrialResult(f"{interpreter} printed {done.stdout[-80:]!r} where the result of the trial was expected")
    return TrialResult(None, seen)
