"""Starts the notifier, a process of its own, when there is something to tell; never waits for it while jobs may train.

It runs only where `notify.toml` exists. What happens within seconds is told by one. Conditions that no event tells of, such
as a disk that fills, are looked at every five minutes.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import CbiError
from cbi_queue.ledger import queries
from cbi_queue.notifications.destinations import file_of
from cbi_queue.notifications.state import read_state
from workers.side_process import SideProcess

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger
    from cbi_queue.settings import Settings

NOTIFY_CHECK_S = 2.0
"""Seconds between looks whether something happened."""
GATHER_S = 15.0
"""Seconds between two notifiers: what happens meanwhile is one message."""
LOOK_S = 300.0
"""Seconds after which conditions are looked at, though no event came."""
MOST_S = 180.0
"""Seconds after which a notifier is ended."""
LAST_S = 20.0
"""Seconds that `--until-empty` waits for the last notifier."""


class NotifierWatch:
    """Decides when the next notifier starts."""

    def __init__(self, settings: Settings, began_after_event: int) -> None:
        """Nothing is started yet."""
        self._settings = settings
        self._process = SideProcess("cbi_queue.notifications", "notifier", gather_s=GATHER_S, most_s=MOST_S)
        self._since = began_after_event if self._is_on() else None
        self._seen, self._under_way = -1, -1
        self._due_s: float | None = None

    def check(self, ledger: Ledger) -> None:
        """Take note of a notifier that ended; start one when something happened, or something kept is due."""
        if not self._is_over() or not self._is_on():
            return
        if self._since is None:
            self._since = queries.last_event_id(ledger)
        now_s = clock.monotonic_s()
        if self._process.may_start and (
            self._is_behind(ledger) or now_s >= self._process.started_s + LOOK_S or self._is_due(now_s)
        ):
            self._start()

    def finish(self, ledger: Ledger) -> None:
        """Tell what is left, and wait for it: the queue is empty, and nobody else will."""
        if not self._is_on():
            return
        deadline_s = clock.monotonic_s() + LAST_S
        self._wait(deadline_s)
        with suppress(CbiError, sqlite3.Error):
            self._since = queries.last_event_id(ledger) if self._since is None else self._since
            self._start("--last")
            self._wait(deadline_s)

    def stop(self) -> None:
        """End a notifier that runs: what did not arrive is sent by the next one. Stopping twice is fine."""
        self._process.stop()

    def _is_on(self) -> bool:
        return os.path.exists(file_of(self._settings))  # noqa: PTH110 - never raises

    def _start(self, *options: str) -> None:
        self._process.start("--since", str(self._since), *options)

    def _is_over(self) -> bool:
        """Return True when no notifier runs; note when one that has ended wants to be started again."""
        has_worked = self._process.settle()
        if has_worked:
            self._seen = self._under_way
            state = read_state(self._settings)
            wait_s = state.next_in_s if state else None
            self._due_s = None if wait_s is None else clock.monotonic_s() + wait_s
        return has_worked is not None

    def _is_behind(self, ledger: Ledger) -> bool:
        """Return True if something happened that may be worth telling, since the last notifier."""
        self._under_way = queries.last_told_event(ledger)
        return self._under_way > self._seen

    def _is_due(self, now_s: float) -> bool:
        return self._due_s is not None and now_s >= self._due_s

    def _wait(self, deadline_s: float) -> None:
        self._process.wait(deadline_s)
        self._is_over()
