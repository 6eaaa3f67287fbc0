"""What one machine allows a job to ask for. Plain values; `profiles` reads them from files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.hardware.thresholds import Thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping

METAL_ROWS = 32_768
"""Samples times steps that one pass on Metal may hold: above, torch's gradients of linear and embedding layers have been wrong
(pytorch#177116, open), and only after other shapes had run, which the comparison with the CPU does not see."""
DEFAULT_SHARE = 0.8
"""Share of a machine's memory that one trainer may hold where a profile names no figure."""


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """One machine's limits."""

    name: str
    words: str
    """The machine in one line, for people."""
    batch_ceilings: Mapping[str, int]
    """Largest effective batch per kind of net, in samples; at least one kind. Others: see `batch_ceiling_for`."""
    precision: Mapping[str, str]
    """What nets of each kind compute in: float32 | bfloat16 | float16. Kinds that are not named: float32."""
    devices: tuple[str, ...]
    """Devices to train nets on, the preferred one first: mps | cuda | cpu."""
    sequence_ceiling: int
    """Longest sequence, in steps, of an ordinary job."""
    hero_sequence_ceiling: int
    """Longest sequence of the single hero run that a plan may hold."""
    memory_mib: float | None = None
    """Memory of the machine; None: not known until `fitted` to one."""
    working_set_mib: float | None = None
    """Memory that one trainer may hold in all; None as above."""
    accelerator_mib: float | None = None
    """Memory that a net may hold on the accelerator; None: as above, or there is none."""
    goal_mib: float | None = None
    """Memory that a job should stay below; shown, never enforced."""
    working_set_share: float = DEFAULT_SHARE
    """Share of the machine's memory for one trainer, where `working_set_mib` is the machine's."""
    accelerator_share: float = 0.9
    """Share of the card's memory for a net, where `accelerator_mib` is the machine's."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """When the governor acts on this machine."""

    def batch_ceiling_for(self, kind: str | None) -> int | None:
        """Return the largest effective batch of *kind*, in samples; None for models that are not nets.

        A kind that the profile does not name gets the smallest ceiling that it does name: no one has measured such a net
        on this machine, so it is treated like the one that needs most.
        """
        if kind is None:
            return None
        return self.batch_ceilings.get(kind, min(self.batch_ceilings.values()))

    def micro_batch_ceiling_for(self, params: Mapping[str, Any]) -> int | None:
        """Return the most samples that may go through a net of these *params* at once; None: no limit but memory."""
        steps = params.get("sequence_length")
        return max(1, METAL_ROWS // steps) if self.devices[0] == "mps" and steps else None

    def precision_for(self, kind: str | None) -> str:
        """Return what a net of *kind* computes in; float32 for models that are not nets.

        A kind that the profile does not name computes in float32: half precision is right only where it was tried.
        """
        return self.precision.get(kind, "float32") if kind is not None else "float32"

    def limit_mib(self, kind: str | None) -> float | None:
        """Return the memory that one job of *kind* (None: not a net) may hold, MiB; None when it is not known.

        On a Mac CPU and GPU share their memory, so the stricter figure holds for nets. A card has its own.
        """
        if kind is None or self.devices[0] == "cpu" or self.accelerator_mib is None:
            return self.working_set_mib
        if self.devices[0] == "cuda" or self.working_set_mib is None:
            return self.accelerator_mib
        return min(self.working_set_mib, self.accelerator_mib)

    def fitted(self, memory_mib: float | None, accelerator_mib: float | None = None) -> HardwareProfile:
        """Return this profile with its figures scaled down to a smaller machine, or taken from the machine.

        Args:
            memory_mib: memory of the machine or of the control group that limits it; None: not known.
            accelerator_mib: memory of the card; None: not known, or there is none.
        """
        if memory_mib is None:
            return self
        part = 1.0 if self.memory_mib is None else min(1.0, memory_mib / self.memory_mib)
        card = None if accelerator_mib is None else accelerator_mib * self.accelerator_share
        return replace(
            self,
            memory_mib=memory_mib if self.memory_mib is None else min(self.memory_mib, memory_mib),
            working_set_mib=_of(self.working_set_mib, part, memory_mib * self.working_set_share),
            accelerator_mib=_of(self.accelerator_mib, part, card),
        )


def _of(figure: float | None, part: float, otherwise: float | None) -> float | None:
    return otherwise if figure is None else figure * part
