"""The ladder: pace → micro-batch ÷ 2 → pause resident → evict. No cause has all four (docs/governor.md). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cbi_queue.governor.values import Cause

WHY_NO_STEP: dict[Cause, str] = {
    Cause.CONTENTION: "whatever the trainer gives up, the other programs take, and the job only ends later",
    Cause.SERVICE_CLASS: "the system decides it; only the owner of the machine can change that (see `cbi-queue doctor`)",
    Cause.SLEEP: "the time is gone, and the work itself is not slower",
    Cause.DATA: "assembling batches takes the time, and no step makes that faster",
    Cause.UNKNOWN: "a step against an unknown cause is a guess that costs throughput; a later probe may show more",
}
"""Causes against which there is no step -> why."""


@dataclass(frozen=True, slots=True)
class Rung:
    """Where the trainer stands on the ladder, for people."""

    duty: float
    micro_batch: int | None
    full_micro_batch: int | None
    held_for: Cause | None

    @property
    def words(self) -> str:
        """Return it in words."""
        if self.held_for is not None:
            return f"is paused because of {self.held_for.replace('_', ' ')}"
        parts = [] if self.duty >= 1.0 else [f"works {self.duty:.0%} of the time"]
        if self.micro_batch != self.full_micro_batch:
            parts.append(f"micro-batch {self.micro_batch} instead of {self.full_micro_batch}")
        return ", ".join(parts) or "full speed"


def slower(duty: float, paces: tuple[float, ...]) -> float | None:
    """Return the next pace below *duty*; None at the lowest."""
    return next((pace for pace in paces if pace < duty - 1e-9), None)


def faster(duty: float, paces: tuple[float, ...]) -> float | None:
    """Return the next pace above *duty*, 1.0 last; None at full speed."""
    return next((pace for pace in (*reversed(paces), 1.0) if pace > duty + 1e-9), None)
