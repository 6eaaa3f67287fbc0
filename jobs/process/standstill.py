"""Seconds that a trainer did not work: it stood still by itself, or the kernel kept it stopped, or both at once.

A process that was stopped by SIGSTOP cannot see it; the slot tells the length of it afterwards. What fell into a time
in which the trainer stood still anyway is counted once. Neighbours: `jobs.process.channel`, which stands still and is told.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEPT = 8
"""Stretches remembered. The word of the kernel's stop comes within moments after it; more than one or two stretches
cannot lie between."""


class Standstill:
    """Counts the time that is not work; the count only rises. One thread stands still, any may tell of the kernel."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Take the time from *now_s*, the clock of the whole machine, which only rises."""
        self._now_s = now_s
        self._lock = threading.Lock()
        self._stretches: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._since_s: float | None = None
        self._stood_s = self._suspended_s = 0.0
        self._works_since: tuple[float, float] | None = None

    @property
    def total_s(self) -> float:
        """Seconds not worked so far; a stretch counts once it is over."""
        return self._stood_s + self._suspended_s

    @contextmanager
    def stretch(self) -> Iterator[None]:
        """Count what happens within as standing still."""
        self._since_s = since_s = self._now_s()
        try:
            yield
        finally:
            with self._lock:
                until_s, self._since_s = self._now_s(), None
                self._stood_s += until_s - since_s
                self._stretches.append((since_s, until_s))

    def was_suspended(self, seconds: float) -> None:
        """Take in that the kernel kept it stopped for the last *seconds*."""
        with self._lock:
            now_s = self._now_s()
            running = [] if self._since_s is None else [(self._since_s, now_s)]
            stood = (until_s - max(since_s, now_s - seconds) for since_s, until_s in (*self._stretches, *running))
            self._suspended_s += max(0.0, seconds - sum(max(0.0, stretch_s) for stretch_s in stood))

    def work_goes_on(self) -> None:
        """Note that work begins here, for `worked_s`."""
        self._works_since = self._now_s(), self._suspended_s

    def worked_s(self, until_s: float) -> float:
        """Return the seconds from the last `work_goes_on` to *until_s*, less those that the kernel took; 0 before it."""
        if self._works_since is None:
            return 0.0
        since_s, suspended_s = self._works_since
        return max(0.0, until_s - since_s - (self._suspended_s - suspended_s))
