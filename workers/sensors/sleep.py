"""Whether the machine slept: the boot clock runs during sleep, the monotonic clock does not (`clock.py`).

A virtual machine that its host freezes may stop both clocks; that sleep is not noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.readings.values import SleepReading

if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_S = 2.0
"""Seconds by which the clocks must diverge between two samples to count as sleep; less is between two calls."""


class Sleep:
    """Seconds asleep since the first sample, and the last waking."""

    name = "boot clock against monotonic clock"
    kind = "sleep"
    is_slow = False
    every = 1

    def __init__(
        self, boot_s: Callable[[], float] = clock.boot_s, monotonic_s: Callable[[], float] = clock.monotonic_s
    ) -> None:
        """Compare the two clocks given."""
        self._boot_s, self._monotonic_s = boot_s, monotonic_s
        self._parted_s: float | None = None
        self._slept_s = 0.0
        self._woke_at_s: float | None = None

    def read(self, now_s: float) -> SleepReading:
        """Take a reading."""
        parted_s = self._boot_s() - self._monotonic_s()
        jump_s = 0.0 if self._parted_s is None else parted_s - self._parted_s
        if jump_s >= SHORTEST_S:
            self._slept_s += jump_s
            self._woke_at_s = now_s
        if self._parted_s is None or jump_s >= SHORTEST_S:
            self._parted_s = parted_s
        return SleepReading(now_s, self.name, slept_s=self._slept_s, woke_at_s=self._woke_at_s)
