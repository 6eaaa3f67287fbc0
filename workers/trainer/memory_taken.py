"""The most memory that one attempt was seen to hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Taken:
    """What one attempt took of the memory."""

    device: str
    """What it trained on: cpu | cuda | mps; empty when it never started."""
    micro_batch: int | None
    """Samples that went through the net at once when it started."""
    rss_mib: float | None
    """Peak of the resident set, as the trainer measured it."""
    footprint_mib: float | None
    """Largest footprint of the trainer and its children that the monitor saw."""
