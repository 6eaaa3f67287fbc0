"""Temperatures, and use and clock of the GPU, of an Apple chip from `macmon pipe`, where it is installed.

A child process that prints a line a second. Advisory: sensors of a cluster that is switched off report placeholders
(6.7, 9.8, 4.633, exactly 40.0, 0.0), and names change between releases. A temperature of exactly 40.0 is ignored, as is
one that no running chip has. Source: the readme of vladkens/macmon 0.7 and 0.8; oshi/oshi#3529, vladkens/macmon#12,
exelban/stats#3271 for the placeholders.
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
    """macmon has no usable line; the message states why."""


@dataclass(frozen=True, slots=True)
class MacmonLine:
    """The figures of one line; None where missing or impossible."""

    temp_c: float | None
    """The hotter of the averages of CPU and GPU."""
    gpu_share: float | None
    """Share of time in which the GPU was active, 0 to 1."""
    gpu_mhz: float | None


def parse_macmon(line: str) -> MacmonLine:
    """Read a line of `macmon pipe`, of version 0.7 (`gpu_usage: [MHz, share]`) or 0.8 (`gpu_freq_mhz`, …).

    Raises:
        MacmonFault: when it is not a JSON object.
    """
    try:
        row = json.loads(line)
    except ValueError as exc:
        raise MacmonFault(f"macmon did not print JSON: {line.strip()[:80]!r}") from exc
    if not isinstance(row, dict):
        raise MacmonFault(f"macmon printed {line.strip()[:80]!r}; expected an object")
    temps = row.get("temp")
    known = [_temp_c(temps.get(name)) for name in TEMPERATURES] if isinstance(temps, dict) else []
    usage = row.get("gpu_usage")
    old_mhz, old_share = usage if isinstance(usage, list) and len(usage) == 2 else (None, None)
    return MacmonLine(
        max((temp_c for temp_c in known if temp_c is not None), default=None),
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
        """Run *command* from the first sample on; *boot_s* is the clock that times its lines."""
        self._command, self._boot_s = command, boot_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._started_s = -math.inf
        self._last: tuple[float, str] | None = None
        self._closed = False

    def latest(self, now_s: float) -> tuple[float, MacmonLine]:
        """Return the last line and the second at which it came; start macmon if it does not run.

        Raises:
            MacmonFault: when it is not installed, or has no usable line.
        """
        if shutil.which(self._command[0]) is None:
            raise MacmonFault("macmon is not installed (brew install macmon)")
        self._keep_running(now_s)
        last = self._last
        if last is None:
            raise MacmonFault("macmon has not printed a line yet")
        return last[0], parse_macmon(last[1])

    def close(self) -> None:
        """End the child. May be called twice."""
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
            at_s, line = self._pipe.latest(now_s)
        except MacmonFault as exc:
            return Unknown(str(exc), now_s)
        if line.temp_c is None:
            return Unknown("macmon reports no possible temperature", at_s)
        return ThermalReading(at_s, self.name, Trust.ADVISORY, temp_c=line.temp_c)

    def close(self) -> None:
        """End macmon."""
        self._pipe.close()


class MacmonGpu(MacmonHeat):
    """Use and clock of the GPU, as macmon reports them."""

    kind = "gpu"

    def read(self, now_s: float) -> GpuReading | Unknown:  # type: ignore[override]  # another kind, by `kind`
        """Take a reading, as old as the line."""
        try:
            at_s, line = self._pipe.latest(now_s)
        except MacmonFault as exc:
            return Unknown(str(exc), now_s)
        if line.gpu_share is None and line.gpu_mhz is None:
            return Unknown("macmon reports no figures of the GPU", at_s)
        return GpuReading(at_s, self.name, Trust.ADVISORY, busy_share=line.gpu_share, clock_mhz=line.gpu_mhz)
