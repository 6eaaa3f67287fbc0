"""How much of this machine's memory each job will take, beside what was measured: one row per job. Read-only.

`cbi-queue estimate` and `show` print it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.datasets.place import of_dataset
from cbi_queue.hardware.fit import Verdict, fit, need_of
from cbi_queue.hardware.memory import kind_of
from cbi_queue.hardware.shapes import ASSUMED, shape_from_cache, shape_from_export
from cbi_queue.identity import content_of
from cbi_queue.ledger.peaks import peaks_by_backend, peaks_of_jobs
from cbi_queue.ledger.queries import all_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cbi_queue.hardware import HardwareProfile
    from cbi_queue.hardware.memory import Peak
    from cbi_queue.ledger import Ledger
    from cbi_queue.ledger.peaks import PeakRow
    from cbi_queue.models.memory_formulas import Shape
    from cbi_queue.settings import Settings
    from cbi_queue.spec import JobSpec


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """One job's memory, in MiB."""

    name: str
    model: str
    backend: str
    batch: int | None
    """Effective batch; None for models without batches."""
    formula_mib: float
    """By the formula of `hardware/estimators.py` at that batch."""
    corrected_mib: float
    """What it will probably take at that batch."""
    safe_mib: float
    """The estimate with its safety margin: what it should stay below."""
    smallest_mib: float
    """What it will probably take at micro-batch 1."""
    limit_mib: float | None
    """What one trainer of this kind may take on this machine."""
    micro_batch: int | None
    """The micro-batch that it would start with."""
    verdict: str
    words: str
    source: str
    """What the correction was learned from."""
    shape: str
    """Rows and features, and their source."""
    measured_mib: float | None
    """Peak of its last finished attempt; None without one."""
    measured_micro_batch: int | None


class MemoryTable:
    """Estimates jobs on one machine, corrected by the peaks in its ledger."""

    def __init__(self, settings: Settings, profile: HardwareProfile, ledger: Ledger | None) -> None:
        """Use the limits of *profile* and the peaks of *ledger* (None when there is none yet)."""
        self._settings, self._profile = settings, profile
        self._peaks: Mapping[str, Sequence[Peak]] = peaks_by_backend(ledger) if ledger else {}
        self._measured = _measured(ledger) if ledger else {}
        self._shapes: dict[tuple[str, str], Shape] = {}
        self._available_mib = available_mib(profile)

    @property
    def available_mib(self) -> float | None:
        """Memory that is free now; None where the system gives no reliable figure."""
        return self._available_mib

    def row(self, job: JobSpec) -> MemoryRow:
        """Estimate one job."""
        shape = self._shape(job.dataset, job.horizon)
        need = need_of(job, shape, self._peaks)
        limit = self._profile.limit_mib(kind_of(job.model))
        ceiling = self._profile.micro_batch_ceiling_for(job.params)
        found = fit(need, limit, self._available_mib, ceiling=ceiling)
        planned, smallest = need.at(need.micro_batch), need.smallest()
        measured = self._measured.get(content_of(json.loads(job.canonical_json())))
        return MemoryRow(
            name=job.name,
            model=job.model,
            backend=job.backend,
            batch=need.micro_batch,
            formula_mib=round(planned.formula_mib, 2),
            corrected_mib=round(planned.corrected_mib, 1),
            safe_mib=round(planned.safe_mib, 1),
            smallest_mib=round(smallest.corrected_mib, 1),
            limit_mib=limit,
            micro_batch=found.chosen.micro_batch,
            verdict=found.verdict,
            words=found.words,
            source=need.line.source,
            shape=f"{shape.rows} rows, {shape.features} features: {shape.source}",
            measured_mib=round(measured.measured_mib, 1) if measured else None,
            measured_micro_batch=measured.micro_batch if measured else None,
        )

    def _shape(self, dataset: str, horizon: str) -> Shape:
        if (dataset, horizon) not in self._shapes:
            exports_dir = of_dataset(self._settings.exports_dir, dataset)
            self._shapes[dataset, horizon] = (
                shape_from_cache(of_dataset(self._settings.processed_dir, dataset), horizon)
                or shape_from_export(exports_dir, horizon, self._settings.interpreter_for("native"))
                or ASSUMED
            )
        return self._shapes[dataset, horizon]


def verdict_words(row: MemoryRow) -> str:
    """Return a row's verdict in a few words."""
    return {
        Verdict.FITS: "fits",
        Verdict.SMALLER: f"fits at micro-batch {row.micro_batch}",
        Verdict.WAITS: "waits for memory",
        Verdict.CANNOT: "cannot fit",
        Verdict.UNKNOWN: "unknown",
    }[Verdict(row.verdict)]


def available_mib(profile: HardwareProfile) -> float | None:
    """Return the memory free now, at most the machine's; None on macOS, whose figures count used pages as free."""
    if sys.platform == "darwin":
        return None
    import psutil

    free = psutil.virtual_memory().available / 2**20
    return free if profile.memory_mib is None else min(free, profile.memory_mib)


def _measured(ledger: Ledger) -> dict[str, PeakRow]:
    """Return the newest measured peak by the job's content, whatever its data."""
    jobs = all_jobs(ledger)
    peaks = peaks_of_jobs(ledger, (job.id for job in jobs))
    return {content_of(job.spec): peaks[job.id] for job in jobs if job.id in peaks}
