"""When a hold of the governor ends, and whether a job may start. Pure.

A hold ends when its cause is clear, or when it has lasted for `pause_max_s`, also when the sensor is silent: then work is
tried again, most often at the lowest pace. A hold for memory ends early once it is plain that it frees nothing.

No job starts while heat or memory pressure is severe, nor while they cannot be read after that: sensors fall silent just
when a machine thrashes, so silence is no sign of easing. After `pause_max_s` one job may try.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.governor.machine.grades import BLIND_S, Grade
from cbi_queue.governor.machine.heat import grade_heat
from cbi_queue.governor.machine.pressure import grade_pressure
from cbi_queue.governor.policies.heat_policy import HOLD_MARGIN_S, LEVEL
from cbi_queue.governor.policies.memory_relief import ENOUGH_UNEASED, not_eased, note_calm
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.readings.values import HeatLevel
from cbi_queue.wording import span

if TYPE_CHECKING:
    from cbi_queue.governor.machine.grades import Graded
    from cbi_queue.governor.state.state import GovernorState, Hold
    from cbi_queue.readings.values import Readings


@dataclass(frozen=True, slots=True)
class HoldSituation:
    """One instant of a hold."""

    now_s: float
    state: GovernorState
    graded: Graded
    """The resource that it is for."""
    may_evict: bool = False
    """True when a trainer is in the slot that can leave without losing much."""
    can_pace: bool = True
    """False when a trainer is in the slot that works at full speed at any pace."""


def decide_hold(situation: HoldSituation) -> Decision | None:
    """Return what is done about the hold in force; None when it stays, or when there is none."""
    hold, state, graded = situation.state.hold, situation.state, situation.graded
    if hold is None:
        return None
    _note_least(hold, graded)
    held_s = situation.now_s - hold.since_s
    if situation.now_s >= hold.until_s:
        return _try_again(situation, hold, held_s)
    history = state.heat if hold.cause is Cause.HEAT else state.pressure
    is_clear = history.lasts_s(Grade.CLEAR, situation.now_s) >= state.thresholds.clear_s
    if is_clear and held_s >= state.thresholds.pause_min_s:
        return _resume(situation, hold, f"{graded.words} after {span(held_s)}: {_resumes(hold)}", upward=True)
    if hold.cause is not Cause.MEMORY or not graded.is_over or held_s < state.thresholds.evict_after_s:
        return None
    if state.relief.uneased >= ENOUGH_UNEASED and (found := not_eased(state, situation.now_s)):
        words = f"{graded.words} after {span(held_s)}, as before: {found}; {_resumes(hold)}"
        return _resume(situation, hold, words, upward=False)
    return _evict(situation, hold, held_s)


def _note_least(hold: Hold, graded: Graded) -> None:
    if graded.grade is not None:
        hold.least = graded.grade if hold.least is None else min(hold.least, graded.grade)
    level = graded.figures.get("heat_level")
    if level is not None:
        hold.least_level = level if hold.least_level is None else min(hold.least_level, level)


def _try_again(situation: HoldSituation, hold: Hold, held_s: float) -> Decision:
    """End a hold that has lasted as long as one may. A heat level that never fell while nothing trained is ignored.

    A temperature that never fell is only mentioned: it stays believed, and shows nothing about the level.
    """
    state, now_s, graded = situation.state, situation.now_s, situation.graded
    words = f"{graded.words}, but training is paused for {span(state.thresholds.pause_max_s)} at most"
    level = graded.figures.get("heat_level")
    if hold.cause is Cause.HEAT and level is not None and (hold.least_level or 0.0) >= HeatLevel.TRAPPING:
        state.stuck_level = level
        for_s = state.refute(LEVEL, now_s).until_s - now_s
        words += f"; the heat level did not fall while nothing trained and is ignored for {span(for_s)}"
    elif hold.cause is Cause.HEAT and hold.least is Grade.SEVERE and graded.grade is Grade.SEVERE:
        words += "; it did not ease while nothing trained"
    if hold.cause is Cause.MEMORY and graded.is_over and (found := not_eased(state, now_s)):
        words += f"; {found}"
    duty = state.duty if situation.can_pace else 1.0
    return _resume(situation, hold, f"{words}: after {span(held_s)} {_resumes(hold, duty)}", upward=False)


def _resume(situation: HoldSituation, hold: Hold, words: str, *, upward: bool) -> Decision:
    situation.state.hold = None
    situation.state.step(hold.cause, Action.RESUME, situation.now_s)
    return Decision(situation.now_s, Action.RESUME, hold.cause, words, upward=upward, figures=_figures(situation, hold))


def _evict(situation: HoldSituation, hold: Hold, held_s: float) -> Decision | None:
    """Evict a trainer whose pause did not ease memory: then all that it holds comes free."""
    t, state, now_s = situation.state.thresholds, situation.state, situation.now_s
    evicted_lately = state.steps_within(Cause.MEMORY, now_s, t.evict_gap_s, Action.EVICT) > 0
    if hold.evicted or not situation.may_evict or evicted_lately:
        return None
    state.relief.uneased += 1
    hold.evicted, hold.until_s, hold.least, hold.least_level = True, now_s + t.pause_max_s, None, None
    state.step(Cause.MEMORY, Action.EVICT, now_s)
    words = (
        f"{situation.graded.words} although the job has been paused for {span(held_s)}: it leaves the slot to free its "
        f"memory, and the slot stays closed for {span(t.pause_max_s)} at most"
    )
    figures = _figures(situation, hold) | {"for_s": t.pause_max_s + HOLD_MARGIN_S}
    return Decision(now_s, Action.EVICT, Cause.MEMORY, words, figures=figures)


def _resumes(hold: Hold, duty: float = 1.0) -> str:
    what, works = ("the slot is open again", "jobs work") if hold.evicted else ("the job resumes", "it works")
    return f"{what}; {works} {duty:.0%} of the time" if duty < 1.0 else what


def _figures(situation: HoldSituation, hold: Hold) -> dict[str, float]:
    return {"held_s": round(situation.now_s - hold.since_s, 1), **situation.graded.figures}


def check_empty_slot(now_s: float, readings: Readings, state: GovernorState) -> Decision | None:
    """Grade the machine while the slot is empty; return the decision that ends the governor's hold, when it is time."""
    readings = readings.fresh(now_s, state.thresholds.reading_max_age_s)
    heat, pressure = grade_machine(now_s, readings, state)
    last_s, state.last_look_s = state.last_look_s, now_s
    hold = state.hold
    if hold is None:
        return None
    if last_s is not None and 0.0 < now_s - last_s <= BLIND_S:
        state.account.charge(now_s, now_s - last_s, 1.0)
    return decide_hold(HoldSituation(now_s, state, heat if hold.cause is Cause.HEAT else pressure))


def may_start(now_s: float, readings: Readings, state: GovernorState) -> str | None:
    """Return why no job may start now; None when one may. Refuses for `pause_max_s` at most, then one job may try.

    What cannot be read is no reason, unless it was severe before: while nothing runs, no work shows how the machine is.
    Nor is memory that pauses were found not to ease.
    """
    heat, pressure = _graded(now_s, readings.fresh(now_s, state.thresholds.reading_max_age_s), state)
    severe: dict[Cause, str] = {}
    reasons = []
    for cause, graded, history in ((Cause.HEAT, heat, state.heat), (Cause.MEMORY, pressure, state.pressure)):
        if cause is Cause.MEMORY and state.is_refuted(Cause.MEMORY, now_s):
            continue
        before = state.refused_for.get(cause, "severe" if history.lasts_s(Grade.SEVERE, now_s) >= 0.0 else "")
        if graded.grade is Grade.SEVERE:
            severe[cause] = graded.words
            reasons.append(graded.words)
        elif graded.grade is None and before:
            severe[cause] = before
            reasons.append(f"{graded.words}; before that: {before}")
    state.refused_for = severe
    if not severe:
        state.refused_since_s = None
        return None
    if state.refused_since_s is None:
        state.refused_since_s = now_s
    if now_s - state.refused_since_s >= state.thresholds.pause_max_s:
        return None
    return f"{', '.join(reasons)}: no job starts until it has eased"


def grade_machine(
    now_s: float, readings: Readings, state: GovernorState, *, on_gpu: bool = False
) -> tuple[Graded, Graded]:
    """Grade heat and memory of *readings*, and note both in *state*; return (heat, memory).

    A cause that can be read and is no longer severe does not keep jobs from starting; its next refusal is a new one.
    """
    heat, pressure = _graded(now_s, readings, state, on_gpu=on_gpu)
    state.heat.see(now_s, heat)
    state.pressure.see(now_s, pressure)
    note_calm(state, now_s)
    for cause, graded in ((Cause.HEAT, heat), (Cause.MEMORY, pressure)):
        if graded.grade not in {None, Grade.SEVERE}:
            state.refused_for.pop(cause, None)
    if not state.refused_for:
        state.refused_since_s = None
    return heat, pressure


def _graded(now_s: float, readings: Readings, state: GovernorState, *, on_gpu: bool = False) -> tuple[Graded, Graded]:
    stuck = state.stuck_level if state.is_refuted(LEVEL, now_s) else None
    heat = grade_heat(readings, state.thresholds, stuck_level=stuck, on_gpu=on_gpu)
    return heat, grade_pressure(readings, state.thresholds)
