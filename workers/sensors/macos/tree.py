"""Processes and processors of a Mac: phys_footprint and processor time by `proc_pid_rusage`, the rest by psutil.

Resident memory misses what is compressed and what the GPU maps; phys_footprint counts both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil

from workers.sensors.macos.libsystem import LibSystem
from workers.sensors.process_tree import ProcessMemory, TreeActivity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.process_identity import ProcessIdentity


class MacPlatform:
    """Processes and processors of this Mac."""

    name = "proc_pid_rusage"

    def __init__(self, lib: LibSystem | None = None) -> None:
        """Call *lib*."""
        self._lib = lib or LibSystem()
        self.cores = psutil.cpu_count() or 1

    def members(self, root: ProcessIdentity) -> Sequence[int]:
        """Return the pids of *root* and its descendants."""
        if not root.is_alive():
            return ()
        return [root.pid, *(identity.pid for identity in root.descendants())]

    def memory_of(self, pids: Sequence[int]) -> list[ProcessMemory]:
        """Return phys_footprint; how much of it is compressed or swapped is not known."""
        used = [usage for pid in pids if (usage := self._lib.rusage(pid)) is not None]
        return [ProcessMemory(usage.footprint_mib, None) for usage in used]

    def activity_of(self, pids: Sequence[int]) -> TreeActivity:
        """Return processor time and whether one is stopped."""
        used = [usage for pid in pids if (usage := self._lib.rusage(pid)) is not None]
        return TreeActivity(sum(usage.cpu_s for usage in used), any(map(_is_stopped, pids)))

    def busy_s(self) -> float | None:
        """Return processor seconds used by all processes since boot."""
        times = psutil.cpu_times()
        return times.user + times.system + times.nice

    def stall_share(self) -> float | None:
        """Return None: macOS does not report how long tasks waited."""
        return None


def _is_stopped(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False
