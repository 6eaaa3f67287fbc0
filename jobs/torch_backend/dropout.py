"""Dropout whose masks do not depend on how a batch is cut into micro-batches, nor on what was drawn before.

Each layer draws on the CPU, row by row, from its own generator, which the loop seeds at every step: the mask of a
sample is a function of (seed, epoch, step, layer, place in the batch), so accumulating gradients over micro-batches
multiplies by the same masks as the whole batch would. Only the order of floating-point sums differs. Dropout inside a
library's own kernel (the `dropout=` of torch's recurrent layers) cannot be split like this: it is repeatable for the
same split only.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import nn

from jobs.training.seeds import mixed_seed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


class RowDropout(nn.Module):
    """Zero a share of the inputs while training and scale the rest by 1 / (1 - share)."""

    def __init__(self, share: float) -> None:
        """Drop *share* of the inputs, 0 <= share < 1."""
        super().__init__()
        self.share = share
        self.generator = torch.Generator()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, …) to the same shape."""
        if not self.training or self.share == 0:
            return x
        # uniform numbers come one after the other in row order: 64 rows at once are the same as 4 times 16
        drawn = torch.rand(x.shape, generator=self.generator)  # (n, …) float32
        scaled = (drawn >= self.share).to(x.device, x.dtype) / (1 - self.share)  # (n, …)
        return x * scaled


class StepSeeds:
    """Seeds all that a model may draw in one step: each dropout layer, and torch's own generators for other layers."""

    def __init__(self, model: nn.Module) -> None:
        """Find the layers that draw in *model*, which is on its device already: a walk at each step would take time."""
        self._layers = [module for module in model.modules() if isinstance(module, RowDropout) and module.share > 0]
        on_cpu = all(weight.device.type == "cpu" for weight in model.parameters())
        self._seed_torch = torch.default_generator.manual_seed if on_cpu else torch.manual_seed  # the latter: 0.1 ms

    def seed(self, seed: int, epoch: int, step: int) -> None:
        """Seed for *step* of *epoch*, both from 0, of a job with that *seed*."""
        self._seed_torch(mixed_seed("step", seed, epoch, step))
        for number, layer in enumerate(self._layers):
            layer.generator.manual_seed(mixed_seed("dropout", seed, epoch, step, number))


def same_masks_again(model: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first and the second computation of *model*, when its backward pass computes it again.

    Gradient checkpointing discards a layer's inner values and computes them again: with other masks that gradient
    would be wrong, and drawing them again would change the masks of the layers after it.
    """
    layers = [module for module in model.modules() if isinstance(module, RowDropout)]
    states = [layer.generator.get_state() for layer in layers]
    return nullcontext(), _drawn_from(layers, states)


@contextmanager
def _drawn_from(layers: list[RowDropout], states: list[torch.Tensor]) -> Iterator[None]:
    """Set the generators of *layers* to *states*, and back to the present ones afterwards."""
    present = [layer.generator.get_state() for layer in layers]
    try:
        for layer, state in zip(layers, states, strict=True):
            layer.generator.set_state(state)
        yield
    finally:
        for layer, state in zip(layers, present, strict=True):
            layer.generator.set_state(state)
