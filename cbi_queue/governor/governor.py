"""The governor of one attempt: work and readings in, at most one decision a check out. Pure.

It puts slow-down, diagnosis, machine and policies together. The slot calls `check` about once a second, carries the
decision out and records it. An empty slot is the business of `policies.slot_policy`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.governor.diagnosis.diagnosis import Diagnosis
from cbi_queue.governor.machine.grades import BLIND_S
from cbi_queue.governor.machine.leak import FootprintTrend
from cbi_queue.governor.policies.heat_policy import decide_heat
from cbi_queue.governor.policies.memory_policy import MemoryPolicy
from cbi_queue.governor.policies.notices import notice
from cbi_queue.governor.policies.situation import Situation, TrainerControls
from cbi_queue.governor.policies.slot_policy import HoldSituation, decide_hold, grade_machine
from cbi_queue.governor.slowdown.cold_level import SETTLED
from cbi_queue.governor.slowdown.throughput import Throughput
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.readings.values import known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.governor.machine.grades import Graded
    from cbi_queue.governor.state.state import GovernorState
    from cbi_queue.governor.values import Attribution, Baseline, Slowdown, Work
    from cbi_queue.hardware.thresholds import Thresholds
    from cbi_queue.readings.values import Readings

LATE_REPORTS = 3.0
"""A report overdue by so many times its own length no longer shows how the work is now."""
OVERDUE_S = 60.0


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


class Governor:
    """Watches one attempt."""

    def __init__(
        self,
        thresholds: Thresholds,
        state: GovernorState,
        *,
        can: frozenset[str],
        one_shot: bool,
        micro_batch: int | None,
        baselines: Mapping[int | None, Baseline],
        device: str = "cpu",
        diagnosis: Diagnosis | None = None,
        kind: str = "any",
        full_micro_batch: int | None = None,
    ) -> None:
        """Begin to watch a trainer that has just started.

        Args:
            thresholds: of this machine.
            state: the slot's, shared by all attempts.
            can: the directives that the trainer obeys (`Started.can`).
            one_shot: it has no safe point inside its work (`Started.one_shot`).
            micro_batch: what it starts with.
            baselines: micro-batch -> cold cost of earlier runs of the same fingerprint.
            device: what computes (`Started.device`): cpu | cuda | mps.
            diagnosis: what finds slow-downs and causes; by default the detector and the attribution.
            kind: fingerprint of the trainer; what was found of its memory holds for later ones of the same.
            full_micro_batch: the largest it may return to, when it starts with less; None: what it starts with.
        """
        full = None if micro_batch is None else max(micro_batch, full_micro_batch or micro_batch)
        self._t = thresholds
        self._state = state
        self._controls = TrainerControls(can, one_shot, micro_batch, full, kind, is_known=bool(baselines))
        self._diagnosis = diagnosis or Diagnosis(baselines)
        self._on_gpu = device == "cuda"
        self._memory_policy = MemoryPolicy(kind)
        state.begin_with(kind, is_known=bool(baselines))
        self._trend = FootprintTrend(int(thresholds.leak_reports))
        self._throughput = Throughput()
        self._stored = set(baselines)
        self._full_pace_reports: Counter[int | None] = Counter()
        """By micro-batch: reports at full pace while the work was not slow."""
        self._last_work: Work | None = None
        self._healthy_since_s: float | None = None
        self._footprint_mib: float | None = None
        self._sent_duty = 1.0
        self._has_begun = False

    @property
    def slowdown(self) -> Slowdown | None:
        """The slow-down in force."""
        return self._diagnosis.slowdown

    @property
    def ended_slowdown(self) -> Slowdown | None:
        """The slow-down that ended last; None before the first."""
        return self._diagnosis.ended_slowdown

    @property
    def ended_attribution(self) -> Attribution | None:
        """The cause of the slow-down that ended last."""
        return self._diagnosis.ended_attribution

    @property
    def attribution(self) -> Attribution | None:
        """The cause of the slow-down in force, as of the last check."""
        return self._diagnosis.attribution

    @property
    def rung(self) -> Rung:
        """Where the trainer stands on the ladder now."""
        hold, controls = self._state.hold, self._controls
        duty = self._state.duty if controls.can_pace else 1.0
        return Rung(duty, controls.micro_batch, controls.full_micro_batch, hold.cause if hold else None)

    def learned(self) -> dict[int | None, Baseline]:
        """Return the cold cost by micro-batch, to be kept for later runs of the same fingerprint."""
        return self._diagnosis.learned()

    def saw_work(self, work: Work) -> None:
        """Record a report of finished work."""
        self._diagnosis.record_work(work)
        self._throughput.add(work)
        self._last_work = work
        self._note_health(work)
        if self._footprint_mib is not None:
            self._trend.add(work.epoch, self._footprint_mib, work.micro_batch)

    def saw_probe(self, at_s: float, wall_s: float, cold_s: float | None) -> None:
        """Record the answer of a calibration probe.

        Args:
            at_s: boot-clock second at which it ended.
            wall_s: what it took, above 0.
            cold_s: what the same workload takes on this device when cold, above 0; None: never measured.
        """
        self._diagnosis.record_probe(at_s, wall_s, cold_s)

    def saw_micro_batch(self, micro_batch: int) -> None:
        """Record the micro-batch that the trainer really uses."""
        self._controls.micro_batch = micro_batch

    def check(self, now_s: float, readings: Readings, *, idle: bool = False) -> Decision | None:
        """Return the next decision, at most one; None when nothing is to be done.

        Args:
            now_s: second of the boot clock.
            readings: the latest of every sensor; stale ones are made `Unknown` here.
            idle: True while the trainer is paused for a reason that is not the governor's: nothing is decided.
        """
        state = self._state
        if not self._has_begun:
            self._has_begun = True
            state.start_attempt(now_s, self._controls.kind)
        state.last_trained_s = now_s
        readings = readings.fresh(now_s, self._t.reading_max_age_s)
        heat, pressure = grade_machine(now_s, readings, state, on_gpu=self._on_gpu)
        self._charge(now_s, idle=idle)
        self._diagnosis.check(now_s, readings)
        if self._diagnosis.relearned is not None and self._last_work is not None:
            self._stored.discard(self._last_work.micro_batch)
        self._footprint_mib = footprint.footprint_mib if (footprint := known(readings.footprint)) else None
        if state.hold is not None:
            graded, can = heat if state.hold.cause is Cause.HEAT else pressure, self._controls
            return decide_hold(HoldSituation(now_s, state, graded, may_evict=can.can_leave, can_pace=can.can_pace))
        return None if idle else self._decide(self._situation(now_s, readings, heat, pressure))

    def _decide(self, situation: Situation) -> Decision | None:
        decision = (
            self._carried(situation)
            or self._learned_anew(situation)
            or self._memory_policy.decide(situation)
            or decide_heat(situation)
            or notice(situation)
        )
        if decision is not None and decision.action in {Action.PACE, Action.MICRO_BATCH}:
            self._throughput.restart(situation.now_s)
        if decision is not None and decision.action is Action.PACE:
            self._sent_duty = self._state.duty
        return decision

    def _carried(self, situation: Situation) -> Decision | None:
        """Return the pace in force when this trainer, new or resumed, does not have it yet."""
        duty = self._state.duty
        if not self._controls.can_pace or self._sent_duty == duty:
            return None
        words = f"the pace in force continues: works {duty:.0%} of the time"
        figures = {"duty": duty, **situation.heat.figures}
        return Decision(situation.now_s, Action.PACE, Cause.HEAT, words, duty, carried=True, figures=figures)

    def _learned_anew(self, situation: Situation) -> Decision | None:
        """Tell people that the stored cold cost was untrue, once the work is measured against its own."""
        slow, found = self._diagnosis.relearned, self.ended_attribution
        if slow is None or found is None:
            return None
        self._diagnosis.relearned = None
        words = (
            f"a sample takes {slow.factor:.2f} times as long as earlier runs had taught, from the first report on, and "
            f"{found.evidence[0]}. No sensor shows why, so the cold cost is learned anew from this run"
        )
        return Decision(situation.now_s, Action.TELL, Cause.UNKNOWN, words, figures=found.figures)

    def _situation(self, now_s: float, readings: Readings, heat: Graded, pressure: Graded) -> Situation:
        memory_reading, slowdown = known(readings.memory), self.slowdown
        total_mib = memory_reading.total_mib if memory_reading else None
        since_s = slowdown.since_s if slowdown else None
        return Situation(
            now_s=now_s,
            thresholds=self._t,
            state=self._state,
            controls=self._controls,
            heat=heat,
            pressure=pressure,
            slowdown=slowdown,
            attribution=self.attribution,
            probe_would_help=self._diagnosis.wants_probe(now_s),
            healthy_s=self._healthy_s(now_s),
            seconds_per_sample=self._throughput.seconds_per_sample(since_s),
            standard_error=self._throughput.standard_error(since_s),
            footprint_mib=self._footprint_mib,
            total_mib=total_mib,
            growth=self._trend.growth(total_mib * self._t.leak_limit_share) if total_mib else None,
        )

    def _note_health(self, work: Work) -> None:
        """Keep since when the work has had its cold cost, known from earlier runs or from this one at full pace."""
        if self.slowdown is not None:
            self._healthy_since_s = None
            return
        self._full_pace_reports[work.micro_batch] += self._state.duty >= 1.0
        is_known = work.micro_batch in self._stored or self._full_pace_reports[work.micro_batch] >= SETTLED
        if is_known and self._healthy_since_s is None and not work.disturbed:
            self._healthy_since_s = work.at_s

    def _healthy_s(self, now_s: float) -> float:
        last = self._last_work
        if last is None or self._healthy_since_s is None:
            return -1.0
        overdue = now_s - last.at_s > max(OVERDUE_S, LATE_REPORTS * last.wall_s)
        return -1.0 if overdue else last.at_s - self._healthy_since_s

    def _charge(self, now_s: float, *, idle: bool) -> None:
        """Charge what the governor's pace or hold cost since the last check, less what the pace gained."""
        state = self._state
        last_s, state.last_look_s = state.last_look_s, now_s
        if last_s is None or not 0.0 < now_s - last_s <= BLIND_S:
            return
        lost = 1.0 if state.hold is not None else 0.0
        if state.hold is None and self._controls.can_pace and not idle:
            lost = max(0.0, 1.0 - state.duty * state.gains.get(state.duty, 1.0))
        state.account.charge(now_s, now_s - last_s, lost)
