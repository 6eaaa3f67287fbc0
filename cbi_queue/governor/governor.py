"""The governor of one attempt: takes work and readings in, hands out at most one decision a look. Pure.

It puts detector, attribution and policies together; the slot calls `look` about once a second, carries the decision
out and writes it down. An empty slot is the business of `policies.slot_policy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.diagnosis.diagnosis import Diagnosis
from cbi_queue.governor.machine.grades import BLIND_S
from cbi_queue.governor.machine.leak import FootprintTrend
from cbi_queue.governor.policies.heat_policy import decide_heat
from cbi_queue.governor.policies.ladder import Rung
from cbi_queue.governor.policies.memory_policy import MemoryPolicy
from cbi_queue.governor.policies.notices import remark
from cbi_queue.governor.policies.situation import Situation, TrainerControls
from cbi_queue.governor.policies.slot_policy import HoldSituation, decide_hold, grade_machine
from cbi_queue.governor.slowdown.throughput import Output
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.readings.values import known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.governor.machine.grades import Graded
    from cbi_queue.governor.machine.leak import Growth
    from cbi_queue.governor.state.state import GovernorState
    from cbi_queue.governor.values import Attribution, Baseline, Slowdown, Work
    from cbi_queue.hardware.thresholds import Thresholds
    from cbi_queue.readings.values import Readings

COLD_REPORTS = 8
"""Reports at full pace from which a run knows its own cold cost."""
LATE_REPORTS = 3.0
"""A report that is overdue by so many times its own length no longer says how the work is now."""
OVERDUE_S = 60.0


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
            can: what the trainer said it obeys (`Started.can`).
            one_shot: it has no safe point inside its work (`Started.one_shot`).
            micro_batch: what it starts with.
            baselines: micro-batch -> cold cost of earlier runs of the same fingerprint.
            device: what computes (`Started.device`): cpu | cuda | mps.
            diagnosis: what tells slow-downs and causes; by default the detector and the attribution.
            kind: fingerprint of the trainer; what was found of its memory holds for later ones of the same.
            full_micro_batch: the most that it may go up to again, when it starts with less; None: what it starts with.
        """
        self._t = thresholds
        self._state = state
        self._controls = TrainerControls(can, one_shot, micro_batch, _full(micro_batch, full_micro_batch))
        self._diagnosis = diagnosis or Diagnosis(baselines)
        self._on_gpu = device == "cuda"
        self._memory_policy = MemoryPolicy(thresholds.memory_up_wait_s, kind)
        self._trend = FootprintTrend(int(thresholds.leak_reports))
        self._output = Output()
        self._stored = frozenset(baselines)
        self._cold_reports: dict[int | None, int] = {}
        self._last_work: Work | None = None
        self._healthy_since_s: float | None = None
        self._footprint_mib: float | None = None
        self._told_duty = 1.0
        self._begun = False

    @property
    def slowdown(self) -> Slowdown | None:
        """The slow-down in force."""
        return self._diagnosis.slowdown

    @property
    def ended_slowdown(self) -> Slowdown | None:
        """The slow-down that ended last; None before the first."""
        return self._diagnosis.ended_slowdown

    @property
    def attribution(self) -> Attribution | None:
        """Its cause, as of the last look."""
        return self._diagnosis.attribution

    @property
    def rung(self) -> Rung:
        """Where the trainer stands now."""
        hold, controls = self._state.hold, self._controls
        duty = self._state.duty if controls.can_pace else 1.0
        return Rung(duty, controls.micro_batch, controls.full_micro_batch, hold.cause if hold else None)

    def learned(self) -> dict[int | None, Baseline]:
        """Return the cold cost by micro-batch, to be kept for later runs of the same fingerprint."""
        return self._diagnosis.learned()

    def saw_work(self, work: Work) -> None:
        """Take a report of finished work in."""
        self._diagnosis.saw_work(work)
        self._output.see(work)
        self._last_work = work
        self._note_health(work)
        if self._footprint_mib is not None:
            self._trend.see(work.epoch, self._footprint_mib, work.micro_batch)

    def saw_probe(self, at_s: float, wall_s: float, cold_s: float | None) -> None:
        """Take the answer of a calibration probe in.

        Args:
            at_s: boot-clock second at which it ended.
            wall_s: what it took, above 0.
            cold_s: what the same workload takes on this device when cold, above 0; None: never measured. It comes
                with the answer, as only the answer says which workload it was.
        """
        self._diagnosis.saw_probe(at_s, wall_s, cold_s)

    def saw_micro_batch(self, micro_batch: int) -> None:
        """Take note of the micro-batch that the trainer really uses."""
        self._controls.micro_batch = micro_batch

    def check(self, now_s: float, readings: Readings, *, idle: bool = False) -> Decision | None:
        """Return the next decision, at most one; None when nothing is to be done.

        Args:
            now_s: second of the boot clock.
            readings: the latest of every sensor; stale ones are made `Unknown` here.
            idle: True while the trainer stands still for a reason that is not the governor's: nothing is decided.
        """
        if not self._begun:
            self._begun = True
            self._state.start_attempt(now_s)
        self._state.last_trained_s = now_s
        readings = readings.fresh(now_s, self._t.reading_max_age_s)
        heat, pressure = grade_machine(now_s, readings, self._state, on_gpu=self._on_gpu)
        self._charge(now_s, idle=idle)
        self._diagnosis.check(now_s, readings)
        self._footprint_mib = footprint.footprint_mib if (footprint := known(readings.footprint)) else None
        if self._state.hold is not None:
            return self._hold(now_s, heat, pressure)
        return None if idle else self._decide(self._situation(now_s, readings, heat, pressure))

    def _decide(self, situation: Situation) -> Decision | None:
        decision = (
            self._carried(situation)
            or self._memory_policy.decide(situation, self._growth(situation))
            or decide_heat(situation)
            or remark(situation)
        )
        if decision is not None and decision.action in {Action.PACE, Action.MICRO_BATCH}:
            self._output.begin(situation.now_s)
        if decision is not None and decision.action is Action.PACE:
            self._told_duty = self._state.duty
        return decision

    def _carried(self, situation: Situation) -> Decision | None:
        """Tell a new trainer, or one that resumes, the pace that is in force."""
        duty = self._state.duty
        if not self._controls.can_pace or self._told_duty == duty:
            return None
        words = f"the pace in force goes on: works {duty:.0%} of the time"
        figures = {"duty": duty, **situation.heat.figures}
        return Decision(situation.now_s, Action.PACE, Cause.HEAT, words, duty, carried=True, figures=figures)

    def _situation(self, now_s: float, readings: Readings, heat: Graded, pressure: Graded) -> Situation:
        memory_reading = known(readings.memory)
        return Situation(
            now_s, self._t, self._state, self._controls, heat, pressure, self.slowdown, self.attribution,
            self._diagnosis.wants_probe(now_s), self._healthy_s(now_s), self._output.seconds_per_sample(self.slowdown.since_s if self.slowdown else None), self._footprint_mib,
            memory_reading.total_mib if memory_reading else None,
        )  # fmt: skip

    def _hold(self, now_s: float, heat: Graded, pressure: Graded) -> Decision | None:
        hold = self._state.hold
        graded = heat if hold and hold.cause is Cause.HEAT else pressure
        can = self._controls
        return decide_hold(HoldSituation(now_s, self._state, graded, may_evict=can.can_leave, can_pace=can.can_pace))

    def _growth(self, situation: Situation) -> Growth | None:
        return self._trend.growth(situation.total_mib * self._t.leak_limit_share) if situation.total_mib else None

    def _note_health(self, work: Work) -> None:
        """Keep since when the work has had its cold cost, known from earlier runs or from this one at full pace."""
        if self.slowdown is not None:
            self._healthy_since_s = None
            return
        if self._state.duty >= 1.0:
            self._cold_reports[work.micro_batch] = self._cold_reports.get(work.micro_batch, 0) + 1
        is_known = work.micro_batch in self._stored or self._cold_reports.get(work.micro_batch, 0) >= COLD_REPORTS
        if is_known and self._healthy_since_s is None and not work.disturbed:
            self._healthy_since_s = work.at_s

    def _healthy_s(self, now_s: float) -> float:
        last = self._last_work
        if last is None or self._healthy_since_s is None:
            return -1.0
        overdue = now_s - last.at_s > max(OVERDUE_S, LATE_REPORTS * last.wall_s)
        return -1.0 if overdue else last.at_s - self._healthy_since_s

    def _charge(self, now_s: float, *, idle: bool) -> None:
        """Enter what the governor's pace or hold cost since the last look, what it won by it subtracted."""
        state = self._state
        last_s, state.last_look_s = state.last_look_s, now_s
        if last_s is None or not 0.0 < now_s - last_s <= BLIND_S:
            return
        lost = 0.0
        if state.hold is not None:
            lost = 1.0
        elif self._controls.can_pace and not idle:
            lost = max(0.0, 1.0 - state.duty * state.gains.get(state.duty, 1.0))
        state.account.charge(now_s, now_s - last_s, lost)


def _full(micro_batch: int | None, most: int | None) -> int | None:
    return micro_batch if micro_batch is None or most is None else max(micro_batch, most)
