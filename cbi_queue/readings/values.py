"""Readings of sensors, typed, with unit, source and time; or `Unknown` with the reason. Pure.

A reading that is missing, late, refused or out of range is `Unknown`: never zero, never good news. Times are seconds
of the boot clock (`clock.boot_s`, sleep included), so that the age of a reading is right after a sleep.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum, StrEnum
from typing import TypeVar

from cbi_queue.wording import span


class Trust(StrEnum):
    """What a reading may be used for."""

    FIRM = "firm"
    """The governor may act on it."""
    ADVISORY = "advisory"
    """Shown, and evidence among others; the governor never acts on it alone."""


class HeatLevel(IntEnum):
    """Thermal pressure, as macOS counts it (`OSThermalNotification.h`)."""

    NOMINAL = 0
    MODERATE = 1
    HEAVY = 2
    TRAPPING = 3
    SLEEPING = 4


class PressureLevel(IntEnum):
    """Memory pressure, as macOS counts it (`kern.memorystatus_vm_pressure_level`)."""

    NORMAL = 1
    WARN = 2
    CRITICAL = 4


@dataclass(frozen=True, slots=True)
class Unknown:
    """No reading, and the reason."""

    why: str
    at_s: float
    """Boot-clock second of the attempt."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading of any kind."""

    at_s: float
    """Boot-clock second at which it was taken."""
    source: str
    """Where it comes from, for people: "notify(3)", "/proc/pressure/memory", "NVML"."""
    trust: Trust = Trust.FIRM


HEAT_FIGURES = ("level", "temp_c", "limit_c", "throttled")
"""The figures of a `ThermalReading`; each may come from a different sensor."""


@dataclass(frozen=True, slots=True)
class ThermalReading(Reading):
    """Heat of the machine. At least one of level, temperature and throttling is not None."""

    level: HeatLevel | None = None
    temp_c: float | None = None
    """Hottest believable temperature of the chip that trains, degrees Celsius."""
    limit_c: float | None = None
    """Temperature at which that chip slows itself, if it reports one."""
    throttled: bool | None = None
    """True if the hardware reports that it was slowed by heat since the last reading (throttle counters)."""
    advisory: tuple[str, ...] = ()
    """Those of `HEAT_FIGURES` that come from an advisory sensor although the reading is firm."""

    def decides(self, figure: str) -> bool:
        """Return True if the governor may act on *figure*, one of `HEAT_FIGURES`: reading and figure are firm."""
        return self.trust is Trust.FIRM and figure not in self.advisory


@dataclass(frozen=True, slots=True)
class MemoryReading(Reading):
    """Memory of the machine, or of the cgroup of the slot."""

    level: PressureLevel | None = None
    total_mib: float | None = None
    """Memory of the machine or, if less, the limit of the cgroup."""
    available_mib: float | None = None
    """Memory that can be allocated without swapping; None where no reliable figure exists (macOS)."""
    swap_used_mib: float | None = None
    swap_out_mib_s: float | None = None
    """MiB a second written to swap since the last reading."""
    compressed_mib: float | None = None
    stall_share: float | None = None
    """Share of the last ten seconds in which some task waited for memory (PSI some avg10), 0 to 1."""


@dataclass(frozen=True, slots=True)
class FootprintReading(Reading):
    """Memory of the trainer and everything it started."""

    footprint_mib: float = 0.0
    """phys_footprint on macOS; on Linux PSS where readable, else RSS. Swapped and compressed memory included."""
    swapped_mib: float | None = None
    processes: int = 1


@dataclass(frozen=True, slots=True)
class ContentionReading(Reading):
    """Use of the processor."""

    cores: int = 1
    """Logical cores that the slot may use."""
    others_cores: float = 0.0
    """Cores that processes outside the trainer's tree used on average since the last reading."""
    trainer_cores: float | None = None
    """Cores that the trainer's tree used on average since the last reading."""
    stall_share: float | None = None
    """Share of the last ten seconds in which some task waited for a processor (PSI some avg10), 0 to 1."""
    trainer_stopped: bool | None = None
    """True if a process of the trainer's tree is stopped (state T) although the slot did not stop it."""


@dataclass(frozen=True, slots=True)
class GpuReading(Reading):
    """The accelerator."""

    busy_share: float | None = None
    """0 to 1, system-wide."""
    clock_mhz: float | None = None
    max_clock_mhz: float | None = None
    temp_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    """As named by NVML: sw_thermal_slowdown, hw_thermal_slowdown, hw_power_brake_slowdown, sw_power_cap, …"""
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None
    others: tuple[str, ...] = ()
    """Processes outside the trainer's tree that hold its memory, in words, the largest first; NVML only."""
    others_mib: float | None = None
    """What they hold in all; None: not known, of one of them or of any."""


@dataclass(frozen=True, slots=True)
class PowerReading(Reading):
    """Power mode of the system and scheduling class of the slot."""

    low_power_mode: bool | None = None
    service_class: str | None = None
    """As named by the system: "interactive", "standard", "background"; on Linux "nice 10", "idle"."""
    demoted: bool | None = None
    """True if that class gives the trainer less than an ordinary foreground process."""


@dataclass(frozen=True, slots=True)
class SleepReading(Reading):
    """Whether the machine slept."""

    slept_s: float = 0.0
    """Seconds asleep, in total, since the monitor started."""
    woke_at_s: float | None = None
    """Boot-clock second of the last wake-up; None: it has not slept."""


R = TypeVar("R", bound=Reading)


@dataclass(frozen=True, slots=True)
class Readings:
    """The latest reading of every kind."""

    thermal: ThermalReading | Unknown
    memory: MemoryReading | Unknown
    footprint: FootprintReading | Unknown
    contention: ContentionReading | Unknown
    gpu: GpuReading | Unknown
    power: PowerReading | Unknown
    sleep: SleepReading | Unknown

    @classmethod
    def unknown(cls, why: str, at_s: float) -> Readings:
        """Return readings that are all `Unknown` for the reason *why*."""
        return cls(**{f.name: Unknown(why, at_s) for f in fields(cls)})

    def fresh(self, now_s: float, max_age_s: float) -> Readings:
        """Return these readings, those older than *max_age_s* or from the future replaced by `Unknown`."""
        stale = {}
        for f in fields(self):
            reading = getattr(self, f.name)
            age_s = now_s - reading.at_s
            if isinstance(reading, Reading) and not -1.0 <= age_s <= max_age_s:
                stale[f.name] = Unknown(f"the last reading ({reading.source}) is {span(age_s)} old", reading.at_s)
        return replace(self, **stale) if stale else self


def known(reading: R | Unknown) -> R | None:
    """Return *reading*, or None when it is `Unknown`: for use as evidence, never as good news."""
    return None if isinstance(reading, Unknown) else reading
