"""What shows that memory was short when a trainer was killed: without it, a SIGKILL says nothing about memory.

A user, a service manager or a security tool sends the same signal as the kernel does. Only what was measured counts.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from cbi_queue.hardware.machine import limit_files
from cbi_queue.readings.values import MemoryReading, PressureLevel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.readings.values import Unknown

NEAR_LIMIT = 0.9
"""Share of what one trainer may hold from which its footprint is evidence."""
NEARLY_NOTHING = 0.03
"""Share of the machine's memory that is left when the kernel begins to kill."""
_COUNT = re.compile(r"^oom_kill (\d+)$", flags=re.MULTILINE)


class KillRecords:
    """The kernel's counters of processes that it killed for want of memory, as they stood when this was made."""

    def __init__(self, paths: Iterable[Path] | None = None) -> None:
        """Read the counters at *paths*; by default those of this machine and of every control group around us."""
        files = _record_files() if paths is None else paths
        self._before = {path: count for path in files if (count := _read(path)) is not None}

    def increased(self) -> str | None:
        """Return which counter has gone up since, in words; None when none has."""
        for path, before in self._before.items():
            now = _read(path)
            if now is not None and now > before:
                what = "the machine" if path.name == "vmstat" else "its control group"
                return f"the kernel killed {now - before} process(es) because {what} ran out of memory ({path})"
        return None


def evidence_of_shortage(
    records: KillRecords, memory: MemoryReading | Unknown, footprint_mib: float | None, limit_mib: float | None
) -> str | None:
    """Return what shows that memory was short when the trainer ended, in words; None when nothing does.

    Args:
        records: made before the trainer started.
        memory: the last reading.
        footprint_mib: the most that the trainer and its children were seen to hold, MiB.
        limit_mib: what one trainer may hold on this machine, MiB.
    """
    if (killed := records.increased()) is not None:
        return killed
    if isinstance(memory, MemoryReading):
        if memory.level is not None and memory.level >= PressureLevel.CRITICAL:
            return f"memory pressure was critical ({memory.source})"
        if memory.available_mib is not None and memory.total_mib:
            share = memory.available_mib / memory.total_mib
            if share < NEARLY_NOTHING:
                return f"only {share:.1%} of the memory was available ({memory.source})"
    if footprint_mib is not None and limit_mib is not None and footprint_mib >= NEAR_LIMIT * limit_mib:
        return f"the trainer held {footprint_mib:.0f} MiB; one trainer may hold {limit_mib:.0f} MiB here"
    return None


def _record_files() -> list[Path]:
    groups = ""
    with contextlib.suppress(OSError):
        groups = Path("/proc/self/cgroup").read_text()
    names = {"memory.max": "memory.events.local", "memory.limit_in_bytes": "memory.oom_control"}
    around_us = [path.with_name(names[path.name]) for path in map(Path, limit_files(groups))]
    return [*around_us, Path("/proc/vmstat")]


def _read(path: Path) -> int | None:
    try:
        found = _COUNT.search(path.read_text())
    except OSError:
        return None
    return None if found is None else int(found[1])
