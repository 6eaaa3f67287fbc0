"""What the policies look at: one instant of readings, work and standing, put together by `governor`. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.governor.ladder import Standing
    from cbi_queue.governor.slot_memory import GovernorMemory
    from cbi_queue.governor.strain import Look
    from cbi_queue.governor.values import Attribution, Cause, Slowdown
    from cbi_queue.hardware.thresholds import Thresholds

SURE = 0.6
"""Confidence from which a cause is acted on; below it the probe is asked first."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One instant."""

    now_s: float
    thresholds: Thresholds
    memory: GovernorMemory
    standing: Standing
    heat: Look
    pressure: Look
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
        return self.slowdown is not None and found is not None and found.cause is cause and found.confidence >= SURE

    @property
    def duty(self) -> float:
        """Share of the time that the trainer really works."""
        return self.memory.duty if self.standing.can_pace else 1.0
