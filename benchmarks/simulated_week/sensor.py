"""What the operating system says about the simulated machine: a level that lags, sticks, stays silent or is missing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cbi_queue.readings import (
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
        self._felt_c = start_c
        self._level = HeatLevel.NOMINAL

    def feel(self, dt_s: float, die_c: float) -> HeatLevel | None:
        """Return the level that is reported after *dt_s* more seconds; None: nothing is."""
        kind = self._kind
        self._felt_c += (die_c - self._felt_c) * (dt_s / (kind.lag_s + dt_s))
        rises = self._placed(0.0)
        stays = min(self._level, self._placed(HYSTERESIS_C))
        level = max(rises, stays)
        if kind.fault is Fault.STUCK and self._level >= HeatLevel.HEAVY:
            level = max(level, self._level)
        self._level = HeatLevel(level)
        if kind.fault is Fault.MISSING:
            return None
        return HeatLevel.NOMINAL if kind.fault is Fault.SILENT else self._level

    def true_level(self, die_c: float) -> HeatLevel:
        """Return the level that *die_c* deserves: what the table counts, whatever is reported."""
        kind = self._kind
        return HeatLevel(sum(die_c >= limit for limit in (kind.moderate_c, kind.heavy_c, kind.trapping_c)))

    def _placed(self, below_c: float) -> int:
        kind = self._kind
        return sum(self._felt_c >= limit - below_c for limit in (kind.moderate_c, kind.heavy_c, kind.trapping_c))


def readings(now_s: float, level: HeatLevel | None) -> Readings:
    """Return what a quiet machine's sensors say beside the *level*: room in memory, nobody else at work."""
    source = "simulated"
    return Readings(
        thermal=Unknown("no level is published", now_s)
        if level is None
        else ThermalReading(now_s, source, level=level),
        memory=MemoryReading(
            now_s, source, level=PressureLevel.NORMAL, total_mib=16384.0, available_mib=9000.0, swap_out_mib_s=0.0
        ),
        footprint=FootprintReading(now_s, source, footprint_mib=1200.0),
        contention=ContentionReading(now_s, source, cores=10, others_cores=0.2, trainer_cores=1.0, stall_share=0.0),
        gpu=Unknown("not read", now_s),
        power=PowerReading(now_s, source, low_power_mode=False, service_class="interactive", demoted=False),
        sleep=SleepReading(now_s, source),
    )
