"""Check that the values of a reading are possible; other answers of a sensor become `Unknown`.

Ranges are wide: they catch broken sensors and misread units, not unusual machines. Placeholders of single sensors
(6.7 degrees of a core that is switched off) are caught where they are parsed.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from cbi_queue.readings.as_json import KINDS
from cbi_queue.readings.values import HeatLevel, PressureLevel, Reading, ThermalReading, Trust, Unknown

COLDEST_C, HOTTEST_C = 15.0, 125.0
"""No dump of a running Apple chip has a real value between 8 and 21 degrees; chips switch themselves off below 125."""
MOST_MIB = 2.0**34
"""16 PiB."""

RANGES: dict[str, tuple[float, float]] = {
    "temp_c": (COLDEST_C, HOTTEST_C),
    "limit_c": (40.0, 150.0),
    "busy_share": (0.0, 1.0),
    "stall_share": (0.0, 1.0),
    "clock_mhz": (0.0, 20_000.0),
    "max_clock_mhz": (0.0, 20_000.0),
    "cores": (1, 100_000),
    "others_cores": (0.0, 100_000.0),
    "trainer_cores": (0.0, 100_000.0),
    "processes": (1, 10_000_000),
    "slept_s": (0.0, 1e9),
    "swap_out_mib_s": (0.0, 2.0**20),
    **dict.fromkeys(
        ("total_mib", "available_mib", "swap_used_mib", "compressed_mib", "footprint_mib", "swapped_mib",
         "memory_used_mib", "memory_total_mib", "others_mib"),
        (0.0, MOST_MIB),
    ),
}  # fmt: skip
"""Field -> lowest and highest possible value."""

_CLASSES: dict[str, type] = {
    "source": str,
    "trust": Trust,
    "throttle_reasons": tuple,
    "advisory": tuple,
    "others": tuple,
    "service_class": str,
}
_LEVELS: dict[str, type] = {"thermal": HeatLevel, "memory": PressureLevel}


def believable_temp_c(value: float) -> float | None:
    """Return *value* when it can be the temperature of a running chip, else None."""
    return value if COLDEST_C <= value <= HOTTEST_C else None


def checked(kind: str, answer: Any, now_s: float) -> Reading | Unknown:
    """Return *answer* if it is a possible reading of *kind*, else `Unknown` with what is wrong.

    Args:
        kind: the field of `Readings` that it is for.
        answer: what the sensor returned.
        now_s: the current boot-clock second.
    """
    if isinstance(answer, Unknown):
        return answer
    if not isinstance(answer, KINDS[kind]):
        return Unknown(f"it returned {type(answer).__name__} {answer!r:.80}, which is not a {kind} reading", now_s)
    fault = _fault(kind, answer, now_s)
    return answer if fault is None else Unknown(fault, now_s)


def _fault(kind: str, reading: Reading, now_s: float) -> str | None:
    if not _is_number(reading.at_s) or reading.at_s > now_s + 1.0:
        return f"its time is second {reading.at_s!r}, but now is {now_s:.0f}"
    for f in fields(reading):
        if (fault := _field_fault(kind, f.name, str(f.type), getattr(reading, f.name))) is not None:
            return fault
    if isinstance(reading, ThermalReading) and (reading.level, reading.temp_c, reading.throttled) == (None, None, None):
        return "it has no figure of heat"
    return None


def _field_fault(kind: str, name: str, declared: str, value: Any) -> str | None:
    if value is None:
        return None if "None" in declared else f"{name} is missing"
    if name in RANGES:
        low, high = RANGES[name]
        fits = _is_number(value) and low <= value <= high
        return None if fits else f"{name} is {value!r}; possible is {low:g} to {high:g}"
    allowed = _LEVELS[kind] if name == "level" else _CLASSES.get(name, bool if declared.startswith("bool") else object)
    return None if isinstance(value, allowed) else f"{name} is {value!r}, not a {allowed.__name__}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
