"""Before the claim: does the next job's memory fit here at all, into what is free now, and with which micro-batch?

A refusal undoes nothing: the job stays queued, its reason states what it waits for, and it is checked again. After an
attempt, the memory that it really used is stored beside the figure of the formula.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.datasets.place import of_dataset
from cbi_queue.errors import LedgerError
from cbi_queue.hardware.fit import Fit, Need, Verdict, fit
from cbi_queue.hardware.memory import SCRIPTS, formula_mib, kind_of, line_for, line_of_script
from cbi_queue.hardware.shapes import ASSUMED, shape_from_cache
from cbi_queue.ledger.micro_batch import first_micro_batch
from cbi_queue.ledger.peaks import peaks_of, store_peak
from cbi_queue.ledger.waits import (
    lower_micro_batch,
    mark_unfit,
    note_shared_gpu,
    wait_for_gpu,
    wait_for_machine,
    wait_for_memory,
)
from cbi_queue.lifecycle import Reason
from cbi_queue.models.kinds import Family
from cbi_queue.readings.values import GpuReading, MemoryReading, PressureLevel, Reading, Unknown
from cbi_queue.values.written import shape_of
from workers.sensors.answers import NOT_ASKED

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.hardware import HardwareProfile
    from cbi_queue.ledger import JobRow, Ledger
    from workers.trainer.memory_taken import Taken

logger = logging.getLogger(__name__)

RECHECK_S = 30.0
"""Seconds that a job which does not fit now leaves the slot to others: what fills the memory ends in minutes."""
MOST_HOLDERS = 3
"""Other programs on the GPU that are named."""
WHAT_TO_DO = "make its parameters smaller with `cbi-queue edit`, or choose another profile"
MAX_PRESSURE_S = 900.0
"""Seconds that memory pressure alone keeps jobs from starting: longer, and a stuck level would stop the queue."""


class Admission:
    """Check the memory of jobs on one machine."""

    def __init__(
        self,
        profile: HardwareProfile,
        processed_dir: Path,
        *,
        shares_gpu: bool = False,
        foreign_gpu_mib: float = 500.0,
    ) -> None:
        """Admit by the limits of *profile*; the shapes of data are read from *processed_dir*.

        Args:
            profile: of this machine.
            processed_dir: of the feature caches.
            shares_gpu: a net starts beside other programs on the GPU instead of waiting for them.
            foreign_gpu_mib: what they must hold of its memory in all, to count.
        """
        self._profile = profile
        self._shares_gpu, self._foreign_gpu_mib = shares_gpu, foreign_gpu_mib
        self._made_s = clock.boot_s()
        self._processed_dir = processed_dir
        self._pressed_since_s: float | None = None
        self._pressed = ""
        self._trainer_ended_s = float("-inf")

    def admit(
        self,
        ledger: Ledger,
        job: JobRow,
        memory: MemoryReading | Unknown | None,
        governor_refusal: str | None = None,
        *,
        gpu: GpuReading | Unknown | None = None,
    ) -> bool:
        """Return True if *job* may start now; record why not, or a smaller micro-batch that it is to start with.

        Args:
            ledger: to write into; when it cannot be written the job is admitted if it fits: memory is watched while
                it trains.
            job: the next one.
            memory: the monitor's reading; None without a monitor.
            governor_refusal: why the governor lets no job start; None when it does.
            gpu: the monitor's reading; None without a monitor.
        """
        refusal = governor_refusal or self._pressure(memory)
        ceiling = self._profile.micro_batch_ceiling_for(job.spec.get("params", {}))
        found = fit(self.need(ledger, job), self.limit_mib(job), _available_mib(memory), ceiling=ceiling)
        if found.verdict is Verdict.WAITS and self._is_outdated(memory):
            return False
        may_start = refusal is None and found.verdict not in (Verdict.WAITS, Verdict.CANNOT)
        holders = None
        if may_start and self._trains_on_cuda(job):
            if self._is_outdated(gpu) or self._is_unread(gpu):
                return False
            holders = self._foreign_holders(gpu)
            may_start = holders is None or self._shares_gpu
        try:
            if may_start:
                self._record_start(ledger, job, found, memory)
                if holders is not None:
                    note_shared_gpu(ledger, job.id, f"starts beside others on the GPU: {holders}")
            elif holders is not None:
                hint = "foreign_gpu = beside in the settings lets it start beside them"
                wait_for_gpu(ledger, job.id, f"waits for memory of the GPU: {holders}; {hint}", RECHECK_S)
            else:
                _record_wait(ledger, job, found, refusal)
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=admission.not_written job_id=%d why=%r", job.id, str(exc))
        return may_start

    def trainer_ended(self) -> None:
        """Note that a trainer has ended: earlier readings include the memory that it used."""
        self._trainer_ended_s = clock.boot_s()

    def _is_outdated(self, reading: Reading | Unknown | None) -> bool:
        """Return True if *reading* was taken while the last trainer still ran: the next sample is awaited."""
        return isinstance(reading, Reading) and reading.at_s <= self._trainer_ended_s

    def _trains_on_cuda(self, job: JobRow) -> bool:
        return kind_of(job.model) is not None and self._profile.devices[0] == "cuda"

    def _is_unread(self, gpu: GpuReading | Unknown | None) -> bool:
        """Return True while the GPU has not been looked at since the start; a sensor that hangs is not waited for."""
        is_new = clock.boot_s() - self._made_s < RECHECK_S
        return is_new and isinstance(gpu, Unknown) and gpu.why == NOT_ASKED

    def _foreign_holders(self, gpu: GpuReading | Unknown | None) -> str | None:
        """Return in words who holds memory of the GPU; None when no one does, little of it, or nothing can be read.

        How much one holds may be unknown: it counts then.
        """
        if not isinstance(gpu, GpuReading) or not gpu.others:
            return None
        if gpu.others_mib is not None and gpu.others_mib < self._foreign_gpu_mib:
            return None
        more = len(gpu.others) - MOST_HOLDERS
        return ", ".join([*gpu.others[:MOST_HOLDERS], *([f"{more} more"] if more > 0 else [])])

    def need(self, ledger: Ledger, job: JobRow) -> Need:
        """Return what the memory of *job* depends on."""
        shape = shape_from_cache(of_dataset(self._processed_dir, job.dataset), job.horizon) or ASSUMED
        params = job.spec.get("params", {})
        if job.family == Family.SCRIPT:
            line = line_of_script(shape_of(params.get("command", ())), params, peaks_of(ledger, SCRIPTS))
            return Need(job.model, params, shape, line, None)
        line = line_for(job.model, job.backend, peaks_of(ledger, job.backend))
        return Need(job.model, params, shape, line, first_micro_batch(ledger, job))

    def limit_mib(self, job: JobRow) -> float | None:
        """Return the memory that one trainer of *job* may use here, MiB."""
        return self._profile.limit_mib(kind_of(job.model))

    def learn(self, ledger: Ledger, job: JobRow, attempt: int, taken: Taken) -> None:
        """Store the peak memory of a finished attempt: the larger of the trainer's and the monitor's figures.

        On a GPU the resident set is only the host's part; without the system's own figure nothing is learned there.
        """
        measured = [mib for mib in (taken.footprint_mib, taken.rss_mib if taken.device == "cpu" else None) if mib]
        if not measured or taken.device in {"", "cuda"}:
            return
        is_script, params = job.family == Family.SCRIPT, job.spec.get("params", {})
        shape = ASSUMED if is_script else shape_from_cache(of_dataset(self._processed_dir, job.dataset), job.horizon)
        if shape is None:
            return
        formula = formula_mib(job.model, params, shape, taken.micro_batch)
        try:
            store_peak(
                ledger,
                job.id,
                attempt,
                model=shape_of(params.get("command", ())) if is_script else job.model,
                backend=SCRIPTS if is_script else job.backend,
                device=taken.device,
                micro_batch=taken.micro_batch,
                formula_mib=formula,
                measured_mib=max(measured),
            )
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=peak.not_written job_id=%d why=%r", job.id, str(exc))

    def _pressure(self, memory: MemoryReading | Unknown | None) -> str | None:
        """Return why nothing should start while the system itself reports that memory is short; None when it does not.

        When the sensor stops reporting meanwhile, the pressure counts as unchanged: a thrashing machine can be the
        cause. A level can be stuck: after `MAX_PRESSURE_S` one job may start, and the governor watches its memory.
        """
        words = self._pressure_words(memory)
        if words is None:
            self._pressed_since_s = None
            return None
        now_s = clock.monotonic_s()
        if self._pressed_since_s is None:
            self._pressed_since_s = now_s
        return words if now_s - self._pressed_since_s < MAX_PRESSURE_S else None

    def _pressure_words(self, memory: MemoryReading | Unknown | None) -> str | None:
        """Return the memory pressure in words, as it is or as it was last read; None when there is none."""
        level = memory.level if isinstance(memory, MemoryReading) else None
        if memory is None or level is PressureLevel.NORMAL:
            return None
        if level is not None and isinstance(memory, MemoryReading):
            self._pressed = f"{level.name.lower()} ({memory.source})"
            return f"the system's memory pressure is {self._pressed}"
        if self._pressed_since_s is None:
            return None
        why = memory.why if isinstance(memory, Unknown) else f"{memory.source} no longer reports a level"
        return f"the system's memory pressure was {self._pressed} when it could last be read: {why}"

    def _record_start(self, ledger: Ledger, job: JobRow, found: Fit, memory: MemoryReading | Unknown | None) -> None:
        """Record a smaller micro-batch, and log what was not known."""
        if found.verdict is Verdict.SMALLER and found.chosen.micro_batch is not None:
            lower_micro_batch(ledger, job.id, found.chosen.micro_batch, found.words)
        if isinstance(memory, Unknown):
            logger.info("event=admission.blind job_id=%d seen=%r why=%r", job.id, found.words, memory.why)


def _record_wait(ledger: Ledger, job: JobRow, found: Fit, refusal: str | None) -> None:
    if refusal is not None:
        if job.reason is not Reason.MACHINE_STRAINED:
            wait_for_machine(ledger, job.id, refusal)
    elif found.verdict is Verdict.CANNOT:
        words = f"{found.words}: {WHAT_TO_DO}"
        if mark_unfit(ledger, job.id, words, RECHECK_S):
            logger.error("event=job.cannot_fit job_id=%d name=%s why=%r", job.id, job.name, words)
    else:
        wait_for_memory(ledger, job.id, found.words, RECHECK_S)


def _available_mib(memory: MemoryReading | Unknown | None) -> float | None:
    return memory.available_mib if isinstance(memory, MemoryReading) else None
