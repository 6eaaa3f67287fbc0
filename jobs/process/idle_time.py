"""Seconds in which a trainer did not work: it waited by itself, or the kernel kept it stopped, or both at once.

A process cannot see that SIGSTOP stopped it; the slot reports the length of it afterwards. The part of it in which the
trainer waited anyway is counted once.
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
"""Waits remembered. The report of the kernel's stop comes within moments after it; more than one or two waits cannot come
between."""


class IdleTime:
    """Counts the time that is not work; the count only rises. One thread waits, any may report the kernel's stop."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Take the time from *now_s*, the clock of the whole machine, which only rises."""
        self._now_s = now_s
        self._lock = threading.Lock()
        self._waits: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._waiting_since_s: float | None = None
        self._waited_s = self._suspended_s = 0.0
        self._works_since: tuple[float, float] | None = None

    @property
    def total_s(self) -> float:
        """Seconds not worked so far; a wait counts once it is over."""
        return self._waited_s + self._suspended_s

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time within as a wait."""
        self._waiting_since_s = since_s = self._now_s()
        try:
            yield
        finally:
            with self._lock:
                until_s, self._waiting_since_s = self._now_s(), None
                self._waited_s += until_s - since_s
                self._waits.append((since_s, until_s))

    def was_suspended(self, seconds: float) -> None:
        """Add that the kernel kept it stopped for the last *seconds*."""
        with self._lock:
            now_s = self._now_s()
            present = [] if self._waiting_since_s is None else [(self._waiting_since_s, now_s)]
            overlaps = (until_s - max(since_s, now_s - seconds) for since_s, until_s in (*self._waits, *present))
            self._suspended_s += max(0.0, seconds - sum(max(0.0, overlap_s) for overlap_s in overlaps))

    def work_begins(self) -> None:
        """Note that work begins here, for `worked_s`."""
        self._works_since = self._now_s(), self._suspended_s

    def worked_s(self, until_s: float) -> float:
        """Return the seconds from the last `work_begins` to *until_s*, less those of the kernel's stops; 0 before it."""
        if self._works_since is None:
            return 0.0
        since_s, suspended_s = self._works_since
        return max(0.0, until_s - since_s - (self._suspended_s - suspended_s))
