"""The ladder: which rungs exist for which cause and trainer, and what the next one down or up is. Pure.

pace → micro-batch ÷ 2 → pause resident → evict. No cause has all four: `RUNGS` says which, `WHY` says why.
Neighbours: `policy` and `memory_policy` (which decide when).
"""

from __future__ import annotations

from dataclasses import dataclass

from cbi_queue.governor.values import Action, Cause

RUNGS: dict[Cause, tuple[Action, ...]] = {
    Cause.HEAT: (Action.PACE, Action.PAUSE),
    Cause.MEMORY: (Action.MICRO_BATCH, Action.PAUSE, Action.EVICT),
    Cause.CONTENTION: (),
    Cause.SERVICE_CLASS: (),
    Cause.SLEEP: (),
    Cause.DATA: (),
    Cause.UNKNOWN: (),
}
WHY: dict[Cause, str] = {
    Cause.HEAT: "pacing lowers power at once and evenly; a smaller micro-batch hardly lowers power and makes each "
    "sample dearer; a trainer that stands still makes no heat, so evicting it would only add the cost of coming back",
    Cause.MEMORY: "a smaller micro-batch needs less; a pause gives the caches back; evicting gives everything back; "
    "pacing holds the same memory for longer",
    Cause.CONTENTION: "whatever the trainer gives up, the others take, and the work comes later still",
    Cause.SERVICE_CLASS: "the system's choice; only its owner can change it (`cbi-queue doctor` says how)",
    Cause.SLEEP: "the time has passed; the work itself is not slower",
    Cause.DATA: "bringing data together takes the time; no rung makes that faster",
    Cause.UNKNOWN: "a step against an unknown cause is a guess that costs throughput; the probe may tell more",
}


@dataclass(frozen=True, slots=True)
class Rung:
    """Where the trainer stands on the ladder, for people."""

    duty: float
    micro_batch: int | None
    full_micro_batch: int | None
    held_for: Cause | None

    @property
    def words(self) -> str:
        """Say it."""
        if self.held_for is not None:
            return f"stands still because of {self.held_for.replace('_', ' ')}"
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
