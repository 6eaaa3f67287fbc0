"""What the sensors of this machine read now, for `cbi-queue sensors show` and `doctor`.

`python -m workers.sensors` reads them in a separate process: the core imports no sensor, and a sensor that hangs or
crashes cannot take its caller down.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from cbi_queue.errors import CbiError, Refused

READ_TIMEOUT_S = 40.0
"""Two readings a second apart, and twice the time that a hung sensor is waited for, on a slow machine."""


@dataclass(frozen=True, slots=True)
class SensorRow:
    """One sensor and its reading; fields as in `workers.sensors.recording.Shown`."""

    kind: str
    sensor: str
    words: str
    source: str
    trust: str | None
    age_s: float
    reading: dict[str, Any]

    @property
    def is_known(self) -> bool:
        """True when the sensor gave a reading."""
        return self.trust is not None


def sensors_command(*arguments: str) -> list[str]:
    """Return the command line that runs the sensor program."""
    return [sys.executable, "-P", "-m", "workers.sensors", *arguments]


def read_sensors(pid: int | None = None) -> list[SensorRow]:
    """Read every sensor; takes a second or two.

    Args:
        pid: a process whose tree is measured as a trainer's would be.

    Raises:
        Refused: when there is no such process, or the settings are unusable.
        CbiError: when the sensor program does not answer or fails.
    """
    arguments = ["show"] + ([] if pid is None else ["--pid", str(pid)])
    try:
        done = subprocess.run(
            sensors_command(*arguments), capture_output=True, text=True, timeout=READ_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise CbiError(f"the sensors did not answer within {READ_TIMEOUT_S:.0f} s") from exc
    if done.returncode == Refused.exit_code:
        message, _, hint = done.stderr.strip().removeprefix("Error: ").partition("\nHint: ")
        raise Refused(message, hint=hint or None)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CbiError(f"the sensor program ended with exit code {done.returncode}: {last}")
    return [SensorRow(**row) for row in json.loads(done.stdout)]
