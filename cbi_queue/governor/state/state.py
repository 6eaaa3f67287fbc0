"""What the governor keeps from one attempt to the next: pace, hold, trial, what did not help, cost. Pure.

Each attempt's `Governor` gets the same object. `PersistedState` also outlives the daemon (`record`); the rest does not:
a grade "lasts since" only by continuous readings, and what was measured of a trainer ends with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from cbi_queue.governor.machine.grades import Grade, GradeHistory
from cbi_queue.governor.state import stored
from cbi_queue.governor.state.cost_account import DAY_S, CostAccount, StoredCosts
from cbi_queue.governor.values import HEAT_LADDER, Action, Cause

if TYPE_CHECKING:
    from cbi_queue.hardware.thresholds import Thresholds

HOUR_S = 3600.0
FORGET_RUNG_S = 1800.0
"""Seconds without a trainer after which the next one starts at full pace: the machine has cooled."""
MOST_DOUBLINGS = 30
"""Times in a row beyond which a refutation is not counted further: the longest wait was reached long before."""
MOST_STEPS = 2000
"""Steps that are kept of a day: no threshold counts over a longer time, and more than some hundred are no control."""
MOST_GAIN = 100.0
"""More than any pace can win: a slip of a clock, which must not make the whole record unreadable."""


@dataclass(slots=True)
class Hold:
    """A hold that the governor asked for."""

    cause: Cause
    since_s: Annotated[stored.Past, Field(alias="age_s")]
    until_s: Annotated[stored.Until, Field(alias="left_s")]
    """When work is tried again, whatever the sensors report."""
    evicted: bool
    least: Grade | None
    """Lowest grade seen since; None until one was seen."""
    least_level: stored.Level | None
    """Lowest heat level of the operating system seen since; None until one was seen."""


@dataclass(slots=True)
class Trial:
    """A step whose help is still to be seen."""

    at_s: Annotated[stored.Past, Field(alias="age_s")]
    duty_before: stored.Duty
    duty: stored.Duty
    slow: bool
    """True when it was taken because the work was slow, False when the heat alone asked for it."""
    seconds_per_sample: Annotated[float | None, BeforeValidator(stored.not_stored), Field(default=None, exclude=True)]
    """Before the step, not stored; None when unknown, or when another trainer is in the slot by now."""
    grade: Grade | None
    level: stored.Level | None
    temp_c: stored.Celsius | None
    micro_batch_before: stored.Samples | None = None
    micro_batch: stored.Samples | None = None
    """What is on trial when it is not a pace; None: a pace is."""
    kind: stored.Fingerprint | None = None
    """Fingerprint of the trainer whose work asked for it; None: heat did, or a version that did not note it."""


@dataclass(slots=True)
class Refutation:
    """A cause whose step did not help."""

    what: stored.Name
    at_s: Annotated[stored.Past, Field(alias="age_s")]
    until_s: Annotated[stored.Until, Field(alias="left_s")]
    times: Annotated[int, Field(ge=1, le=1000)]


@dataclass(slots=True)
class Relief:
    """How far steps against pressure on memory have helped since memory was clear."""

    uneased: stored.Count
    """Pauses and evictions that left memory as tight as before."""
    held_mib: Annotated[float, Field(ge=0.0, le=1e9)] | None
    """Footprint of the trainer when it was last told to free its memory; None when unknown."""
    batch_no_help: Annotated[set[stored.Fingerprint], Field(max_length=1000)]
    """Fingerprints of trainers whose footprint a smaller micro-batch did not reduce."""


@dataclass(slots=True)
class BatchRecord:
    """What a smaller micro-batch has done against heat for one model on this machine."""

    model: stored.Fingerprint
    helped: stored.Count
    """Trials that were kept."""
    failed: stored.Count
    lowered: bool
    """True while the micro-batch is small because of heat."""
    is_known: bool
    """True once an attempt began with a cold baseline: a later one without shows that the model is to be relearned."""


@dataclass(slots=True)
class LadderStep:
    """One step of the ladder."""

    cause: Cause
    action: Action
    at_s: Annotated[stored.Past, Field(alias="age_s")]


@dataclass(slots=True)
class _Gain:
    duty: stored.Duty
    factor: Annotated[float, Field(ge=1.0, le=MOST_GAIN)]


@dataclass(slots=True)
class _Said:
    what: stored.Name
    at_s: Annotated[stored.Past, Field(alias="age_s")]


_GAINS = stored.StoredAs(
    Annotated[list[_Gain], Field(max_length=100)],
    write=lambda gains: [_Gain(duty, min(factor, MOST_GAIN)) for duty, factor in gains.items()],
    read=lambda gains: {gain.duty: gain.factor for gain in gains},
)
_REFUTATIONS = stored.StoredAs(
    Annotated[list[Refutation], Field(max_length=100)],
    write=lambda refutations: list(refutations.values()),
    read=lambda refutations: {one.what: one for one in refutations},
)
_BATCH_RECORDS = stored.StoredAs(
    Annotated[list[BatchRecord], Field(max_length=1000)],
    write=lambda records: list(records.values())[-1000:],
    read=lambda records: {one.model: one for one in records},
)
_SAID = stored.StoredAs(
    Annotated[list[_Said], Field(max_length=200)],
    write=lambda said: [_Said(what, at_s) for what, at_s in said.items()],
    read=lambda said: {one.what: one.at_s for one in said},
)


@dataclass
class PersistedState:
    """What one daemon leaves to the next. Types give the range, and how an instant is stored; aliases are the keys."""

    duty: stored.Duty
    proven_duty: stored.Duty
    """The last pace whose trial showed that it helps; what a pace that does not help goes back to."""
    stuck_level: stored.Level | None
    """The heat level that did not follow the work; any other is believed."""
    gains: Annotated[dict[float, float], _GAINS]
    """Pace -> how many times faster a worked second was at it than at full pace, as its trial showed."""
    hold: Hold | None
    trial: Trial | None
    refutations: Annotated[dict[str, Refutation], _REFUTATIONS]
    relief: Relief
    heat_up_wait_s: stored.Seconds
    last_up_s: Annotated[stored.PastOrNever, Field(alias="last_up_ago_s")]
    last_trained_s: Annotated[stored.Past | None, Field(alias="last_trained_ago_s")]
    """When a trainer was last checked."""
    probe_asked_s: Annotated[stored.PastOrNever, Field(alias="probe_asked_ago_s")]
    steps: Annotated[list[LadderStep], Field(max_length=MOST_STEPS)]
    """Those of the last day, oldest first."""
    account: Annotated[CostAccount, stored.StoredAs(StoredCosts, CostAccount.costs, CostAccount), Field(alias="costs")]
    said: Annotated[dict[str, float], _SAID]
    """Remark -> boot-clock second at which it was made last."""
    batch_records: Annotated[dict[str, BatchRecord], _BATCH_RECORDS] = field(default_factory=dict)
    """Fingerprint -> what a smaller micro-batch did for it."""


class GovernorState(PersistedState):
    """Everything about the slot that outlives an attempt."""

    def __init__(self, thresholds: Thresholds, heat_ladder: tuple[Action, ...] = HEAT_LADDER) -> None:
        """Begin at full pace, with no hold and nothing refuted; *heat_ladder*: rungs against heat, in order."""
        super().__init__(
            duty=1.0,
            proven_duty=1.0,
            stuck_level=None,
            gains={},
            hold=None,
            trial=None,
            refutations={},
            relief=Relief(0, None, set()),
            heat_up_wait_s=thresholds.heat_up_wait_s,
            last_up_s=stored.NEVER,
            last_trained_s=None,
            probe_asked_s=stored.NEVER,
            steps=[],
            account=CostAccount(),
            said={},
        )
        self.thresholds = thresholds
        self.heat_ladder = heat_ladder
        self.heat = GradeHistory()
        self.pressure = GradeHistory()
        self.last_look_s: float | None = None
        self.refused_since_s: float | None = None
        """Since when `may_start` has refused without a break."""
        self.refused_for: dict[Cause, str] = {}
        """Cause -> what was severe when it could last be read, while no job is started because of it."""
        self.probed_slow_s: float | None = None
        self.probes_asked = 0
        """Probes asked for the slow-down that began at `probed_slow_s`: each next one waits twice as long."""
        self.told_slow_s: dict[Cause, float] = {}
        """Cause -> beginning of the slow-down that was last remarked on."""

    def step(self, cause: Cause, action: Action, now_s: float) -> None:
        """Note a step of the ladder."""
        self.steps.append(LadderStep(cause, action, now_s))
        self._drop_old_steps(now_s)

    def steps_within(self, cause: Cause, now_s: float, span_s: float = HOUR_S, action: Action | None = None) -> int:
        """Count the steps for *cause* (only those of *action*, if given) within the last *span_s* seconds."""
        return sum(
            step.cause is cause and now_s - step.at_s < span_s and action in {None, step.action} for step in self.steps
        )

    def since_step_s(self, cause: Cause, now_s: float) -> float:
        """Return the seconds since the last step for *cause*; infinite when there was none within a day."""
        return next((now_s - step.at_s for step in reversed(self.steps) if step.cause is cause), float("inf"))

    def may_say(self, what: str, now_s: float, gap_s: float) -> bool:
        """Return True if *what* was not said within *gap_s* seconds, and note that it is said now."""
        if now_s - self.said.get(what, stored.NEVER) < gap_s:
            return False
        self.said[what] = now_s
        return True

    def refute(self, what: str, now_s: float) -> Refutation:
        """Note that a step against *what* did not help; each time it is left alone twice as long.

        The count begins again once the last refutation has been over for as long as the longest one lasts.
        """
        last, most_s = self.refutations.get(what), self.thresholds.refuted_max_s
        times = 1 if last is None or now_s - last.until_s >= most_s else min(last.times + 1, MOST_DOUBLINGS)
        wait_s = min(self.thresholds.refuted_s * 2.0 ** (times - 1), most_s)
        self.refutations[what] = Refutation(what, now_s, now_s + wait_s, times)
        return self.refutations[what]

    def end_refutation(self, what: str, now_s: float) -> None:
        """Make *what* count again from now on; how often it was refuted is kept."""
        if self.is_refuted(what, now_s):
            self.refutations[what].until_s = now_s

    def is_refuted(self, what: str, now_s: float, slow_since_s: float | None = None) -> bool:
        """Return True if *what* was found not to be the cause, lately or for the slow-down that began at *slow_since_s*."""
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

    def begin_with(self, model: str, *, is_known: bool) -> None:
        """Forget what a smaller micro-batch did for *model* when its cold baseline was forgotten since.

        Args:
            model: fingerprint of the attempt that begins.
            is_known: True when it begins with a cold baseline.
        """
        record = self.batch_records.get(model)
        if record is not None and record.is_known and not is_known:
            del self.batch_records[model]
        elif record is not None:
            record.is_known = is_known

    def start_attempt(self, now_s: float, kind: str = "any") -> None:
        """Prepare for another trainer: what was measured of the last one's speed does not count for this one.

        A pace on trial that only slow work asked for ends with work of that *kind*, a fingerprint: that it helps was not
        shown, and what it was to help is over.
        """
        self.refused_since_s = None
        if self.trial is not None and self.trial.micro_batch is not None:
            self.trial = None
        if self.trial is not None and self.trial.kind not in {None, kind}:
            self.duty, self.trial = self.trial.duty_before, None
        if self.trial is not None:
            self.trial.seconds_per_sample = None
        if self.last_trained_s is None or now_s - self.last_trained_s > FORGET_RUNG_S:
            self.duty, self.proven_duty, self.trial = 1.0, 1.0, None
            self.gains.clear()

    def drop_old(self, now_s: float) -> None:
        """Drop what is over for long, and shorten each wait to what the thresholds allow; for a state just read."""
        t = self.thresholds
        if self.hold is not None:
            self.hold.until_s = min(self.hold.until_s, now_s + t.pause_max_s)
        self.refutations = {
            what: one for what, one in self.refutations.items() if now_s - one.until_s < t.refuted_max_s
        }
        for one in self.refutations.values():
            one.until_s = min(one.until_s, now_s + t.refuted_max_s)
        longest_wait_s = max(t.heat_up_wait_s, t.heat_up_wait_max_s)
        self.heat_up_wait_s = min(max(self.heat_up_wait_s, t.heat_up_wait_s), longest_wait_s)
        self.steps.sort(key=lambda step: step.at_s)
        self._drop_old_steps(now_s)
        self.account.drop_old(now_s)
        self.said = {what: at_s for what, at_s in self.said.items() if now_s - at_s < DAY_S}

    def _drop_old_steps(self, now_s: float) -> None:
        self.steps = [step for step in self.steps[-MOST_STEPS:] if now_s - step.at_s < DAY_S]
