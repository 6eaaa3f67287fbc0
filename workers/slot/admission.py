"""Before the claim: does the next job's memory fit here at all, into what is free now, and with which micro-batch?

A refusal undoes nothing: the job stays queued, its reason says what it waits for, and it is looked at again. After an
attempt, what it really took is stored beside the formula. Neighbours: `slot` (asks, and tells of ends),
`cbi_queue.hardware.fit` (decides), `cbi_queue.ledger.waits` and `peaks` (write it down).
"""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.errors import LedgerError
from cbi_queue.hardware.fit import Fit, Need, Verdict, fit
from cbi_queue.hardware.memory import formula_mib, kind_of, line_for
from cbi_queue.hardware.shapes import ASSUMED, shape_from_cache
from cbi_queue.ledger.micro_batch import first_micro_batch
from cbi_queue.ledger.peaks import peaks_of, store_peak
from cbi_queue.ledger.waits import lower_micro_batch, mark_unfit, wait_for_machine, wait_for_memory
from cbi_queue.lifecycle import Reason
from cbi_queue.readings.values import PressureLevel, Unknown

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.hardware import HardwareProfile
    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.readings.values import MemoryReading
    from workers.trainer.memory_taken import Taken

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 30.0
"""Seconds that a job which does not fit just now lets others go first: what fills the memory ends in minutes."""
WHAT_TO_DO = "make its parameters smaller with `cbi-queue edit`, or choose another profile"
PRESSURE_MOST_S = 900.0
"""Seconds that a pressure level alone keeps jobs back: longer, and a level that is stuck would stop the queue."""


class Admission:
    """Looks at the memory of jobs on one machine."""

    def __init__(self, profile: HardwareProfile, processed_dir: Path) -> None:
        """Admit by the limits of *profile*; the shapes of data are read from *processed_dir*."""
        self._profile = profile
        self._processed_dir = processed_dir
        self._pressed_since_s: float | None = None
        self._pressed = ""
        self._given_back_s = float("-inf")

    def admit(
        self, ledger: Ledger, job: JobRow, memory: MemoryReading | Unknown | None, strain: str | None = None
    ) -> bool:
        """Tell whether *job* may start now; write down why not, and a smaller micro-batch that it is to start with.

        Args:
            ledger: to write into; a ledger that cannot be written lets the job in: memory is watched while it trains.
            job: the next one.
            memory: what the monitor says; None when nobody samples.
            strain: why the governor lets no job start; None when it does.
        """
        strained = strain or self._pressure(memory)
        seen = fit(self.need(ledger, job), self.limit_mib(job), _available_mib(memory))
        waits = seen.verdict in (Verdict.WAITS, Verdict.CANNOT)
        if seen.verdict is Verdict.WAITS and self._is_outdated(memory):
            return False
        try:
            if strained is not None and job.reason is not Reason.MACHINE_STRAINED:
                wait_for_machine(ledger, job.id, strained)
            elif strained is None and seen.verdict is Verdict.CANNOT:
                words = f"{seen.words}: {WHAT_TO_DO}"
                if mark_unfit(ledger, job.id, words, LOOK_AGAIN_S):
                    logger.error("event=job.cannot_fit job_id=%d name=%s why=%r", job.id, job.name, words)
            elif strained is None and waits:
                wait_for_memory(ledger, job.id, seen.words, LOOK_AGAIN_S)
            if strained is not None or waits:
                return False
            self._tell(ledger, job, seen, memory)
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=admission.not_written job_id=%d why=%r", job.id, str(exc))
        return strained is None and not waits

    def given_back(self) -> None:
        """Take note that a trainer has gone: what was read before counts the memory that it held."""
        self._given_back_s = clock.boot_s()

    def _is_outdated(self, memory: MemoryReading | Unknown | None) -> bool:
        """Tell whether the last trainer still held its memory when *memory* was read: the next sample is awaited."""
        return memory is not None and not isinstance(memory, Unknown) and memory.at_s <= self._given_back_s

    def need(self, ledger: Ledger, job: JobRow) -> Need:
        """Return what the memory of *job* depends on."""
        shape = shape_from_cache(self._processed_dir, job.horizon) or ASSUMED
        params = job.spec.get("params", {})
        line = line_for(job.model, job.backend, peaks_of(ledger, job.backend))
        return Need(job.model, params, shape, line, first_micro_batch(ledger, job))

    def limit_mib(self, job: JobRow) -> float | None:
        """Return the memory that one trainer of *job* may hold here, MiB."""
        return self._profile.limit_mib(kind_of(job.model))

    def learn(self, ledger: Ledger, job: JobRow, attempt: int, taken: Taken) -> None:
        """Store what a finished attempt took: the larger of what the trainer and the monitor measured.

        On a GPU the resident set is only the host's part; without the system's own figure nothing is learned there.
        """
        seen = [mib for mib in (taken.footprint_mib, taken.rss_mib if taken.device == "cpu" else None) if mib]
        if not seen or taken.device in {"", "cuda"}:
            return
        shape = shape_from_cache(self._processed_dir, job.horizon)
        if shape is None:
            return
        formula = formula_mib(job.model, job.spec.get("params", {}), shape, taken.micro_batch)
        try:
            store_peak(
                ledger, job.id, attempt, model=job.model, backend=job.backend, device=taken.device, micro_batch=taken.micro_batch,
                formula_mib=formula, measured_mib=max(seen),
            )  # fmt: skip
        except (LedgerError, sqlite3.Error) as exc:
            logger.warning("event=peak.not_written job_id=%d why=%r", job.id, str(exc))

    def _pressure(self, memory: MemoryReading | Unknown | None) -> str | None:
        """Return why nothing should start while the system itself calls memory short; None when it does not.

        A sensor that falls silent then opens no gate: it does so just when the machine thrashes. A level can be stuck: after `PRESSURE_MOST_S` one job is let in, and what it meets is the governor's to watch.
        """
        words = self._pressed_words(memory)
        if words is None:
            self._pressed_since_s = None
            return None
        now_s = clock.monotonic_s()
        if self._pressed_since_s is None:
            self._pressed_since_s = now_s
        return words if now_s - self._pressed_since_s < PRESSURE_MOST_S else None

    def _pressed_words(self, memory: MemoryReading | Unknown | None) -> str | None:
        """Say how memory is pressed, or was when its level could last be read; None when it is not."""
        level = None if memory is None or isinstance(memory, Unknown) else memory.level
        if memory is None or level is PressureLevel.NORMAL:
            return None
        if level is not None and not isinstance(memory, Unknown):
            self._pressed = f"{level.name.lower()} ({memory.source})"
            return f"the system's memory pressure is {self._pressed}"
        if self._pressed_since_s is None:
            return None
        why = memory.why if isinstance(memory, Unknown) else f"{memory.source} tells no level any more"
        return f"the system's memory pressure was {self._pressed} when it could last be read: {why}"

    def _tell(self, ledger: Ledger, job: JobRow, seen: Fit, memory: MemoryReading | Unknown | None) -> None:
        """Tell of a smaller micro-batch in the job's story, and of what was not known in the log."""
        if seen.verdict is Verdict.SMALLER and seen.chosen.micro_batch is not None:
            lower_micro_batch(ledger, job.id, seen.chosen.micro_batch, seen.words)
        if isinstance(memory, Unknown):
            logger.info("event=admission.blind job_id=%d seen=%r why=%r", job.id, seen.words, memory.why)


def _available_mib(memory: MemoryReading | Unknown | None) -> float | None:
    return None if memory is None or isinstance(memory, Unknown) else memory.available_mib
