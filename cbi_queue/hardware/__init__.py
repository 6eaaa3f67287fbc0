"""What the machine allows: profiles, the choice of one, and what a job needs of its memory."""

from __future__ import annotations

from cbi_queue.hardware.profile import HardwareProfile
from cbi_queue.hardware.profiles import SHIPPED, known_profiles, profile_named

PROFILES: dict[str, HardwareProfile] = {name: profile_named(name) for name in SHIPPED}
"""The profiles that ship, by name."""

__all__ = ["PROFILES", "HardwareProfile", "known_profiles", "profile_named"]
