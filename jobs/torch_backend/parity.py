"""Does an accelerator compute what the CPU computes? One forward and backward pass on a small batch, side by side.

Drivers have returned wrong results for recurrent layers and gone on without a word (Metal, torch before 2.0, and again
later for GRU); a training on such a device would end in a model that is silently bad. A device whose loss or gradient
is too far off, or that fails, is not used, and the run says so with the figures. Neighbours: `jobs.torch_backend.run`, which
asks; `torch_device` and `torch_precision` below.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from jobs.torch_backend.device import computes
from jobs.torch_backend.dropout import StepSeeds
from jobs.torch_backend.passes import squared_error
from jobs.torch_backend.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

TOLERANCES = {"float32": 0.01, "bfloat16": 0.15, "float16": 0.15}
"""Largest relative error of loss and gradient. Rounding alone makes about 0.001 (products in TF32) and 0.05 (half
precision, over 256 recurrent steps); a wrong kernel is off by about 1."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one forward and backward pass came to."""

    loss: float
    gradient: torch.Tensor
    """(weights,) float64, on the CPU."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a device is off, relative to the CPU."""

    loss_error: float
    gradient_error: float
    """Norm of the difference over the norm on the CPU."""
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the device may be used; errors that are not numbers say no."""
        return self.loss_error <= self.tolerance and self.gradient_error <= self.tolerance

    def __str__(self) -> str:
        """Give the figures."""
        return (
            f"loss off by {self.loss_error:.2g}, gradient by {self.gradient_error:.2g} of the CPU's, "
            f"{self.tolerance:g} is allowed"
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in what a run computes, and what was refused on the way there."""

    device: torch.device
    precision: str
    refusals: tuple[str, ...] = ()
    """Sentences for people."""


def passes_on(model: nn.Module, windows: torch.Tensor, target: torch.Tensor, device: str, precision: str) -> Evidence:
    """Take one forward and backward pass of a copy of *model* on *device* in *precision*.

    A float16 gradient that overflows is taken anew at half the loss scale, as in training, where such a step is left
    out: windows of consecutive days err to the same side, and their sum at the first scale is out of range.

    Args:
        model: as it is trained, on the CPU; left as it is.
        windows: (n, L, F) float32, on the CPU.
        target: (n,) float32, on the CPU.
        device: name of a device that is there.
        precision: as for `Precision`.
    """
    there, arithmetic = copy.deepcopy(model).to(device).train(), Precision(precision, torch.device(device))
    windows, target = windows.to(device), target.to(device)
    while True:
        StepSeeds(there).seed(0, 0, 0)  # the masks of dropout are drawn on the CPU: the same everywhere
        with arithmetic.autocast():
            predicted = there(windows).float()  # (n,)
        loss = squared_error(predicted, target).mean()
        arithmetic.backward(loss)
        scale = arithmetic.scaler.get_scale() if arithmetic.scaler else 1.0
        gradient = torch.cat([weight.grad.detach().cpu().double().flatten() / scale for weight in there.parameters()])
        if arithmetic.scaler is None or scale <= 1.0 or gradient.isfinite().all():
            return Evidence(loss.item(), gradient)
        arithmetic.scaler.update(scale / 2)
        there.zero_grad()


def placed(
    model: nn.Module,
    windows: torch.Tensor,
    target: torch.Tensor,
    devices: tuple[str, ...],
    precision: str,
    *,
    is_there: Callable[[str], bool] = computes,
    compute: Callable[[nn.Module, torch.Tensor, torch.Tensor, str, str], Evidence] = passes_on,
) -> Placement:
    """Choose the first of *devices* that is there and computes what the CPU computes; the CPU when none does.

    A device that is only off in half precision is used in float32. The CPU itself computes in *precision* unasked.

    Args:
        model: on the CPU, with its first weights; its state and torch's random numbers are left as they are.
        windows: (n, L, F), a small batch on the CPU.
        target: (n,), its labels.
        devices: names, the preferred one first.
        precision: what the profile wants.
        is_there: tells whether a device can be used at all.
        compute: takes the passes.
    """
    refusals: list[str] = []
    for device in devices:
        if device == "cpu":
            break
        if not is_there(device):
            continue
        with torch.random.fork_rng(devices=[]):
            for arithmetic in dict.fromkeys((precision, "float32")):
                found = _compare(model, windows, target, device, arithmetic, compute)
                if isinstance(found, Parity) and found.holds:
                    return Placement(torch.device(device), arithmetic, tuple(refusals))
                refusals.append(f"{device} in {arithmetic} does not compute what the CPU does: {found}")
    return Placement(torch.device("cpu"), _on_cpu(precision), tuple(refusals))


def _on_cpu(precision: str) -> str:
    """float16 is for GPUs: a CPU would only get slower by it."""
    return "float32" if precision == "float16" else precision


def _compare(
    model: nn.Module,
    windows: torch.Tensor,
    target: torch.Tensor,
    device: str,
    precision: str,
    compute: Callable[[nn.Module, torch.Tensor, torch.Tensor, str, str], Evidence],
) -> Parity | str:
    """Return how far *device* is off, or the words of the error that it ended in."""
    here = compute(model, windows, target, "cpu", "float32")
    try:
        there = compute(model, windows, target, device, precision)
    except (RuntimeError, TypeError, NotImplementedError) as exc:
        return f"{type(exc).__name__}: {exc}"[:300]
    norm = max(here.gradient.norm().item(), 1e-12)
    return Parity(
        loss_error=_or_inf(abs(there.loss - here.loss) / max(abs(here.loss), 1e-12)),
        gradient_error=_or_inf((there.gradient - here.gradient).norm().item() / norm),
        tolerance=TOLERANCES[precision],
    )


def _or_inf(error: float) -> float:
    return error if math.isfinite(error) else math.inf
