"""What equal bits depend on, beside a net's own state. Pure values; a backend adds the versions of its libraries.

Neighbours: `torch_state` and `keras_state`, which add them; `resumption`, which compares.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

_BEFORE = {"precision": "float32"}
"""What checkpoints mean that are older than the field."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and how a net is trained."""

    micro_batch: int
    """Samples that go through the net at once."""
    threads: int
    device: str
    """As the library names it: cpu, mps, cuda, cuda:0."""
    precision: str
    """float32 | bfloat16 | float16."""

    @property
    def libraries(self) -> str:
        """The versions of the backend's libraries, as a fingerprint has them."""
        return " ".join(f"{one.name}={getattr(self, one.name)}" for one in fields(self)[len(fields(Circumstances)) :])

    def changes_since(self, earlier: dict[str, Any]) -> list[str]:
        """Say what differs from the circumstances stored in a checkpoint, in words."""
        pairs = (
            (one.name, earlier.get(one.name, _BEFORE.get(one.name)), getattr(self, one.name)) for one in fields(self)
        )
        return [f"{name} was {before}, is {now}" for name, before, now in pairs if before != now]
