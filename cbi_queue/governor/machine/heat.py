"""How hot the machine is, graded from what the sensors say. Pure.

Levels of the operating system lag, stick and stay nominal while the chip slows (docs/governor.md), so a level is one
voice among several: TRAPPING and above is severe, HEAVY is over, and a level that was caught lying is left out. What
comes from an advisory sensor has no voice, also where it stands beside a firm figure in one reading.
Neighbours: `strain` (what a grade is), `policy` (what is done about it).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cbi_queue.governor.machine.grades import Grade, Graded
from cbi_queue.readings.values import HEAT_FIGURES, GpuReading, HeatLevel, ThermalReading, Trust, Unknown

if TYPE_CHECKING:
    from cbi_queue.hardware.thresholds import Thresholds
    from cbi_queue.readings.values import Readings

_GRADE_OF_LEVEL = {
    HeatLevel.NOMINAL: Grade.CLEAR,
    HeatLevel.MODERATE: Grade.NEAR,
    HeatLevel.HEAVY: Grade.OVER,
    HeatLevel.TRAPPING: Grade.SEVERE,
    HeatLevel.SLEEPING: Grade.SEVERE,
}
_EMERGENCY = "hw_thermal_slowdown"
_BELIEVABLE_C = (-20.0, 150.0)


def grade_heat(
    readings: Readings, thresholds: Thresholds, *, stuck_level: float | None = None, on_gpu: bool = False
) -> Graded:
    """Grade the heat.

    Args:
        readings: the latest, stale ones already made `Unknown`.
        thresholds: of this machine.
        stuck_level: the operating system's level that was seen not to follow the work; it has no vote.
        on_gpu: the work is done by the accelerator. A cool one says nothing about the chip when it is not.
    """
    votes: list[tuple[Grade, str]] = []
    figures: dict[str, float] = {}
    thermal = readings.thermal
    if isinstance(thermal, ThermalReading) and thermal.trust is Trust.FIRM:
        votes += _votes_of_chip(_firm_part(thermal), thresholds, figures, stuck_level=stuck_level)
    gpu = readings.gpu
    if isinstance(gpu, GpuReading) and gpu.trust is Trust.FIRM:
        votes += _votes_of_gpu(gpu, figures, on_gpu=on_gpu)
    if not votes:
        return Graded(None, _why_unknown(thermal, stuck_level=stuck_level), figures)
    grade = max(vote for vote, _ in votes)
    return Graded(grade, ", ".join(words for vote, words in votes if vote is grade), figures)


def _firm_part(reading: ThermalReading) -> ThermalReading:
    nothing: dict[str, Any] = {figure: None for figure in HEAT_FIGURES if not reading.decides(figure)}
    return replace(reading, **nothing)


def _votes_of_chip(
    reading: ThermalReading, thresholds: Thresholds, figures: dict[str, float], *, stuck_level: float | None
) -> list[tuple[Grade, str]]:
    votes = []
    if reading.level in _GRADE_OF_LEVEL:
        figures["heat_level"] = float(reading.level)
        if reading.level != stuck_level:
            votes.append((_GRADE_OF_LEVEL[reading.level], f"heat level {reading.level.name.lower()}"))
    if reading.temp_c is not None and _BELIEVABLE_C[0] <= reading.temp_c <= _BELIEVABLE_C[1]:
        figures["temp_c"] = reading.temp_c
        votes.append((_grade_of_temperature(reading, thresholds), f"{reading.temp_c:.0f} °C"))
    if reading.throttled is not None:
        figures["throttled"] = float(reading.throttled)
        if reading.throttled:
            votes.append((Grade.OVER, "the chip says that it slows itself for heat"))
        elif not votes:
            votes.append((Grade.CLEAR, "the chip does not slow itself"))
    return votes


def _grade_of_temperature(reading: ThermalReading, thresholds: Thresholds) -> Grade:
    """Place the temperature between the thresholds, which a limit that the chip tells itself brings down."""
    temp_c = reading.temp_c or 0.0
    hot_c, cool_c, severe_c = thresholds.hot_c, thresholds.cool_c, thresholds.severe_c
    if reading.limit_c is not None and math.isfinite(reading.limit_c) and 40.0 <= reading.limit_c <= 130.0:
        gap_c = hot_c - cool_c
        hot_c = min(hot_c, reading.limit_c - thresholds.below_limit_c)
        cool_c, severe_c = hot_c - gap_c, min(severe_c, reading.limit_c + thresholds.above_limit_c)
    if temp_c >= severe_c:
        return Grade.SEVERE
    if temp_c >= hot_c:
        return Grade.OVER
    return Grade.CLEAR if temp_c <= cool_c else Grade.NEAR


def _votes_of_gpu(reading: GpuReading, figures: dict[str, float], *, on_gpu: bool) -> list[tuple[Grade, str]]:
    """Take the accelerator's own word for being slowed; its temperature alone only says that it can be read."""
    reasons = [reason for reason in reading.throttle_reasons if "thermal" in reason]
    if reading.temp_c is not None and math.isfinite(reading.temp_c):
        figures["gpu_temp_c"] = reading.temp_c
    if _EMERGENCY in reasons:
        return [(Grade.SEVERE, f"the accelerator reports {_EMERGENCY}")]
    if reasons:
        return [(Grade.OVER, f"the accelerator reports {', '.join(reasons)}")]
    if on_gpu and reading.temp_c is not None and math.isfinite(reading.temp_c):
        return [(Grade.CLEAR, f"the accelerator has {reading.temp_c:.0f} °C and is not slowed for heat")]
    return []


def _why_unknown(thermal: ThermalReading | Unknown, *, stuck_level: float | None) -> str:
    if isinstance(thermal, Unknown):
        return f"heat unknown: {thermal.why}"
    if thermal.trust is not Trust.FIRM:
        return f"heat unknown: {thermal.source} is only advisory"
    if thermal.level is not None and thermal.level == stuck_level:
        return f"heat unknown: the level of {thermal.source} did not follow the work"
    return f"heat unknown: {thermal.source} gave nothing believable"
