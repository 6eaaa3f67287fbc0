"""Hardware profiles: what one machine allows a job to ask for.

The ceilings are the user's own numbers for the Mac Mini M4 with 16 GB; where they named two, the stricter reading
that fits every statement was taken (feed-forward 64, one-layer recurrent 64, two-layer and TCN 32, attention 16,
FinBERT 16; 256 steps of sequence, 512 for a single hero run).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cbi_queue.errors import SettingsError


def _batch_ceilings() -> dict[str, int]:
    return {
        "feed_forward": 64,
        "recurrent_1_layer": 64,
        "recurrent_2_layer": 32,
        "tcn": 32,
        "attention": 16,
        "finbert": 16,
    }


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """One machine's limits."""

    name: str
    memory_gib: float | None
    """Memory shared by CPU and GPU; None: whatever the machine has."""
    batch_ceilings: dict[str, int] = field(default_factory=_batch_ceilings)
    """Largest effective batch per kind of model."""
    sequence_ceiling: int = 256
    """Longest sequence, in steps, of an ordinary job."""
    hero_sequence_ceiling: int = 512
    """Longest sequence of the single hero run that a plan may hold."""


PROFILES: dict[str, HardwareProfile] = {
    "m4-16gb": HardwareProfile("m4-16gb", 16.0),
    "linux-cpu": HardwareProfile("linux-cpu", None),
}


def profile_named(name: str) -> HardwareProfile:
    """Return the profile called *name*.

    Raises:
        SettingsError: when there is none.
    """
    try:
        return PROFILES[name]
    except KeyError:
        allowed = ", ".join(PROFILES)
        raise SettingsError(f"hardware profile {name!r} is not known; allowed: {allowed}") from None
