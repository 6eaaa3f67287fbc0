"""What the policies look at: one instant of readings, work and standing, put together by `governor`. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.governor.values import Cause

if TYPE_CHECKING:
    from cbi_queue.governor.machine.grades import Graded
    from cbi_queue.governor.state.state import GovernorState
    from cbi_queue.governor.values import Attribution, Cause, Slowdown
    from cbi_queue.hardware.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Situation:
    """One instant."""

    now_s: float
    thresholds: Thresholds
    state: GovernorState
    controls: TrainerControls
    heat: Graded
    pressure: Graded
    slowdown: Slowdown | None = None
    attribution: Attribution | None = None
    probe_would_help: bool = False
    healthy_s: float = -1.0
    """Seconds for which the work has been at its cold cost, seen by reports; -1 when that cannot be said."""
    seconds_per_sample: float | None = None
    """Of the last minutes at the present rung."""
    footprint_mib: float | None = None
    total_mib: float | None = None

    @property
    def factor(self) -> float:
        """How many times slower than cold; 1 when not slow."""
        return self.slowdown.factor if self.slowdown else 1.0

    @property
    def slow_since_s(self) -> float | None:
        """When the slow-down in force began."""
        return self.slowdown.since_s if self.slowdown else None

    def is_slow_by(self, cause: Cause) -> bool:
        """Tell whether the work is slow and the evidence speaks for *cause*, surely enough to act."""
        found = self.attribution
        return self.slowdown is not None and found is not None and found.cause is cause and found.is_sure

    @property
    def duty(self) -> float:
        """Share of the time that the trainer really works."""
        return self.state.duty if self.controls.can_pace else 1.0


@dataclass(slots=True)
class TrainerControls:
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
