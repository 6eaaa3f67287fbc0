"""What Linux grants the trainer: niceness, scheduling policy, and the firmware's power profile.

Source: sched(7): SCHED_IDLE runs only when no other task wants to, SCHED_BATCH a little less than others; and
Documentation/userspace-api/sysfs-platform_profile.rst. The trainer inherits both from the daemon, which is measured
while no trainer runs.
"""

from __future__ import annotations

import os

from cbi_queue.readings.values import PowerReading, Unknown
from workers.sensors.sensor import TrainerSensor, read_text

POLICIES = {0: "", 1: "fifo", 2: "round robin", 3: "batch", 5: "idle", 6: "deadline"}
"""Numbers of `sched_getscheduler(2)`; the ordinary one has no name."""
SAVING_PROFILES = frozenset({"low-power", "quiet", "cool"})


def service_class_words(nice: int, policy: int) -> str:
    """Return the class in words: `ordinary`, `nice 10`, `idle`, `batch, nice 5`."""
    words = [POLICIES.get(policy, f"policy {policy}"), f"nice {nice}" if nice else ""]
    return ", ".join(word for word in words if word) or "ordinary"


def is_demoted(nice: int, policy: int) -> bool:
    """Return True if an ordinary foreground process gets more than this one."""
    return nice > 0 or policy in {3, 5}


def parse_power_profile(text: str | None) -> bool | None:
    """Return True if `/sys/firmware/acpi/platform_profile` names a saving profile; None when it is missing or empty."""
    return None if text is None or not text.strip() else text.strip() in SAVING_PROFILES


class LinuxPower(TrainerSensor):
    """Niceness, policy and power profile."""

    name = "nice and scheduling policy"
    kind = "power"
    is_slow = False
    every = 1

    def __init__(self, profile: str = "/sys/firmware/acpi/platform_profile") -> None:
        """Read the power profile from *profile*."""
        self._profile = profile

    def read(self, now_s: float) -> PowerReading | Unknown:
        """Take a reading."""
        pid = self._trainer.pid if self._trainer else 0
        try:
            nice, policy = os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid)
        except OSError as exc:
            return Unknown(f"the scheduling class of process {pid} cannot be read: {exc.strerror}", now_s)
        return PowerReading(
            now_s,
            self.name,
            low_power_mode=parse_power_profile(read_text(self._profile)),
            service_class=service_class_words(nice, policy),
            demoted=is_demoted(nice, policy),
        )
