"""The peak memory of one attempt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Taken:
    """The peak memory of one attempt."""

    device: str
    """What it trained on: cpu | cuda | mps; empty when it never started."""
    micro_batch: int | None
    """Samples that went through the net at once when it started."""
    rss_mib: float | None
    """Peak of the resident set, as the trainer measured it."""
    footprint_mib: float | None
    """Largest footprint of the trainer and its children that the monitor measured."""
