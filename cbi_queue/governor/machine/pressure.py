"""How tight memory is, graded from what the sensors say. Pure.

On macOS WARN comes late (the compressor holds half of what can be paged), so writing to swap and stalls count as much
as the level. Neighbours: `strain` (what a grade is), `memory_policy` (what is done about it).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeGuard

from cbi_queue.governor.machine.grades import Grade, Graded
from cbi_queue.readings.values import MemoryReading, PressureLevel, Trust, Unknown

if TYPE_CHECKING:
    from cbi_queue.hardware.thresholds import Thresholds
    from cbi_queue.readings.values import Readings

_GRADE_OF_LEVEL = {
    PressureLevel.NORMAL: Grade.CLEAR,
    PressureLevel.WARN: Grade.OVER,
    PressureLevel.CRITICAL: Grade.SEVERE,
}


def grade_pressure(readings: Readings, thresholds: Thresholds) -> Graded:
    """Grade the pressure on memory from the latest *readings*, stale ones already made `Unknown`."""
    reading = readings.memory
    if isinstance(reading, Unknown):
        return Graded(None, f"memory unknown: {reading.why}")
    if reading.trust is not Trust.FIRM:
        return Graded(None, f"memory unknown: {reading.source} is only advisory")
    figures: dict[str, float] = {}
    moving = _votes_of_movement(reading, thresholds, figures)
    votes = [*moving, *_votes_of_room(reading, thresholds, figures)]
    if not votes:
        return Graded(None, f"memory unknown: {reading.source} gave nothing believable")
    grade = max(vote for vote, _ in votes)
    words = ", ".join(said for vote, said in votes if vote is grade)
    return Graded(grade, words, figures, thrashing=any(vote >= Grade.OVER for vote, _ in moving))


def _votes_of_movement(
    reading: MemoryReading, thresholds: Thresholds, figures: dict[str, float]
) -> list[tuple[Grade, str]]:
    """Grade what paging costs right now."""
    votes = []
    if _is_amount(swap_out := reading.swap_out_mib_s):
        figures["swap_out_mib_s"] = swap_out
        over, clear = thresholds.swap_out_mib_s, thresholds.swap_out_clear_mib_s
        votes.append((_placed(swap_out, clear, over, math.inf), f"{swap_out:.1f} MiB/s written to swap"))
    if _is_amount(stall := reading.stall_share) and stall <= 1.0:
        figures["stall_share"] = stall
        over, clear = thresholds.stall_share, thresholds.stall_clear_share
        grade = _placed(stall, clear, over, thresholds.stall_critical_share)
        votes.append((grade, f"tasks wait for memory {stall:.0%} of the time"))
    return votes


def _votes_of_room(
    reading: MemoryReading, thresholds: Thresholds, figures: dict[str, float]
) -> list[tuple[Grade, str]]:
    """Grade what is left."""
    votes = []
    if reading.level in _GRADE_OF_LEVEL:
        figures["pressure_level"] = float(reading.level)
        votes.append((_GRADE_OF_LEVEL[reading.level], f"memory pressure {reading.level.name.lower()}"))
    available, total = reading.available_mib, reading.total_mib
    if _is_amount(available) and _is_amount(total) and 0 < total >= available:
        figures["available_mib"] = available
        used = 1.0 - available / total
        floor, critical = thresholds.available_floor_share, thresholds.available_critical_share
        grade = _placed(used, 1.0 - thresholds.available_clear_share, 1.0 - floor, 1.0 - critical)
        votes.append((grade, f"{available:.0f} of {total:.0f} MiB available"))
    return votes


def _placed(value: float, clear: float, over: float, severe: float) -> Grade:
    if value >= severe:
        return Grade.SEVERE
    if value >= over:
        return Grade.OVER
    return Grade.CLEAR if value <= clear else Grade.NEAR


def _is_amount(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value >= 0.0
