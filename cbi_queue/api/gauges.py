"""The gauges of the page's bar: heat, memory and disk, each with its sentence. What is not known reads `unknown`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue import clock
from cbi_queue.readings.as_json import ReadingFault, reading_from_json
from cbi_queue.readings.in_words import reading_words
from cbi_queue.readings.values import (
    FootprintReading,
    HeatLevel,
    MemoryReading,
    PressureLevel,
    ThermalReading,
    Unknown,
)
from cbi_queue.wording import memory_size

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.readings.values import Reading
    from cbi_queue.views.governor import GovernorStatus

HEAT_SHARES = {0: 0.15, 1: 0.45, 2: 0.75, 3: 0.95, 4: 1.0}
PRESSURE_SHARES = {1: 0.4, 2: 0.75, 4: 1.0}
TIGHT, FULL = 0.85, 0.95
"""Shares of memory in use from which its gauge warns, and is bad."""
DISK_LOW_GIB, DISK_OUT_GIB = 20.0, 5.0
"""Free space of the data's disk below which its gauge warns, and is bad."""
HOT_C, WARM_C = 95.0, 80.0
"""Used only where the chip names no limit of its own."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One gauge."""

    name: str
    share: float | None
    """Filled, 0 to 1; None: not known, or no figure to draw."""
    mood: str
    """good | warn | bad | unknown."""
    words: str
    """A few: `fair`, `10.3 of 16 GiB`, `unknown`."""
    sentence: str
    """All that is known, or why nothing is."""


def read(kind: str, governor: GovernorStatus) -> Reading | Unknown:
    """Return the last reading of *kind*; `Unknown` with the reason where there is none, or none that can be read."""
    nothing = {
        "unknown": governor.words.removeprefix("unknown: ") if governor.is_stale else "the daemon does not measure it"
    }
    try:
        return reading_from_json(kind, governor.readings.get(kind, nothing), clock.boot_s())
    except ReadingFault as fault:
        return Unknown(f"the daemon reported something that is not a reading: {fault}", clock.boot_s())


def gauges(governor: GovernorStatus, data: Path) -> tuple[Gauge, ...]:
    """Return the gauges of heat, memory and disk; *data* is the folder whose disk is looked at."""
    return _heat(read("thermal", governor)), _memory(read("memory", governor)), _disk(data)


def trainer_memory(governor: GovernorStatus, working_set_mib: float | None) -> tuple[str, float | None] | None:
    """Return what the trainer holds, in words and as a share of what one trainer may hold; None when not known."""
    reading = read("footprint", governor)
    if not isinstance(reading, FootprintReading):
        return None
    held = memory_size(reading.footprint_mib)
    if working_set_mib is None:
        return held, None
    return f"{held} of {memory_size(working_set_mib)}", min(1.0, reading.footprint_mib / working_set_mib)


def _unknown(name: str, why: str) -> Gauge:
    return Gauge(name, None, "unknown", "unknown", f"{name} is unknown: {why}")


def _heat(reading: Reading | Unknown) -> Gauge:
    if not isinstance(reading, ThermalReading):
        return _unknown("Heat", reading.why if isinstance(reading, Unknown) else "it was not reported")
    sentence = f"Heat: {reading_words(reading)}"
    if reading.level is not None:
        mood = (
            "good" if reading.level is HeatLevel.NOMINAL else "warn" if reading.level is HeatLevel.MODERATE else "bad"
        )
        return Gauge("Heat", HEAT_SHARES[reading.level], mood, reading.level.name.lower(), sentence)
    if reading.temp_c is not None:
        hot_c = reading.limit_c or HOT_C
        is_warm = reading.temp_c >= hot_c - (HOT_C - WARM_C)
        mood = "bad" if reading.throttled or reading.temp_c >= hot_c else "warn" if is_warm else "good"
        return Gauge("Heat", min(1.0, max(0.0, reading.temp_c / hot_c)), mood, f"{reading.temp_c:.0f} °C", sentence)
    if reading.throttled:
        return Gauge("Heat", 1.0, "bad", "slowed by heat", sentence)
    return Gauge("Heat", None, "unknown", "not slowed", sentence)


def _memory(reading: Reading | Unknown) -> Gauge:
    if not isinstance(reading, MemoryReading):
        return _unknown("Memory", reading.why if isinstance(reading, Unknown) else "it was not reported")
    sentence, pressed = f"Memory: {reading_words(reading)}", reading.level
    if reading.total_mib and reading.available_mib is not None:
        share = min(1.0, max(0.0, 1.0 - reading.available_mib / reading.total_mib))
        is_bad = share >= FULL or pressed is PressureLevel.CRITICAL
        mood = "bad" if is_bad else "warn" if share >= TIGHT or pressed is PressureLevel.WARN else "good"
        used = f"{(reading.total_mib - reading.available_mib) / 1024:.1f} of {reading.total_mib / 1024:.0f} GiB"
        return Gauge("Memory", share, mood, used, sentence)
    if pressed is not None:
        mood = {PressureLevel.NORMAL: "good", PressureLevel.WARN: "warn"}.get(pressed, "bad")
        return Gauge("Memory", PRESSURE_SHARES[pressed], mood, pressed.name.lower(), sentence)
    return Gauge("Memory", None, "unknown", "unknown", sentence)


def _disk(folder: Path) -> Gauge:
    try:
        found = shutil.disk_usage(folder)
    except OSError as exc:
        return _unknown("Disk", f"{folder} cannot be looked at: {exc.strerror}")
    free = found.free / 2**30
    mood = "bad" if free < DISK_OUT_GIB else "warn" if free < DISK_LOW_GIB else "good"
    words = f"Disk of {folder}: {free:.1f} of {found.total / 2**30:.0f} GiB free"
    return Gauge("Disk", 1.0 - found.free / found.total if found.total else None, mood, f"{free:.0f} GiB free", words)
