"""The slot: what Huey's one worker runs. `admit` before the claim; then `train`: spawn, supervise, settle."""

from __future__ import annotations

import logging
import sqlite3
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from cbi_queue.artifacts import CHECKPOINT_FOLDER, run_dir_for
from cbi_queue.datasets.place import of_dataset
from cbi_queue.errors import CbiError, LedgerError, VolumeMissing
from cbi_queue.hardware.detection import profile_for
from cbi_queue.hardware.memory import kind_of
from cbi_queue.ledger import claims, queries, settlement
from cbi_queue.ledger.members import Members, run_of, take_members
from cbi_queue.ledger.micro_batch import LOWERED, full_micro_batch, lowered_micro_batch
from cbi_queue.lifecycle import Outcome, Reason
from cbi_queue.models.kinds import BARS, Family
from cbi_queue.process_marks import NOTED, mark_of
from cbi_queue.protocol import Assignment
from cbi_queue.regular_files import failure_of, plain_words
from cbi_queue.tracking.reading import store_dir
from workers.slot.admission import Admission
from workers.slot.settling import settle, signed_manifest
from workers.slot.supervision import Supervision, TrainerStuck
from workers.trainer.ending import Ending, Seen, Settlement, classify_ending
from workers.trainer.last_output import refused_memory
from workers.trainer.memory_evidence import KillRecords, evidence_of_shortage
from workers.trainer.trainer_process import TrainerProcess, TrainerSetup
from workers.volume import hold_if_unusable

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.artifacts import Manifest
    from cbi_queue.ledger import AttemptRow, JobRow, Ledger
    from cbi_queue.settings import Settings
    from cbi_queue.telemetry.telemetry import Telemetry
    from workers.governor.slot_governor import SlotGovernor

logger = logging.getLogger(__name__)


class Slot:
    """The one place where a trainer runs."""

    def __init__(
        self, settings: Settings, telemetry: Telemetry, lock_descriptor: int, slot_governor: SlotGovernor
    ) -> None:
        """Use the slot whose lock is open as *lock_descriptor*."""
        self._settings = settings
        self._telemetry = telemetry
        self._lock_descriptor = lock_descriptor
        self._slot_governor = slot_governor
        self._profile = profile_for(settings.profile, settings.profiles_dir).profile
        self._admission = Admission(
            self._profile,
            settings.processed_dir,
            shares_gpu=settings.foreign_gpu == "beside",
            foreign_gpu_mib=settings.foreign_gpu_mib,
        )
        self.stopping = threading.Event()

    def admit(self, ledger: Ledger, job: JobRow) -> bool:
        """Return True if the next job may be claimed: the daemon runs on, the data are there, its memory fits."""
        if self.stopping.is_set() or self._volume_is_missing():
            return False
        with ledger.brief_lock_waits():
            if not self._slot_governor.update_hold_row(ledger):
                return False
        readings = self._slot_governor.readings()
        refusal = self._slot_governor.why_not_start()
        return self._admission.admit(ledger, job, readings.memory, refusal, gpu=readings.gpu)

    def train(self, ledger: Ledger, job_id: int, attempt_id: int) -> None:
        """Run the claimed attempt to its end and settle it, also when the slot itself fails."""
        job = queries.job_numbered(ledger, job_id)
        logger.info("event=job.claimed job_id=%d name=%s attempt=%d", job.id, job.name, job.attempts)
        try:
            self._train(ledger, job, attempt_id)
        except TrainerStuck as exc:
            logger.error("event=trainer.stuck job_id=%d why=%r", job_id, exc.message)  # noqa: TRY400 - no fault of ours
        except Exception as exc:
            logger.exception("event=slot.error job_id=%d", job_id)
            self._settle_error(ledger, job_id, exc)

    def _settle_error(self, ledger: Ledger, job_id: int, exc: Exception) -> None:
        """Settle a job that the slot itself could not run; a volume that cannot be used is not the job's fault."""
        if self._volume_is_unusable(ledger):
            settlement.requeue(ledger, job_id, Outcome.EVICTED, Reason.VOLUME_GONE)
            return
        error = f"the slot could not run the job: {failure_of(exc)}"
        settlement.retry_or_fail(ledger, job_id, error, backoff_s=self._settings.backoff_s, exit_code=None)

    def _train(self, ledger: Ledger, job: JobRow, attempt_id: int) -> None:
        attempt = queries.open_attempt(ledger, job.id)
        if attempt is None or attempt.id != attempt_id:
            raise CbiError(f"attempt {attempt_id} of job {job.id} is not open in the ledger")
        self._settings.make_layout()
        members = Members()
        if job.family == Family.META:
            job, members = take_members(ledger, job)
        run_dir = self._run_dir(job)
        if self._settle_found(ledger, job, run_dir):
            return
        log_path = self._log_path(job, attempt)
        lowered = lowered_micro_batch(ledger, job)
        begins_with = job.micro_batch
        if lowered is not None:  # without a governor nothing would raise it again
            begins_with = lowered if self._slot_governor.acts else full_micro_batch(ledger, job)
        kill_records = KillRecords()
        mark = mark_of(self._settings.state_dir, ledger.ledger_id, job.id, attempt.number)
        trainer = TrainerProcess(self._setup(job, log_path, run_dir, mark))
        try:
            self._record(ledger, attempt, trainer, log_path, run_dir, begins_with if lowered else None)
            assignment = self._assignment(ledger, job, attempt, run_dir, log_path, begins_with)
            trainer.begin(_with_members(assignment, members))
            supervision = Supervision(
                self._settings,
                ledger,
                self._telemetry,
                trainer=trainer,
                job=job,
                attempt=attempt,
                slot_governor=self._slot_governor,
                stopping=self.stopping,
            )
            exit_code = supervision.run()
        except TrainerStuck:
            raise
        except BaseException:
            trainer.kill()
            trainer.wait(self._settings.grace_s)
            raise
        finally:
            trainer.close()
            self._admission.trainer_ended()
            self._telemetry.commit()
        manifest, fault = signed_manifest(run_dir, ledger.ledger_id, job.id, attempt.number)
        went_wrong = manifest is None and supervision.stop_cause is None
        ending = classify_ending(
            Seen(
                exit_code,
                complete=manifest is not None,
                failed=supervision.intake.failed,
                stop_cause=supervision.stop_cause,
                volume_missing=went_wrong and self._volume_is_unusable(ledger),
                timeout_s=job.timeout_s,
                sent_hello=supervision.intake.sent_hello,
                killed_by_us=supervision.killed_by_us,
                left_checkpoint=supervision.intake.left_checkpoint,
                memory_refused=refused_memory(log_path),
                memory_evidence=self._shortage(kill_records, supervision),
                fault=fault if supervision.intake.finished else None,
            )
        )
        self._settle(ledger, job, ending, manifest, exit_code)
        if manifest is not None:
            self._admission.learn(ledger, job, attempt.number, supervision.took(manifest.peak_rss_mib))

    def _shortage(self, records: KillRecords, supervision: Supervision) -> str | None:
        """Return what shows that memory was short when the trainer ended; None when nothing does."""
        memory, footprint_mib = self._slot_governor.readings().memory, supervision.took(None).footprint_mib
        return evidence_of_shortage(records, memory, footprint_mib, self._profile.working_set_mib)

    def _settle_found(self, ledger: Ledger, job: JobRow, run_dir: Path) -> bool:
        """Finish the job if an interrupted or evicted attempt had completed its folder, unnoticed at the time."""
        for attempt in queries.attempts_of(ledger, job.id):
            if attempt.outcome in (Outcome.INTERRUPTED, Outcome.EVICTED):
                manifest, _ = signed_manifest(run_dir, ledger.ledger_id, job.id, attempt.number)
                if manifest is not None and manifest.identity == job.identity:
                    ending = Ending(Settlement.FINISH, Outcome.SUCCESS, Reason.FOUND_FINISHED, "")
                    self._settle(ledger, job, ending, manifest, None)
                    return True
        return False

    def _settle(
        self, ledger: Ledger, job: JobRow, ending: Ending, manifest: Manifest | None, exit_code: int | None
    ) -> None:
        """Record how the attempt ended; a ledger that cannot be written now is not an error of the job.

        Its row then stays in the slot until the worker finds it there and queues it again; then `_settle_found` accepts
        a complete folder.
        """
        try:
            settle(ledger, job, ending, manifest, exit_code=exit_code, backoff_s=self._settings.backoff_s)
        except (LedgerError, sqlite3.Error) as exc:
            logger.error("event=job.unsettled job_id=%d why=%r", job.id, str(exc))  # noqa: TRY400 - no fault of ours

    def _volume_is_missing(self) -> bool:
        try:
            self._settings.require_volume()
        except VolumeMissing:
            return True
        return False

    def _volume_is_unusable(self, ledger: Ledger) -> bool:
        """Look after an error whether the data can be opened at all; hold the slot if not, before the next job fails."""
        try:
            return hold_if_unusable(self._settings, ledger)
        except (CbiError, OSError) as exc:  # the state folder is gone, no process can be started
            logger.warning("event=volume.not_probed why=%r", plain_words(exc))
            return False

    def _run_dir(self, job: JobRow) -> Path:
        return run_dir_for(
            self._settings.models, model=job.model, horizon=job.horizon, name=job.name, identity=job.identity, bars=BARS
        )

    def _log_path(self, job: JobRow, attempt: AttemptRow) -> Path:
        return self._settings.training_log_dir / f"{job.name}-{job.id}-attempt-{attempt.number}.log"

    def _setup(self, job: JobRow, log_path: Path, run_dir: Path, mark: str) -> TrainerSetup:
        return TrainerSetup(
            interpreter=self._settings.interpreter_for(job.backend),
            threads=self._settings.threads,
            log_path=log_path,
            working_dir=self._settings.state_dir,
            lock_descriptor=self._lock_descriptor,
            passed_variables=self._settings.trainer_environment,
            mark=mark,
            notes=run_dir / CHECKPOINT_FOLDER / NOTED,
        )

    def _record(
        self,
        ledger: Ledger,
        attempt: AttemptRow,
        trainer: TrainerProcess,
        log_path: Path,
        run_dir: Path,
        lowered: int | None,
    ) -> None:
        claims.record_trainer(
            ledger,
            attempt.id,
            pid=trainer.identity.pid,
            started=trainer.identity.started,
            log_path=str(log_path),
            run_dir=str(run_dir),
            settings={
                "threads": self._settings.threads,
                "grace_s": self._settings.grace_s,
                "profile": self._profile.name,
                **({} if lowered is None else {LOWERED: lowered}),
            },
        )

    def _assignment(
        self, ledger: Ledger, job: JobRow, attempt: AttemptRow, run_dir: Path, log_path: Path, micro_batch: int | None
    ) -> Assignment:
        return Assignment(
            job_id=job.id,
            attempt=attempt.number,
            ledger_id=ledger.ledger_id,
            identity=job.identity,
            spec=job.spec,
            run_dir=str(run_dir),
            exports_dir=str(of_dataset(self._settings.exports_dir, job.dataset)),
            processed_dir=str(of_dataset(self._settings.processed_dir, job.dataset)),
            needed_runs=queries.needed_runs(ledger, job.id),
            threads=self._settings.threads,
            micro_batch=micro_batch,
            devices=self._profile.devices,
            precision=self._profile.precision_for(kind_of(job.model)),
            memory_limit_mib=self._settings.trainer_memory_mib,
            thrift=job.ooms,
            grace_s=self._settings.grace_s,
            log_path=str(log_path),
            log_max_bytes=self._settings.log_max_bytes,
            log_keep=self._settings.log_keep,
            mlflow_dir=str(store_dir(self._settings)) if self._settings.tracking == "on" else "",
        )


def _with_members(assignment: Assignment, members: Members) -> Assignment:
    """Tell the trainer of an ensemble what it combines."""
    taken = tuple(
        {"name": job.name, "model": job.model, "run": run_of(job), "run_dir": str(job.run_dir)} for job in members.taken
    )
    return replace(assignment, members=taken, left_out=members.left_out)
