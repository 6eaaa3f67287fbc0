"""Starts the tracker, a process of its own, after runs have ended; never waits for it while jobs may train.

Several runs that end within a minute are written by one tracker. It does not start while the governor acts against heat or
tight memory. One that fails is started again, each time after twice the wait; no job ever waits or fails because of it.
"""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import CbiError
from cbi_queue.ledger import queries
from cbi_queue.tracking.store import is_installed

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger
    from cbi_queue.settings import Settings
    from workers.governor.slot_governor import SlotGovernor

logger = logging.getLogger(__name__)

TRACKING_CHECK_S = 5.0
"""Seconds between looks whether a run has ended."""
GATHER_S = 60.0
"""Seconds between two trackers: runs that end meanwhile share one, and most of its cost is its start."""
MOST_WAIT_S = 3_600.0
"""Longest wait after a tracker that failed."""
MOST_S = 900.0
"""Seconds after which a tracker is ended: a disk that hangs must not leave one behind for ever."""
LAST_S = 60.0
"""Seconds that `--until-empty` waits for the last tracker."""


class TrackerWatch:
    """Decides when the next tracker starts."""

    def __init__(self, settings: Settings, slot_governor: SlotGovernor) -> None:
        """Nothing is started yet."""
        self._settings, self._slot_governor = settings, slot_governor
        self._is_on = settings.tracking == "on" and is_installed()
        self._child: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._next_s = clock.monotonic_s()
        self._failures = 0
        self._tracked = self._under_way = (0, 0.0, 0)

    def check(self, ledger: Ledger) -> None:
        """Take note of a tracker that ended; start one when runs have ended since the last."""
        if not self._is_on or not self._is_over():
            return
        if clock.monotonic_s() >= self._next_s and self._is_behind(ledger) and not self._is_strained():
            self._start()

    def finish(self, ledger: Ledger) -> None:
        """Write what is left, and wait for it: the queue is empty, and nobody else will."""
        if not self._is_on:
            return
        deadline_s = clock.monotonic_s() + LAST_S
        self._wait(deadline_s)
        with suppress(CbiError, sqlite3.Error):  # the next daemon writes it then
            if self._is_behind(ledger) and not self._failures:
                self._start("--now")
                self._wait(deadline_s)

    def stop(self) -> None:
        """End a tracker that runs: the next one completes what it was writing. Stopping twice is fine."""
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(2.0)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._child = None

    def _start(self, *options: str) -> None:
        command = [sys.executable, "-P", "-m", "cbi_queue.tracking", *options]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as exc:
            logger.warning("event=tracker.failed why=%r", exc.strerror)
            self._put_off()
        else:
            self._started_s = clock.monotonic_s()

    def _is_over(self) -> bool:
        """Return True when no tracker runs; settle one that has ended."""
        if self._child is None:
            return True
        if self._child.poll() is None:
            if clock.monotonic_s() - self._started_s > MOST_S:
                self.stop()
                self._put_off()
            return False
        if self._child.returncode == 0:
            self._tracked, self._failures = self._under_way, 0
            self._next_s = self._started_s + GATHER_S
        else:
            self._put_off()
        self._child = None
        return True

    def _put_off(self) -> None:
        self._failures += 1
        wait_s = min(GATHER_S * 2**self._failures, MOST_WAIT_S)
        self._next_s = clock.monotonic_s() + wait_s
        if self._failures == 1:
            logger.warning("event=tracker.failed why='cbi-queue doctor tells' next_s=%.0f", wait_s)

    def _is_behind(self, ledger: Ledger) -> bool:
        """Return True if a run has ended, or was accepted or marked, since the last tracker that wrote everything."""
        self._under_way = queries.ended_stamp(ledger)
        return self._under_way != self._tracked

    def _is_strained(self) -> bool:
        """Return True while the governor paces, pauses or lets no job start."""
        governor = self._slot_governor
        return governor.acts and (
            governor.state.duty < 1.0 or governor.state.hold is not None or governor.why_not_start() is not None
        )

    def _wait(self, deadline_s: float) -> None:
        if self._child is not None:
            try:
                self._child.wait(max(0.0, deadline_s - clock.monotonic_s()))
            except subprocess.TimeoutExpired:
                self.stop()
        self._is_over()
