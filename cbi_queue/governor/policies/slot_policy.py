"""When a hold of the governor ends, and whether a job may start: the slot's side of the policies. Pure.

A hold ends when its cause is clear, when the trainer must leave, or when it has lasted long enough: no job is paused
for longer than `pause_max_s`, also when the sensor is silent; then the work is tried again, most often at the lowest
pace. A hold for memory ends early once it is plain that it frees nothing (`memory_relief`).

A start is refused while heat or memory pressure is severe, and while nothing can be read after that: sensors fall
silent just when a machine thrashes, so silence is no sign of easing. After `pause_max_s` one job may try.
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
    from collections.abc import Mapping

    from cbi_queue.governor.machine.grades import Graded
    from cbi_queue.governor.state.state import GovernorState, Hold
    from cbi_queue.readings.values import Readings


@dataclass(frozen=True, slots=True)
class HoldSituation:
    """One instant of a hold: the look at the resource that it is for."""

    now_s: float
    state: GovernorState
    graded: Graded
    may_evict: bool = False
    """True when a trainer stands in the slot that can leave without losing much."""
    can_pace: bool = True
    """False when a trainer stands in the slot that works at full speed at any pace."""


def decide_hold(situation: HoldSituation) -> Decision | None:
    """Return what becomes of the hold in force, which must be there; None: it stays."""
    hold = situation.state.hold
    if hold is None:
        return None
    _note_least(hold, situation.graded)
    return _decide(situation, hold)


def _note_least(hold: Hold, graded: Graded) -> None:
    if graded.grade is not None:
        hold.least = graded.grade if hold.least is None else min(hold.least, graded.grade)
    level = graded.figures.get("heat_level")
    if level is not None:
        hold.least_level = level if hold.least_level is None else min(hold.least_level, level)


def _decide(situation: HoldSituation, hold: Hold) -> Decision | None:
    held_s = situation.now_s - hold.since_s
    if situation.now_s >= hold.until_s:
        return _try_again(situation, hold, held_s)
    if held_s >= situation.state.thresholds.pause_min_s and _is_clear(situation, hold):
        return _resume(situation, hold, f"{situation.graded.words} after {span(held_s)}: {_on(hold)}", upward=True)
    return _still_tight(situation, hold, held_s)


def _is_clear(situation: HoldSituation, hold: Hold) -> bool:
    strain = situation.state.heat if hold.cause is Cause.HEAT else situation.state.pressure
    return strain.lasts_s(Grade.CLEAR, situation.now_s) >= situation.state.thresholds.clear_s


def _try_again(situation: HoldSituation, hold: Hold, held_s: float) -> Decision:
    """End a hold that has lasted as long as one may. A level that never fell while nothing trained is not believed.

    A temperature that never fell is only told: it stays believed, and says nothing about the level.
    """
    state = situation.state
    words = f"{situation.graded.words}, but nothing stands still for more than {span(state.thresholds.pause_max_s)}"
    level = situation.graded.figures.get("heat_level")
    if hold.cause is Cause.HEAT and level is not None and (hold.least_level or 0.0) >= HeatLevel.TRAPPING:
        state.stuck_level = level
        until = span(state.refute(LEVEL, situation.now_s).until_s - situation.now_s)
        words += f"; a level that does not fall while nothing trains is not believed for {until}"
    elif hold.cause is Cause.HEAT and hold.least is Grade.SEVERE and situation.graded.grade is Grade.SEVERE:
        words += "; it did not ease while nothing trained"
    if hold.cause is Cause.MEMORY and situation.graded.is_over and (found := not_eased(state, situation.now_s)):
        words += f"; {found}"
    on = _on(hold, state.duty if situation.can_pace else 1.0)
    return _resume(situation, hold, f"{words}: after {span(held_s)} {on}", upward=False)


def _resume(situation: HoldSituation, hold: Hold, words: str, *, upward: bool) -> Decision:
    situation.state.hold = None
    situation.state.step(hold.cause, Action.RESUME, situation.now_s)
    return Decision(situation.now_s, Action.RESUME, hold.cause, words, upward=upward, figures=_figures(situation, hold))


def _still_tight(situation: HoldSituation, hold: Hold, held_s: float) -> Decision | None:
    """Go one further when a pause did not ease memory, or let go when the same was found before."""
    state = situation.state
    is_tight = hold.cause is Cause.MEMORY and situation.graded.is_over
    if not is_tight or held_s < state.thresholds.evict_after_s:
        return None
    if state.relief.uneased >= ENOUGH_UNEASED and (found := not_eased(state, situation.now_s)):
        words = f"{situation.graded.words} after {span(held_s)}, as before: {found}; {_on(hold)}"
        return _resume(situation, hold, words, upward=False)
    return _evict(situation, hold, held_s)


def _evict(situation: HoldSituation, hold: Hold, held_s: float) -> Decision | None:
    """Send a trainer away whose pause did not ease memory: then all that it holds comes free."""
    t, state, now_s = situation.state.thresholds, situation.state, situation.now_s
    evicted_lately = state.steps_within(Cause.MEMORY, now_s, t.evict_gap_s, Action.EVICT) > 0
    if hold.evicted or not situation.may_evict or evicted_lately:
        return None
    state.relief.uneased += 1
    hold.evicted, hold.until_s, hold.least, hold.least_level = True, now_s + t.pause_max_s, None, None
    state.step(Cause.MEMORY, Action.EVICT, now_s)
    words = f"{situation.graded.words} although the job has stood still for {span(held_s)}: it makes room, and work stands still, {span(t.pause_max_s)} at most"
    figures = _figures(situation, hold) | {"for_s": t.pause_max_s + HOLD_MARGIN_S}
    return Decision(now_s, Action.EVICT, Cause.MEMORY, words, figures=figures)


def _on(hold: Hold, duty: float = 1.0) -> str:
    what = "the slot opens again" if hold.evicted else "the job goes on"
    return f"{what} at {duty:.0%} of the time" if duty < 1.0 else what


def _figures(situation: HoldSituation, hold: Hold) -> dict[str, float]:
    return {"held_s": round(situation.now_s - hold.since_s, 1), **situation.graded.figures}


def refusal(now_s: float, looks: Mapping[Cause, Graded], state: GovernorState) -> str | None:
    """Say why no job may start now; None: one may.

    Args:
        now_s: second of the boot clock.
        looks: what counts: cause -> look at it.
        state: of the governor; what keeps jobs back is noted there.
    """
    words = [said for cause in (Cause.HEAT, Cause.MEMORY) if (said := _severe(now_s, cause, looks.get(cause), state))]
    if not words:
        state.refused_since_s = None
        return None
    if state.refused_since_s is None:
        state.refused_since_s = now_s
    if now_s - state.refused_since_s >= state.thresholds.pause_max_s:
        return None
    return f"{', '.join(words)}: no job starts until it has eased"


def note_eased(looks: Mapping[Cause, Graded], state: GovernorState) -> None:
    """Forget what was refused for a cause that can be read and is no longer severe; its next refusal is a new one.

    Args:
        looks: cause -> look at it.
        state: of the governor.
    """
    for cause, graded in looks.items():
        if graded.grade is not None and graded.grade is not Grade.SEVERE:
            state.refused_for.pop(cause, None)
    if not state.refused_for:
        state.refused_since_s = None


def _severe(now_s: float, cause: Cause, graded: Graded | None, state: GovernorState) -> str | None:
    """Return what is severe, or was when it could last be read; None when it has eased, or was never severe."""
    if graded is not None and graded.grade is Grade.SEVERE:
        state.refused_for[cause] = graded.words
        return graded.words
    if graded is not None and graded.grade is None:
        strain = state.heat if cause is Cause.HEAT else state.pressure
        if strain.lasts_s(Grade.SEVERE, now_s) >= 0.0:
            state.refused_for.setdefault(cause, "severe")
        if cause in state.refused_for:
            return f"{graded.words}; before that: {state.refused_for[cause]}"
    state.refused_for.pop(cause, None)
    return None


def check_empty_slot(now_s: float, readings: Readings, state: GovernorState) -> Decision | None:
    """Look at the machine while the slot is empty: return the decision that ends the governor's hold, when it is time."""
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
    """Say why no job may start now; None: one may. Says no for `pause_max_s` at most, then lets one try.

    What is unknown does not keep a job back, unless it was severe before: nothing runs whose work could show how the
    machine is. Nor does memory that standing aside was found not to ease.
    """
    readings = readings.fresh(now_s, state.thresholds.reading_max_age_s)
    heat, pressure = _graded(now_s, readings, state)
    looks = {Cause.HEAT: heat} if state.is_refuted(Cause.MEMORY, now_s) else {Cause.HEAT: heat, Cause.MEMORY: pressure}
    return refusal(now_s, looks, state)


def _graded(now_s: float, readings: Readings, state: GovernorState, *, on_gpu: bool = False) -> tuple[Graded, Graded]:
    stuck = state.stuck_level if state.is_refuted(LEVEL, now_s) else None
    heat = grade_heat(readings, state.thresholds, stuck_level=stuck, on_gpu=on_gpu)
    return heat, grade_pressure(readings, state.thresholds)


def grade_machine(
    now_s: float, readings: Readings, state: GovernorState, *, on_gpu: bool = False
) -> tuple[Graded, Graded]:
    """Grade heat and memory of *readings*, and note both in *state*; return (heat, memory)."""
    heat, pressure = _graded(now_s, readings, state, on_gpu=on_gpu)
    state.heat.see(now_s, heat)
    state.pressure.see(now_s, pressure)
    note_calm(state, now_s)
    note_eased({Cause.HEAT: heat, Cause.MEMORY: pressure}, state)
    return heat, pressure
