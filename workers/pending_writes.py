"""Writes that supervision could not make while another program had the ledger locked: kept here and made later.

The supervision loop must keep reading reports, pausing and ending its trainer, so it does not wait
(`Ledger.brief_lock_waits`). Nothing is lost: the writes are made in their order as soon as the ledger is free, at the
latest before the attempt is settled. A write that fails for another reason (a full disk) is logged and dropped: it must
not end the training.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import LedgerBusy, LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.ledger import Ledger

logger = logging.getLogger(__name__)

MOST_KEPT = 10_000
"""Writes that are kept at most: a trainer that reports without end must not fill the daemon's memory."""


class PendingWrites:
    """The pending writes of one attempt, in their order."""

    def __init__(self, ledger: Ledger) -> None:
        """Write into *ledger*."""
        self._ledger = ledger
        self._kept: deque[tuple[str, Callable[[], object]]] = deque()

    def tell(self, event: str, reason: str, *, job_id: int, words: str) -> None:
        """Write an event, or keep it with the current instant."""
        at = clock.epoch_s()
        self.write(event, lambda: self._ledger.add_event(event, reason, job_id=job_id, words=words, at=at))

    def write(self, what: str, act: Callable[[], object]) -> None:
        """Do *act*, which writes into the ledger; keep it while another program has the ledger locked.

        Args:
            what: its name, for the log.
            act: called until it succeeds once, perhaps later; what it depends on must not change meanwhile.
        """
        if len(self._kept) >= MOST_KEPT:
            logger.warning("event=event.not_written name=%s why='%d writes are pending already'", what, MOST_KEPT)
            return
        self._kept.append((what, act))
        if len(self._kept) == 1:
            self.catch_up()
            if self._kept:
                logger.warning("event=ledger.locked first=%s", what)

    def catch_up(self) -> None:
        """Make the pending writes, until the ledger is locked again."""
        while self._kept:
            what, act = self._kept[0]
            try:
                act()
            except LedgerBusy:
                return
            except (LedgerError, sqlite3.Error) as exc:
                logger.warning("event=event.not_written name=%s why=%r", what, str(exc))
            self._kept.popleft()
