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


@dataclass(slots=True)
class Standing:
    """Where one trainer stands, and what it can be told."""

    can: frozenset[str]
    one_shot: bool
    micro_batch: int | None
    full_micro_batch: int | None
    """What it would train with if nobody had lowered it for now: the governor never goes above."""

    @property
    def can_pace(self) -> bool:
        """True when it obeys a pace."""
        return "pace" in self.can and not self.one_shot

    @property
    def can_leave(self) -> bool:
        """True when it loses at most the step at hand by leaving."""
        return "checkpoint" in self.can and not self.one_shot

    def halved(self, least: float) -> int | None:
        """Return half the micro-batch, not below *least*; None when there is nothing to halve."""
        if self.micro_batch is None or self.one_shot or "micro_batch" not in self.can:
            return None
        half = max(self.micro_batch // 2, int(least))
        return half if half < self.micro_batch else None

    def doubled(self) -> int | None:
        """Return twice the micro-batch, not above the full one; None when it has that."""
        if self.micro_batch is None or self.full_micro_batch is None or "micro_batch" not in self.can:
            return None
        double = min(self.micro_batch * 2, self.full_micro_batch)
        return double if double > self.micro_batch else None


def slower(duty: float, paces: tuple[float, ...]) -> float | None:
    """Return the next pace below *duty*; None at the lowest."""
    return next((pace for pace in paces if pace < duty - 1e-9), None)


def faster(duty: float, paces: tuple[float, ...]) -> float | None:
    """Return the next pace above *duty*, 1.0 last; None at full speed."""
    return next((pace for pace in (*reversed(paces), 1.0) if pace > duty + 1e-9), None)
