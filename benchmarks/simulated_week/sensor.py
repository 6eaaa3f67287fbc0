"""The sensors of the simulated machine: a heat level that lags, sticks, stays nominal or is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from cbi_queue.readings.values import (
    ContentionReading,
    FootprintReading,
    HeatLevel,
    MemoryReading,
    PowerReading,
    PressureLevel,
    Readings,
    SleepReading,
    ThermalReading,
    Unknown,
)

HYSTERESIS_C = 4.0
"""A level falls only when the temperature is this much below where it rose."""
SOURCE = "simulated"
RENEWED_S = 20.0
"""Seconds after which readings that never change here get a new time, well before the governor calls them stale."""


class Fault(StrEnum):
    """How the level fails."""

    NONE = "none"
    SILENT = "silent"
    """It stays nominal whatever happens."""
    STUCK = "stuck"
    """Once it has risen to heavy it never falls."""
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class SensorKind:
    """What is swept about the sensor."""

    moderate_c: float = 97.0
    heavy_c: float = 102.0
    trapping_c: float = 109.0
    lag_s: float = 0.0
    fault: Fault = Fault.NONE


class Sensor:
    """The level as it is reported."""

    def __init__(self, kind: SensorKind, start_c: float) -> None:
        self._kind = kind
        self._sensed_c = start_c
        self._level = HeatLevel.NOMINAL

    def read(self, dt_s: float, die_c: float) -> HeatLevel | None:
        """Return the level that is reported after *dt_s* more seconds; None: no level is."""
        kind = self._kind
        self._sensed_c += (die_c - self._sensed_c) * (dt_s / (kind.lag_s + dt_s))
        rises = _placed(kind, self._sensed_c)
        stays = min(self._level, _placed(kind, self._sensed_c + HYSTERESIS_C))
        level = max(rises, stays)
        if kind.fault is Fault.STUCK and self._level >= HeatLevel.HEAVY:
            level = max(level, self._level)
        self._level = level
        if kind.fault is Fault.MISSING:
            return None
        return HeatLevel.NOMINAL if kind.fault is Fault.SILENT else self._level

    def true_level(self, die_c: float) -> HeatLevel:
        """Return the level of *die_c*: what the table counts, whatever is reported."""
        return _placed(self._kind, die_c)


def _placed(kind: SensorKind, temp_c: float) -> HeatLevel:
    if temp_c < kind.moderate_c:
        return HeatLevel.NOMINAL
    if temp_c < kind.heavy_c:
        return HeatLevel.MODERATE
    return HeatLevel.HEAVY if temp_c < kind.trapping_c else HeatLevel.TRAPPING


class QuietMachine:
    """The other sensors of a quiet machine: free memory, no other program at work."""

    def __init__(self) -> None:
        self._latest = _quiet_readings(float("-inf"))

    def readings(self, now_s: float, level: HeatLevel | None) -> Readings:
        """Return the latest of all sensors; the *level* is of *now_s*, the others may be as old as real ones are."""
        if now_s - self._latest.memory.at_s > RENEWED_S:
            self._latest = _quiet_readings(now_s)
        none = Unknown("no level is published", now_s)
        return replace(self._latest, thermal=none if level is None else ThermalReading(now_s, SOURCE, level=level))


def _quiet_readings(now_s: float) -> Readings:
    source = SOURCE
    return Readings(
        thermal=Unknown("not read", now_s),
        memory=MemoryReading(
            now_s, source, level=PressureLevel.NORMAL, total_mib=16384.0, available_mib=9000.0, swap_out_mib_s=0.0
        ),
        footprint=FootprintReading(now_s, source, footprint_mib=1200.0),
        contention=ContentionReading(now_s, source, cores=10, others_cores=0.2, trainer_cores=1.0, stall_share=0.0),
        gpu=Unknown("not read", now_s),
        power=PowerReading(now_s, source, low_power_mode=False, service_class="interactive", demoted=False),
        sleep=SleepReading(now_s, source),
    )
