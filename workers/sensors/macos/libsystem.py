"""The calls into macOS that need no root: notify(3), sysctl by name, and `libproc` for single processes.

Layouts and names as in Apple's published sources: Libnotify `notify.h`, xnu `bsd/sys/resource.h` (rusage_info_v1),
`bsd/sys/sysctl.h` (xsw_usage) and `bsd/sys/proc_info.h` (proc_taskinfo). Bytes are parsed in separate functions, which
are tested without a Mac; tests pass a fake library.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import Any

PATH = "/usr/lib/libSystem.B.dylib"
NOTIFY_STATUS_OK = 0
RUSAGE_INFO_V1, RUSAGE_SIZE = 1, 144
PROC_PIDTASKINFO, TASKINFO_SIZE = 4, 96
MIB = 2**20


class LibSystemFault(Exception):
    """A call was refused; the message names it and the code."""


@dataclass(frozen=True, slots=True)
class Rusage:
    """What one process has used."""

    footprint_mib: float
    """phys_footprint: compressed and GPU memory included, what Activity Monitor shows."""
    cpu_s: float
    """Processor seconds, those of its children that ended included."""


@dataclass(frozen=True, slots=True)
class SwapUsage:
    """vm.swapusage."""

    total_mib: float
    used_mib: float


def parse_rusage(data: bytes, tick_ns: float) -> Rusage:
    """Read a rusage_info_v1.

    uuid[16], then user_time (16), system_time (24), …, phys_footprint (72), …, child_user_time (96), child_system_time (104).

    Args:
        data: at least 112 bytes.
        tick_ns: nanoseconds of a tick of mach_absolute_time, in which times are counted (125/3 on Apple silicon).
    """
    own, of_children = struct.unpack_from("<QQ", data, 16), struct.unpack_from("<QQ", data, 96)
    (footprint,) = struct.unpack_from("<Q", data, 72)
    return Rusage(footprint / MIB, sum(own + of_children) * tick_ns / 1e9)


def parse_swap_usage(data: bytes) -> SwapUsage:
    """Read a struct xsw_usage: total, available, used, each 8 bytes."""
    total, _, used = struct.unpack_from("<QQQ", data, 0)
    return SwapUsage(total / MIB, used / MIB)


def parse_priority(data: bytes) -> int:
    """Read the priority of a struct proc_taskinfo: its last 4 bytes."""
    (priority,) = struct.unpack_from("<i", data, TASKINFO_SIZE - 4)
    return int(priority)


class LibSystem:
    """The library, loaded on first use."""

    def __init__(self, lib: Any = None) -> None:
        """Call *lib*; default: the system's own."""
        self._given = lib
        self._loaded: Any = None

    @property
    def _lib(self) -> Any:
        if self._loaded is None:
            self._loaded = self._given if self._given is not None else ctypes.CDLL(PATH, use_errno=True)
        return self._loaded

    def notify_register(self, key: str) -> int:
        """Return a token for the state of a notify(3) key.

        Raises:
            OSError: when this is not a Mac.
            LibSystemFault: when it is refused.
        """
        token = ctypes.c_int()
        code = self._lib.notify_register_check(key.encode(), ctypes.byref(token))
        if code != NOTIFY_STATUS_OK:
            raise LibSystemFault(f"notify_register_check({key}) failed with code {code}")
        return token.value

    def notify_state(self, token: int) -> int:
        """Return the state behind a token: 64 bits, 0 also for a key that was never set."""
        state = ctypes.c_uint64()
        code = self._lib.notify_get_state(ctypes.c_int(token), ctypes.byref(state))
        if code != NOTIFY_STATUS_OK:
            raise LibSystemFault(f"notify_get_state failed with code {code}")
        return state.value

    def notify_cancel(self, token: int) -> None:
        """Release a token."""
        self._lib.notify_cancel(ctypes.c_int(token))

    def sysctl(self, name: str, size: int) -> bytes:
        """Return the value of a sysctl, at most *size* bytes."""
        buffer = ctypes.create_string_buffer(size)
        length = ctypes.c_size_t(size)
        if self._lib.sysctlbyname(name.encode(), buffer, ctypes.byref(length), None, ctypes.c_size_t(0)) != 0:
            raise LibSystemFault(f"sysctl {name} was refused (errno {ctypes.get_errno()})")
        return buffer.raw[: length.value]

    def sysctl_number(self, name: str) -> int:
        """Return a sysctl that is a whole number of 4 or 8 bytes."""
        data = self.sysctl(name, 8)
        if len(data) not in {4, 8}:
            raise LibSystemFault(f"sysctl {name} has {len(data)} bytes; 4 or 8 were expected")
        return int.from_bytes(data, "little")

    def rusage(self, pid: int) -> Rusage | None:
        """Return what process *pid*, of our own user, has used; None when it has ended or is another's."""
        buffer = ctypes.create_string_buffer(RUSAGE_SIZE)
        if self._lib.proc_pid_rusage(ctypes.c_int(pid), ctypes.c_int(RUSAGE_INFO_V1), buffer) != 0:
            return None
        return parse_rusage(buffer.raw, self._tick_ns())

    def priority(self, pid: int) -> int | None:
        """Return the scheduling priority of process *pid*; None when it has ended or is another's."""
        buffer = ctypes.create_string_buffer(TASKINFO_SIZE)
        length = self._lib.proc_pidinfo(
            ctypes.c_int(pid), ctypes.c_int(PROC_PIDTASKINFO), ctypes.c_uint64(0), buffer, ctypes.c_int(TASKINFO_SIZE)
        )
        return parse_priority(buffer.raw) if length == TASKINFO_SIZE else None

    def _tick_ns(self) -> float:
        timebase = (ctypes.c_uint32 * 2)()
        self._lib.mach_timebase_info(timebase)
        return timebase[0] / timebase[1] if timebase[1] else 1.0
