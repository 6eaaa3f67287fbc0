"""Memory of a Mac: the kernel's pressure level, swap, and the compressor.

There is no "available" figure: active pages count as available in `kern.memorystatus_level`, and psutil's ignores the
compressor; both look fine while a Mac swaps. The level changes late (WARN: the compressor holds half of what can be
paged), so swap-outs and the compressor are read too. Source: xnu `kern_memorystatus_notify.c` (levels 1, 2, 4),
system_cmds `vm_stat.c`.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from cbi_queue.readings.values import MemoryReading, PressureLevel, Unknown
from cbi_queue.regular_files import plain_words
from workers.sensors.macos.libsystem import LibSystem, LibSystemFault, SwapUsage, parse_swap_usage
from workers.sensors.rates import Rate
from workers.sensors.sensor import run_command

if TYPE_CHECKING:
    from workers.sensors.sensor import Runner

MIB = 2**20
LEVEL, SWAP, TOTAL = "kern.memorystatus_vm_pressure_level", "vm.swapusage", "hw.memsize"
XSW_USAGE_SIZE = 32
_UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
_AMOUNT = r"\s*=\s*(\d+(?:[.,]\d+)?)([KMGT])"


def pressure_level(value: int) -> PressureLevel | None:
    """Return the level of 1, 2 or 4; None for any other number."""
    return PressureLevel(value) if value in {1, 2, 4} else None


def parse_swap_usage_text(text: str) -> SwapUsage | None:
    """Read `total = 13312.00M  used = 11625.69M …`, with a point or a comma; None when it is missing."""
    total, used = (re.search(rf"\b{word}{_AMOUNT}", text) for word in ("total", "used"))
    if total is None or used is None:
        return None
    return SwapUsage(*(float(match[1].replace(",", ".")) * _UNITS[match[2]] for match in (total, used)))


def parse_sysctl(text: str) -> dict[str, str]:
    """Return the `name: value` lines of `sysctl`."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name: value.strip() for name, colon, value in pairs if colon}


def parse_vm_stat(text: str) -> tuple[int, dict[str, int]] | None:
    """Return page size in bytes and counters of `vm_stat`, by their name without quotes; None if invalid."""
    size = re.search(r"page size of (\d+) bytes", text)
    if size is None:
        return None
    rows = (line.rpartition(" ") for line in text.splitlines()[1:])
    counters = {
        name.strip().rstrip(":").strip('"'): int(number.rstrip("."))
        for name, _, number in rows
        if number.rstrip(".").isdigit()
    }
    return int(size[1]), counters


class MacMemory:
    """Pressure level, memory in all, and swap in use: by sysctlbyname, else by the command."""

    name = "sysctl"
    kind = "memory"
    is_slow = True  # without libSystem it runs a command
    every = 1

    def __init__(self, lib: LibSystem | None = None, run: Runner = run_command) -> None:
        """Call *lib*, or *run* sysctl when that fails."""
        self._lib, self._run = lib or LibSystem(), run

    def read(self, now_s: float) -> MemoryReading | Unknown:
        """Take a reading."""
        try:
            number = self._lib.sysctl_number(LEVEL)
            total_mib = self._lib.sysctl_number(TOTAL) / MIB
            swap: SwapUsage | None = parse_swap_usage(self._lib.sysctl(SWAP, XSW_USAGE_SIZE))
        except (OSError, AttributeError, LibSystemFault) as exc:
            return self._read_by_command(exc, now_s)
        return _reading(number, total_mib, swap, self.name, now_s)

    def _read_by_command(self, refusal: Exception, now_s: float) -> MemoryReading | Unknown:
        try:
            values = parse_sysctl(self._run(["/usr/sbin/sysctl", LEVEL, TOTAL, SWAP]))
        except (OSError, subprocess.SubprocessError) as exc:
            return Unknown(f"{refusal}; and sysctl did not run: {plain_words(exc)}", now_s)
        if not values.get(LEVEL, "").isdigit() or not values.get(TOTAL, "").isdigit():
            return Unknown(f"sysctl printed no pressure level, but {values!r:.120}", now_s)
        swap = parse_swap_usage_text(values.get(SWAP, ""))
        return _reading(int(values[LEVEL]), int(values[TOTAL]) / MIB, swap, "sysctl command", now_s)


def _reading(
    number: int, total_mib: float, swap: SwapUsage | None, source: str, now_s: float
) -> MemoryReading | Unknown:
    level = pressure_level(number)
    if level is None:
        return Unknown(f"{LEVEL} is {number}; the kernel uses 1, 2 and 4", now_s)
    used_mib = swap.used_mib if swap else None
    return MemoryReading(now_s, source, level=level, total_mib=total_mib, swap_used_mib=used_mib)


class VmStat:
    """How much the compressor holds, and how fast memory is swapped out."""

    name = "vm_stat"
    kind = "memory"
    is_slow = True  # a command
    every = 3

    def __init__(self, run: Runner = run_command) -> None:
        """*run* vm_stat."""
        self._run = run
        self._swapped_out = Rate()

    def read(self, now_s: float) -> MemoryReading | Unknown:
        """Take a reading; the rate of swapping needs a second one."""
        parsed = parse_vm_stat(self._run(["/usr/bin/vm_stat"]))
        if parsed is None or "Pages occupied by compressor" not in parsed[1]:
            return Unknown("vm_stat prints no figure of the compressor", now_s)
        page, counters = parsed
        swapouts = counters.get("Swapouts")
        return MemoryReading(
            now_s,
            self.name,
            compressed_mib=counters["Pages occupied by compressor"] * page / MIB,
            swap_out_mib_s=None if swapouts is None else self._swapped_out.of(swapouts * page / MIB, now_s),
        )
