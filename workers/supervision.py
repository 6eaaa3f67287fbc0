"""Watch over one attempt: take in reports, look at what people and holds want, order it, until the trainer is gone.

The loop is a table of contents; each step is a method. Everything wanted is read anew from the ledger at every
look, so a missed notification cannot exist.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.ledger import claims, settlement
from cbi_queue.ledger.holds import holds_in_force, strongest_mode
from cbi_queue.lifecycle import HoldMode
from cbi_queue.protocol import (
    CheckpointFailed,
    EpochReport,
    Failed,
    Finished,
    Note,
    Paused,
    Restored,
    Resumed,
    Started,
)
from workers.ending import StopCause

if TYPE_CHECKING:
    import threading

    from cbi_queue.ledger import AttemptRow, JobRow, Ledger
    from cbi_queue.ledger.telemetry import Telemetry
    from cbi_queue.protocol import Report
    from cbi_queue.settings import Settings
    from workers.trainer_process import TrainerProcess

logger = logging.getLogger(__name__)

SAFE_POINT_S = 0.6
"""Seconds that a trainer gets to reach a safe point before SIGSTOP makes it stand still: pauses act within a second."""
CANCEL_GRACE_S = 0.4
"""Seconds between SIGTERM and SIGKILL of a cancelled trainer: its result is not wanted."""


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
        stopping: threading.Event,
    ) -> None:
        """Watch *trainer*, which was given *attempt* of *job*; *stopping* is set when the daemon is to end."""
        self._settings = settings
        self._ledger = ledger
        self._telemetry = telemetry
        self._trainer = trainer
        self._job = job
        self._attempt = attempt
        self._stopping = stopping
        self._started: Started | None = None
        self._paused = False
        self._pause_ordered_s: float | None = None
        self._deadline_s: float | None = None
        self._trained_s = 0.0
        self._last_look_s = clock.monotonic_s()
        self.stop_cause: StopCause | None = None
        self.finished: Finished | None = None
        self.failed: Failed | None = None

    def run(self) -> int | None:
        """Supervise until the trainer is gone; return its exit status."""
        next_look_s = 0.0
        while not self._trainer.reports_ended:
            report = self._trainer.next_report(self._settings.poll_s)
            if report is not None:
                self._take_in(report)
            elif self._trainer.exit_code() is not None:
                break
            if clock.monotonic_s() >= next_look_s:
                self._look()
                next_look_s = clock.monotonic_s() + self._settings.poll_s
        return self._await_exit()

    def _look(self) -> None:
        self._count_time()
        self._heed_daemon()
        self._heed_user()
        self._heed_timeout()
        self._heed_holds()
        self._insist()
        self._telemetry.commit_when_due()

    def _count_time(self) -> None:
        now = clock.monotonic_s()
        if not self._paused:
            self._trained_s += now - self._last_look_s
        self._last_look_s = now

    def _heed_daemon(self) -> None:
        if self._stopping.is_set():
            self._order_stop(StopCause.DAEMON, self._settings.grace_s)

    def _heed_user(self) -> None:
        if self.stop_cause is not StopCause.CANCEL and claims.cancel_requested(self._ledger, self._job.id):
            self.stop_cause = StopCause.CANCEL
            self._trainer.terminate()
            self._deadline_s = clock.monotonic_s() + CANCEL_GRACE_S

    def _heed_timeout(self) -> None:
        if self._job.timeout_s is not None and self._trained_s > self._job.timeout_s:
            self._order_stop(StopCause.TIMEOUT, self._settings.grace_s)

    def _heed_holds(self) -> None:
        if self.stop_cause is not None:
            return
        holds = holds_in_force(self._ledger)
        mode = strongest_mode(holds)
        if mode is HoldMode.EVICT:
            self._order_stop(StopCause.EVICT, self._settings.grace_s)
        elif mode is HoldMode.PAUSE:
            self._order_pause("; ".join(hold.words for hold in holds))
        elif self._pause_ordered_s is not None:
            self._order_resume()

    def _order_pause(self, words: str) -> None:
        if self._pause_ordered_s is None:
            self._pause_ordered_s = clock.monotonic_s()
            self._trainer.pause()
            if self._started is not None and self._started.one_shot:
                self._suspend(words)
        elif not self._paused and clock.monotonic_s() - self._pause_ordered_s > SAFE_POINT_S:
            self._suspend(words)

    def _suspend(self, words: str) -> None:
        self._trainer.suspend()
        self._set_paused(f"{words} (stopped by the kernel: no safe point was near)")

    def _order_resume(self) -> None:
        self._pause_ordered_s = None
        was_suspended = self._trainer.is_suspended
        self._trainer.resume()
        if was_suspended or self._paused:
            self._set_running()

    def _order_stop(self, cause: StopCause, grace_s: float) -> None:
        if self.stop_cause is None:
            self.stop_cause = cause
            self._deadline_s = clock.monotonic_s() + grace_s
            self._trainer.ask_to_stop()

    def _insist(self) -> None:
        """SIGKILL a trainer that did not leave in its grace time, or did not exit after it had said goodbye."""
        if self._deadline_s is not None and clock.monotonic_s() >= self._deadline_s:
            logger.warning("event=trainer.killed job_id=%d cause=%s", self._job.id, self.stop_cause)
            self._trainer.kill()
            self._deadline_s = clock.monotonic_s() + self._settings.grace_s

    def _await_exit(self) -> int | None:
        """The report pipe is closed: the process ends now, or is made to."""
        exit_code = self._trainer.wait(
            CANCEL_GRACE_S if self.stop_cause is StopCause.CANCEL else self._settings.grace_s
        )
        self._trainer.kill()  # whatever it left running in its group
        return self._trainer.wait(self._settings.grace_s) if exit_code is None else exit_code

    def _take_in(self, report: Report) -> None:
        match report:
            case Started():
                self._started = report
            case EpochReport():
                unit = self._started.unit if self._started else "epoch"
                self._telemetry.record(self._job.id, self._attempt.number, unit, report)
            case Paused():
                self._on_paused()
            case Resumed():
                self._set_running()
            case Restored():
                self._tell_restored(report)
            case CheckpointFailed():
                words = f"epoch {report.epoch} was not stored: {report.why}; the earlier checkpoint stands"
                self._tell("checkpoint_failed", words)
            case Note():
                self._tell("note", report.text)
            case Finished():
                self.finished = report
                self._deadline_s = clock.monotonic_s() + self._settings.grace_s
            case Failed():
                self.failed = report
                self._deadline_s = clock.monotonic_s() + self._settings.grace_s
            case _:
                pass

    def _on_paused(self) -> None:
        if self._pause_ordered_s is not None:
            holds = holds_in_force(self._ledger)
            self._set_paused("; ".join(hold.words for hold in holds) or "a hold on the slot")

    def _set_paused(self, words: str) -> None:
        if not self._paused:
            self._count_time()
            self._paused = True
            settlement.pause(self._ledger, self._job.id, words)

    def _set_running(self) -> None:
        if self._paused and self._pause_ordered_s is None:
            self._count_time()
            self._paused = False
            settlement.resume(self._ledger, self._job.id)

    def _tell_restored(self, report: Restored) -> None:
        for fault in report.rejected:
            self._tell("checkpoint_rejected", f"{fault}; the previous checkpoint is used")
        exactly = "" if report.exact else f" (not exactly: {report.note})"
        self._tell("restored", f"goes on after epoch {report.epoch}{exactly}")

    def _tell(self, event: str, words: str) -> None:
        self._ledger.tell(event, event, job_id=self._job.id, words=words)
