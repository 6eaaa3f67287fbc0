"""Memory of a Linux machine, or of the control group that the slot runs in, whichever has less available.

Reads `/proc/meminfo`, `/proc/vmstat` (pages swapped out), `/proc/pressure/memory`, and of every control group from ours
upwards the limit, the use and the part of it that the kernel can free at once (`inactive_file`, as in Kubernetes).
Control groups of version 2 and, where the memory controller is mounted that way, version 1. Linux has no pressure
*level*; the stall share replaces it. Source: proc_meminfo(5), Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cbi_queue.readings.values import MemoryReading, Unknown
from workers.sensors.linux.pressure import parse_pressure
from workers.sensors.rates import Rate
from workers.sensors.sensor import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20
_PAGES_OUT = re.compile(r"^pswpout (\d+)$", re.MULTILINE)
NO_LIMIT = 2**60
"""Bytes from which on a limit means "no limit": version 1 writes the largest whole number of pages."""


@dataclass(frozen=True, slots=True)
class GroupMemory:
    """One control group's memory, in bytes."""

    limit: int
    current: int
    reclaimable: int

    @property
    def available(self) -> int:
        """Bytes that may still be used before the limit."""
        return max(0, self.limit - self.current + min(self.reclaimable, self.current))


@dataclass(frozen=True, slots=True)
class GroupFiles:
    """The file names of one version of control groups."""

    limit: str
    current: str
    reclaimable: str
    """Key in memory.stat."""


V2 = GroupFiles("memory.max", "memory.current", "inactive_file")
V1 = GroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the lines of `/proc/meminfo` as name -> bytes; lines that are not in kB are ignored."""
    rows = (line.split() for line in text.splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[1].isdigit()}


def parse_counters(text: str) -> dict[str, int]:
    """Return the `name number` lines of `memory.stat` as name -> number."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def parse_pages_out(text: str) -> int | None:
    """Return `pswpout` of `/proc/vmstat`: pages written to swap since boot; None when it is missing."""
    match = _PAGES_OUT.search(text)
    return int(match[1]) if match else None


def parse_limit(text: str) -> int | None:
    """Return the bytes of a `memory.max`; None when it is `max`, a number that means no limit, or empty."""
    word = text.strip()
    return int(word) if word.isdigit() and int(word) < NO_LIMIT else None


def parse_group(limit: str, current: str, stat: str, files: GroupFiles = V2) -> GroupMemory | None:
    """Read one control group from the texts of its files; None when it has no limit."""
    ceiling = parse_limit(limit)
    if ceiling is None or not current.strip().isdigit():
        return None
    return GroupMemory(ceiling, int(current), parse_counters(stat).get(files.reclaimable, 0))


def parse_own_groups(text: str) -> Iterator[tuple[GroupFiles, str]]:
    """Yield, from `/proc/self/cgroup`, the paths of our groups that may limit memory, with the names of their files."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield V2, path
        elif "memory" in controllers.split(","):
            yield V1, path


class LinuxMemory:
    """Total and available memory, and what is swapped out."""

    name = "/proc/meminfo"
    kind = "memory"
    is_slow = False
    every = 1

    def __init__(self, proc: str = "/proc", groups: str = "/sys/fs/cgroup") -> None:
        """Read below *proc* and *groups*."""
        self._proc, self._groups = proc, Path(groups)
        self._swapped_out = Rate()
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._limited: list[tuple[GroupFiles, Path]] | None = None

    def read(self, now_s: float) -> MemoryReading | Unknown:
        """Take a reading."""
        info = parse_meminfo(read_text(f"{self._proc}/meminfo") or "")
        if "MemTotal" not in info or "MemAvailable" not in info:
            return Unknown(f"{self._proc}/meminfo has no MemTotal and MemAvailable", now_s)
        total, available, source = info["MemTotal"], info["MemAvailable"], self.name
        for group, path in self._limits():
            if group.limit < total or group.available < available:
                total, available = min(total, group.limit), min(available, group.available)
                source = f"{self.name}, limit of {path}"
        return MemoryReading(
            at_s=now_s,
            source=source,
            total_mib=total / MIB,
            available_mib=available / MIB,
            swap_used_mib=(info.get("SwapTotal", 0) - info.get("SwapFree", 0)) / MIB,
            swap_out_mib_s=self._swap_out_mib_s(now_s),
            compressed_mib=info["Zswap"] / MIB if "Zswap" in info else None,
            stall_share=parse_pressure(read_text(f"{self._proc}/pressure/memory") or ""),
        )

    def _swap_out_mib_s(self, now_s: float) -> float | None:
        pages = parse_pages_out(read_text(f"{self._proc}/vmstat") or "")
        return None if pages is None else self._swapped_out.of(pages * self._page / MIB, now_s)

    def _limits(self) -> Iterator[tuple[GroupMemory, Path]]:
        if self._limited is None:
            self._limited = list(self._groups_upwards())
        for files, folder in self._limited:
            limit = read_text(folder / files.limit)
            if limit is None or parse_limit(limit) is None:
                continue
            current, stat = read_text(folder / files.current), read_text(folder / "memory.stat")
            if (group := parse_group(limit, current or "", stat or "", files)) is not None:
                yield group, folder

    def _groups_upwards(self) -> Iterator[tuple[GroupFiles, Path]]:
        """Yield our group and those above it; each may have a limit at any time, and the tightest counts."""
        for files, own in parse_own_groups(read_text(f"{self._proc}/self/cgroup") or ""):
            root = self._groups if files is V2 else self._groups / "memory"
            for path in (PurePosixPath(own), *PurePosixPath(own).parents):
                folder = root / path.relative_to("/")
                if (folder / files.limit).exists():
                    yield files, folder
