"""Heat of the processor on Linux: temperatures of hwmon and thermal zones, and the kernel's throttle counters.

Only sensors on the processor count; others, such as `acpitz`, measure the board. A temperature counts between 15 and
125 degrees Celsius. A virtual machine usually has none of these files: then heat is unknown, not low.
Source: Documentation/hwmon/{coretemp,k10temp}.rst (millidegrees; `crit` is where an Intel core slows itself),
Documentation/driver-api/thermal/sysfs-api.rst (`passive` trip points slow the chip), and
arch/x86/kernel/cpu/mce/therm_throt.c (`*_throttle_count`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cbi_queue.readings.values import ThermalReading, Unknown
from workers.sensors.plausibility import believable_temp_c
from workers.sensors.rates import Rise
from workers.sensors.sensor import read_text

CPU_CHIPS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal"})
"""hwmon chips on the processor."""
CPU_ZONES = ("x86_pkg_temp", "cpu", "soc", "cluster", "tctl", "package")
"""First letters of the types of thermal zones on the processor."""
LIMITS_C = (60.0, 120.0)
"""Degrees between which a limit of a chip can lie; drivers also write 0 and 65261."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One place whose temperature can be read."""

    temp: Path
    limit_c: float | None


def parse_millidegrees(text: str | None) -> float | None:
    """Return degrees Celsius; None when the text is not a number or not a temperature of a running chip."""
    try:
        return believable_temp_c(int(text or "") / 1000)
    except ValueError:
        return None


def parse_limit_c(text: str | None) -> float | None:
    """Return the limit in degrees Celsius; None when it is not a possible one."""
    temp_c = parse_millidegrees(text)
    return temp_c if temp_c is not None and LIMITS_C[0] <= temp_c <= LIMITS_C[1] else None


class LinuxThermal:
    """The hottest spot of the processor, and whether it was slowed because of heat since the last sample."""

    name = "hwmon"
    kind = "thermal"
    is_slow = False
    every = 1

    def __init__(self, sys: str = "/sys") -> None:
        """Read below *sys*."""
        self._sys = Path(sys)
        self._spots: list[Spot] = []
        self._counters: list[Path] = []
        self._rise = Rise()

    def read(self, now_s: float) -> ThermalReading | Unknown:
        """Take a reading; search for the files again as long as there are none."""
        if not self._spots and not self._counters:
            self._discover()
        temps = [(temp_c, spot) for spot in self._spots if (temp_c := self._temp_c(spot)) is not None]
        throttled = self._throttled()
        if not temps:
            return self._without_temperature(throttled, now_s)
        hottest_c, spot = max(temps, key=lambda pair: pair[0])
        source = str(spot.temp) if throttled is None else f"{spot.temp} + throttle counters"
        return ThermalReading(now_s, source, temp_c=hottest_c, limit_c=spot.limit_c, throttled=throttled)

    def _without_temperature(self, throttled: bool | None, now_s: float) -> ThermalReading | Unknown:
        if throttled is not None:
            return ThermalReading(now_s, "throttle counters", throttled=throttled)
        why = self._why_none()
        self._spots = []  # a driver that was loaded again has new files
        return Unknown(why, now_s)

    def _temp_c(self, spot: Spot) -> float | None:
        return parse_millidegrees(read_text(spot.temp))

    def _throttled(self) -> bool | None:
        counts = [int(text) for path in self._counters if (text := (read_text(path) or "").strip()).isdigit()]
        return self._rise.of(sum(counts)) if counts and len(counts) == len(self._counters) else None

    def _discover(self) -> None:
        self._spots = [*self._hwmon_spots(), *self._zone_spots()]
        self._counters = sorted(self._sys.glob("devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"))

    def _hwmon_spots(self) -> list[Spot]:
        chips = [
            chip
            for chip in sorted(self._sys.glob("class/hwmon/hwmon*"))
            if (read_text(chip / "name") or "").strip() in CPU_CHIPS
        ]
        inputs = [path for chip in chips for path in sorted(chip.glob("temp*_input"))]
        return [Spot(path, parse_limit_c(read_text(_sibling(path, "crit")))) for path in inputs]

    def _zone_spots(self) -> list[Spot]:
        zones = sorted(self._sys.glob("class/thermal/thermal_zone*"))
        ours = [zone for zone in zones if (read_text(zone / "type") or "").strip().lower().startswith(CPU_ZONES)]
        return [Spot(zone / "temp", _passive_limit_c(zone)) for zone in ours]

    def _why_none(self) -> str:
        if self._spots:
            return f"none of {len(self._spots)} temperature sensors of the processor has a possible temperature"
        if self._counters:
            return "the throttle counters are compared from the second sample on"
        return "this machine has no temperature of its processor and no throttle counters, as is usual in a VM"


def _sibling(temp_input: Path, what: str) -> Path:
    return temp_input.with_name(temp_input.name.replace("_input", f"_{what}"))


def _passive_limit_c(zone: Path) -> float | None:
    trips = sorted(zone.glob("trip_point_*_type"))
    passive = [path for path in trips if (read_text(path) or "").strip() == "passive"]
    limits = [parse_limit_c(read_text(path.with_name(path.name.replace("_type", "_temp")))) for path in passive]
    return min((limit for limit in limits if limit is not None), default=None)
