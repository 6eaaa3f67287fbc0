"""A process beside the slot that the daemon starts now and then and never waits for while jobs may train."""

from __future__ import annotations

import logging
import subprocess
import sys

from cbi_queue import clock

logger = logging.getLogger(__name__)

MOST_WAIT_S = 3_600.0
"""Longest wait after one that failed."""


class SideProcess:
    """At most one `python -m module` at a time; one that fails is started again, each time after twice the wait."""

    def __init__(self, module: str, name: str, *, gather_s: float, most_s: float) -> None:
        """Nothing is started yet.

        Args:
            module: of ours.
            name: in the daemon's log.
            gather_s: seconds from one start to the next.
            most_s: seconds after which it is ended: a disk or network that hangs must not leave one behind for ever.
        """
        self._module, self._name, self._gather_s, self._most_s = module, name, gather_s, most_s
        self._child: subprocess.Popen[bytes] | None = None
        self.started_s = self._next_s = clock.monotonic_s()
        self.failures = 0
        """One after the other."""

    @property
    def may_start(self) -> bool:
        """True when the wait since the last one is over."""
        return clock.monotonic_s() >= self._next_s

    def start(self, *options: str) -> None:
        """Start it; a failure to do so puts the next one off."""
        self.started_s = clock.monotonic_s()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as exc:
            logger.warning("event=%s.failed why=%r", self._name, exc.strerror)
            self._put_off()

    def settle(self) -> bool | None:
        """Return None while one runs; else True once, after one that did its work, and False otherwise."""
        if self._child is None:
            return False
        if self._child.poll() is None:
            if clock.monotonic_s() - self.started_s > self._most_s:
                self._child.kill()  # and not waited for: one that a disk holds ends when the disk answers
            return None
        has_worked = self._child.returncode == 0
        self._child = None
        if has_worked:
            self.failures, self._next_s = 0, self.started_s + self._gather_s
        else:
            self._put_off()
        return has_worked

    def wait(self, deadline_s: float) -> None:
        """Wait for one that runs until second *deadline_s* of the monotonic clock, and end it then."""
        if self._child is not None:
            try:
                self._child.wait(max(0.0, deadline_s - clock.monotonic_s()))
            except subprocess.TimeoutExpired:
                self.stop()

    def stop(self) -> None:
        """End one that runs; wait 4 s for it at most. Stopping twice is fine."""
        if self._child is not None and self._child.poll() is None:
            for end in (self._child.terminate, self._child.kill):
                end()
                try:
                    self._child.wait(2.0)
                    break
                except subprocess.TimeoutExpired:
                    continue
        self._child = None

    def _put_off(self) -> None:
        self.failures += 1
        wait_s = min(self._gather_s * 2 ** min(self.failures, 10), MOST_WAIT_S)
        self._next_s = clock.monotonic_s() + wait_s
        if self.failures == 1:
            logger.warning("event=%s.failed why='cbi-queue doctor tells' next_s=%.0f", self._name, wait_s)
