"""The identity of a process: pid and start together, never a pid alone and never a name.

Pids are reused; a pid with its start is not. A process is identified before it is signalled.

The start must be the same number for every reader at any time. macOS stores an instant with each process, and that
instant unchanged is the start. Linux counts from boot; there the start is that count, marked with the boot
(proc_pid_stat(5), /proc/sys/kernel/random/boot_id). On both, psutil's own `create_time()` moves when the clock is set:
the same process would get another identity.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

_ZOMBIE, _STOPPED = "zombie", "stopped"
"""States of a process, as psutil calls them."""
_STATES = {b"Z": _ZOMBIE, b"X": _ZOMBIE, b"T": _STOPPED}
"""Those of `/proc/PID/stat`; t, stopped by a debugger, is its user's business."""
_LIBSYSTEM = "/usr/lib/libSystem.B.dylib"
_SAME_START_S = 0.05
"""Starts of one process may be read with different rounding (clock ticks of 10 ms)."""
_BOOTS = 4096
"""Boots that are distinguished on Linux; for a mix-up a pid and a start to a hundredth of a second must match too."""
_BOOT_SPAN_S = 1e9
"""Longer than any machine stays up: seconds between the starts of two boots on Linux."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, distinct from any later one with the same pid."""

    pid: int
    started: float
    """Its start as the kernel reports it: a number to compare, not an instant to show."""

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Identify the running process *pid*; None when there is none."""
        seen = _read(pid)
        return cls(pid, seen[0]) if seen else None

    def is_alive(self) -> bool:
        """Return True if this process still runs (a zombie does not)."""
        seen = _read(self.pid)
        return seen is not None and abs(seen[0] - self.started) < _SAME_START_S and seen[1] != _ZOMBIE

    def is_stopped(self) -> bool:
        """Return True if this process is halted, by Ctrl-Z or SIGSTOP, and does nothing until SIGCONT."""
        seen = _read(self.pid)
        return self.is_alive() and seen is not None and seen[1] == _STOPPED

    def signal_group(self, signum: int) -> None:
        """Send *signum* to the process group that this process leads; do nothing when it has ended."""
        if not self.is_alive():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signum)
            else:
                os.kill(self.pid, signum)

    def descendants(self) -> list[ProcessIdentity]:
        """Identify every child, grandchild and so on that runs now, in whatever process group.

        A process whose own parent has ended belongs to init and is no longer found.
        """
        if not self.is_alive():
            return []
        pids = _descendants_on_mac(self.pid) if sys.platform == "darwin" else _descendants(self.pid)
        found = [ProcessIdentity.of(pid) for pid in pids]
        return [identity for identity in found if identity is not None]

    def kill_tree(self) -> None:
        """SIGKILL the group and every descendant, in whatever group."""
        descendants = self.descendants()
        self.signal_group(signal.SIGKILL)
        for identity in descendants:
            identity.kill()

    def kill(self) -> None:
        """SIGKILL this one process; do nothing when it has ended."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)

    def kill_leftovers(self) -> None:
        """SIGKILL the rest of the group that this process led, when the process itself has ended.

        Only right after its parent has seen it end: a pid is not reused while a group of that number exists, but much
        later both may belong to another program.
        """
        if _read(self.pid) is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _descendants_on_mac(pid: int) -> list[int]:
    """Ask the kernel for the children of each process of the tree: psutil asks for the parent of every process there is.

    Source: xnu libsyscall/wrappers/libproc/libproc.c (a number of pids is returned; 0 when it is refused).
    """
    try:
        list_children = ctypes.CDLL(_LIBSYSTEM).proc_listchildpids
    except (OSError, AttributeError):
        return _descendants(pid)
    found = [pid]
    for parent in found:  # grows while it is read
        room, count = 64, 64
        while count >= room:
            room *= 4
            pids = (ctypes.c_int * room)()
            count = list_children(ctypes.c_int(parent), pids, ctypes.c_int(ctypes.sizeof(pids)))
        found += [child for child in pids[: max(count, 0)] if child > 0 and child not in found]
    return found[1:]


def _read(pid: int) -> tuple[float, str] | None:
    """Return the start and the state of process *pid*; None when there is no such process."""
    return _read_proc(pid) if sys.platform == "linux" else _read_psutil(pid)


def _read_proc(pid: int) -> tuple[float, str] | None:
    try:
        stat = Path(f"/proc/{pid:d}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold spaces and brackets
    since_boot_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return _boot() * _BOOT_SPAN_S + since_boot_s, _STATES.get(fields[0], "")


@cache
def _boot() -> int:
    try:
        return int(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8], 16) % _BOOTS
    except (OSError, ValueError):
        return 0


def _read_psutil(pid: int) -> tuple[float, str] | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return _stored_start(process), str(process.status())
    except psutil.Error:
        return None


def _stored_start(process: psutil.Process) -> float:
    """Return the start that the kernel stored with *process*.

    Since 7.1 psutil adds to it, on macOS, what the clock was set by since this process imported psutil: another number
    after each setting, and for each daemon. Only its inner class returns the stored one, by which `psutil.Process`
    compares processes, too. Before 7.1 there is no other.
    """
    inner: Any = getattr(process, "_proc", process)
    try:
        return float(inner.create_time(monotonic=True))
    except TypeError:  # psutil before 7.1
        return process.create_time()
