"""What the watch over a trainer could not write while another program held the ledger: kept, and written later.

The watch must go on hearing, pausing and ending its trainer, so it does not wait (`Ledger.hurried`). Nothing is lost
for that: what is kept here is written in its order as soon as the ledger is free, at the latest before the attempt is
settled. What the ledger refuses for another reason (a full disk) is logged and dropped: it must not cost the training.
Neighbours: `supervision` (which makes it and looks), `intake` and `attempt_governor` (which write through it).
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
"""Writes that are kept at most: a trainer that talks without end must not fill the daemon's memory."""


class PendingWrites:
    """The writes of one attempt that nobody waits for, in their order."""

    def __init__(self, ledger: Ledger) -> None:
        """Write into *ledger*."""
        self._ledger = ledger
        self._kept: deque[tuple[str, Callable[[], object]]] = deque()

    def tell(self, event: str, reason: str, *, job_id: int, words: str) -> None:
        """Write an event of now, or keep it with its instant."""
        at = clock.epoch_s()
        self.write(event, lambda: self._ledger.tell(event, reason, job_id=job_id, words=words, at=at))

    def write(self, what: str, act: Callable[[], object]) -> None:
        """Do *act*, which writes into the ledger; keep it while another program has the ledger locked.

        Args:
            what: name of it, for the log.
            act: done once, perhaps later; what it depends on must not change meanwhile.
        """
        if len(self._kept) >= MOST_KEPT:
            logger.warning("event=event.not_written name=%s why='%d writes wait already'", what, MOST_KEPT)
            return
        self._kept.append((what, act))
        if len(self._kept) == 1:
            self.catch_up()
            if self._kept:
                logger.warning("event=ledger.locked first=%s", what)

    def catch_up(self) -> None:
        """Write what is kept, until the ledger is locked again."""
        while self._kept:
            what, act = self._kept[0]
            try:
                act()
            except LedgerBusy:
                return
            except (LedgerError, sqlite3.Error) as exc:
                logger.warning("event=event.not_written name=%s why=%r", what, str(exc))
            self._kept.popleft()
