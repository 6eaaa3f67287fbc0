"""What the governor remembers from one attempt to the next: rung, holds, trials, refuted causes, cost. Pure.

Each attempt's `Governor` gets the same. Heat and pressure outlive an attempt, and so must what was done about them.
They outlive the daemon, too: `memory_record` brings all but the strain from one daemon to the next. One that cannot be
brought over begins as here: full pace, no hold of its own, nothing refuted; a hold that a dead daemon left carries an
expiry and clears itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cbi_queue.governor.machine.grades import GradeHistory
from cbi_queue.governor.state.cost_account import CostAccount
from cbi_queue.governor.values import Cause

if TYPE_CHECKING:
    from cbi_queue.governor.machine.grades import Grade
    from cbi_queue.governor.values import Action
    from cbi_queue.hardware.thresholds import Thresholds

HOUR_S = 3600.0
FORGET_RUNG_S = 1800.0
"""Seconds without a trainer after which the next one starts at full pace: the machine has cooled."""
MOST_DOUBLINGS = 30
"""Times in a row beyond which a refutation is not counted further: the longest wait was reached long before."""
STEPS_KEPT = 64
"""Steps that are remembered beyond those of an hour: a day of evictions and fresh processes."""


@dataclass(slots=True)
class Hold:
    """A hold that the governor asked for."""

    cause: Cause
    since_s: float
    until_s: float
    """When it is tried again, whatever the sensors say."""
    evicted: bool
    least: Grade | None
    """Lowest grade seen since; None until one was seen."""
    least_level: float | None = None
    """Lowest heat level of the operating system seen since; None until one was seen."""
    before_end: BeforeEnd | None = field(default=None, compare=False)
    """What its end changes, as it was before; None until an end was decided."""


@dataclass(frozen=True, slots=True)
class BeforeEnd:
    """What the end of a hold changes, besides the hold: an end that cannot be carried out is taken back with it."""

    steps: tuple[tuple[float, Action], ...]
    """Those of the hold's cause."""
    refutations: dict[str, Refutation]
    uneased: int
    stuck_level: float | None


@dataclass(slots=True)
class Trial:
    """A step whose help is still to be seen."""

    at_s: float
    duty_before: float
    duty: float
    slow: bool
    """True when it was taken because the work was slow, False when the heat alone asked for it."""
    seconds_per_sample: float | None
    """Before the step; None when unknown, or when another job is in the slot by now."""
    grade: Grade | None
    level: float | None
    temp_c: float | None


@dataclass(slots=True)
class Refutation:
    """A cause whose step did not help."""

    at_s: float
    until_s: float
    times: int


@dataclass(slots=True)
class Relief:
    """How far steps against pressure on memory have helped since memory was clear."""

    uneased: int = 0
    """Pauses and evictions that left memory as tight as before."""
    held_mib: float | None = None
    """Footprint of the trainer when it last was told to stand aside; None when unknown."""
    batch_no_help: set[str] = field(default_factory=set)
    """Fingerprints of trainers that a smaller micro-batch made no smaller."""


class GovernorState:
    """Everything about the slot that outlives an attempt."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self.duty = 1.0
        self.proven_duty = 1.0
        """The last pace whose trial showed that it helps; what a pace that does not help goes back to."""
        self.stuck_level: float | None = None
        """The heat level that did not follow the work; any other is believed."""
        self.gains: dict[float, float] = {}
        """Pace -> how many times faster a worked second was at it than at full pace, as its trial showed."""
        self.hold: Hold | None = None
        self.trial: Trial | None = None
        self.account = CostAccount()
        self.heat = GradeHistory()
        self.pressure = GradeHistory()
        self.refutations: dict[str, Refutation] = {}
        self.relief = Relief()
        self.heat_up_wait_s = thresholds.heat_up_wait_s
        self.last_up_s = float("-inf")
        self.last_look_s: float | None = None
        self.last_trained_s: float | None = None
        """When a trainer was last looked at."""
        self.refused_since_s: float | None = None
        """Since when `may_start` has said no without a break."""
        self.refused_for: dict[Cause, str] = {}
        """Cause -> what was severe when it could last be read, while jobs are kept back for it."""
        self.probe_asked_s = float("-inf")
        self.probed_slow_s: float | None = None
        self.probes_asked = 0
        """Probes asked for the slow-down that began at `probed_slow_s`: each next one waits twice as long."""
        self.told_slow_s: dict[Cause, float] = {}
        """Cause -> beginning of the slow-down that was last remarked on."""
        kept = STEPS_KEPT + int(thresholds.steps_per_hour)
        self.steps: dict[Cause, deque[tuple[float, Action]]] = {cause: deque(maxlen=kept) for cause in Cause}
        """Cause -> (boot-clock second, step) of its last steps, oldest first."""
        self.said: dict[str, float] = {}
        """What was said -> boot-clock second at which it was said last."""

    def step(self, cause: Cause, action: Action, now_s: float) -> None:
        """Note a step of the ladder."""
        self.steps[cause].append((now_s, action))

    def steps_within(self, cause: Cause, now_s: float, span_s: float = HOUR_S, action: Action | None = None) -> int:
        """Count the steps for *cause* (only those of *action*, if given) within the last *span_s* seconds."""
        return sum(now_s - at_s < span_s and action in {None, done} for at_s, done in self.steps[cause])

    def since_step_s(self, cause: Cause, now_s: float) -> float:
        """Return the seconds since the last step for *cause*; infinite when there was none."""
        steps = self.steps[cause]
        return now_s - steps[-1][0] if steps else float("inf")

    def may_say(self, what: str, now_s: float, gap_s: float) -> bool:
        """Tell whether *what* was not said within *gap_s* seconds, and note that it is said now."""
        if now_s - self.said.get(what, float("-inf")) < gap_s:
            return False
        self.said[what] = now_s
        return True

    def refute(self, what: str, now_s: float) -> Refutation:
        """Note that a step against *what* did not help; each time it is left alone twice as long.

        What has been over for as long as the longest refutation lasts begins anew.
        """
        last, most_s = self.refutations.get(what), self.thresholds.refuted_max_s
        times = 1 if last is None or now_s - last.until_s >= most_s else min(last.times + 1, MOST_DOUBLINGS)
        wait_s = min(self.thresholds.refuted_s * 2.0 ** (times - 1), most_s)
        self.refutations[what] = Refutation(now_s, now_s + wait_s, times)
        return self.refutations[what]

    def end_refutation(self, what: str, now_s: float) -> None:
        """Let *what* count again from now on; how often it was refuted is kept."""
        if self.is_refuted(what, now_s):
            self.refutations[what].until_s = now_s

    def is_refuted(self, what: str, now_s: float, slow_since_s: float | None = None) -> bool:
        """Tell whether *what* was found not to be the cause, lately or for the slow-down that began at *slow_since_s*."""
        refutation = self.refutations.get(what)
        if refutation is None:
            return False
        return now_s < refutation.until_s or (slow_since_s is not None and slow_since_s <= refutation.at_s)

    def left_alone_s(self, now_s: float) -> dict[str, float]:
        """Return what is not acted on, because a step against it did not help -> seconds for which that still holds."""
        return {what: one.until_s - now_s for what, one in self.refutations.items() if now_s < one.until_s}

    def spent_share(self, now_s: float) -> float:
        """Return the share of the last day's work that pacing and pauses cost."""
        return self.account.share(now_s)

    def start_attempt(self, now_s: float) -> None:
        """Make ready for another trainer: what was measured of the last one's speed does not count for this one."""
        self.refused_since_s = None
        if self.trial is not None:
            self.trial.seconds_per_sample = None
        if self.last_trained_s is None or now_s - self.last_trained_s > FORGET_RUNG_S:
            self.duty, self.proven_duty, self.trial = 1.0, 1.0, None
            self.gains.clear()

    def hold_is_gone(self) -> None:
        """Take note that the hold was lifted by someone else, or expired."""
        self.hold = None
