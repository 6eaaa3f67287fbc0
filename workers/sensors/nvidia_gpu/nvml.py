"""NVIDIA's management library (NVML) through ctypes: the calls and constants that the sensor needs.

Called directly, because the library comes with the driver and a binding would have to be installed beside it. Source:
nvml.h of CUDA 12 (functions, enumerations and structures have kept their numbers since NVML 5).
"""

from __future__ import annotations

import ctypes
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
SUCCESS, NOT_SUPPORTED, NO_PERMISSION, INSUFFICIENT_SIZE = 0, 3, 4, 7
NOT_AVAILABLE = 2**64 - 1
"""Memory of a process that the driver does not tell."""
MOST_PROCESSES = 4096
NAME_BYTES = 256
TEMPERATURE_GPU, THRESHOLD_SLOWDOWN, CLOCK_SM = 0, 1, 1

REASONS: dict[int, str] = {
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Bits of the clock event reasons. Bit 1, idle, limits nothing and is left out."""
THERMAL_REASONS = frozenset({"sw_thermal_slowdown", "hw_thermal_slowdown"})


class NvmlFault(Exception):
    """NVML reported an error; the message is NVML's."""


class Utilization(ctypes.Structure):
    """nvmlUtilization_t: per cent of the last sample period."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Process(ctypes.Structure):
    """nvmlProcessInfo_t of the functions whose names end in `_v3`."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


def reason_names(mask: int) -> tuple[str, ...]:
    """Return the names of the bits of a mask of clock event reasons."""
    return tuple(name for bit, name in REASONS.items() if mask & bit)


class Nvml:
    """A session with the library, and one device of it."""

    def __init__(self, device: str = "0", lib: Any = None) -> None:
        """Open a session.

        Args:
            device: index or UUID, as in CUDA_VISIBLE_DEVICES.
            lib: the library; default: the driver's.

        Raises:
            OSError: when there is no such library.
            NvmlFault: when it reports an error.
        """
        self._lib = lib if lib is not None else ctypes.CDLL(LIBRARY)
        self._must("nvmlInit_v2")
        self._device = ctypes.c_void_p()
        if device.isdigit():
            self._must("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(int(device)), ctypes.byref(self._device))
        else:
            self._must("nvmlDeviceGetHandleByUUID", device.encode(), ctypes.byref(self._device))

    def close(self) -> None:
        """End the session."""
        self._lib.nvmlShutdown()

    def temp_c(self) -> int | None:
        """Return the temperature of the chip; as the first call of a sample it raises when the device is gone."""
        return self._number("nvmlDeviceGetTemperature", ctypes.c_uint(TEMPERATURE_GPU))

    def slowdown_c(self) -> int | None:
        """Return the temperature at which the chip slows itself."""
        return self._number("nvmlDeviceGetTemperatureThreshold", ctypes.c_uint(THRESHOLD_SLOWDOWN))

    def clock_mhz(self) -> int | None:
        """Return the current clock of the multiprocessors."""
        return self._number("nvmlDeviceGetClockInfo", ctypes.c_uint(CLOCK_SM))

    def max_clock_mhz(self) -> int | None:
        """Return their highest clock."""
        return self._number("nvmlDeviceGetMaxClockInfo", ctypes.c_uint(CLOCK_SM))

    def throttle_reasons(self) -> tuple[str, ...] | None:
        """Return why the clocks are below their maximum."""
        mask = ctypes.c_ulonglong()
        is_known = self._may("nvmlDeviceGetCurrentClocksThrottleReasons", self._device, ctypes.byref(mask))
        return reason_names(mask.value) if is_known else None

    def busy_share(self) -> float | None:
        """Return the share of time in which some kernel ran, 0 to 1."""
        rates = Utilization()
        is_known = self._may("nvmlDeviceGetUtilizationRates", self._device, ctypes.byref(rates))
        return rates.gpu / 100 if is_known else None

    def memory_bytes(self) -> tuple[int, int] | None:
        """Return used and total memory."""
        memory = Memory()
        is_known = self._may("nvmlDeviceGetMemoryInfo", self._device, ctypes.byref(memory))
        return (memory.used, memory.total) if is_known else None

    def processes(self) -> list[tuple[int, int | None]] | None:
        """Return (pid, bytes or None where not told) of what computes on the device; None when that is not known.

        What only draws is left out. In a container the pids are those of the host.
        """
        try:
            ask = self._lib.nvmlDeviceGetComputeRunningProcesses_v3
        except AttributeError:
            return None  # a driver before 510
        count = ctypes.c_uint(64)
        while True:
            found = (Process * count.value)()
            room, code = count.value, ask(self._device, ctypes.byref(count), found)
            if code != INSUFFICIENT_SIZE or count.value > MOST_PROCESSES:
                break
            count.value = max(count.value, room) * 2  # more may start between two calls
        if code in {NOT_SUPPORTED, NO_PERMISSION}:
            return None
        if code != SUCCESS:
            raise NvmlFault(f"nvmlDeviceGetComputeRunningProcesses_v3: {self._words(code)}")
        held = {one.pid: None if one.used == NOT_AVAILABLE else int(one.used) for one in found[: count.value]}
        return list(held.items())

    def name_of(self, pid: int) -> str | None:
        """Return the name of the program of process *pid*, without its folder; None when it is not told."""
        name = ctypes.create_string_buffer(NAME_BYTES)
        code = self._lib.nvmlSystemGetProcessName(ctypes.c_uint(pid), name, ctypes.c_uint(NAME_BYTES))
        told = name.value.decode(errors="replace").rpartition("/")[2] if code == SUCCESS else ""
        return "".join(letter for letter in told if letter.isprintable()).strip()[:40] or None

    def _number(self, function: str, *arguments: Any) -> int | None:
        value = ctypes.c_uint()
        return value.value if self._may(function, self._device, *arguments, ctypes.byref(value)) else None

    def _must(self, function: str, *arguments: Any) -> None:
        code = getattr(self._lib, function)(*arguments)
        if code != SUCCESS:
            raise NvmlFault(f"{function}: {self._words(code)}")

    def _may(self, function: str, *arguments: Any) -> bool:
        """Call; return False when this device has no such figure or we may not read it."""
        code = getattr(self._lib, function)(*arguments)
        if code in {NOT_SUPPORTED, NO_PERMISSION}:
            return False
        if code != SUCCESS:
            raise NvmlFault(f"{function}: {self._words(code)}")
        return True

    def _words(self, code: int) -> str:
        describe = self._lib.nvmlErrorString
        describe.restype = ctypes.c_char_p
        words: bytes | None = describe(code)
        return words.decode(errors="replace") if words else f"error {code}"
