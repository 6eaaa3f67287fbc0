"""Processes and processors of Linux, read from `/proc`; only the trainer's processes are read.

Memory of several processes is PSS and swapped PSS (`smaps_rollup`), in which a page shared by n processes counts one
n-th in each. The kernel walks every page for it, so the resident memory of a single or a large process is used instead: what
those share with others is the code of libraries. Source: proc_pid_stat(5), proc_pid_smaps(5), proc_stat(5),
proc_tid_children(5).
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, NamedTuple

from workers.sensors.linux.pressure import parse_pressure
from workers.sensors.process_tree import ProcessMemory, TreeActivity
from workers.sensors.sensor import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cbi_queue.process_identity import ProcessIdentity

KIB_PER_MIB = 1024
WALKED_MIB = 2048.0
"""Resident MiB up to which the pages of a process are walked: about 7 ms for 700 MiB."""


class ProcessStat(NamedTuple):
    """The parts of `/proc/PID/stat` that matter here."""

    state: str
    cpu_ticks: int
    """Own user and system time, and that of children that ended and were waited for."""


def parse_stat(text: str) -> ProcessStat | None:
    """Read `/proc/PID/stat`, whose second field, the name, may hold spaces and brackets; None if invalid."""
    fields = text[text.rfind(")") + 2 :].split()
    times = fields[11:15]
    if len(times) < 4 or not all(word.lstrip("-").isdigit() for word in times):
        return None
    return ProcessStat(fields[0], sum(map(int, times)))


def parse_kib(text: str) -> dict[str, int]:
    """Return the `Name: number kB` lines of smaps_rollup or status as name -> KiB."""
    rows = (line.split() for line in text.splitlines())
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) == 3 and row[2] == "kB" and row[1].isdigit()}


def parse_rollup(text: str) -> ProcessMemory | None:
    """Return proportional memory from `smaps_rollup`; None when it is missing."""
    kib = parse_kib(text)
    if "Pss" not in kib:
        return None
    swapped = kib.get("SwapPss", kib.get("Swap", 0))
    return ProcessMemory((kib["Pss"] + swapped) / KIB_PER_MIB, swapped / KIB_PER_MIB)


def parse_status(text: str) -> ProcessMemory | None:
    """Return resident and swapped memory from `/proc/PID/status`; None for a zombie, which has none."""
    kib = parse_kib(text)
    if "VmRSS" not in kib:
        return None
    swapped = kib.get("VmSwap", 0)
    return ProcessMemory((kib["VmRSS"] + swapped) / KIB_PER_MIB, swapped / KIB_PER_MIB)


def parse_busy_ticks(text: str, cpus: Iterable[int] | None = None) -> int | None:
    """Return ticks that `/proc/stat` counts as used, of all processors or of those in *cpus*; None if invalid.

    Used is user (guests included), nice, system, irq, softirq and steal: what a hypervisor took is use by others.
    """
    wanted = {"cpu"} if cpus is None else {f"cpu{number}" for number in cpus}
    rows = [words for line in text.splitlines() if (words := line.split()) and words[0] in wanted]
    if len(rows) != len(wanted) or any(len(row) < 9 for row in rows):
        return None
    return sum(int(row[column]) for row in rows for column in (1, 2, 3, 6, 7, 8))


def parse_cpu_quota(text: str | None) -> float | None:
    """Return the cores that a `cpu.max` of a control group grants; None when it sets no limit."""
    quota, _, period = (text or "").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


class LinuxPlatform:
    """Processes and processors of this machine."""

    name = "/proc"

    def __init__(self, proc: str = "/proc", quota: str = "/sys/fs/cgroup/cpu.max") -> None:
        """Read below *proc*; *quota* is the file of our own control group's limit."""
        self._proc = proc
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")
        allowed = sorted(os.sched_getaffinity(0))
        self._cpus = None if len(allowed) == os.cpu_count() else allowed
        granted = parse_cpu_quota(read_text(quota))
        self.cores = len(allowed) if granted is None else max(1, min(len(allowed), math.ceil(granted)))

    def members(self, root: ProcessIdentity) -> Sequence[int]:
        """Return the pids of *root* and its descendants."""
        if not root.is_alive():
            return ()
        found = [root.pid]
        for pid in found:  # grows while it is walked
            found += self._children(pid)
        return found

    def _children(self, pid: int) -> list[int]:
        """Each thread lists the children that it started; a thread or process that just ended lists none."""
        folder = f"{self._proc}/{pid}/task"
        try:
            threads = os.listdir(folder)  # noqa: PTH208 - names are all that is needed, at every sample
        except OSError:
            return []
        lists = (read_text(f"{folder}/{thread}/children") or "" for thread in threads)
        return [int(child) for listed in lists for child in listed.split()]

    def memory_of(self, pids: Sequence[int]) -> list[ProcessMemory]:
        """Return PSS and swapped PSS of several small processes that may be read, else resident and swapped memory."""
        is_shared = len(pids) > 1
        memories = (self._memory_of(pid, is_shared=is_shared) for pid in pids)
        return [memory for memory in memories if memory is not None]

    def _memory_of(self, pid: int, *, is_shared: bool) -> ProcessMemory | None:
        resident = parse_status(read_text(f"{self._proc}/{pid}/status") or "")
        if resident is None or not is_shared or resident.footprint_mib > WALKED_MIB:
            return resident
        return parse_rollup(read_text(f"{self._proc}/{pid}/smaps_rollup") or "") or resident

    def activity_of(self, pids: Sequence[int]) -> TreeActivity:
        """Return processor time and whether one is stopped (state T)."""
        stats = [stat for pid in pids if (stat := parse_stat(read_text(f"{self._proc}/{pid}/stat") or "")) is not None]
        return TreeActivity(sum(s.cpu_ticks for s in stats) * self._tick_s, any(s.state == "T" for s in stats))

    def busy_s(self) -> float | None:
        """Return processor seconds used by all, the hypervisor included, on the cores that the slot may use."""
        ticks = parse_busy_ticks(read_text(f"{self._proc}/stat") or "", self._cpus)
        return None if ticks is None else ticks * self._tick_s

    def stall_share(self) -> float | None:
        """Return PSI's `some avg10` of the processors."""
        return parse_pressure(read_text(f"{self._proc}/pressure/cpu") or "")
