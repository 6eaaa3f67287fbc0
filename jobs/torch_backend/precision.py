"""What a net computes in: float32, or half precision by autocast with weights, loss and optimiser in float32.

float16 has so few small numbers that gradients vanish: they are scaled up before the backward pass and down again
before they are clipped, and a step whose gradients overflowed is left out. bfloat16 has the range of float32 and needs
none of that. float64 is for checking the mathematics.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch.amp import GradScaler
from torch.nn.utils import clip_grad_norm_

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """The arithmetic of one run on one device."""

    def __init__(self, name: str = "float32", device: torch.device | None = None) -> None:
        """Compute in *name*: float32 | bfloat16 | float16 | float64.

        Raises:
            ValueError: for any other name.
        """
        if name not in {"float32", "float64", *HALVES}:
            msg = f"nets cannot compute in {name!r}; allowed: float32, bfloat16, float16, float64"
            raise ValueError(msg)
        self.name = name
        self._device_type = device.type if device else "cpu"
        self._half = HALVES.get(name)
        self.scaler = GradScaler(self._device_type) if name == "float16" else None
        """Its scale changes during training and belongs in the checkpoint."""

    @property
    def weights(self) -> torch.dtype:
        """The type of weights and data."""
        return torch.float64 if self.name == "float64" else torch.float32

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context that a forward pass runs in."""
        return nullcontext() if self._half is None else torch.autocast(self._device_type, self._half)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of *loss*, a scalar, to the weights' own."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, weights: list[nn.Parameter], optimiser: Optimizer, gradient_clip: float) -> None:
        """Clip the gradient of *weights* to the norm *gradient_clip* and take the optimiser's step."""
        if self.scaler:
            self.scaler.unscale_(optimiser)
        clip_grad_norm_(weights, gradient_clip)
        if self.scaler:
            self.scaler.step(optimiser)
            self.scaler.update()
        else:
            optimiser.step()
