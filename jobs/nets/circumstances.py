"""What equal bits depend on, apart from a net's own state."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_BEFORE = {"precision": "float32"}
"""Values that hold for checkpoints that are older than the field."""


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
    versions: Mapping[str, str]
    """Library -> version, those of the backend."""

    @property
    def libraries(self) -> str:
        """The versions as a fingerprint has them."""
        return " ".join(f"{name}={version}" for name, version in self.versions.items())

    def as_facts(self) -> dict[str, Any]:
        """Return them as they are stored in a checkpoint."""
        facts = asdict(self)
        versions = facts.pop("versions")
        return {**facts, **versions}

    def changes_since(self, earlier: Mapping[str, Any]) -> list[str]:
        """Return in words what differs from *earlier*, the circumstances stored in a checkpoint."""
        pairs = ((name, earlier.get(name, _BEFORE.get(name)), now) for name, now in self.as_facts().items())
        return [f"{name} was {before}, is {now}" for name, before, now in pairs if before != now]
