"""What the policies decide from: one instant of readings, work and the trainer's controls. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.governor.values import Action, Cause, Decision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.governor.machine.grades import Graded
    from cbi_queue.governor.machine.leak import Growth
    from cbi_queue.governor.state.state import GovernorState
    from cbi_queue.governor.values import Attribution, Slowdown
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
    slowdown: Slowdown | None
    attribution: Attribution | None
    probe_would_help: bool
    healthy_s: float
    """Seconds for which reports have shown the work at its cold cost; -1 when they have not, or the last is overdue."""
    seconds_per_sample: float | None
    """Of the last minutes at the pace and micro-batch in force."""
    standard_error: float | None
    """Relative, of that figure; None from too few reports."""
    footprint_mib: float | None
    total_mib: float | None
    growth: Growth | None
    """Of the trainer's memory with each epoch."""

    @property
    def factor(self) -> float:
        """How many times slower than cold; 1 when not slow."""
        return self.slowdown.factor if self.slowdown else 1.0

    @property
    def slow_words(self) -> str:
        """Return in words how slow the work is."""
        return f"a sample takes {self.factor:.2f} times as long as on the cold machine"

    @property
    def slow_since_s(self) -> float | None:
        """When the slow-down in force began."""
        return self.slowdown.since_s if self.slowdown else None

    @property
    def is_slow_for_heat(self) -> bool:
        """True when the work is slow and heat is surely the cause."""
        found = self.attribution
        return self.slowdown is not None and found is not None and found.cause is Cause.HEAT and found.is_sure

    def notify(self, key: str, cause: Cause, words: str, figures: Mapping[str, float]) -> Decision | None:
        """Return a decision that only tells people; None when one with this *key* was made within `tell_gap_s`."""
        if not self.state.may_say(key, self.now_s, self.thresholds.tell_gap_s):
            return None
        return Decision(self.now_s, Action.TELL, cause, words, figures=dict(figures))


@dataclass(slots=True)
class TrainerControls:
    """What one trainer obeys, and its micro-batch."""

    can: frozenset[str]
    one_shot: bool
    micro_batch: int | None
    full_micro_batch: int | None
    """The largest that the governor may set: what the trainer would have without any lowering."""
    kind: str = "any"
    """Fingerprint of the trainer: what was found of it holds for later ones of the same."""
    is_known: bool = False
    """True when it began with a cold baseline."""

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
