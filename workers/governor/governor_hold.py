"""The governor's decisions about the slot, carried out: its holds, placed and lifted in the ledger.

A hold that cannot be written yet (another program has the ledger locked, the disk is full) is in force all the same:
the watch obeys it, no job is admitted beside it, and it is written as soon as that can be done.
Neighbours: `slot_governor` (which decides when), `supervision` (which obeys), `cbi_queue.ledger.holds` (the rows).
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


class GovernorHold:
    """The governor's hold on the slot, written or not. For the slot's thread and the main thread."""

    def __init__(self) -> None:
        """Begin without one."""
        self._unplaced: HoldRow | None = None
        self._refused = 0
        self._writing = threading.Lock()

    @property
    def unplaced(self) -> HoldRow | None:
        """The hold that is in force and stands in no row yet; None: there is none."""
        return self._unplaced

    @property
    def was_refused_before(self) -> bool:
        """True when the hold could not be lifted, and the time before that neither."""
        return self._refused > 1

    def carry_out(self, ledger: Ledger, decision: Decision) -> None:
        """Carry out a decision that concerns the slot's holds; the others are the trainer's.

        Raises:
            LedgerError, sqlite3.Error: when a hold could not be lifted; it stays in force.
        """
        with self._writing:
            if decision.action in {Action.PAUSE, Action.EVICT}:
                self._unplaced, self._refused = _row_of(decision), 0
                self._place(ledger)
            elif decision.action is Action.RESUME:
                self._refused += 1
                self._lift(ledger, decision)
                self._refused = 0

    def place(self, ledger: Ledger) -> bool:
        """Write a hold that stands in no row yet; tell whether none is left that does not."""
        if self._unplaced is None:
            return True
        with self._writing:
            return self._place(ledger)

    def forget(self) -> None:
        """Let go of a hold that stands in no row yet, and of what the ledger refused."""
        self._unplaced, self._refused = None, 0

    def _place(self, ledger: Ledger) -> bool:
        hold = self._unplaced
        if hold is None:
            return True
        for_s = None if hold.expires_at is None else hold.expires_at - clock.epoch_s()
        try:
            if for_s is None or for_s > 0.0:
                place_hold(ledger, hold.reason, hold.mode, hold.words, for_s=for_s)
        except (LedgerError, sqlite3.Error) as exc:
            if not ledger.met_lock:
                logger.warning("event=hold.not_written reason=%s why=%r", hold.reason, str(exc))
            return False
        self._unplaced = None
        return True

    def _lift(self, ledger: Ledger, decision: Decision) -> None:
        reason = hold_reason(decision.cause)
        if self._unplaced is None or any(hold.reason is reason for hold in holds_in_force(ledger)):
            lift_hold(ledger, reason, decision.words)
        self._unplaced = None


def hold_reason(cause: Cause) -> HoldReason:
    """Return under which reason the governor holds the slot for *cause*."""
    return HoldReason.MEMORY if cause is Cause.MEMORY else HoldReason.THERMAL


def _row_of(decision: Decision) -> HoldRow:
    mode = HoldMode.PAUSE if decision.action is Action.PAUSE else HoldMode.EVICT
    now = clock.epoch_s()
    return HoldRow(hold_reason(decision.cause), mode, decision.words, now, now + decision.figures["for_s"])
