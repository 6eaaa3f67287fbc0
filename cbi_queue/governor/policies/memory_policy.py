"""What is done about memory before the kernel kills: smaller micro-batch, pause, eviction, fresh process. Pure.

Only the pressure itself asks for a step: a slow-down that memory explains is evidence for people. A halving that frees
nothing is not undone while memory is tight (that would take more of what is short); it is remembered for this and later
attempts, the next rung follows at once, and the micro-batch grows again when memory has been clear for long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.governor.machine.grades import Grade
from cbi_queue.governor.policies.batch_rung import is_lowered
from cbi_queue.governor.policies.heat_policy import HOLD_MARGIN_S
from cbi_queue.governor.policies.memory_relief import note_held, steps_are_used_up, why_no_step
from cbi_queue.governor.state.state import Hold
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.wording import OTHER_NUMBERS, span

if TYPE_CHECKING:
    from cbi_queue.governor.policies.situation import Situation


@dataclass(frozen=True, slots=True)
class Halving:
    """A smaller micro-batch that has not been judged yet."""

    at_s: float
    footprint_mib: float | None
    grade: Grade | None


class MemoryPolicy:
    """Steps against pressure on memory, for one attempt."""

    def __init__(self, kind: str) -> None:
        """Begin an attempt of a trainer of this *kind* (its fingerprint)."""
        self._kind = kind
        self._relapses = 0
        """Times in a row that the pressure returned after the micro-batch had grown."""
        self._last_up_s = float("-inf")
        self._halving: Halving | None = None

    def decide(self, situation: Situation) -> Decision | None:
        """Return the next decision about memory, at most one; None when nothing is to be done."""
        self._judge_halving(situation)
        return self._relieve(situation) or _recycle(situation) or self._up(situation)

    def _judge_halving(self, situation: Situation) -> None:
        """Once the trainer has had time to obey: did the halving free anything, or ease the pressure?"""
        halving, held_mib, grade = self._halving, situation.footprint_mib, situation.pressure.grade
        if halving is None or situation.now_s - halving.at_s < situation.thresholds.memory_dwell_s:
            return
        self._halving = None
        if halving.footprint_mib is None or held_mib is None:
            return
        freed = 1.0 - held_mib / max(halving.footprint_mib, 1.0)
        eased = grade is not None and halving.grade is not None and grade < halving.grade
        if freed < situation.thresholds.freed_share and not eased:
            situation.state.relief.batch_no_help.add(self._kind)
        else:
            situation.state.relief.batch_no_help.discard(self._kind)

    def _relieve(self, situation: Situation) -> Decision | None:
        t, state = situation.thresholds, situation.state
        over_s = state.pressure.lasts_s(Grade.OVER, situation.now_s)
        if not situation.pressure.is_over or over_s < t.memory_confirm_s:
            return None
        if (why_not := why_no_step(situation)) is not None:
            return _notify(situation, "others", f"{_words(situation)}; {why_not}. Nothing is done")
        if state.since_step_s(Cause.MEMORY, situation.now_s) < t.memory_dwell_s:
            return None
        no_help = self._kind in state.relief.batch_no_help
        half = None if no_help else situation.controls.halved(t.min_micro_batch)
        if half is not None and not steps_are_used_up(situation):
            return self._halve(situation, half)
        tried = f"{_steps_words(situation)} are used" if half is not None else _tried(situation, no_help=no_help)
        if situation.pressure.grade is Grade.SEVERE or situation.pressure.thrashing:
            return _hold(situation, tried)
        why_no_pause = "a pause would not help because nothing is being paged: nothing is done"
        return _notify(situation, "no rung", f"{_words(situation)}; {tried}, and {why_no_pause}")

    def _halve(self, situation: Situation, half: int) -> Decision:
        relapsed = situation.now_s - self._last_up_s < self._up_wait_s(situation)
        self._relapses = self._relapses + 1 if relapsed else 0
        self._halving = Halving(situation.now_s, situation.footprint_mib, situation.pressure.grade)
        change = f"micro-batch {situation.controls.micro_batch} to {half}, {OTHER_NUMBERS}"
        return _set_micro_batch(situation, half, f"{_words(situation)}: {change}")

    def _up(self, situation: Situation) -> Decision | None:
        """Double the micro-batch once memory has been clear for long, unless it is small because of heat."""
        now_s, double, wait_s = situation.now_s, situation.controls.doubled(), self._up_wait_s(situation)
        clear_s = situation.state.pressure.lasts_s(Grade.CLEAR, now_s)
        if (
            is_lowered(situation)
            or double is None
            or clear_s < wait_s
            or now_s - self._last_up_s < wait_s
            or steps_are_used_up(situation)
        ):
            return None
        self._last_up_s = now_s
        words = (
            f"{situation.pressure.words} for {span(clear_s)}: micro-batch {situation.controls.micro_batch} to {double}"
        )
        return _set_micro_batch(situation, double, words, upward=True)

    def _up_wait_s(self, situation: Situation) -> float:
        return situation.thresholds.memory_up_wait_s * 2.0**self._relapses


def _set_micro_batch(situation: Situation, micro_batch: int, words: str, *, upward: bool = False) -> Decision:
    situation.controls.micro_batch = micro_batch
    return _step(situation, Action.MICRO_BATCH, words, value=micro_batch, upward=upward)


def _recycle(situation: Situation) -> Decision | None:
    """Restart the trainer in a fresh process when its memory grows towards the limit, not more often than allowed."""
    t, growth = situation.thresholds, situation.growth
    if growth is None or growth.epochs_left > t.leak_horizon:
        return None
    words = (
        f"the trainer grows by {growth.mib_per_epoch:.1f} MiB an epoch and would reach {growth.limit_mib:.0f} MiB in "
        f"{max(growth.epochs_left, 0):.0f} epochs"
    )
    if not situation.controls.can_leave:
        return _notify(situation, "leak", f"{words}; it writes no checkpoint to resume from, so nothing is done")
    if situation.state.steps_within(Cause.MEMORY, situation.now_s, t.recycle_gap_s, Action.RECYCLE):
        words += f", but a fresh process was started within {span(t.recycle_gap_s)}"
        return _notify(situation, "leak again", words)
    words += ": it restarts from its checkpoint in a fresh process"
    figures = {"mib_per_epoch": growth.mib_per_epoch, "epochs_left": growth.epochs_left}
    return _step(situation, Action.RECYCLE, words, more=figures)


def _hold(situation: Situation, tried: str) -> Decision | None:
    """Pause; a trainer that was paused for this and is tight again within the hour is evicted, if it can leave."""
    t, state, now_s = situation.thresholds, situation.state, situation.now_s
    paused_before = state.steps_within(Cause.MEMORY, now_s, action=Action.PAUSE) > 0
    evicted_lately = state.steps_within(Cause.MEMORY, now_s, t.evict_gap_s, Action.EVICT) > 0
    leave = paused_before and situation.controls.can_leave and not evicted_lately
    action = Action.EVICT if leave else Action.PAUSE
    if state.steps_within(Cause.MEMORY, now_s, action=action) and steps_are_used_up(situation, spare=1):
        words = f"{_words(situation)}, and pausing the job within the last hour did not end it; "
        return _notify(situation, "severe", f"{words}{_steps_words(situation)} are used: the job continues")
    note_held(situation)
    state.trial = None
    state.hold = Hold(Cause.MEMORY, now_s, now_s + t.pause_max_s, evicted=leave, least=None, least_level=None)
    then = "the pause within the last hour did not last: the job leaves the slot, which stays closed"
    words = f"{_words(situation)}; {tried}: {then if leave else 'paused'} for {span(t.pause_max_s)} at most"
    return _step(situation, action, words, more={"for_s": t.pause_max_s + HOLD_MARGIN_S})


def _step(
    situation: Situation,
    action: Action,
    words: str,
    *,
    value: float | None = None,
    upward: bool = False,
    more: dict[str, float] | None = None,
) -> Decision:
    situation.state.step(Cause.MEMORY, action, situation.now_s)
    figures = _figures(situation) | (more or {})
    return Decision(situation.now_s, action, Cause.MEMORY, words, value, upward=upward, figures=figures)


def _notify(situation: Situation, key: str, words: str) -> Decision | None:
    return situation.notify(f"memory: {key}", Cause.MEMORY, words, _figures(situation))


def _tried(situation: Situation, *, no_help: bool) -> str:
    if no_help:
        return f"a micro-batch of {situation.controls.micro_batch} freed nothing"
    if situation.controls.micro_batch is None or "micro_batch" not in situation.controls.can:
        return "this trainer has no micro-batch to lower"
    return f"the micro-batch is already {situation.controls.micro_batch}"


def _steps_words(situation: Situation) -> str:
    return f"the {situation.thresholds.steps_per_hour:g} steps allowed in an hour"


def _words(situation: Situation) -> str:
    held = "" if situation.footprint_mib is None else f" while the trainer holds {situation.footprint_mib:.0f} MiB"
    return f"{situation.pressure.words}{held}"


def _figures(situation: Situation) -> dict[str, float]:
    held = {} if situation.footprint_mib is None else {"footprint_mib": round(situation.footprint_mib, 1)}
    return {**situation.pressure.figures, **held}
