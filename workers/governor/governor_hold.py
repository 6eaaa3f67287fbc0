"""The governor's hold on the slot, and its row in the ledger.

The hold is in force as soon as it is decided, and over as soon as its end is: the slot obeys what is kept here. The row
is a copy, for people and for the next daemon. It follows as soon as the ledger can be written, and when it is gone (the
user lifted it, or it expired) the hold is over, too.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import LedgerError
from cbi_queue.governor.values import Action, Cause
from cbi_queue.ledger import HoldRow
from cbi_queue.ledger.holds import holds_in_force, lift_hold, place_hold
from cbi_queue.lifecycle import HoldMode, HoldReason

if TYPE_CHECKING:
    from cbi_queue.governor.values import Decision
    from cbi_queue.ledger import Ledger

logger = logging.getLogger(__name__)

CAUSES = {HoldReason.THERMAL: Cause.HEAT, HoldReason.MEMORY: Cause.MEMORY}
"""Reason of the hold -> cause that the governor knows it by."""
REASONS = {cause: reason for reason, cause in CAUSES.items()}
MODES = {Action.PAUSE: HoldMode.PAUSE, Action.EVICT: HoldMode.EVICT}


class GovernorHold:
    """The one hold of the governor. For the slot's thread and the main thread."""

    def __init__(self) -> None:
        """Begin without a hold."""
        self.in_force: HoldRow | None = None
        self._copied: HoldRow | None = None
        """What the ledger has, as far as is known here."""
        self._end_words = ""
        self._lock = threading.RLock()

    def carry_out(self, decision: Decision) -> None:
        """Begin or end a hold as *decision* says; an action that concerns the trainer alone changes nothing."""
        if (mode := MODES.get(decision.action)) is not None:
            now, for_s = clock.epoch_s(), decision.figures["for_s"]
            self.in_force = HoldRow(REASONS[decision.cause], mode, decision.words, now, now + for_s)
        elif decision.action is Action.RESUME:
            self.end(decision.words)

    def take_over(self, row: HoldRow) -> None:
        """Make a row that an earlier daemon left the hold in force."""
        self.in_force = self._copied = row

    def end(self, words: str) -> None:
        """End the hold, if there is one; *words* say why."""
        self.in_force, self._end_words = None, words

    def obeyed(self, ledger: Ledger) -> list[HoldRow]:
        """Return the holds that the slot obeys: those of others as the ledger has them, the governor's as it is here."""
        with self._lock:
            rows, copied = holds_in_force(ledger), self._copied
            others = [row for row in rows if copied is None or row.reason is not copied.reason]
            if copied is not None and copied is self.in_force and others == rows:
                self.in_force = self._copied = None  # the user lifted it, or it expired
            return others if self.in_force is None else [*others, self.in_force]

    def copy_to(self, ledger: Ledger) -> bool:
        """Bring the hold and its row together; return False when the ledger cannot be used now: try again later."""
        with self._lock:
            try:
                if self._copied is not None:
                    self.obeyed(ledger)
                self._write(ledger, self.in_force)
            except (LedgerError, sqlite3.Error) as exc:
                if not ledger.met_lock:
                    hold = self.in_force or self._copied
                    logger.warning("event=hold.not_written reason=%s why=%r", hold and hold.reason, str(exc))
                return False
        return True

    def _write(self, ledger: Ledger, hold: HoldRow | None) -> None:
        if self._copied is not None and (hold is None or hold.reason is not self._copied.reason):
            lift_hold(ledger, self._copied.reason, self._end_words)
            self._copied = None
        if hold is not None and hold is not self._copied:
            for_s = None if hold.expires_at is None else hold.expires_at - clock.epoch_s()
            place_hold(ledger, hold.reason, hold.mode, hold.words, for_s=for_s)
            self._copied = hold
