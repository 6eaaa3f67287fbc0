"""One attempt under the governor: its reports go in as work, and the decisions that come out are carried out here.

The governor itself is pure (`cbi_queue.governor`); here its decisions become directives, holds, events and rows.
Nothing that goes wrong here costs the training: not a ledger that cannot be written, not a wrong sensor, not a fault of
the governor itself.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import LedgerError
from cbi_queue.governor.governor import Governor
from cbi_queue.governor.values import Action
from cbi_queue.ledger import learned
from cbi_queue.ledger.micro_batch import full_micro_batch, keep_asked_micro_batch, keep_micro_batch
from cbi_queue.models.kinds import Family
from cbi_queue.protocol import EpochReport
from cbi_queue.readings.values import ContentionReading, FootprintReading
from cbi_queue.regular_files import failure_of
from cbi_queue.telemetry.governor_log import record_decision, record_slowdown
from workers.governor.reported_work import ReportedWork
from workers.governor.slot_governor import GOVERNOR_LOOK_S
from workers.trainer.memory_taken import Taken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.governor.values import Attribution, Baseline, Decision, Slowdown
    from cbi_queue.ledger import AttemptRow, JobRow, Ledger
    from cbi_queue.protocol import MicroBatchChanged, Probed, Started, StepsReport
    from cbi_queue.readings.values import Readings
    from cbi_queue.telemetry.telemetry import Telemetry
    from workers.governor.slot_governor import SlotGovernor
    from workers.pending_writes import PendingWrites
    from workers.trainer.pausing import Pausing
    from workers.trainer.trainer_process import TrainerProcess

logger = logging.getLogger(__name__)

FIRST_PROBE_AFTER_S = 30.0
"""Seconds after which the first run of its kind is probed, on a device that was probed before: a probe takes 0.15 to
0.4 s of processor time, which is at most a hundredth of them."""


class AttemptGovernor:
    """The governor of one attempt, with what carries out its decisions."""

    def __init__(
        self,
        slot_governor: SlotGovernor,
        ledger: Ledger,
        telemetry: Telemetry,
        *,
        trainer: TrainerProcess,
        job: JobRow,
        attempt: AttemptRow,
        pausing: Pausing,
        pending_writes: PendingWrites,
    ) -> None:
        """Sample *trainer*'s process tree from now on; the governor itself begins with the trainer's `Started`."""
        self._slot_governor, self._ledger, self._telemetry = slot_governor, ledger, telemetry
        self._trainer, self._job, self._attempt, self._pausing = trainer, job, attempt, pausing
        self._pending_writes = pending_writes
        self._governor: Governor | None = None
        self._started: Started | None = None
        self._began_with: dict[int | None, Baseline] = {}
        self._footprint_mib: float | None = None
        self._epoch = 0
        self._reported_work = ReportedWork()
        self._slept_s = slot_governor.slept_s()
        self._slow: Slowdown | None = None
        self._cause: Attribution | None = None
        self._ended: Slowdown | None = None
        self._next_look_s = 0.0
        self._first_probe_at_s = math.inf
        self.duty = 1.0
        """Share of the time that the trainer is to work."""
        self.wants_recycling = False
        """True once a fresh process is to continue from the checkpoint."""
        slot_governor.monitor.watch(trainer.identity)

    def started(self, report: Started) -> None:
        """Begin to govern, with the baselines of earlier runs of equal cost."""
        self._started, self._reported_work = report, ReportedWork(gets_dearer=report.gets_dearer)
        self._slot_governor.monitor.work_begins()
        with self._harmless("started"):
            if report.fingerprint:
                self._began_with = learned.baselines_of(self._ledger, report.fingerprint)
        with self._harmless("started"):
            self._governor = Governor(
                self._slot_governor.thresholds,
                self._slot_governor.state,
                can=frozenset(report.can),
                one_shot=report.one_shot,
                micro_batch=report.micro_batch,
                full_micro_batch=full_micro_batch(self._ledger, self._job),
                kind=report.fingerprint or "any",
                baselines=self._began_with,
                device=report.device,
            )
        if self._job.family == Family.SCRIPT and report.micro_batch and "micro_batch" in report.can:
            keep = partial(keep_asked_micro_batch, self._ledger, self._job, report.micro_batch)
            self._pending_writes.write("asked_micro_batch", keep)
        if not self._began_with and "probe" in report.can and self._slot_governor.acts:
            with self._harmless("started"):
                self._plan_first_probe(report.device)

    def restored(self, epoch: int) -> None:
        """Note the epochs that earlier attempts finished."""
        self._epoch = epoch

    def worked(self, report: EpochReport | StepsReport) -> None:
        """Give the governor an epoch, or a part of a long one."""
        with self._harmless("worked"):
            work = self._reported_work.work_of(report, self._gap_s())
            if isinstance(report, EpochReport):
                self._epoch = report.epoch
                self._slot_governor.monitor.epoch_done()
            if self._governor is not None and work is not None:
                self._governor.saw_work(work)
                self._record_slowdowns(self._governor)

    def probed(self, report: Probed) -> None:
        """Give the governor what the calibration probe measured, and keep the coldest; a probe of no time is ignored."""
        if report.wall_s <= 0.0:
            return
        with self._harmless("probed"):
            cold_s = learned.cold_probe(self._ledger, report.device, report.workload)
            if self._governor is not None:
                self._governor.saw_probe(clock.boot_s(), report.wall_s, cold_s)
            store = partial(learned.store_probe, self._ledger, report.device, report.workload, report.wall_s)
            self._pending_writes.write("probe", store)

    def micro_batch_changed(self, report: MicroBatchChanged) -> None:
        """Note the new micro-batch; the next attempt of the job begins with it, too."""
        with self._harmless("micro_batch_changed"):
            if self._governor is not None:
                self._governor.saw_micro_batch(report.micro_batch)
            keep = partial(keep_micro_batch, self._ledger, self._job, report.micro_batch)
            self._pending_writes.write("micro_batch", keep)

    def check(self, *, is_leaving: bool = False) -> None:
        """Make the governor decide, about once a second, and carry its decision out.

        Args:
            is_leaving: the trainer has been stopped or has finished; nothing is decided about it any more.
        """
        if clock.monotonic_s() < self._next_look_s:
            return
        self._next_look_s = clock.monotonic_s() + GOVERNOR_LOOK_S
        with self._harmless("check"):
            if self._pausing.is_ordered:
                self._slot_governor.monitor.work_rests()
            self._slot_governor.update_hold_row(self._ledger)
            readings = self._readings()
            self._slot_governor.note(self._telemetry, self._job.id, readings, self._governor)
            self._slot_governor.store_state(self._telemetry)
            if isinstance(readings.footprint, FootprintReading):
                self._footprint_mib = max(self._footprint_mib or 0.0, readings.footprint.footprint_mib)
            if self._governor is not None and self._slot_governor.is_watching and not is_leaving:
                self._decide(self._governor, readings)
                self._probe_when_due(self._governor)

    def ended(self) -> None:
        """Store what this attempt taught; stop sampling its processes."""
        with self._harmless("ended"):
            self._slot_governor.monitor.watch(None)
            self._slot_governor.update_hold_row(self._ledger)
            self._slot_governor.note(self._telemetry, None, self._slot_governor.readings(), None)
            self._slot_governor.store_state(self._telemetry, at_once=True)
            if self._governor is not None and self._started is not None and self._started.fingerprint:
                learned.store_baselines(
                    self._ledger, self._started.fingerprint, self._governor.learned(), began_with=self._began_with
                )

    def took(self, rss_mib: float | None) -> Taken:
        """Return what the attempt took of the memory; *rss_mib* is what the trainer measured itself."""
        started = self._started
        if started is None:
            return Taken("", None, rss_mib, None)
        return Taken(started.device, started.micro_batch, rss_mib, self._footprint_mib)

    @contextmanager
    def _harmless(self, doing: str) -> Iterator[None]:
        """Keep what goes wrong in the body from the training.

        What the ledger cannot do is logged. A fault of the governor itself is logged once with its traceback and
        written into the job's story; for the rest of the attempt the trainer runs at full speed and is only sampled.
        """
        try:
            yield
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=governor.ledger doing=%s job_id=%d why=%r", doing, self._job.id, str(exc))
        except Exception as exc:  # noqa: BLE001 - a fault of the governor must not cost the training
            self._slot_governor.log_once(doing, exc)
            self._governor = None
            if self.duty < 1.0:
                self._pace(1.0)
            self._slot_governor.start_again(self._ledger)
            words = f"the governor failed ({failure_of(exc)}); until this attempt ends it only takes samples"
            self._pending_writes.tell("governor_failed", "governor_failed", job_id=self._job.id, words=words)

    def _readings(self) -> Readings:
        """Return the latest readings, without a stop of the trainer that was the slot's own."""
        readings = self._slot_governor.readings()
        seen = readings.contention
        if isinstance(seen, ContentionReading) and self._trainer.was_stopped_by_us(seen.at_s):
            return replace(readings, contention=replace(seen, trainer_stopped=None))
        return readings

    def _plan_first_probe(self, device: str) -> None:
        """Have the first run of its kind probed: what the machine gives while nothing is slow yet.

        A device that was never probed is probed at once, as a probe on suspicion would have nothing to be compared
        with. Otherwise the probe waits, so that it costs a job of seconds nothing.
        """
        if learned.is_probed(self._ledger, device):
            self._first_probe_at_s = clock.monotonic_s() + FIRST_PROBE_AFTER_S
        else:
            self._trainer.probe()

    def _probe_when_due(self, governor: Governor) -> None:
        is_slowed = governor.slowdown is not None or self.duty < 1.0 or self._pausing.is_ordered
        if clock.monotonic_s() >= self._first_probe_at_s and not is_slowed:
            self._first_probe_at_s = math.inf
            self._trainer.probe()

    def _decide(self, governor: Governor, readings: Readings) -> None:
        with self._slot_governor.deciding:
            idle = self._pausing.is_ordered and self._slot_governor.state.hold is None
            decision = governor.check(clock.boot_s(), readings, idle=idle)
        if decision is None:
            return
        acts = self._slot_governor.acts
        if acts:
            self._act(decision)
        logger.info("event=governor.%s job_id=%d cause=%s", decision.action, self._job.id, decision.cause)
        record_decision(
            self._telemetry,
            decision,
            job_id=self._job.id,
            attempt=self._attempt.number,
            epoch=self._epoch,
            acted=acts,
        )
        self._slot_governor.store_state(self._telemetry, at_once=True)
        if decision.action is not Action.PROBE:
            words = decision.words if acts else f"would have acted, but only watches: {decision.words}"
            self._pending_writes.tell("governor", decision.cause, job_id=self._job.id, words=words)

    def _act(self, decision: Decision) -> None:
        match decision.action:
            case Action.PROBE:
                self._trainer.probe()
            case Action.PACE:
                self._pace(decision.value or 1.0)
            case Action.MICRO_BATCH:
                self._trainer.set_micro_batch(int(decision.value or 1))
            case Action.RECYCLE:
                self.wants_recycling = True
            case _:
                self._slot_governor.act_on_slot(self._ledger, decision)

    def _pace(self, duty: float) -> None:
        self._trainer.pace(duty)
        self.duty = duty

    def _record_slowdowns(self, governor: Governor) -> None:
        """Record a slow-down as it begins, changes its cause, and ends; also one that shows only in hindsight."""
        ended, slow = governor.ended_slowdown, governor.slowdown
        if ended is not None and ended != self._ended:
            known = self._cause if _is_same(ended, self._slow) else None
            self._record(ended, known or governor.ended_attribution)
            self._ended = ended
        if slow is not None:
            known = self._cause if _is_same(slow, self._slow) else None
            self._slow, self._cause = slow, governor.attribution or known
            self._record(slow, self._cause)

    def _record(self, slowdown: Slowdown, cause: Attribution | None) -> None:
        record_slowdown(self._telemetry, slowdown, cause, job_id=self._job.id, attempt=self._attempt.number)

    def _gap_s(self) -> float:
        """Return the seconds that the machine slept since the last report; those not known now count once they are."""
        before, slept_s = self._slept_s, self._slot_governor.slept_s()
        if slept_s is None:
            return 0.0
        self._slept_s = slept_s
        return 0.0 if before is None else max(0.0, slept_s - before)


def _is_same(one: Slowdown, other: Slowdown | None) -> bool:
    return other is not None and one.since_epoch == other.since_epoch
