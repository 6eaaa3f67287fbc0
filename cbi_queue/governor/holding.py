"""What ends a hold of the governor: the cause is clear, the trainer must leave, or it has lasted long enough. Pure.

A hold for memory also ends early once it is plain that it eases nothing (`relief`).
Nothing stands still for ever: a hold whose sensor does not speak, or never clears, ends after `pause_max_s` and the
work is tried again, most often at the lowest pace. Neighbours: `policy` and `memory_policy` (which place holds), `governor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.governor.policy import HOLD_MARGIN_S, LEVEL
from cbi_queue.governor.relief import ENOUGH_UNEASED, not_eased
from cbi_queue.governor.slot_memory import BeforeEnd
from cbi_queue.governor.strain import Grade
from cbi_queue.governor.values import Action, Cause, Decision
from cbi_queue.governor.wording import span
from cbi_queue.readings import HeatLevel

if TYPE_CHECKING:
    from cbi_queue.governor.slot_memory import GovernorMemory, Hold
    from cbi_queue.governor.strain import Look


@dataclass(frozen=True, slots=True)
class HoldScene:
    """One instant of a hold: the look at the resource that it is for."""

    now_s: float
    memory: GovernorMemory
    look: Look
    may_evict: bool = False
    """True when a trainer stands in the slot that can leave without losing much."""
    can_pace: bool = True
    """False when a trainer stands in the slot that works at full speed at any pace."""


def decide_hold(scene: HoldScene) -> Decision | None:
    """Return what becomes of the hold in force, which must be there; None: it stays."""
    hold = scene.memory.hold
    if hold is None:
        return None
    _note_least(hold, scene.look)
    before = _before_end(scene.memory, hold)
    decision = _decide(scene, hold)
    if decision is not None and decision.action is Action.RESUME:
        hold.before_end = before
    return decision


def take_back_end(memory: GovernorMemory, hold: Hold) -> None:
    """Put *memory* back as it was before *hold* was ended: the end could not be carried out, so *hold* is in force.

    The next look decides anew, by what it sees then; nothing is counted twice.
    """
    memory.hold, before = hold, hold.before_end
    if before is None:
        return
    memory.steps[hold.cause].clear()
    memory.steps[hold.cause].extend(before.steps)
    memory.refutations, memory.stuck_level = dict(before.refutations), before.stuck_level
    memory.relief.uneased = before.uneased


def _before_end(memory: GovernorMemory, hold: Hold) -> BeforeEnd:
    steps = tuple(memory.steps[hold.cause])
    return BeforeEnd(steps, dict(memory.refutations), memory.relief.uneased, memory.stuck_level)


def _note_least(hold: Hold, look: Look) -> None:
    if look.grade is not None:
        hold.least = look.grade if hold.least is None else min(hold.least, look.grade)
    level = look.figures.get("heat_level")
    if level is not None:
        hold.least_level = level if hold.least_level is None else min(hold.least_level, level)


def _decide(scene: HoldScene, hold: Hold) -> Decision | None:
    held_s = scene.now_s - hold.since_s
    if scene.now_s >= hold.until_s:
        return _try_again(scene, hold, held_s)
    if held_s >= scene.memory.thresholds.pause_min_s and _is_clear(scene, hold):
        return _resume(scene, hold, f"{scene.look.words} after {span(held_s)}: {_on(hold)}", upward=True)
    return _still_tight(scene, hold, held_s)


def _is_clear(scene: HoldScene, hold: Hold) -> bool:
    strain = scene.memory.heat if hold.cause is Cause.HEAT else scene.memory.pressure
    return strain.lasts_s(Grade.CLEAR, scene.now_s) >= scene.memory.thresholds.clear_s


def _try_again(scene: HoldScene, hold: Hold, held_s: float) -> Decision:
    """End a hold that has lasted as long as one may. A level that never fell while nothing trained is not believed.

    A temperature that never fell is only told: it stays believed, and says nothing about the level.
    """
    memory = scene.memory
    words = f"{scene.look.words}, but nothing stands still for more than {span(memory.thresholds.pause_max_s)}"
    level = scene.look.figures.get("heat_level")
    if hold.cause is Cause.HEAT and level is not None and (hold.least_level or 0.0) >= HeatLevel.TRAPPING:
        memory.stuck_level = level
        until = span(memory.refute(LEVEL, scene.now_s).until_s - scene.now_s)
        words += f"; a level that does not fall while nothing trains is not believed for {until}"
    elif hold.cause is Cause.HEAT and hold.least is Grade.SEVERE and scene.look.grade is Grade.SEVERE:
        words += "; it did not ease while nothing trained"
    if hold.cause is Cause.MEMORY and scene.look.is_over and (found := not_eased(memory, scene.now_s)):
        words += f"; {found}"
    on = _on(hold, memory.duty if scene.can_pace else 1.0)
    return _resume(scene, hold, f"{words}: after {span(held_s)} {on}", upward=False)


def _resume(scene: HoldScene, hold: Hold, words: str, *, upward: bool) -> Decision:
    scene.memory.hold = None
    scene.memory.step(hold.cause, Action.RESUME, scene.now_s)
    return Decision(scene.now_s, Action.RESUME, hold.cause, words, upward=upward, figures=_figures(scene, hold))


def _still_tight(scene: HoldScene, hold: Hold, held_s: float) -> Decision | None:
    """Go one further when a pause did not ease memory, or let go when the same was found before."""
    memory = scene.memory
    is_tight = hold.cause is Cause.MEMORY and scene.look.is_over
    if not is_tight or held_s < memory.thresholds.evict_after_s:
        return None
    if memory.relief.uneased >= ENOUGH_UNEASED and (found := not_eased(memory, scene.now_s)):
        words = f"{scene.look.words} after {span(held_s)}, as before: {found}; {_on(hold)}"
        return _resume(scene, hold, words, upward=False)
    return _evict(scene, hold, held_s)


def _evict(scene: HoldScene, hold: Hold, held_s: float) -> Decision | None:
    """Send a trainer away whose pause did not ease memory: then all that it holds comes free."""
    t, memory, now_s = scene.memory.thresholds, scene.memory, scene.now_s
    evicted_lately = memory.steps_within(Cause.MEMORY, now_s, t.evict_gap_s, Action.EVICT) > 0
    if hold.evicted or not scene.may_evict or evicted_lately:
        return None
    memory.relief.uneased += 1
    hold.evicted, hold.until_s, hold.least, hold.least_level = True, now_s + t.pause_max_s, None, None
    memory.step(Cause.MEMORY, Action.EVICT, now_s)
    words = f"{scene.look.words} although the job has stood still for {span(held_s)}: it makes room, and work stands still, {span(t.pause_max_s)} at most"
    figures = _figures(scene, hold) | {"for_s": t.pause_max_s + HOLD_MARGIN_S}
    return Decision(now_s, Action.EVICT, Cause.MEMORY, words, figures=figures)


def _on(hold: Hold, duty: float = 1.0) -> str:
    what = "the slot opens again" if hold.evicted else "the job goes on"
    return f"{what} at {duty:.0%} of the time" if duty < 1.0 else what


def _figures(scene: HoldScene, hold: Hold) -> dict[str, float]:
    return {"held_s": round(scene.now_s - hold.since_s, 1), **scene.look.figures}
