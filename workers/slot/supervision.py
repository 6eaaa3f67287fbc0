"""Watch over one attempt: take in reports, look at what people and holds want, order it, until the trainer is gone.

The loop is a table of contents; each step is a method. Everything wanted is read anew from the ledger at every
look, so a missed notification cannot exist. Nothing that goes wrong in the ledger meanwhile costs the training, and
nobody who keeps it locked makes the watch deaf: what cannot be written is tried again at every look.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import CbiError, LedgerBusy, LedgerError
from cbi_queue.ledger import claims
from cbi_queue.ledger.holds import strongest_mode, sweep_expired
from cbi_queue.lifecycle import HoldMode
from workers.governor.attempt_governor import AttemptGovernor
from workers.pending_writes import PendingWrites
from workers.slot.report_intake import Intake
from workers.trainer.ending import StopCause
from workers.trainer.pausing import Pausing

if TYPE_CHECKING:
    import threading

    from cbi_queue.ledger import AttemptRow, JobRow, Ledger
    from cbi_queue.settings import Settings
    from cbi_queue.telemetry.telemetry import Telemetry
    from workers.governor.slot_governor import SlotGovernor
    from workers.trainer.memory_taken import Taken
    from workers.trainer.trainer_process import TrainerProcess

logger = logging.getLogger(__name__)

CANCEL_GRACE_S = 0.4
"""Seconds between SIGTERM and SIGKILL of a cancelled trainer: its result is not wanted."""
LAST_WORDS_S = 1.0
"""Seconds to go on reading after the process is gone: its last report may still be in the pipe, which a grandchild may
keep open."""
CHILDREN_S = 5.0
"""Seconds between looks at who the trainer started: a crash gives no warning, and they must not outlive it."""


class TrainerStuck(CbiError):
    """The trainer does not die, even by SIGKILL (the kernel holds it, as with a failing disk)."""


class Supervision:
    """One attempt under watch."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        telemetry: Telemetry,
        trainer: TrainerProcess,
        job: JobRow,
        attempt: AttemptRow,
        slot_governor: SlotGovernor,
        stopping: threading.Event,
    ) -> None:
        """Watch *trainer*, which was given *attempt* of *job*; *stopping* is set when the daemon is to end."""
        self._settings = settings
        self._ledger = ledger
        self._telemetry = telemetry
        self._trainer = trainer
        self._job = job
        self._stopping = stopping
        self._pausing = Pausing(ledger, trainer, job.id)
        self._slot_governor = slot_governor
        self._pending_writes = PendingWrites(ledger)
        self._attempt_governor = AttemptGovernor(
            slot_governor,
            ledger,
            telemetry,
            trainer=trainer,
            job=job,
            attempt=attempt,
            pausing=self._pausing,
            pending_writes=self._pending_writes,
        )
        self.intake = Intake(self._pending_writes, telemetry, attempt, self._pausing, self._attempt_governor)
        self._deadline_s: float | None = None
        self._trained_s = 0.0
        self._last_look_s = clock.monotonic_s()
        self._next_children_s = clock.monotonic_s() + CHILDREN_S
        self.stop_cause: StopCause | None = None
        self.killed_by_us = False

    def run(self) -> int:
        """Supervise until the trainer and everything it started are gone; return its exit status.

        Raises:
            TrainerStuck: when it survives SIGKILL and the daemon is to end; its row is left for the next daemon.
        """
        with self._ledger.hurried():
            exit_code = self._watch()
            self._hear_last_words()
        self._trainer.end_family()
        self._pending_writes.catch_up()
        self._attempt_governor.ended()
        return exit_code

    def _watch(self) -> int:
        while (exit_code := self._trainer.exit_code()) is None:
            report = self._trainer.next_report(self._settings.poll_s)
            if report is not None:
                self.intake.take(report)
            if clock.monotonic_s() - self._last_look_s >= self._settings.poll_s:
                self._look()
        return exit_code

    def took(self, rss_mib: float | None) -> Taken:
        """Return what the attempt took of the memory; *rss_mib* is what the trainer measured itself."""
        return self._attempt_governor.took(rss_mib)

    def _look(self) -> None:
        self._count_time()
        self._heed_daemon()
        self._heed_timeout()
        self._heed_last_word()
        try:
            self._heed_user()
            self._heed_holds()
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=ledger.unread job_id=%d why=%r", self._job.id, str(exc))
        self._heed_governor()
        self._insist()
        self._write_down()
        self._remember_children()
        self._telemetry.commit_when_due()

    def _count_time(self) -> None:
        """Count what the trainer could work: it does not answer for pauses, nor for the rests of a pace."""
        now = clock.monotonic_s()
        if not self._pausing.is_paused:
            self._trained_s += (now - self._last_look_s) * self._attempt_governor.duty
        self._last_look_s = now

    def _heed_daemon(self) -> None:
        if self._stopping.is_set():
            self._order_stop(StopCause.DAEMON)

    def _heed_timeout(self) -> None:
        if self._job.timeout_s is not None and self._trained_s > self._job.timeout_s:
            self._order_stop(StopCause.TIMEOUT)

    def _heed_last_word(self) -> None:
        """A trainer that has said its last word, or closed its pipe, is to exit in its grace time."""
        if self._deadline_s is None and (self.intake.has_ended or self._trainer.reports_ended):
            self._deadline_s = clock.monotonic_s() + self._settings.grace_s

    def _heed_user(self) -> None:
        if self.stop_cause is not StopCause.CANCEL and claims.cancel_requested(self._ledger, self._job.id):
            self.stop_cause = StopCause.CANCEL
            self._trainer.terminate()
            self._deadline_s = clock.monotonic_s() + CANCEL_GRACE_S

    def _heed_holds(self) -> None:
        if self.stop_cause is not None:
            return
        holds = self._slot_governor.holds(self._ledger)
        mode = strongest_mode(holds)
        if mode is HoldMode.EVICT:
            self._order_stop(StopCause.EVICT)
        elif mode is HoldMode.PAUSE:
            self._pausing.order("; ".join(hold.words for hold in holds))
        else:
            self._pausing.lift()

    def _heed_governor(self) -> None:
        self._attempt_governor.check(is_leaving=self.stop_cause is not None or self.intake.has_ended)
        if self._attempt_governor.wants_recycling:
            self._order_stop(StopCause.RECYCLE)

    def _order_stop(self, cause: StopCause) -> None:
        if self.stop_cause is None:
            self.stop_cause = cause
            self._deadline_s = clock.monotonic_s() + self._settings.grace_s
            self._trainer.ask_to_stop()

    def _insist(self) -> None:
        """SIGKILL a trainer that did not leave in its grace time; say so again when even that does not end it."""
        if self._deadline_s is None or clock.monotonic_s() < self._deadline_s:
            return
        if self.killed_by_us and self._stopping.is_set():
            raise TrainerStuck(f"the trainer of job {self._job.id} (pid {self._trainer.identity.pid}) does not die")
        logger.warning("event=trainer.killed job_id=%d cause=%s", self._job.id, self.stop_cause)
        self._trainer.kill()
        self.killed_by_us = True
        self._deadline_s = clock.monotonic_s() + self._settings.grace_s

    def _write_down(self) -> None:
        """Bring the ledger up to date; what cannot be written now is tried again at the next look."""
        try:
            self._pending_writes.catch_up()
            sweep_expired(self._ledger)
        except LedgerBusy:
            pass
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=hold.not_swept job_id=%d why=%r", self._job.id, str(exc))
        self._pausing.write_down()

    def _remember_children(self) -> None:
        if clock.monotonic_s() >= self._next_children_s:
            self._trainer.remember_children()
            self._next_children_s = clock.monotonic_s() + CHILDREN_S

    def _hear_last_words(self) -> None:
        deadline = clock.monotonic_s() + LAST_WORDS_S
        while not self._trainer.reports_ended and clock.monotonic_s() < deadline:
            report = self._trainer.next_report(self._settings.poll_s)
            if report is not None:
                self.intake.take(report)
