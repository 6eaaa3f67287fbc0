"""NVIDIA's management library (NVML) through ctypes: the calls and constants that the sensor needs.

Called directly, because the library comes with the driver and a binding would have to be installed beside it. Source:
nvml.h of CUDA 12 (functions, enumerations and structures have kept their numbers since NVML 5).
"""

from __future__ import annotations

import ctypes
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
SUCCESS, NOT_SUPPORTED, NO_PERMISSION = 0, 3, 4
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
