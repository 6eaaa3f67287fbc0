"""What the machine allows: profiles with ceilings; estimators and detection grow here."""

from __future__ import annotations

from cbi_queue.hardware.profiles import PROFILES, HardwareProfile, profile_named

__all__ = ["PROFILES", "HardwareProfile", "profile_named"]
