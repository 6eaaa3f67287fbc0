"""Recorded output of sensors on other machines, and stand-ins for the libraries and commands that print it."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SAMPLES = Path(__file__).parents[1] / "data" / "sensors"
THERMAL_KEY = "com.apple.system.thermalpressurelevel"
MIB = 2**20


def sample(name: str) -> str:
    """Return the text of a file in tests/data/sensors."""
    return (SAMPLES / name).read_text(encoding="utf-8")


def printing(text: str) -> Callable[[Sequence[str]], str]:
    """Return a runner whose command prints *text*."""
    return lambda _arguments: text


def refusing(arguments: Sequence[str]) -> str:
    """Run as on a machine without the command."""
    raise FileNotFoundError(2, "No such file or directory", arguments[0])


def hanging(arguments: Sequence[str]) -> str:
    """Run as if the command was killed at its timeout."""
    raise subprocess.TimeoutExpired(list(arguments), 4.0)


class FakeLibSystem:
    """libSystem as ctypes sees it: C functions that fill what they are given and return a code."""

    def __init__(self) -> None:
        self.state = 0
        self.notify_code = 0
        self.tokens_out = 0
        self.sysctls: dict[bytes, bytes] = {
            b"kern.memorystatus_vm_pressure_level": struct.pack("<i", 2),
            b"hw.memsize": struct.pack("<Q", 16 * 2**30),
            b"vm.swapusage": struct.pack("<QQQII", 2048 * MIB, 1024 * MIB, 1024 * MIB, 16384, 1),
        }
        self.footprints: dict[int, int] = {}
        """pid -> bytes of phys_footprint."""
        self.priorities: dict[int, int] = {}

    def notify_register_check(self, _key, token) -> int:
        """As the library's."""
        self.tokens_out += self.notify_code == 0
        token._obj.value = 7
        return self.notify_code

    def notify_get_state(self, token, state) -> int:
        """As the library's."""
        assert token.value == 7
        state._obj.value = self.state
        return self.notify_code

    def notify_cancel(self, _token) -> int:
        """As the library's."""
        self.tokens_out -= 1
        return 0

    def sysctlbyname(self, name, buffer, length, _new, _new_length) -> int:
        """As the library's."""
        if name not in self.sysctls:
            return -1
        value = self.sysctls[name]
        ctypes.memmove(buffer, value, len(value))
        length._obj.value = len(value)
        return 0

    def mach_timebase_info(self, timebase) -> int:
        """As the library's."""
        timebase[0], timebase[1] = 125, 3
        return 0

    def proc_pid_rusage(self, pid, _flavor, buffer) -> int:
        """As the library's."""
        if pid.value not in self.footprints:
            return -1
        ctypes.memmove(buffer, rusage_bytes(self.footprints[pid.value]), 144)
        return 0

    def proc_pidinfo(self, pid, _flavor, _argument, buffer, _size) -> int:
        """As the library's."""
        if pid.value not in self.priorities:
            return 0
        ctypes.memmove(buffer, bytes(92) + struct.pack("<i", self.priorities[pid.value]), 96)
        return 96


def rusage_bytes(footprint: int, user_ticks: int = 0, system_ticks: int = 0) -> bytes:
    """Return a struct rusage_info_v1 whose other fields have values that a test would notice."""
    uuid = bytes(range(16))
    between = struct.pack("<5Q", 11, 12, 13, 14, 15)  # pkg_idle_wkups … resident_size
    own = struct.pack("<QQ", user_ticks, system_ticks)
    return uuid + own + between + struct.pack("<QQQ", footprint, 16, 17) + bytes(48)


class FakeNvml:
    """libnvidia-ml as ctypes sees it, for one device."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        """Function -> code that it returns in place of success."""
        self.temp_c, self.reasons, self.busy = 71, 0x1, 93
        self.processes: dict[int, tuple[str, int]] = {}
        """pid -> name and bytes of the device's memory."""
        self.sessions = 0
        self.nvmlErrorString = _ErrorString()

    def __getattr__(self, name: str):
        def call(*arguments) -> int:
            code = self.codes.get(name, 0)
            if code == 0 and name.startswith("nvmlDeviceGetComputeRunningProcesses"):
                return self._fill_processes(*arguments[1:])
            if code == 0:
                self._fill(name, arguments)
            return code

        if not name.startswith("nvml"):
            raise AttributeError(name)
        return call

    def _fill_processes(self, count, infos) -> int:
        room, count._obj.value = count._obj.value, len(self.processes)
        if len(self.processes) > room:
            return 7
        for info, (pid, (_, used)) in zip(infos, self.processes.items(), strict=False):
            info.pid, info.used = pid, used
        return 0

    def _fill(self, name: str, arguments) -> None:
        self.sessions += {"nvmlInit_v2": 1, "nvmlShutdown": -1}.get(name, 0)
        numbers = {
            "nvmlDeviceGetTemperature": self.temp_c,
            "nvmlDeviceGetTemperatureThreshold": 90,
            "nvmlDeviceGetClockInfo": 1410,
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlDeviceGetCurrentClocksThrottleReasons": self.reasons,
        }
        if name in numbers:
            arguments[-1]._obj.value = numbers[name]
        elif name == "nvmlDeviceGetUtilizationRates":
            arguments[-1]._obj.gpu = self.busy
        elif name == "nvmlSystemGetProcessName":
            arguments[1].value = self.processes[arguments[0].value][0].encode()
        elif name == "nvmlDeviceGetMemoryInfo":
            arguments[-1]._obj.used, arguments[-1]._obj.total = 10 * 2**30, 80 * 2**30


class _ErrorString:
    restype = None

    def __call__(self, code: int) -> bytes:
        return {9: b"Driver Not Loaded", 15: b"GPU is lost"}.get(code, b"Unknown Error")
