"""What the sensors of this machine say just now, asked of `python -m workers.sensors` in a process of its own: the core
knows no sensor, and one that hangs or crashes takes nobody along. Used by `cbi-queue sensors show` and `doctor`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from cbi_queue.errors import CbiError, Refused

LOOK_TIMEOUT_S = 40.0
"""Two looks of a second apart, and twice the time that a hung sensor is waited for, on a slow machine."""


@dataclass(frozen=True, slots=True)
class SensorRow:
    """One sensor and what it says; fields as in `workers.sensors.recording.Shown`."""

    kind: str
    sensor: str
    words: str
    source: str
    trust: str | None
    age_s: float
    reading: dict[str, Any]

    @property
    def is_known(self) -> bool:
        """Tell whether the sensor gave a reading."""
        return self.trust is not None


def sensors_command(*arguments: str) -> list[str]:
    """Return the command line that runs the sensors' own program."""
    return [sys.executable, "-P", "-m", "workers.sensors", *arguments]


def read_sensors(pid: int | None = None) -> list[SensorRow]:
    """Ask every sensor; takes a second or two.

    Args:
        pid: a process whose tree is looked at as a trainer's would be.

    Raises:
        Refused: when there is no such process, or the settings are unusable.
        CbiError: when the sensors' program does not answer.
    """
    arguments = ["show"] + ([] if pid is None else ["--pid", str(pid)])
    try:
        done = subprocess.run(
            sensors_command(*arguments), capture_output=True, text=True, timeout=LOOK_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise CbiError(f"the sensors did not answer within {LOOK_TIMEOUT_S:.0f} s") from exc
    if done.returncode == Refused.exit_code:
        message, _, hint = done.stderr.strip().removeprefix("Error: ").partition("\nHint: ")
        raise Refused(message, hint=hint or None)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CbiError(f"the sensors' program ended with exit code {done.returncode}: {last}")
    return [SensorRow(**row) for row in json.loads(done.stdout)]
