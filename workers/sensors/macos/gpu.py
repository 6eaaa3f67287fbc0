"""Use of the GPU of a Mac, system-wide, from `ioreg`; no root.

The statistics are one line of the accelerator's node. `In use system memory (driver)` is not the same figure as `In use
system memory`: names are matched up to their closing quote. An idle desktop shows 16 to 20 per cent. Source: captures
of an M4 (AGXAcceleratorG16G), exelban/stats `Modules/GPU/reader.swift` for the older name of the figure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cbi_queue.readings.values import GpuReading, Unknown
from workers.sensors.sensor import run_command

if TYPE_CHECKING:
    from workers.sensors.sensor import Runner

MIB = 2**20
COMMAND = ("/usr/sbin/ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")
"""`-w 0`: without it the line is cut at the width of a terminal."""
BUSY = ("Device Utilization %", "GPU Activity(%)")
IN_USE = "In use system memory"
_STATISTICS = re.compile(r'"PerformanceStatistics" = \{([^}]*)\}')
_FIGURE = re.compile(r'"([^"]+)"=(\d+)')


def parse_ioreg(text: str) -> list[dict[str, int]]:
    """Return the performance statistics of every accelerator, name -> number."""
    return [{name: int(number) for name, number in _FIGURE.findall(inner)} for inner in _STATISTICS.findall(text)]


class MacGpu:
    """The accelerator: how busy it is, and the memory that it uses."""

    name = "ioreg"
    kind = "gpu"
    is_slow = True  # a command
    every = 3

    def __init__(self, run: Runner = run_command) -> None:
        """*run* ioreg."""
        self._run = run

    def read(self, now_s: float) -> GpuReading | Unknown:
        """Take a reading of the busiest accelerator."""
        nodes = parse_ioreg(self._run(COMMAND))
        shares = [(node[name] / 100, node) for node in nodes for name in BUSY if name in node]
        if not shares:
            return Unknown(f"ioreg lists {len(nodes)} accelerators, but shows for none how busy it is", now_s)
        busy, node = max(shares, key=lambda pair: pair[0])
        used_mib = node[IN_USE] / MIB if IN_USE in node else None
        return GpuReading(now_s, self.name, busy_share=busy, memory_used_mib=used_mib)
