"""Supervise one attempt: process reports, carry out what the user and holds want, until the trainer has ended.

What is wanted is read from the ledger at every check, so no notification can be missed. An error of the ledger never
ends the training, and a ledger that another program has locked does not block the loop: what cannot be written is
tried again at every check.
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
LAST_REPORTS_S = 1.0
"""Seconds to read on after the process has ended: its last report may still be in the pipe, which a grandchild may keep
open."""
CHILDREN_S = 5.0
"""Seconds between checks which processes the trainer started: they must not outlive a trainer that crashes."""


class TrainerStuck(CbiError):
    """The trainer does not end, even by SIGKILL (it hangs in the kernel, as with a failing disk)."""


class Supervision:
    """The supervision of one attempt."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        telemetry: Telemetry,
        *,
        trainer: TrainerProcess,
        job: JobRow,
        attempt: AttemptRow,
        slot_governor: SlotGovernor,
        stopping: threading.Event,
    ) -> None:
        """Supervise *trainer*, which runs *attempt* of *job*; *stopping* is set when the daemon is to end."""
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
        self._last_check_s = clock.monotonic_s()
        self._next_children_s = clock.monotonic_s() + CHILDREN_S
        self.stop_cause: StopCause | None = None
        self.killed_by_us = False

    def run(self) -> int:
        """Supervise until the trainer and everything it started have ended; return its exit status.

        Raises:
            TrainerStuck: when it survives SIGKILL and the daemon is to end; its row is left for the next daemon.
        """
        with self._ledger.brief_lock_waits():
            exit_code = self._follow()
            self._read_last_reports()
        self._trainer.kill_leftovers()
        self._pending_writes.catch_up()
        self._attempt_governor.ended()
        return exit_code

    def _follow(self) -> int:
        while (exit_code := self._trainer.exit_code()) is None:
            self._process_report()
            if clock.monotonic_s() - self._last_check_s >= self._settings.poll_s:
                self._check()
        return exit_code

    def _process_report(self) -> None:
        report = self._trainer.next_report(self._settings.poll_s)
        if report is not None:
            self.intake.process(report)

    def took(self, rss_mib: float | None) -> Taken:
        """Return the memory that the attempt used; *rss_mib* is the trainer's own figure."""
        return self._attempt_governor.took(rss_mib)

    def _check(self) -> None:
        self._count_time()
        self._check_daemon()
        self._check_timeout()
        self._check_last_report()
        try:
            self._check_cancel()
            self._check_holds()
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=ledger.unread job_id=%d why=%r", self._job.id, str(exc))
        self._check_governor()
        self._kill_when_late()
        self._write_pending()
        self._note_children()
        self._telemetry.commit_when_due()

    def _count_time(self) -> None:
        """Count the time in which the trainer could work: without pauses and without the idle part of a pace."""
        now = clock.monotonic_s()
        if not self._pausing.is_paused:
            self._trained_s += (now - self._last_check_s) * self._attempt_governor.duty
        self._last_check_s = now

    def _check_daemon(self) -> None:
        if self._stopping.is_set():
            self._order_stop(StopCause.DAEMON)

    def _check_timeout(self) -> None:
        if self._job.timeout_s is not None and self._trained_s > self._job.timeout_s:
            self._order_stop(StopCause.TIMEOUT)

    def _check_last_report(self) -> None:
        """Give a trainer that has sent its last report, or closed its pipe, its grace time to exit."""
        if self._deadline_s is None and (self.intake.has_ended or self._trainer.reports_ended):
            self._deadline_s = clock.monotonic_s() + self._settings.grace_s

    def _check_cancel(self) -> None:
        if self.stop_cause is not StopCause.CANCEL and claims.cancel_requested(self._ledger, self._job.id):
            self.stop_cause = StopCause.CANCEL
            self._trainer.terminate()
            self._deadline_s = clock.monotonic_s() + CANCEL_GRACE_S

    def _check_holds(self) -> None:
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

    def _check_governor(self) -> None:
        self._attempt_governor.check(is_leaving=self.stop_cause is not None or self.intake.has_ended)
        if self._attempt_governor.wants_recycling:
            self._order_stop(StopCause.RECYCLE)

    def _order_stop(self, cause: StopCause) -> None:
        if self.stop_cause is None:
            self.stop_cause = cause
            self._deadline_s = clock.monotonic_s() + self._settings.grace_s
            self._trainer.ask_to_stop()

    def _kill_when_late(self) -> None:
        """SIGKILL a trainer that did not exit within its grace time, again and again while it does not end."""
        if self._deadline_s is None or clock.monotonic_s() < self._deadline_s:
            return
        if self.killed_by_us and self._stopping.is_set():
            pid = self._trainer.identity.pid
            raise TrainerStuck(f"the trainer of job {self._job.id} (pid {pid}) does not end, even by SIGKILL")
        logger.warning("event=trainer.killed job_id=%d cause=%s", self._job.id, self.stop_cause)
        self._trainer.kill()
        self.killed_by_us = True
        self._deadline_s = clock.monotonic_s() + self._settings.grace_s

    def _write_pending(self) -> None:
        """Bring the ledger up to date; what cannot be written now is tried again at the next check."""
        try:
            self._pending_writes.catch_up()
            sweep_expired(self._ledger)
        except LedgerBusy:
            pass
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=hold.not_swept job_id=%d why=%r", self._job.id, str(exc))
        self._pausing.record()

    def _note_children(self) -> None:
        if clock.monotonic_s() >= self._next_children_s:
            self._trainer.note_children()
            self._next_children_s = clock.monotonic_s() + CHILDREN_S

    def _read_last_reports(self) -> None:
        deadline = clock.monotonic_s() + LAST_REPORTS_S
        while not self._trainer.reports_ended and clock.monotonic_s() < deadline:
            self._process_report()
