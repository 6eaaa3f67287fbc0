"""What macOS grants the trainer: Low Power Mode (`pmset -g`), and the priority that its service class gives it.

A launchd job of class Background runs on efficiency cores and gets about an eighth of the GPU; Standard has priority 20
where an app has 31 and more. The priority is read from the process (`proc_pidinfo`), because the output of `launchctl
print` is not stable. How priorities map to classes was measured by others on macOS 26.2: advisory.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from cbi_queue.readings.values import PowerReading, Trust, Unknown
from workers.sensors.macos.libsystem import LibSystem
from workers.sensors.sensor import TrainerSensor, run_command

if TYPE_CHECKING:
    from workers.sensors.sensor import Runner

BACKGROUND_MOST, STANDARD_MOST = 10, 30
"""Priorities up to which a process counts as background (4 is usual) and as standard (20 is usual)."""
_LOW_POWER = re.compile(r"^\s*(?:lowpowermode|powermode)\s+([012])\s*$", re.MULTILINE | re.IGNORECASE)
"""0 normal, 1 low, 2 high. A Mac with a High Power mode (M4 Pro, M1 Max 16-inch) prints `powermode`, others `lowpowermode`."""


def parse_low_power_mode(text: str) -> bool | None:
    """Read `lowpowermode 0|1` or `powermode 0|1|2` of `pmset -g`; None when this Mac has neither line."""
    modes = _LOW_POWER.findall(text)
    return "1" in modes if modes else None


def service_class(priority: int) -> str:
    """Return the name of the class that a priority belongs to."""
    if priority <= BACKGROUND_MOST:
        return "background"
    return "standard" if priority <= STANDARD_MOST else "interactive"


class LowPowerMode:
    """Whether the Mac saves power."""

    name = "pmset -g"
    kind = "power"
    is_slow = True  # a command
    every = 4

    def __init__(self, run: Runner = run_command) -> None:
        """*run* pmset."""
        self._run = run

    def read(self, now_s: float) -> PowerReading | Unknown:
        """Take a reading."""
        mode = parse_low_power_mode(self._run(["/usr/bin/pmset", "-g"]))
        if mode is None:
            return Unknown("pmset -g prints neither lowpowermode nor powermode", now_s)
        return PowerReading(now_s, self.name, low_power_mode=mode)


class MacPriority(TrainerSensor):
    """The service class of the trainer, or of this process while there is no trainer."""

    name = "proc_pidinfo"
    kind = "power"
    is_slow = False
    every = 1

    def __init__(self, lib: LibSystem | None = None) -> None:
        """Call *lib*."""
        self._lib = lib or LibSystem()

    def read(self, now_s: float) -> PowerReading | Unknown:
        """Take a reading."""
        pid = self._trainer.pid if self._trainer else os.getpid()
        priority = self._lib.priority(pid)
        if priority is None:
            return Unknown(f"the priority of process {pid} cannot be read", now_s)
        words = f"{service_class(priority)}, priority {priority}"
        return PowerReading(now_s, self.name, Trust.ADVISORY, service_class=words, demoted=priority <= STANDARD_MOST)
