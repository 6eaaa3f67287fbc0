"""One attempt under the governor: its reports go in as work, decisions come out, and the slot acts on them here.

The governor itself is pure and lives in `cbi_queue.governor`; this is where its decisions become directives, holds,
events and rows. Whatever goes wrong in here (a ledger that cannot be written, a sensor that lies) never costs the
training. Neighbours: `supervision` (calls `look`), `intake` (hands the reports on), `governance` (what outlives the
attempt), `cbi_queue.ledger.governor_log` (the rows).
"""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import LedgerError
from cbi_queue.governor.governor import Governor
from cbi_queue.governor.values import Action, Work
from cbi_queue.ledger import learned
from cbi_queue.ledger.governor_log import record_decision, record_slowdown
from cbi_queue.ledger.micro_batch import keep_micro_batch
from cbi_queue.protocol import EpochReport, StepsReport
from cbi_queue.readings import FootprintReading
from workers.admission import Taken
from workers.governance import GOVERNOR_LOOK_S, act_on_slot

if TYPE_CHECKING:
    from cbi_queue.governor.values import Attribution, Decision, Slowdown
    from cbi_queue.ledger import AttemptRow, JobRow, Ledger
    from cbi_queue.ledger.telemetry import Telemetry
    from cbi_queue.protocol import MicroBatchChanged, Probed, Started
    from workers.governance import Governance
    from workers.pausing import Pausing
    from workers.trainer_process import TrainerProcess

logger = logging.getLogger(__name__)


class Governing:
    """The governor of one attempt, with hands."""

    def __init__(
        self,
        governance: Governance,
        ledger: Ledger,
        telemetry: Telemetry,
        trainer: TrainerProcess,
        job: JobRow,
        attempt: AttemptRow,
        pausing: Pausing,
    ) -> None:
        """Watch *trainer*'s process tree from now on; the governor itself begins with the trainer's `Started`."""
        self._governance, self._ledger, self._telemetry = governance, ledger, telemetry
        self._trainer, self._job, self._attempt, self._pausing = trainer, job, attempt, pausing
        self._governor: Governor | None = None
        self._started: Started | None = None
        self._footprint_mib: float | None = None
        self._epoch = 0
        self._parts = _Parts()
        self._slept_s = 0.0
        self._told: Slowdown | None = None
        self._told_cause: Attribution | None = None
        self._next_look_s = 0.0
        self.wants_recycling = False
        """True once a fresh process is to go on from the checkpoint."""
        governance.monitor.watch(trainer.identity)

    def started(self, report: Started) -> None:
        """Begin to govern: fetch what earlier runs of equal cost taught."""
        self._started = report
        baselines = learned.baselines_of(self._ledger, report.fingerprint) if report.fingerprint else {}
        self._governor = Governor(
            self._governance.thresholds,
            self._governance.memory,
            can=frozenset(report.can),
            one_shot=report.one_shot,
            micro_batch=report.micro_batch,
            baselines=baselines,
            cold_probe_s=None,
        )
        if not baselines and "probe" in report.can:
            self._trainer.probe()  # the first run of its kind: what the machine gives while nothing is slow yet

    def worked(self, report: EpochReport | StepsReport) -> None:
        """Show the governor an epoch, or a part of a long one."""
        work = self._parts.work_of(report, self._gap_s())
        if isinstance(report, EpochReport):
            self._epoch = report.epoch
        if self._governor is not None and work is not None:
            self._governor.saw_work(work)
            self._tell_slowdown(self._governor)

    def probed(self, report: Probed) -> None:
        """Show the governor what the calibration probe measured, and remember the coldest."""
        cold_s = learned.cold_probe(self._ledger, report.device, report.workload)
        if self._governor is not None:
            self._governor.saw_probe(clock.boot_s(), report.wall_s, cold_s)
        try:
            learned.store_probe(self._ledger, report.device, report.workload, report.wall_s)
        except (LedgerError, sqlite3.Error, ValueError) as exc:
            logger.warning("event=probe.not_written device=%s why=%r", report.device, str(exc))

    def micro_batch_changed(self, report: MicroBatchChanged) -> None:
        """Keep the new micro-batch for later attempts of the job."""
        keep_micro_batch(self._ledger, self._job.id, report.micro_batch)
        if self._governor is not None:
            self._governor.saw_micro_batch(report.micro_batch)

    def look(self) -> None:
        """Let the governor look, about once a second, and do what it decides."""
        if clock.monotonic_s() < self._next_look_s:
            return
        self._next_look_s = clock.monotonic_s() + GOVERNOR_LOOK_S
        governance = self._governance
        readings = governance.readings()
        governance.note(self._telemetry, self._job.id, readings, self._governor)
        if isinstance(readings.footprint, FootprintReading):
            self._footprint_mib = max(self._footprint_mib or 0.0, readings.footprint.footprint_mib)
        if self._governor is None or not governance.is_watching:
            return
        if governance.acts:
            governance.notice_lifted_hold(self._ledger)
        idle = self._pausing.is_ordered and governance.memory.hold is None
        decision = self._governor.look(clock.boot_s(), readings, idle=idle)
        if decision is not None:
            self._carry_out(decision)

    def ended(self) -> None:
        """Keep what this attempt taught; stop watching its processes."""
        self._governance.monitor.watch(None)
        self._governance.note(self._telemetry, None, self._governance.readings(), None)
        if self._governor is None or self._started is None or not self._started.fingerprint:
            return
        try:
            learned.store_baselines(self._ledger, self._started.fingerprint, self._governor.learned())
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=baseline.not_written job_id=%d why=%r", self._job.id, str(exc))

    def took(self, rss_mib: float | None) -> Taken:
        """Return what the attempt took of the memory; *rss_mib* is what the trainer measured itself."""
        started = self._started
        if started is None:
            return Taken("", None, rss_mib, None)
        return Taken(started.device, started.micro_batch, rss_mib, self._footprint_mib)

    def _carry_out(self, decision: Decision) -> None:
        acts = self._governance.acts
        record_decision(
            self._telemetry,
            decision,
            job_id=self._job.id,
            attempt=self._attempt.number,
            epoch=self._epoch,
            acted=acts,
        )
        words = decision.words if acts else f"would have acted, but only watches: {decision.words}"
        logger.info("event=governor.%s job_id=%d cause=%s", decision.action, self._job.id, decision.cause)
        try:
            if decision.action is not Action.PROBE:
                self._ledger.tell("governor", decision.cause, job_id=self._job.id, words=words)
            if acts:
                self._act(decision)
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=decision.not_carried_out job_id=%d why=%r", self._job.id, str(exc))

    def _act(self, decision: Decision) -> None:
        match decision.action:
            case Action.PROBE:
                self._trainer.probe()
            case Action.PACE:
                self._trainer.pace(decision.value or 1.0)
            case Action.MICRO_BATCH:
                self._trainer.set_micro_batch(int(decision.value or 1))
            case Action.RECYCLE:
                self.wants_recycling = True
            case _:
                act_on_slot(self._ledger, decision)

    def _tell_slowdown(self, governor: Governor) -> None:
        """Write a slow-down down as it begins, changes its cause, and ends."""
        slowdown = governor.slowdown
        if slowdown is not None:
            record_slowdown(
                self._telemetry, slowdown, governor.attribution, job_id=self._job.id, attempt=self._attempt.number
            )
            self._told, self._told_cause = slowdown, governor.attribution or self._told_cause
        elif self._told is not None and (over := governor.ended_slowdown) is not None:
            record_slowdown(self._telemetry, over, self._told_cause, job_id=self._job.id, attempt=self._attempt.number)
            self._told = None

    def _gap_s(self) -> float:
        """Seconds that the machine slept since the last report."""
        slept_s = self._governance.slept_s()
        gap_s, self._slept_s = max(0.0, slept_s - self._slept_s), slept_s
        return gap_s


class _Parts:
    """Turns reports into work: parts of long epochs as they come, and of their epoch only what is left."""

    def __init__(self) -> None:
        self._wall_s, self._samples = 0.0, 0

    def work_of(self, report: EpochReport | StepsReport, gap_s: float) -> Work | None:
        if isinstance(report, StepsReport):
            self._wall_s += report.wall_s
            self._samples += report.samples
            return self._work(report, report.wall_s, report.samples, report.cpu_s, gap_s)
        train_s = report.wall_s if report.train_s is None else report.train_s
        had_parts = self._samples > 0
        wall_s, samples = train_s - self._wall_s, (report.samples or 0) - self._samples
        self._wall_s, self._samples = 0.0, 0
        cpu_s = (
            None if had_parts or report.cpu_s is None or not report.wall_s else report.cpu_s * train_s / report.wall_s
        )
        return self._work(report, wall_s, samples, cpu_s, gap_s)

    @staticmethod
    def _work(
        report: EpochReport | StepsReport, wall_s: float, samples: int, cpu_s: float | None, gap_s: float
    ) -> Work | None:
        if samples <= 0 or wall_s <= 0:
            return None
        return Work(
            epoch=report.epoch - 1,
            at_s=clock.boot_s(),
            wall_s=wall_s,
            samples=samples,
            micro_batch=report.micro_batch,
            disturbed=report.resumed,
            cpu_s=cpu_s,
            data_s=report.data_s,
            gap_s=gap_s,
        )
