"""`jobs.torch_backend.dropout` and gradient checkpointing: a layer that is computed again draws the same masks again."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from jobs.torch_backend.dropout import RowDropout, StepSeeds, same_masks_again


class Layer(nn.Module):
    """A layer whose gradient depends on its masks."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), RowDropout(0.4), nn.Linear(5, 5), nn.Tanh())

    def forward(self, x):
        """Map (n, 5) to (n, 5)."""
        return self.inner(x)


def gradients(*, again: bool, size: int) -> list[torch.Tensor]:
    """Gradients of two layers after two micro-batches of *size*, kept or computed again."""
    torch.manual_seed(0)
    model = nn.Sequential(Layer(), Layer()).double().train()
    x = torch.randn(16, 5, dtype=torch.float64)
    StepSeeds(model).seed(1, 2, 3)
    for piece in torch.split(x, size):
        steps = piece
        for layer in model:
            context = partial(same_masks_again, layer)
            steps = (
                checkpoint(layer, steps, use_reentrant=False, preserve_rng_state=False, context_fn=context)
                if again
                else layer(steps)
            )
        (steps**2).sum().backward()
    return [weight.grad for weight in model.parameters()]


@pytest.mark.parametrize("size", [16, 8, 3])
def test_a_layer_computed_again_has_the_gradient_of_one_that_was_kept(size):
    """Also for the pieces after it: computing again must not move what is drawn next."""
    for kept, again in zip(gradients(again=False, size=16), gradients(again=True, size=size), strict=True):
        assert (kept - again).abs().max() < 1e-12
