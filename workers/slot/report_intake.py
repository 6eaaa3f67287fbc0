"""Process what a trainer reports: epochs go to the telemetry, news to the job's events; its last report is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.protocol import (
    CheckpointFailed,
    CheckpointSaved,
    EpochReport,
    Failed,
    Finished,
    Hello,
    MicroBatchChanged,
    Note,
    Paused,
    Probed,
    Restored,
    Started,
    StepsReport,
)

if TYPE_CHECKING:
    from cbi_queue.ledger import AttemptRow
    from cbi_queue.protocol import Report
    from cbi_queue.telemetry.telemetry import Telemetry
    from workers.governor.attempt_governor import AttemptGovernor
    from workers.pending_writes import PendingWrites
    from workers.trainer.pausing import Pausing


class Intake:
    """The reports of one attempt."""

    def __init__(
        self,
        pending_writes: PendingWrites,
        telemetry: Telemetry,
        attempt: AttemptRow,
        pausing: Pausing,
        attempt_governor: AttemptGovernor,
    ) -> None:
        """Process what the trainer of *attempt* reports; events are written through *pending_writes*."""
        self._pending_writes = pending_writes
        self._telemetry = telemetry
        self._attempt = attempt
        self._pausing = pausing
        self._attempt_governor = attempt_governor
        self._unit = "epoch"
        self.sent_hello = False
        self.left_checkpoint = False
        self.finished: Finished | None = None
        self.failed: Failed | None = None

    @property
    def has_ended(self) -> bool:
        """True once the trainer has sent its last report."""
        return self.finished is not None or self.failed is not None

    def process(self, report: Report) -> None:
        """Process one report."""
        match report:
            case Hello():
                self.sent_hello = True
            case Started():
                self._unit = report.unit
                self._pausing.is_one_shot = report.one_shot
                self._attempt_governor.started(report)
            case EpochReport():
                self._telemetry.record(self._attempt.job_id, self._attempt.number, self._unit, report)
                self._attempt_governor.worked(report)
            case StepsReport():
                self._attempt_governor.worked(report)
            case MicroBatchChanged():
                self._attempt_governor.micro_batch_changed(report)
            case Probed():
                self._attempt_governor.probed(report)
            case Paused():
                self._pausing.confirm()
            case Finished():
                self.finished = report
            case Failed():
                self.failed = report
            case _:
                self._process_news(report)

    def _process_news(self, report: Report) -> None:
        match report:
            case Restored():
                self._attempt_governor.restored(report.epoch)
                self._write_restored(report)
            case CheckpointSaved():
                self.left_checkpoint = True
                self._telemetry.record_checkpoint(self._attempt.job_id, self._attempt.number, self._unit, report)
            case CheckpointFailed():
                words = f"{self._unit} {report.epoch} was not stored: {report.why}; the earlier checkpoint is kept"
                self._write("checkpoint_failed", words)
            case Note():
                self._write("note", report.text)
            case _:
                pass

    def _write_restored(self, report: Restored) -> None:
        for fault in report.rejected:
            self._write("checkpoint_rejected", f"{fault}; the previous checkpoint is used")
        exactly = "" if report.exact else f" (not exactly: {report.note})"
        self._write("restored", f"continues after {self._unit} {report.epoch}{exactly}")

    def _write(self, event: str, words: str) -> None:
        self._pending_writes.tell(event, event, job_id=self._attempt.job_id, words=words)
