"""Starts the tracker, a process of its own, after runs have ended; never waits for it while jobs may train.

Most of what a tracker costs is its start, so runs are gathered while the slot works, for ten minutes (`tracking_gather_s`), and
written by one tracker; at once when the slot has nothing to do. It does not start while the governor acts against heat or tight
memory. One that fails is started again, each time after twice the wait; no job ever waits or fails because of it.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import CbiError
from cbi_queue.ledger import queries
from cbi_queue.tracking.store import is_installed
from workers.side_process import SideProcess

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger
    from cbi_queue.settings import Settings
    from workers.governor.slot_governor import SlotGovernor

TRACKING_CHECK_S = 5.0
"""Seconds between looks whether a run has ended."""
GATHER_S = 60.0
"""Least seconds between two trackers; after one that failed twice that, then four times."""
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
        self._process = SideProcess("cbi_queue.tracking", "tracker", gather_s=GATHER_S, most_s=MOST_S)
        self._tracked = self._under_way = (0, 0.0, 0)
        self._behind_since_s: float | None = None
        self._was_idle = False

    def check(self, ledger: Ledger) -> None:
        """Take note of a tracker that ended; start one when it is time to write the runs that have ended since the last."""
        if not self._is_on:
            return
        is_idle = self._is_idle(ledger)
        if not self._is_over() or not self._is_behind(ledger):
            return
        if self._behind_since_s is None:
            self._behind_since_s = clock.monotonic_s()
        is_due = is_idle or clock.monotonic_s() - self._behind_since_s >= self._settings.tracking_gather_s
        if is_due and self._process.may_start and not self._is_strained():
            self._process.start()

    def finish(self, ledger: Ledger) -> None:
        """Write what is left, and wait for it: the queue is empty, and nobody else will."""
        if not self._is_on:
            return
        deadline_s = clock.monotonic_s() + LAST_S
        self._wait(deadline_s)
        with suppress(CbiError, sqlite3.Error):  # the next daemon writes it then
            if self._is_behind(ledger) and not self._process.failures:
                self._process.start("--now")
                self._wait(deadline_s)

    def stop(self) -> None:
        """End a tracker that runs: the next one completes what it was writing. Stopping twice is fine."""
        self._process.stop()

    def _is_over(self) -> bool:
        """Return True when no tracker runs; note what one that has ended wrote."""
        has_worked = self._process.settle()
        if has_worked:
            self._tracked, self._behind_since_s = self._under_way, None
        return has_worked is not None

    def _is_behind(self, ledger: Ledger) -> bool:
        """Return True if a run has ended, or was accepted or marked, since the last tracker that wrote everything."""
        self._under_way = queries.ended_stamp(ledger)
        return self._under_way != self._tracked

    def _is_idle(self, ledger: Ledger) -> bool:
        """Return True when the slot was empty at this look and at the last: from one job to the next is no idle time."""
        was_idle, self._was_idle = self._was_idle, queries.job_in_slot(ledger) is None
        return was_idle and self._was_idle

    def _is_strained(self) -> bool:
        """Return True while the governor paces, pauses or lets no job start."""
        governor = self._slot_governor
        return governor.acts and (
            governor.state.duty < 1.0 or governor.state.hold is not None or governor.why_not_start() is not None
        )

    def _wait(self, deadline_s: float) -> None:
        self._process.wait(deadline_s)
        self._is_over()
