"""Whose memory it is: when steps of the trainer cannot ease the pressure, and what shows that. Pure.

Another program can hold the memory for hours. A trainer that holds little is left alone from the start; one that was
paused or evicted twice while memory stayed as tight is left alone for an hour, then two, and so on, until memory has
been clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.machine.grades import Grade
from cbi_queue.governor.values import Action, Cause
from cbi_queue.wording import span

if TYPE_CHECKING:
    from cbi_queue.governor.policies.situation import Situation
    from cbi_queue.governor.state.state import GovernorState

SMALL_SHARE = 0.10
"""A trainer that holds less than this share of all memory cannot ease the pressure."""
ENOUGH_UNEASED = 2
"""Pauses and evictions that ease nothing, after which the memory is another program's."""
COUNTED = (Action.MICRO_BATCH, Action.PAUSE, Action.EVICT)
"""Steps that count towards those of an hour; a fresh process for a leak has its own limit."""


def note_calm(state: GovernorState, now_s: float) -> None:
    """Forget what was found while memory was tight, once it is clear: the next pressure may have another reason."""
    t, clear_s = state.thresholds, state.pressure.lasts_s(Grade.CLEAR, now_s)
    if clear_s >= t.clear_s:
        state.relief.uneased, state.relief.held_mib = 0, None
        state.end_refutation(Cause.MEMORY, now_s)
    if clear_s >= t.memory_up_wait_s:
        state.relief.batch_no_help.clear()


def not_eased(state: GovernorState, now_s: float) -> str | None:
    """Count a pause or an eviction that left memory as tight; return what follows, for people; None: try again."""
    state.relief.uneased += 1
    if state.relief.uneased < ENOUGH_UNEASED:
        return None
    until = span(state.refute(Cause.MEMORY, now_s).until_s - now_s)
    return f"other programs hold the memory, not this job: no further step for {until}, or until memory is clear"


def why_no_step(situation: Situation) -> str | None:
    """Return why no step of this trainer can ease memory; None when one can, or when that is not known."""
    held_mib, total_mib = situation.footprint_mib, situation.total_mib
    if held_mib is not None and total_mib and held_mib < SMALL_SHARE * total_mib:
        available_mib = situation.pressure.figures.get("available_mib")
        others_mib = None if available_mib is None else max(0.0, total_mib - available_mib - held_mib)
        others = "the rest" if others_mib is None else f"{others_mib:.0f} MiB"
        share = f"that is {held_mib / total_mib:.1%} of {total_mib:.0f} MiB"
        return f"{share}, and other programs hold {others}, which only they can free"
    if situation.state.is_refuted(Cause.MEMORY, situation.now_s) and not _has_grown(situation):
        left = span(situation.state.refutations[Cause.MEMORY].until_s - situation.now_s)
        return f"pausing the job did not help before and is not tried again for {left}"
    return None


def note_held(situation: Situation) -> None:
    """Note how much a trainer holds that is paused or evicted; what a smaller one showed does not apply to it."""
    state = situation.state
    if _has_grown(situation):
        state.relief.uneased = 0
        state.end_refutation(Cause.MEMORY, situation.now_s)
    state.relief.held_mib = situation.footprint_mib


def steps_are_used_up(situation: Situation, spare: int = 0) -> bool:
    """Return True when the hour has had its steps, all but *spare*. Those taken for a smaller trainer do not count."""
    taken = sum(situation.state.steps_within(Cause.MEMORY, situation.now_s, action=action) for action in COUNTED)
    return taken >= situation.thresholds.steps_per_hour - spare and not _has_grown(situation)


def _has_grown(situation: Situation) -> bool:
    """Return True when this trainer holds clearly more than the one that was paused or evicted in vain."""
    before_mib, total_mib = situation.state.relief.held_mib, situation.total_mib
    if situation.footprint_mib is None or before_mib is None or not total_mib:
        return False
    return situation.footprint_mib >= before_mib + SMALL_SHARE * total_mib
