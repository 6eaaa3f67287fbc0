"""What sensors say: typed readings with unit, source and the time they were taken, or `Unknown` with why. Pure.

A reading that is missing, late, refused or out of range is `Unknown`: never zero, never good news. Times are seconds
of the boot clock (`clock.boot_s`, sleep included), so that the age of a reading is right after a sleep.
Neighbours: `workers.sensors` (which take them), `governor` (which weighs them).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum, StrEnum
from typing import TypeVar

from cbi_queue.wording import span


class Trust(StrEnum):
    """What a reading may be used for."""

    FIRM = "firm"
    """May decide."""
    ADVISORY = "advisory"
    """Shown, and evidence beside others; never decides alone."""


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
    """No reading, and why."""

    why: str
    at_s: float
    """Boot-clock second of the attempt."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Anything that was really read."""

    at_s: float
    """Boot-clock second at which it was taken."""
    source: str
    """Where it comes from, for people: "notify(3)", "/proc/pressure/memory", "NVML"."""
    trust: Trust = Trust.FIRM


HEAT_FIGURES = ("level", "temp_c", "limit_c", "throttled")
"""What a `ThermalReading` can tell, each from a sensor of its own."""


@dataclass(frozen=True, slots=True)
class ThermalReading(Reading):
    """Heat of the machine. At least one of level, temperature and throttling is not None."""

    level: HeatLevel | None = None
    temp_c: float | None = None
    """Hottest believable temperature of the chip that trains, degrees Celsius."""
    limit_c: float | None = None
    """Temperature at which that chip slows itself, where it says so."""
    throttled: bool | None = None
    """True when the hardware itself says that it was slowed for heat since the last reading (throttle counters)."""
    advisory: tuple[str, ...] = ()
    """Those of `HEAT_FIGURES` that come from an advisory sensor though the reading is firm: shown, deciding nothing."""

    def decides(self, figure: str) -> bool:
        """Tell whether *figure*, one of `HEAT_FIGURES`, may decide: the reading is firm, and so is the figure in it."""
        return self.trust is Trust.FIRM and figure not in self.advisory


@dataclass(frozen=True, slots=True)
class MemoryReading(Reading):
    """Memory of the machine, or of the limit that the slot lives in."""

    level: PressureLevel | None = None
    total_mib: float | None = None
    """Memory there is: of the machine or, when that is less, of the cgroup's limit."""
    available_mib: float | None = None
    """Memory that can be had without swapping; None where no trustworthy figure exists (macOS)."""
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
    """Who uses the processor."""

    cores: int = 1
    """Logical cores that the slot may use."""
    others_cores: float = 0.0
    """Cores' worth of processor time that processes other than the trainer's tree used since the last reading."""
    trainer_cores: float | None = None
    """Cores' worth that the trainer's tree used since the last reading."""
    stall_share: float | None = None
    """Share of the last ten seconds in which some task waited for a processor (PSI some avg10), 0 to 1."""
    trainer_stopped: bool | None = None
    """True when a process of the trainer's tree was seen stopped (state T) although the slot has not stopped it."""


@dataclass(frozen=True, slots=True)
class GpuReading(Reading):
    """The accelerator."""

    busy_share: float | None = None
    """0 to 1, system-wide."""
    clock_mhz: float | None = None
    max_clock_mhz: float | None = None
    temp_c: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    """Names as NVML gives them: sw_thermal_slowdown, hw_thermal_slowdown, hw_power_brake_slowdown, sw_power_cap, …"""
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None


@dataclass(frozen=True, slots=True)
class PowerReading(Reading):
    """What the system grants the slot: power mode and scheduling class."""

    low_power_mode: bool | None = None
    service_class: str | None = None
    """As the system calls it: "interactive", "standard", "background"; on Linux "nice 10", "idle"."""
    demoted: bool | None = None
    """True when that class gives the trainer less than an ordinary foreground process gets."""


@dataclass(frozen=True, slots=True)
class SleepReading(Reading):
    """Whether the machine slept."""

    slept_s: float = 0.0
    """Seconds asleep in all since the monitor started."""
    woke_at_s: float | None = None
    """Boot-clock second of the last waking seen; None: it has not slept."""


R = TypeVar("R", bound=Reading)


@dataclass(frozen=True, slots=True)
class Readings:
    """The latest of every kind."""

    thermal: ThermalReading | Unknown
    memory: MemoryReading | Unknown
    footprint: FootprintReading | Unknown
    contention: ContentionReading | Unknown
    gpu: GpuReading | Unknown
    power: PowerReading | Unknown
    sleep: SleepReading | Unknown

    @classmethod
    def unknown(cls, why: str, at_s: float) -> Readings:
        """Return readings that say nothing, for *why*."""
        return cls(**{f.name: Unknown(why, at_s) for f in fields(cls)})

    def fresh(self, now_s: float, max_age_s: float) -> Readings:
        """Return these readings with every one that is older than *max_age_s* (or from the future) made `Unknown`."""
        stale = {}
        for f in fields(self):
            reading = getattr(self, f.name)
            age_s = now_s - reading.at_s
            if isinstance(reading, Reading) and not -1.0 <= age_s <= max_age_s:
                stale[f.name] = Unknown(f"the last reading ({reading.source}) is {span(age_s)} old", reading.at_s)
        return replace(self, **stale) if stale else self


def known(reading: R | Unknown) -> R | None:
    """Return *reading*, or None when it is `Unknown`: for looking at evidence, never for taking it as good."""
    return None if isinstance(reading, Unknown) else reading
