"""Whose memory it is: when steps of the trainer cannot ease the pressure, and what shows that. Pure.

Another program can hold the memory for hours. A trainer that holds little is left alone from the start; one that stood
aside twice while memory stayed as tight is left alone for an hour, then two, and so on, until memory has been clear.
Neighbours: `slot_memory` (what is remembered of it), `memory_policy` and `holding` (which ask before they step).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.strain import Grade
from cbi_queue.governor.values import Action, Cause
from cbi_queue.governor.wording import span

if TYPE_CHECKING:
    from cbi_queue.governor.scene import Scene
    from cbi_queue.governor.slot_memory import GovernorMemory

SMALL_SHARE = 0.10
"""A trainer that holds less than this share of the memory there is cannot relieve it."""
ENOUGH_UNEASED = 2
"""Pauses and evictions that ease nothing, after which the memory is somebody else's."""

COUNTED = (Action.MICRO_BATCH, Action.PAUSE, Action.EVICT)
"""Steps of which an hour has only so many."""


def note_calm(memory: GovernorMemory, now_s: float) -> None:
    """Forget what was found while memory was tight, once it is clear: the next pressure may be another's."""
    t, calm_s = memory.thresholds, memory.pressure.lasts_s(Grade.CLEAR, now_s)
    if calm_s >= t.clear_s:
        memory.relief.uneased, memory.relief.held_mib = 0, None
        memory.end_refutation(Cause.MEMORY, now_s)
    if calm_s >= t.memory_up_wait_s:
        memory.relief.batch_no_help.clear()


def not_eased(memory: GovernorMemory, now_s: float) -> str | None:
    """Note a pause or an eviction that left memory as tight; return what follows for people, None: it may be tried on."""
    memory.relief.uneased += 1
    if memory.relief.uneased < ENOUGH_UNEASED:
        return None
    until = span(memory.refute(Cause.MEMORY, now_s).until_s - now_s)
    return f"others hold the memory, not this job: nothing more is done about it for {until}, or until it was clear"


def why_no_step(scene: Scene) -> str | None:
    """Return why no step of this trainer can ease memory; None when one can, or when that is not known."""
    held_mib, total_mib = scene.footprint_mib, scene.total_mib
    if held_mib is not None and total_mib and held_mib < SMALL_SHARE * total_mib:
        return f"it holds {held_mib / total_mib:.1%} of {total_mib:.0f} MiB, and {_others(scene, held_mib, total_mib)}"
    if scene.memory.is_refuted(Cause.MEMORY, scene.now_s) and not _has_grown(scene):
        left = span(scene.memory.refutations[Cause.MEMORY].until_s - scene.now_s)
        return f"standing aside eased nothing before and is not tried again for {left}"
    return None


def stand_aside(scene: Scene) -> None:
    """Note which trainer is told to stand aside; what was found of a smaller one says nothing of it."""
    memory = scene.memory
    if _has_grown(scene):
        memory.relief.uneased = 0
        memory.end_refutation(Cause.MEMORY, scene.now_s)
    memory.relief.held_mib = scene.footprint_mib


def steps_are_used_up(scene: Scene, spare: int = 0) -> bool:
    """Tell whether the hour has had its steps, all but *spare*.

    Those taken for a smaller trainer do not count; a fresh process for a leak has its own limit.
    """
    taken = sum(scene.memory.steps_within(Cause.MEMORY, scene.now_s, action=action) for action in COUNTED)
    return taken >= scene.thresholds.steps_per_hour - spare and not _has_grown(scene)


def _others(scene: Scene, held_mib: float, total_mib: float) -> str:
    available_mib = scene.pressure.figures.get("available_mib")
    held = "the rest" if available_mib is None else f"{max(0.0, total_mib - available_mib - held_mib):.0f} MiB"
    return f"other programs hold {held}: only they can make room"


def _has_grown(scene: Scene) -> bool:
    """Tell whether this trainer holds clearly more than the one that stood aside in vain."""
    before_mib, total_mib = scene.memory.relief.held_mib, scene.total_mib
    if scene.footprint_mib is None or before_mib is None or not total_mib:
        return False
    return scene.footprint_mib >= before_mib + SMALL_SHARE * total_mib
