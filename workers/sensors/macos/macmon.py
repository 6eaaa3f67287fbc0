"""Temperatures, and use and clock of the GPU, of an Apple chip from `macmon pipe`, where it is installed: a child process that prints a line a second.

Advisory: single sensors of a cluster that is switched off tell sentinels (6.7, 9.8, 4.633, exactly 40.0, 0.0), and names
move between releases. A temperature of exactly 40.0 is left out, as is what no running chip has. Source: the readme of
vladkens/macmon 0.7 and 0.8; oshi/oshi#3529, vladkens/macmon#12, exelban/stats#3271 for the sentinels.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.readings.values import GpuReading, ThermalReading, Trust, Unknown
from workers.sensors.plausibility import believable_temp_c

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMAND = ("macmon", "pipe", "-i", "2000")
TEMPERATURES = ("cpu_temp_avg", "gpu_temp_avg")
PLACEHOLDER_C = 40.0
MOST_MHZ = 20_000.0
RESTART_AFTER_S = 60.0
"""Seconds before a macmon that ended is started again."""


class MacmonFault(ValueError):
    """A line of macmon is not understood; the message says how."""


@dataclass(frozen=True, slots=True)
class MacmonLine:
    """What one line tells; None for what it does not, or not believably."""

    temp_c: float | None
    """The hotter of the averages of CPU and GPU."""
    gpu_share: float | None
    """Share of time in which the GPU was active, 0 to 1."""
    gpu_mhz: float | None


def parse_macmon(line: str) -> MacmonLine:
    """Read a line of `macmon pipe`, of version 0.7 (`gpu_usage: [MHz, share]`) or 0.8 (`gpu_freq_mhz`, …).

    Raises:
        MacmonFault: when it is no JSON object.
    """
    try:
        row = json.loads(line)
    except ValueError as exc:
        raise MacmonFault(f"macmon printed no JSON: {line.strip()[:80]!r}") from exc
    if not isinstance(row, dict):
        raise MacmonFault(f"macmon printed {line.strip()[:80]!r}, an object was expected")
    temps = row.get("temp")
    told = [_temp_c(temps.get(name)) for name in TEMPERATURES] if isinstance(temps, dict) else []
    usage = row.get("gpu_usage")
    old_mhz, old_share = usage if isinstance(usage, list) and len(usage) == 2 else (None, None)
    return MacmonLine(
        max((temp_c for temp_c in told if temp_c is not None), default=None),
        _within(row.get("gpu_active_ratio", old_share), 1.0),
        _within(row.get("gpu_freq_mhz", old_mhz), MOST_MHZ),
    )


def _temp_c(value: Any) -> float | None:
    number = _within(value, MOST_MHZ)
    return None if number is None or number == PLACEHOLDER_C else believable_temp_c(number)


def _within(value: Any, most: float) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number and 0.0 <= value <= most else None


class MacmonPipe:
    """The child process and its last line, shared by the sensors that read it."""

    def __init__(self, command: Sequence[str] = COMMAND, boot_s: Callable[[], float] = clock.boot_s) -> None:
        """Run *command* from the first look on; *boot_s* says when its lines came."""
        self._command, self._boot_s = command, boot_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._started_s = -math.inf
        self._last: tuple[float, str] | None = None
        self._closed = False

    def latest(self, now_s: float) -> tuple[float, MacmonLine]:
        """Return the last line and the second at which it came; start macmon if it does not run.

        Raises:
            MacmonFault: when it is not installed, or there is no line that can be understood.
        """
        if shutil.which(self._command[0]) is None:
            raise MacmonFault("macmon is not installed (brew install macmon)")
        self._keep_running(now_s)
        last = self._last
        if last is None:
            raise MacmonFault("macmon has not printed a line yet")
        return last[0], parse_macmon(last[1])

    def close(self) -> None:
        """End the child; may be called twice."""
        with self._lock:
            self._closed = True
            child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()

    def _keep_running(self, now_s: float) -> None:
        with self._lock:
            is_running = self._child is not None and self._child.poll() is None
            if is_running or self._closed or now_s - self._started_s < RESTART_AFTER_S:
                return
            self._started_s, self._last = now_s, None
            self._child = child = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        threading.Thread(target=self._listen, args=(child,), name="macmon", daemon=True).start()

    def _listen(self, child: subprocess.Popen[str]) -> None:
        lines = child.stdout
        if lines is None:
            return
        with lines:
            for line in lines:
                self._last = (self._boot_s(), line)


class MacmonHeat:
    """The hotter of CPU and GPU, as macmon averages them."""

    name = "macmon"
    kind = "thermal"
    is_slow = True  # it may start a command
    every = 1

    def __init__(self, pipe: MacmonPipe) -> None:
        """Read *pipe*."""
        self._pipe = pipe

    def read(self, now_s: float) -> ThermalReading | Unknown:
        """Take a reading, as old as the line."""
        try:
            at_s, told = self._pipe.latest(now_s)
        except MacmonFault as exc:
            return Unknown(str(exc), now_s)
        if told.temp_c is None:
            return Unknown("macmon gives no believable temperature", at_s)
        return ThermalReading(at_s, self.name, Trust.ADVISORY, temp_c=told.temp_c)

    def close(self) -> None:
        """End macmon."""
        self._pipe.close()


class MacmonGpu(MacmonHeat):
    """Use and clock of the GPU, as macmon tells them."""

    kind = "gpu"

    def read(self, now_s: float) -> GpuReading | Unknown:  # type: ignore[override]  # another kind, by `kind`
        """Take a reading, as old as the line."""
        try:
            at_s, told = self._pipe.latest(now_s)
        except MacmonFault as exc:
            return Unknown(str(exc), now_s)
        if told.gpu_share is None and told.gpu_mhz is None:
            return Unknown("macmon tells nothing of the GPU", at_s)
        return GpuReading(at_s, self.name, Trust.ADVISORY, busy_share=told.gpu_share, clock_mhz=told.gpu_mhz)
