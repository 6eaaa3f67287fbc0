"""Whether a job is refused its start: in severe heat or want of memory, and while nothing can be read after it. Pure.

Sensors fall silent just when the machine thrashes, so silence after a severe look is no news of easing. Nothing is
refused for longer than `pause_max_s`: then one job may try. Neighbours: `governor` (which looks), `strain` (the grades).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.governor.strain import Grade
from cbi_queue.governor.values import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cbi_queue.governor.slot_memory import GovernorMemory
    from cbi_queue.governor.strain import Look


def refusal(now_s: float, looks: Mapping[Cause, Look], memory: GovernorMemory) -> str | None:
    """Say why no job may start now; None: one may.

    Args:
        now_s: second of the boot clock.
        looks: what counts: cause -> look at it.
        memory: of the governor; what keeps jobs back is noted there.
    """
    words = [said for cause in (Cause.HEAT, Cause.MEMORY) if (said := _severe(now_s, cause, looks.get(cause), memory))]
    if not words:
        memory.refused_since_s = None
        return None
    if memory.refused_since_s is None:
        memory.refused_since_s = now_s
    if now_s - memory.refused_since_s >= memory.thresholds.pause_max_s:
        return None
    return f"{', '.join(words)}: no job starts until it has eased"


def note_eased(looks: Mapping[Cause, Look], memory: GovernorMemory) -> None:
    """Forget what was refused for a cause that can be read and is no longer severe; its next refusal is a new one.

    Args:
        looks: cause -> look at it.
        memory: of the governor.
    """
    for cause, look in looks.items():
        if look.grade is not None and look.grade is not Grade.SEVERE:
            memory.refused_for.pop(cause, None)
    if not memory.refused_for:
        memory.refused_since_s = None


def _severe(now_s: float, cause: Cause, look: Look | None, memory: GovernorMemory) -> str | None:
    """Return what is severe, or was when it could last be read; None when it has eased, or was never severe."""
    if look is not None and look.grade is Grade.SEVERE:
        memory.refused_for[cause] = look.words
        return look.words
    if look is not None and look.grade is None:
        strain = memory.heat if cause is Cause.HEAT else memory.pressure
        if strain.lasts_s(Grade.SEVERE, now_s) >= 0.0:
            memory.refused_for.setdefault(cause, "severe")
        if cause in memory.refused_for:
            return f"{look.words}; before that: {memory.refused_for[cause]}"
    memory.refused_for.pop(cause, None)
    return None
