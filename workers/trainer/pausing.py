"""Make a trainer stand still and move again, and keep the ledger's word for it in step.

A pause is a directive first; a trainer that reaches no safe point in time is stopped by the kernel. What is true is
kept here and written down as soon as the ledger can be written: a full disk delays the row, never the pause.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import LedgerBusy, LedgerError
from cbi_queue.ledger import claims

if TYPE_CHECKING:
    from cbi_queue.ledger import Ledger
    from workers.trainer.trainer_process import TrainerProcess

logger = logging.getLogger(__name__)

SAFE_POINT_S = 0.6
"""Seconds that a trainer gets to reach a safe point before SIGSTOP makes it stand still: pauses act within a second."""


class Pausing:
    """Whether one trainer stands still, is asked to, and is known to."""

    def __init__(self, ledger: Ledger, trainer: TrainerProcess, job_id: int) -> None:
        """Start with a trainer that moves."""
        self._ledger = ledger
        self._trainer = trainer
        self._job_id = job_id
        self._ordered_s: float | None = None
        self._words = ""
        self._written = False
        self.is_paused = False
        self.is_one_shot = False
        """Work without safe points is stopped by the kernel at once."""

    @property
    def is_ordered(self) -> bool:
        """True while a hold wants it to stand still."""
        return self._ordered_s is not None

    def order(self, words: str) -> None:
        """Want it to stand still; called at every look while a hold wants so."""
        now = clock.monotonic_s()
        if self._ordered_s is None:
            self._ordered_s, self._words = now, words
            self._trainer.pause()
        late = now - self._ordered_s > SAFE_POINT_S
        if not self.is_paused and (late or self.is_one_shot):
            self._trainer.suspend()
            self._words = f"{words} (stopped by the kernel: no safe point was near)"
            self.is_paused = True

    def lift(self) -> None:
        """Want it to move; called at every look while no hold wants otherwise."""
        if self._ordered_s is not None:
            self._ordered_s = None
            self._trainer.resume()
            self.is_paused = False

    def stands_still(self) -> None:
        """Take in its own report that it stands still; one that a resume has overtaken does not count."""
        if self._ordered_s is not None:
            self.is_paused = True

    def write_down(self) -> None:
        """Bring the row in step with what is true; when the ledger cannot be written, try again at the next look."""
        if self.is_paused == self._written:
            return
        try:
            if self.is_paused:
                claims.pause(self._ledger, self._job_id, self._words)
            else:
                claims.resume(self._ledger, self._job_id)
        except LedgerBusy:
            return
        except LedgerError as exc:
            logger.warning("event=pause.not_written job_id=%d why=%r", self._job_id, exc.message)
        else:
            self._written = self.is_paused
