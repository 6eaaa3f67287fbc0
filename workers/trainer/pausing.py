"""Pause and resume a trainer, and record it in the ledger.

A pause is a directive first; a trainer that reaches no safe point in time is stopped by the kernel. The row follows as
soon as the ledger can be written: a full disk delays the row, never the pause.
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
"""Seconds that a trainer gets to reach a safe point before SIGSTOP: a pause takes effect within a second."""


class Pausing:
    """Whether one trainer is to pause, has paused, and is recorded as paused."""

    def __init__(self, ledger: Ledger, trainer: TrainerProcess, job_id: int) -> None:
        """Start with a running trainer."""
        self._ledger = ledger
        self._trainer = trainer
        self._job_id = job_id
        self._ordered_s: float | None = None
        self._words = ""
        self._is_recorded = False
        self.is_paused = False
        self.is_one_shot = False
        """Work without safe points is stopped by the kernel at once."""

    @property
    def is_ordered(self) -> bool:
        """True while a hold requires the pause."""
        return self._ordered_s is not None

    def order(self, words: str) -> None:
        """Pause the trainer; called at every check while a hold requires it."""
        now = clock.monotonic_s()
        if self._ordered_s is None:
            self._ordered_s, self._words = now, words
            self._trainer.pause()
        late = now - self._ordered_s > SAFE_POINT_S
        if not self.is_paused and (late or self.is_one_shot):
            self._trainer.suspend()
            self._words = f"{words} (stopped by the kernel: it reached no safe point in time)"
            self.is_paused = True

    def lift(self) -> None:
        """Resume the trainer; called at every check while no hold requires a pause."""
        if self._ordered_s is not None:
            self._ordered_s = None
            self._trainer.resume()
            self.is_paused = False

    def confirm(self) -> None:
        """Process the trainer's report that it has paused; one that a resume has overtaken does not count."""
        if self._ordered_s is not None:
            self.is_paused = True

    def record(self) -> None:
        """Update the row; when the ledger cannot be written, it is tried again at the next check."""
        if self.is_paused == self._is_recorded:
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
            self._is_recorded = self.is_paused
