"""Which sensors a machine has, in order of trust within each kind."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.settings import Settings
    from workers.sensors.sensor import Sensor

THERMAL_KEY_SEEN = "thermal-key-seen"
"""File of the state folder that records that macOS does set the thermal key."""


def sensors_for(settings: Settings, platform: str = sys.platform) -> list[Sensor]:
    """Return the sensors of *platform* (as `sys.platform` names it), or those of the script named in the settings.

    Raises:
        SettingsError: when the script cannot be read.
    """
    if settings.sensors_script is not None:
        from workers.sensors.scripted import scripted_sensors

        return scripted_sensors(settings.sensors_script)
    return _of_macos(settings) if platform == "darwin" else _of_linux(settings)


def _of_linux(settings: Settings) -> list[Sensor]:
    from workers.sensors.linux.memory import LinuxMemory
    from workers.sensors.linux.power import LinuxPower
    from workers.sensors.linux.thermal import LinuxThermal
    from workers.sensors.linux.tree import LinuxPlatform
    from workers.sensors.nvidia_gpu.sensors import Nvidia, NvidiaHeat
    from workers.sensors.process_tree import Contention, Footprint
    from workers.sensors.sleep import Sleep

    processes = LinuxPlatform()
    heat_of_gpu: list[Sensor] = [NvidiaHeat()] if settings.profile.startswith("cuda") else []
    return [
        *heat_of_gpu,
        LinuxThermal(),
        LinuxMemory(),
        Footprint(processes),
        Contention(processes),
        Nvidia(platform=processes),
        LinuxPower(),
        Sleep(),
    ]


def _of_macos(settings: Settings) -> list[Sensor]:
    from workers.sensors.macos.gpu import MacGpu
    from workers.sensors.macos.macmon import MacmonGpu, MacmonHeat, MacmonPipe
    from workers.sensors.macos.memory import MacMemory, VmStat
    from workers.sensors.macos.power import LowPowerMode, MacPriority
    from workers.sensors.macos.thermal import MacThermal
    from workers.sensors.macos.tree import MacPlatform
    from workers.sensors.process_tree import Contention, Footprint
    from workers.sensors.sleep import Sleep

    processes, macmon = MacPlatform(), MacmonPipe()
    return [
        MacThermal(settings.thermal_key, settings.state_dir / THERMAL_KEY_SEEN),
        MacmonHeat(macmon),
        MacMemory(),
        VmStat(),
        Footprint(processes),
        Contention(processes),
        MacGpu(),
        MacmonGpu(macmon),
        LowPowerMode(),
        MacPriority(),
        Sleep(),
    ]
