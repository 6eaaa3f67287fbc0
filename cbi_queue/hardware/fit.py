"""What follows from an estimate: the job fits, fits with a smaller micro-batch, must wait, or can never fit. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cbi_queue.hardware.memory import Estimate, formula_mib, kind_of, line_for, planned_micro_batch
from cbi_queue.wording import OTHER_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from cbi_queue.hardware import HardwareProfile
    from cbi_queue.hardware.memory import Peak
    from cbi_queue.models.memory_formulas import CorrectionLine, Shape
    from cbi_queue.spec import JobSpec


class Verdict(StrEnum):
    """What becomes of a job whose memory was estimated."""

    FITS = "fits"
    SMALLER = "smaller"
    """It fits with a smaller micro-batch: statistically the same training, other numbers."""
    WAITS = "waits"
    """It would fit, but not into what is free now."""
    CANNOT = "cannot"
    """It cannot fit even with its smallest micro-batch."""
    UNKNOWN = "unknown"
    """The machine's memory is not known: the job is neither promised nor refused."""


@dataclass(frozen=True, slots=True)
class Need:
    """Everything that a job's memory depends on."""

    model: str
    params: Mapping[str, Any]
    shape: Shape
    line: CorrectionLine
    micro_batch: int | None
    """The micro-batch that it would start with: its batch or grain, or less after a downgrade; None for models without batches."""

    def at(self, micro_batch: int | None) -> Estimate:
        """Estimate it with this micro-batch."""
        return Estimate(formula_mib(self.model, self.params, self.shape, micro_batch), self.line, micro_batch)

    def smallest(self) -> Estimate:
        """Estimate it with the smallest micro-batch that there is."""
        return self.at(None if self.micro_batch is None else min(self.micro_batch, 1))

    def smaller(self) -> Iterator[Estimate]:
        """Estimate it as it would start, then with half of that, and so on down to one."""
        size = self.micro_batch
        yield self.at(size)
        while size is not None and size > 1:
            size //= 2
            yield self.at(size)


@dataclass(frozen=True, slots=True)
class Fit:
    """The verdict, with the estimate it rests on."""

    verdict: Verdict
    chosen: Estimate
    """With the micro-batch that it should start with (of WAITS and CANNOT: the smallest there is)."""
    words: str


def fit(need: Need, limit_mib: float | None, available_mib: float | None = None, *, ceiling: int | None = None) -> Fit:
    """Decide whether a job fits, and with which micro-batch.

    A job is refused by the probable figure; a micro-batch is chosen by the safe one, because an attempt that runs out of
    memory costs more than a smaller micro-batch. Memory that is short only now makes a job wait and never makes its
    micro-batch smaller, which would stay small for good.

    Args:
        need: the job.
        limit_mib: memory that one trainer may hold; None: not known.
        available_mib: memory free now; None: not known, or not asked.
        ceiling: largest micro-batch that the device computes rightly; None: any.
    """
    sizes = list(need.smaller())
    lowered = need.micro_batch is not None and ceiling is not None and need.micro_batch > ceiling
    if lowered:
        sizes = [size for size in sizes if size.micro_batch is not None and size.micro_batch <= (ceiling or 1)]
    planned, smallest = sizes[0], sizes[-1]
    if limit_mib is None:
        words = f"needs about {planned.corrected_mib:.0f} MiB; how much this machine allows is not known"
        return Fit(Verdict.UNKNOWN, planned, words)
    if smallest.corrected_mib > limit_mib:
        return Fit(Verdict.CANNOT, smallest, _cannot(smallest, limit_mib))
    chosen = next((size for size in sizes if size.safe_mib <= limit_mib), smallest)
    if available_mib is not None and chosen.corrected_mib > available_mib:
        words = f"needs about {chosen.corrected_mib:.0f} MiB, {available_mib:.0f} MiB are free now"
        return Fit(Verdict.WAITS, chosen, words)
    if lowered and chosen is planned:
        return Fit(Verdict.SMALLER, chosen, _on_metal(need, chosen, ceiling or 1))
    if chosen.micro_batch != planned.micro_batch:
        return Fit(Verdict.SMALLER, chosen, _smaller(planned, chosen, limit_mib))
    return Fit(Verdict.FITS, chosen, f"needs about {chosen.corrected_mib:.0f} MiB of {limit_mib:.0f} MiB")


def _cannot(smallest: Estimate, limit_mib: float) -> str:
    batch = " even with micro-batch 1" if smallest.micro_batch is not None else ""
    return f"needs about {smallest.corrected_mib:.0f} MiB{batch}; one trainer may hold {limit_mib:.0f} MiB here"


def _smaller(planned: Estimate, chosen: Estimate, limit_mib: float) -> str:
    return (
        f"with micro-batch {planned.micro_batch} it may need up to {planned.safe_mib:.0f} MiB, {limit_mib:.0f} MiB are "
        f"allowed; starts with micro-batch {chosen.micro_batch}, about {chosen.corrected_mib:.0f} MiB, gradients "
        f"accumulated to the effective batch: {OTHER_NUMBERS}"
    )


def _on_metal(need: Need, chosen: Estimate, ceiling: int) -> str:
    return (
        f"on Metal more than {ceiling} windows of this length at once have given wrong gradients; starts with micro-batch "
        f"{chosen.micro_batch}, gradients accumulated to the effective batch of {need.micro_batch}: {OTHER_NUMBERS}"
    )


def why_it_cannot_fit(job: JobSpec, profile: HardwareProfile, shape: Shape, line: CorrectionLine) -> str | None:
    """Return the figures that rule *job* out on this machine; None when it may fit.

    Args:
        job: the whole job.
        profile: the machine.
        shape: rows and features of its data.
        line: from the formula of its model to what it takes on its backend.
    """
    limit_mib = profile.limit_mib(kind_of(job.model))
    smallest = Need(job.model, job.params, shape, line, planned_micro_batch(job.params)).smallest()
    if limit_mib is None or smallest.corrected_mib <= limit_mib:
        return None
    return (
        f"{_cannot(smallest, limit_mib)} ({profile.name}; {shape.rows} rows, {shape.features} features: {shape.source})"
    )


def need_of(job: JobSpec, shape: Shape, peaks: Mapping[str, Sequence[Peak]]) -> Need:
    """Return what the memory of *job* on data of *shape* depends on."""
    line = line_for(job.model, job.backend, peaks.get(job.backend, ()))
    return Need(job.model, job.params, shape, line, planned_micro_batch(job.params))
