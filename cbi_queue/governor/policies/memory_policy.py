"""What is done about memory before the kernel kills: a smaller micro-batch, a pause, an eviction, a fresh process. Pure.

A halving that frees nothing is not taken back while memory is tight (that would take more of what is short); it is
noted for this and later attempts, the next rung follows at once, and the micro-batch grows again when memory has been
calm for long. Neighbours: `pressure` (how tight), `relief` (whose memory it is), `leak` (what grows), `holding` (what
ends a pause), `policy` (the other cause).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.governor.machine.grades import Grade
from cbi_queue.governor.policies.heat_policy import HOLD_MARGIN_S
from cbi_queue.governor.policies.memory_relief import stand_aside, steps_are_used_up, why_no_step
from cbi_queue.governor.state.state import Hold
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.wording import span

if TYPE_CHECKING:
    from cbi_queue.governor.machine.leak import Growth
    from cbi_queue.governor.policies.situation import Situation


@dataclass(slots=True)
class Halving:
    """A smaller micro-batch whose help is still to be seen."""

    at_s: float
    footprint_mib: float | None
    grade: Grade | None


class MemoryPolicy:
    """Steps against pressure on memory, for one attempt."""

    def __init__(self, up_wait_s: float, kind: str = "any") -> None:
        """Begin an attempt of a trainer of this *kind* (its fingerprint); *up_wait_s* as in `memory_up_wait_s`."""
        self._kind = kind
        self._first_up_wait_s = up_wait_s
        self._up_wait_s = up_wait_s
        self._last_up_s = float("-inf")
        self._halving: Halving | None = None

    def decide(self, situation: Situation, growth: Growth | None) -> Decision | None:
        """Return the next decision about memory, at most one; None when nothing is to be done."""
        self._look_back(situation)
        return self._relieve(situation) or recycle(situation, growth) or self._up(situation)

    def _look_back(self, situation: Situation) -> None:
        """Once the trainer has had time to obey: did the halving free anything, or ease the pressure?"""
        halving = self._halving
        if halving is None or situation.now_s - halving.at_s < situation.thresholds.memory_dwell_s:
            return
        self._halving = None
        if halving.footprint_mib is None or situation.footprint_mib is None:
            return
        freed = 1.0 - situation.footprint_mib / max(halving.footprint_mib, 1.0)
        eased = (
            situation.pressure.grade is not None
            and halving.grade is not None
            and situation.pressure.grade < halving.grade
        )
        no_help = situation.state.relief.batch_no_help
        if freed < situation.thresholds.freed_share and not eased:
            no_help.add(self._kind)
        else:
            no_help.discard(self._kind)

    def _relieve(self, situation: Situation) -> Decision | None:
        if not self._is_tight(situation):
            return None
        if (why_not := why_no_step(situation)) is not None:
            return _tell(situation, "others", f"{_words(situation)}; {why_not}. Nothing is done")
        if situation.state.since_step_s(Cause.MEMORY, situation.now_s) < situation.thresholds.memory_dwell_s:
            return None
        no_help = self._kind in situation.state.relief.batch_no_help
        half = None if no_help else situation.controls.halved(situation.thresholds.min_micro_batch)
        if half is not None and not steps_are_used_up(situation):
            return self._halve(situation, half)
        tried = f"{_steps_words(situation)} are taken" if half is not None else _tried(situation, no_help=no_help)
        if situation.pressure.grade is Grade.SEVERE or situation.pressure.thrashing:
            return _stand_still(situation, tried)
        return _tell(situation, "no rung", f"{_words(situation)}; {tried}, and nothing is being paged that a pause would "
                     f"spare: nothing is done")  # fmt: skip

    @staticmethod
    def _is_tight(situation: Situation) -> bool:
        state, t = situation.state, situation.thresholds
        over_s = state.pressure.lasts_s(Grade.OVER, situation.now_s)
        confirmed = situation.pressure.is_over and over_s >= t.memory_confirm_s
        return confirmed or (situation.is_slow_by(Cause.MEMORY) and situation.pressure.thrashing)

    def _halve(self, situation: Situation, half: int) -> Decision:
        now_s, controls = situation.now_s, situation.controls
        relapsed = now_s - self._last_up_s < self._up_wait_s
        self._up_wait_s = self._up_wait_s * 2 if relapsed else self._first_up_wait_s
        self._halving = Halving(now_s, situation.footprint_mib, situation.pressure.grade)
        words = f"{_words(situation)}: micro-batch {controls.micro_batch} to {half}; the effective batch stays"
        controls.micro_batch = half
        situation.state.step(Cause.MEMORY, Action.MICRO_BATCH, now_s)
        return Decision(now_s, Action.MICRO_BATCH, Cause.MEMORY, words, half, figures=_figures(situation))

    def _up(self, situation: Situation) -> Decision | None:
        """Double the micro-batch once memory has been calm for long."""
        now_s, controls = situation.now_s, situation.controls
        double = controls.doubled()
        calm_s = situation.state.pressure.lasts_s(Grade.CLEAR, now_s)
        if double is None or calm_s < self._up_wait_s or now_s - self._last_up_s < self._up_wait_s:
            return None
        if steps_are_used_up(situation):
            return None
        words = f"{situation.pressure.words} for {span(calm_s)}: micro-batch {controls.micro_batch} to {double}"
        controls.micro_batch, self._last_up_s = double, now_s
        situation.state.step(Cause.MEMORY, Action.MICRO_BATCH, now_s)
        return Decision(
            now_s, Action.MICRO_BATCH, Cause.MEMORY, words, double, upward=True, figures=_figures(situation)
        )


def recycle(situation: Situation, growth: Growth | None) -> Decision | None:
    """Let the trainer go on in a fresh process when its memory grows towards the limit, not more often than allowed."""
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    if growth is None or growth.epochs_left > t.leak_horizon:
        return None
    words = (
        f"the trainer grows by {growth.mib_per_epoch:.1f} MiB an epoch and would reach {growth.limit_mib:.0f} MiB in "
        f"{max(growth.epochs_left, 0):.0f} epochs"
    )
    if not situation.controls.can_leave:
        return _tell(situation, "leak", f"{words}; it leaves no checkpoint to go on from, so nothing is done")
    if state.steps_within(Cause.MEMORY, now_s, t.recycle_gap_s, Action.RECYCLE):
        return _tell(
            situation, "leak again", f"{words}, but a fresh process was started within {span(t.recycle_gap_s)}"
        )
    state.step(Cause.MEMORY, Action.RECYCLE, now_s)
    figures = _figures(situation) | {"mib_per_epoch": growth.mib_per_epoch, "epochs_left": growth.epochs_left}
    return Decision(now_s, Action.RECYCLE, Cause.MEMORY, f"{words}: it goes on in a fresh process", figures=figures)


def _stand_still(situation: Situation, tried: str) -> Decision | None:
    """Pause; a trainer that was paused for this and grew tight again within the hour is evicted, if it can leave."""
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    paused_before = state.steps_within(Cause.MEMORY, now_s, action=Action.PAUSE) > 0
    evicted_lately = state.steps_within(Cause.MEMORY, now_s, t.evict_gap_s, Action.EVICT) > 0
    leave = paused_before and situation.controls.can_leave and not evicted_lately
    action = Action.EVICT if leave else Action.PAUSE
    if state.steps_within(Cause.MEMORY, now_s, action=action) and steps_are_used_up(situation, spare=1):
        return _tell(situation, "severe", f"{_words(situation)}, and standing aside within the last hour did not end it; "
                     f"{_steps_words(situation)} are taken: the job goes on")  # fmt: skip
    stand_aside(situation)
    state.trial = None
    state.hold = Hold(Cause.MEMORY, now_s, now_s + t.pause_max_s, evicted=leave, least=None, least_level=None)
    state.step(Cause.MEMORY, action, now_s)
    then = (
        "a pause within the last hour did not last: the job makes room, and work stands still"
        if leave
        else "work stands still"
    )
    words = f"{_words(situation)}; {tried}: {then}, {span(t.pause_max_s)} at most"
    return Decision(
        now_s, action, Cause.MEMORY, words, figures=_figures(situation) | {"for_s": t.pause_max_s + HOLD_MARGIN_S}
    )


def _tried(situation: Situation, *, no_help: bool) -> str:
    if no_help:
        return f"a micro-batch of {situation.controls.micro_batch} freed nothing"
    if situation.controls.micro_batch is None or "micro_batch" not in situation.controls.can:
        return "this trainer has no micro-batch to make smaller"
    return f"the micro-batch is already {situation.controls.micro_batch}"


def _steps_words(situation: Situation) -> str:
    return f"the {situation.thresholds.steps_per_hour:g} steps of an hour"


def _words(situation: Situation) -> str:
    held = "" if situation.footprint_mib is None else f" while the trainer holds {situation.footprint_mib:.0f} MiB"
    return f"{situation.pressure.words}{held}"


def _tell(situation: Situation, what: str, words: str) -> Decision | None:
    if not situation.state.may_say(f"memory: {what}", situation.now_s, situation.thresholds.tell_gap_s):
        return None
    return Decision(situation.now_s, Action.TELL, Cause.MEMORY, words, figures=_figures(situation))


def _figures(situation: Situation) -> dict[str, float]:
    held = {} if situation.footprint_mib is None else {"footprint_mib": round(situation.footprint_mib, 1)}
    return {**situation.pressure.figures, **held}
