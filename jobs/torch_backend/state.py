"""What a torch net's checkpoint holds, and how the state is captured and restored. Touches no disk, decides nothing.

Arrays: `model.<name>` and `best.<name>` (weights), `optimiser.<parameter>.<key>` (its moments), `rng` (torch's generator
on the CPU). Facts: the optimiser's groups, the schedule, the scaler of float16.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from torch.amp import GradScaler
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from jobs.nets.progress import NetProgress
    from jobs.training.checkpoint import Checkpoint


@dataclass(slots=True)
class TorchState:
    """Everything of a run that changes while it trains."""

    model: nn.Module
    optimiser: Optimizer
    schedule: LRScheduler | None
    progress: NetProgress
    best: dict[str, torch.Tensor]
    """Weights of the best epoch; empty while there is none."""
    scaler: GradScaler | None = None
    """Of float16; None for any other precision."""
    pending: list[torch.Tensor] = field(default_factory=list)
    """Sums of losses that are still on the device: reading one waits for it, which is put off."""

    def settle(self) -> None:
        """Wait for the device and add what is pending to the progress, in its order."""
        if self.pending:
            for loss_sum in torch.stack(self.pending).tolist():
                self.progress.loss_sum += loss_sum
            self.pending.clear()

    def capture(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return facts and arrays; the arrays on a CPU share memory with the tensors and are valid until the next step."""
        self.settle()
        moments = self.optimiser.state_dict()
        arrays = {
            **_named("model", self.model.state_dict()),
            **_named("best", self.best),
            **{name: array for key, each in moments["state"].items() for name, array in _moments(key, each).items()},
            "rng": torch.get_rng_state().numpy(),  # (5056,) uint8
        }
        facts = {
            "groups": moments["param_groups"],
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "scaler": self.scaler.state_dict() if self.scaler else None,
        }
        return facts, arrays

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take weights, best weights, optimiser and generator over from *checkpoint*."""
        facts = checkpoint.facts
        self.model.load_state_dict(_tensors("model", checkpoint))
        device = next(self.model.parameters()).device
        self.best = {name: value.to(device) for name, value in _tensors("best", checkpoint).items()}
        self.optimiser.load_state_dict({"state": _optimiser_state(checkpoint), "param_groups": facts["groups"]})
        if self.schedule:
            self.schedule.load_state_dict(facts["schedule"])
        if self.scaler and facts.get("scaler"):  # a run that was continued in another precision has none
            self.scaler.load_state_dict(facts["scaler"])
        torch.set_rng_state(_owned(checkpoint.arrays["rng"]))

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by name."""
        return {name: tuple(value.shape) for name, value in self.model.state_dict().items()}

    def close_epoch(self, validation_loss: float) -> None:
        """Count the epoch as finished, keep the weights if they are the best so far, and step the schedule."""
        if self.progress.close_epoch(validation_loss):
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        if self.schedule:
            self.schedule.step()

    def take_best(self) -> None:
        """Give the net its best weights, if there are any."""
        if self.best:
            self.model.load_state_dict(self.best)


def _named(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _moments(key: int, state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return _named(f"optimiser.{key}", state)


def _owned(array: np.ndarray) -> torch.Tensor:
    """Copy into memory that torch allocates, aligned as during training: kernels may sum unaligned data otherwise."""
    return torch.from_numpy(array).clone()


def _tensors(owner: str, checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return {name: _owned(array) for name, array in checkpoint.arrays_of(owner).items()}


def _optimiser_state(checkpoint: Checkpoint) -> dict[int, dict[str, torch.Tensor]]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _tensors("optimiser", checkpoint).items():
        parameter, _, key = name.partition(".")
        state.setdefault(int(parameter), {})[key] = tensor
    return state
