"""Seconds of training: the time of the clocks, less pauses, rests, probes and checkpoints."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobs.process.channel import Channel


class WorkClock:
    """Counts the training seconds of one attempt, added to those of the earlier attempts."""

    def __init__(
        self,
        channel: Channel,
        now_s: Callable[[], float] = time.monotonic,
        cpu_now_s: Callable[[], float] = time.process_time,
    ) -> None:
        """Take the time from *now_s*, which only rises, and the pauses from *channel*.

        Args:
            channel: counts the seconds of pauses, rests and probes.
            now_s: wall clock.
            cpu_now_s: processor time of this process, all threads together.
        """
        self._channel, self._now_s, self._cpu_now_s = channel, now_s, cpu_now_s
        self._not_work_s, self._not_work_cpu_s = 0.0, 0.0
        self._running_since_s: float | None = None
        self._counted_s = 0.0

    @property
    def worked_s(self) -> float:
        """Training seconds so far, in all attempts."""
        if self._running_since_s is None:
            return self._counted_s
        return self._counted_s + self._raw_s() - self._running_since_s

    @property
    def cpu_s(self) -> float:
        """Processor seconds of this process so far, without those set aside; only its growth has a meaning."""
        return self._cpu_now_s() - self._not_work_cpu_s

    def start(self, worked_before_s: float) -> None:
        """Count from now on, beginning with *worked_before_s*."""
        self._counted_s, self._running_since_s = worked_before_s, self._raw_s()

    def stop(self) -> None:
        """Stop counting."""
        self._counted_s, self._running_since_s = self.worked_s, None

    @contextmanager
    def set_aside(self) -> Iterator[Callable[[], float]]:
        """Leave what happens within out of the count; the yielded function returns how long it has taken."""
        started_s = self._now_s()
        try:
            with self.set_cpu_aside():
                yield lambda: self._now_s() - started_s
        finally:
            self._not_work_s += self._now_s() - started_s

    @contextmanager
    def set_cpu_aside(self) -> Iterator[None]:
        """Leave the processor time of what happens within out of the count; its wall time is not left out here."""
        started_s = self._cpu_now_s()
        try:
            yield
        finally:
            self._not_work_cpu_s += self._cpu_now_s() - started_s

    def _raw_s(self) -> float:
        return self._now_s() - self._channel.paused_s - self._not_work_s
