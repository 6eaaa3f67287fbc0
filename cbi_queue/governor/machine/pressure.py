"""How tight memory is, graded from what the sensors report. Pure.

On macOS WARN comes late (the compressor holds half of what can be paged), so writing to swap and stalls count as much
as the level.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeGuard

from cbi_queue.governor.machine.grades import Grade, Graded, grade_of, highest
from cbi_queue.readings.values import MemoryReading, PressureLevel, Trust, Unknown

if TYPE_CHECKING:
    from cbi_queue.governor.machine.grades import Votes
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
    paging = _votes_of_paging(reading, thresholds, figures)
    votes = [*paging, *_votes_of_room(reading, thresholds, figures)]
    if not votes:
        return Graded(None, f"memory unknown: {reading.source} reported nothing believable")
    return highest(votes, figures, thrashing=any(vote >= Grade.OVER for vote, _ in paging))


def _votes_of_paging(reading: MemoryReading, thresholds: Thresholds, figures: dict[str, float]) -> Votes:
    votes = []
    if _is_amount(swap_out := reading.swap_out_mib_s):
        figures["swap_out_mib_s"] = swap_out
        grade = grade_of(swap_out, thresholds.swap_out_clear_mib_s, thresholds.swap_out_mib_s, math.inf)
        votes.append((grade, f"{swap_out:.1f} MiB/s written to swap"))
    if _is_amount(stall := reading.stall_share) and stall <= 1.0:
        figures["stall_share"] = stall
        grade = grade_of(stall, thresholds.stall_clear_share, thresholds.stall_share, thresholds.stall_critical_share)
        votes.append((grade, f"tasks wait for memory {stall:.0%} of the time"))
    return votes


def _votes_of_room(reading: MemoryReading, thresholds: Thresholds, figures: dict[str, float]) -> Votes:
    votes = []
    if reading.level in _GRADE_OF_LEVEL:
        figures["pressure_level"] = float(reading.level)
        votes.append((_GRADE_OF_LEVEL[reading.level], f"memory pressure {reading.level.name.lower()}"))
    available, total = reading.available_mib, reading.total_mib
    if _is_amount(available) and _is_amount(total) and 0 < total >= available:
        figures["available_mib"] = available
        grade = grade_of(
            1.0 - available / total,
            1.0 - thresholds.available_clear_share,
            1.0 - thresholds.available_floor_share,
            1.0 - thresholds.available_critical_share,
        )
        votes.append((grade, f"{available:.0f} of {total:.0f} MiB available"))
    return votes


def _is_amount(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value >= 0.0
