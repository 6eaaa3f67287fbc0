"""The NVIDIA device that trains: temperature, clocks, what limits them, memory, use. Through NVML.

The first device of CUDA_VISIBLE_DEVICES, else device 0. Without a driver the reading is `Unknown`.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from cbi_queue.readings.values import GpuReading, ThermalReading, Unknown
from cbi_queue.wording import memory_size
from workers.sensors.nvidia_gpu.nvml import THERMAL_REASONS, Nvml, NvmlFault
from workers.sensors.plausibility import believable_temp_c
from workers.sensors.sensor import TrainerSensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cbi_queue.readings.values import Reading
    from workers.sensors.process_tree import Platform

MIB = 2**20
NO_DRIVER = "there is no NVIDIA driver (libnvidia-ml.so.1)"


def chosen_device(environ: Mapping[str, str]) -> str | None:
    """Return index or UUID of the first device that a trainer may use; None when it may use none."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return "0"
    first = visible.split(",")[0].strip()
    return first if first and first != "-1" else None


class Nvidia(TrainerSensor):
    """The device, as NVML reports it."""

    name = "NVML"
    kind = "gpu"
    is_slow = True  # a call into a faulty driver may never return
    every = 2

    def __init__(
        self, lib: Any = None, environ: Mapping[str, str] = os.environ, platform: Platform | None = None
    ) -> None:
        """Use *lib* (default: the driver's library) and the device that *environ* names.

        Args:
            lib: stands in for the driver's library.
            environ: names the device.
            platform: knows the trainer's tree; without it the trainer counts among the others.
        """
        self._lib, self._environ, self._platform = lib, environ, platform
        self._session: Nvml | None = None
        self._lock = threading.Lock()

    def read(self, now_s: float) -> GpuReading | Unknown:
        """Take a reading."""
        ours = self._platform.members(self._trainer) if self._platform and self._trainer else ()
        reading = self._read(now_s, lambda nvml, at_s: _gpu(nvml, at_s, ours))
        return reading if isinstance(reading, (GpuReading, Unknown)) else Unknown("NVML reported no figure", now_s)

    def close(self) -> None:
        """End the session, unless a call is stuck in it."""
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def _read(self, now_s: float, take: Callable[[Nvml, float], Reading | Unknown]) -> Reading | Unknown:
        device = chosen_device(self._environ)
        if device is None:
            return Unknown("CUDA_VISIBLE_DEVICES hides every device", now_s)
        with self._lock:
            try:
                if self._session is None:
                    self._session = Nvml(device, self._lib)
                return take(self._session, now_s)
            except OSError:
                return Unknown(NO_DRIVER, now_s)
            except NvmlFault as exc:
                self._end()  # a device that fell off the bus, or a driver that was replaced, needs a new session
                return Unknown(str(exc), now_s)

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


class NvidiaHeat(Nvidia):
    """The same device as a source of heat: for machines whose profile trains on it."""

    kind = "thermal"

    def read(self, now_s: float) -> ThermalReading | Unknown:  # type: ignore[override]  # another kind, by `kind`
        """Take a reading."""
        reading = self._read(now_s, _heat)
        return reading if isinstance(reading, (ThermalReading, Unknown)) else Unknown("NVML reported no heat", now_s)


def _gpu(nvml: Nvml, now_s: float, ours: Sequence[int]) -> GpuReading:
    memory, processes = nvml.memory_bytes(), nvml.processes()
    others = [(pid, held) for pid, held in processes or () if pid not in ours and held != 0]
    others.sort(key=lambda one: -(one[1] or 0))
    told = [held for _, held in others if held is not None]
    return GpuReading(
        now_s,
        Nvidia.name,
        temp_c=_believable(nvml.temp_c()),
        busy_share=nvml.busy_share(),
        clock_mhz=nvml.clock_mhz(),
        max_clock_mhz=nvml.max_clock_mhz(),
        throttle_reasons=nvml.throttle_reasons() or (),
        memory_used_mib=memory[0] / MIB if memory else None,
        memory_total_mib=memory[1] / MIB if memory else None,
        others=tuple(_named(nvml, pid, held) for pid, held in others),
        others_mib=sum(told) / MIB if processes is not None and len(told) == len(others) else None,
    )


def _named(nvml: Nvml, pid: int, held: int | None) -> str:
    size = "an unknown part" if held is None else memory_size(held / MIB)
    return f"{nvml.name_of(pid) or 'a program'} (process {pid}): {size}"


def _heat(nvml: Nvml, now_s: float) -> ThermalReading | Unknown:
    temp_c, limit_c, reasons = _believable(nvml.temp_c()), nvml.slowdown_c(), nvml.throttle_reasons()
    if temp_c is None and reasons is None:
        return Unknown("NVML reports neither temperature nor throttling of the device", now_s)
    throttled = None if reasons is None else bool(THERMAL_REASONS & set(reasons))
    return ThermalReading(now_s, Nvidia.name, temp_c=temp_c, limit_c=limit_c, throttled=throttled)


def _believable(temp_c: int | None) -> float | None:
    return None if temp_c is None else believable_temp_c(float(temp_c))
