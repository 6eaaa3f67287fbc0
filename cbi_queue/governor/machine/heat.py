"""How hot the machine is, graded from what the sensors report. Pure.

Levels of the operating system lag, stick, and stay nominal while the chip slows down (docs/governor.md), so a level is
one vote among several, and a level that did not follow the work has none. Advisory figures have none either, also
where they stand beside a firm one in the same reading.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cbi_queue.governor.machine.grades import Grade, Graded, grade_of, highest
from cbi_queue.readings.values import HEAT_FIGURES, GpuReading, HeatLevel, ThermalReading, Trust, Unknown

if TYPE_CHECKING:
    from cbi_queue.governor.machine.grades import Votes
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
_BELIEVABLE_LIMIT_C = (40.0, 130.0)


def grade_heat(
    readings: Readings, thresholds: Thresholds, *, stuck_level: float | None = None, on_gpu: bool = False
) -> Graded:
    """Grade the heat.

    Args:
        readings: the latest, stale ones already made `Unknown`.
        thresholds: of this machine.
        stuck_level: the operating system's level that did not follow the work; it is ignored.
        on_gpu: True when the accelerator does the work. Otherwise a cool accelerator shows nothing about the chip.
    """
    figures: dict[str, float] = {}
    thermal, gpu = readings.thermal, readings.gpu
    votes: Votes = []
    if isinstance(thermal, ThermalReading) and thermal.trust is Trust.FIRM:
        votes += _votes_of_chip(thermal, thresholds, figures, stuck_level)
    if isinstance(gpu, GpuReading) and gpu.trust is Trust.FIRM:
        votes += _votes_of_gpu(gpu, figures, on_gpu=on_gpu)
    return highest(votes, figures) if votes else Graded(None, _why_unknown(thermal, stuck_level), figures)


def _votes_of_chip(
    reading: ThermalReading, thresholds: Thresholds, figures: dict[str, float], stuck_level: float | None
) -> Votes:
    advisory: dict[str, Any] = {figure: None for figure in HEAT_FIGURES if not reading.decides(figure)}
    reading = replace(reading, **advisory)
    votes = []
    if reading.level in _GRADE_OF_LEVEL:
        figures["heat_level"] = float(reading.level)
        if reading.level != stuck_level:
            votes.append((_GRADE_OF_LEVEL[reading.level], f"heat level {reading.level.name.lower()}"))
    if reading.temp_c is not None and _BELIEVABLE_C[0] <= reading.temp_c <= _BELIEVABLE_C[1]:
        figures["temp_c"] = reading.temp_c
        votes.append((_grade_of_temperature(reading.temp_c, reading.limit_c, thresholds), f"{reading.temp_c:.0f} °C"))
    if reading.throttled is not None:
        figures["throttled"] = float(reading.throttled)
        if reading.throttled:
            votes.append((Grade.OVER, "the chip reports that it throttles for heat"))
        elif not votes:
            votes.append((Grade.CLEAR, "the chip does not throttle"))
    return votes


def _grade_of_temperature(temp_c: float, limit_c: float | None, thresholds: Thresholds) -> Grade:
    """Place the temperature between the thresholds, which a limit reported by the chip itself lowers."""
    hot_c, cool_c, severe_c = thresholds.hot_c, thresholds.cool_c, thresholds.severe_c
    if limit_c is not None and _BELIEVABLE_LIMIT_C[0] <= limit_c <= _BELIEVABLE_LIMIT_C[1]:
        hot_c = min(hot_c, limit_c - thresholds.below_limit_c)
        cool_c += hot_c - thresholds.hot_c
        severe_c = min(severe_c, limit_c + thresholds.above_limit_c)
    return grade_of(temp_c, cool_c, hot_c, severe_c)


def _votes_of_gpu(reading: GpuReading, figures: dict[str, float], *, on_gpu: bool) -> Votes:
    """Believe the accelerator when it reports that it throttles; its temperature alone never asks for a step."""
    temp_c = reading.temp_c if reading.temp_c is not None and math.isfinite(reading.temp_c) else None
    if temp_c is not None:
        figures["gpu_temp_c"] = temp_c
    reasons = [reason for reason in reading.throttle_reasons if "thermal" in reason]
    if _EMERGENCY in reasons:
        return [(Grade.SEVERE, f"the accelerator reports {_EMERGENCY}")]
    if reasons:
        return [(Grade.OVER, f"the accelerator reports {', '.join(reasons)}")]
    if on_gpu and temp_c is not None:
        return [(Grade.CLEAR, f"the accelerator has {temp_c:.0f} °C and is not throttled")]
    return []


def _why_unknown(thermal: ThermalReading | Unknown, stuck_level: float | None) -> str:
    if isinstance(thermal, Unknown):
        return f"heat unknown: {thermal.why}"
    if thermal.trust is not Trust.FIRM:
        return f"heat unknown: {thermal.source} is only advisory"
    if thermal.level is not None and thermal.level == stuck_level:
        return f"heat unknown: the level of {thermal.source} did not follow the work"
    return f"heat unknown: {thermal.source} reported nothing believable"
