"""Where a torch net is trained: the first device of the profile that computes what the CPU computes."""

from __future__ import annotations

import copy
from itertools import takewhile
from typing import TYPE_CHECKING

import torch

from jobs.nets.parity import PassResult, Placement, choose_device
from jobs.torch_backend.device import computes
from jobs.torch_backend.dropout import StepSeeds
from jobs.torch_backend.passes import squared_error
from jobs.torch_backend.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def passes_on(
    model: nn.Module,
    windows: torch.Tensor,
    target: torch.Tensor,
    device: str,
    precision: str,
    *,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = squared_error,
) -> PassResult:
    """Take one forward and backward pass of a copy of *model* on *device* in *precision*.

    The loss scale is taken off by its own `unscale_`, as in training: kernels that do it have zeroed half-precision gradients
    (pytorch#184286). A float16 gradient that overflows is computed again at half the loss scale; training leaves such a step out. Windows
    of consecutive days err to the same side, and their sum at the first scale is out of range.

    Args:
        model: as it is trained, on the CPU; not changed.
        windows: (n, L, F) float32, on the CPU.
        target: (n,) or (n, k) float32, on the CPU.
        device: name of a device that is present.
        precision: as for `Precision`.
        loss: of each sample.
    """
    copied, arithmetic = copy.deepcopy(model).to(device).train(), Precision(precision, torch.device(device))
    windows, target = windows.to(device), target.to(device)
    optimiser = torch.optim.SGD(copied.parameters())  # takes no step; the scale is taken off what it would use
    while True:
        StepSeeds(copied).seed(0, 0, 0)  # the masks of dropout are drawn on the CPU: the same on every device
        with arithmetic.autocast():
            predicted = copied(windows).float()  # (n,) or (n, k)
        mean_loss = loss(predicted, target).mean()
        arithmetic.backward(mean_loss)
        if arithmetic.scaler:
            arithmetic.scaler.unscale_(optimiser)
        scale = arithmetic.scaler.get_scale() if arithmetic.scaler else 1.0
        gradients = [weight.grad for weight in copied.parameters() if weight.grad is not None]
        gradient = torch.cat([each.detach().cpu().double().flatten() for each in gradients])
        if arithmetic.scaler is None or scale <= 1.0 or gradient.isfinite().all():
            return PassResult(mean_loss.item(), gradient.numpy())
        arithmetic.scaler.update(scale / 2)
        copied.zero_grad()


def placed(
    model: nn.Module,
    windows: torch.Tensor,
    target: torch.Tensor,
    devices: tuple[str, ...],
    precision: str,
    *,
    is_present: Callable[[str], bool] = computes,
    compute: Callable[[nn.Module, torch.Tensor, torch.Tensor, str, str], PassResult] = passes_on,
) -> Placement:
    """Choose where and in what precision *model* is trained, as `choose_device` does.

    Args:
        model: on the CPU, with its first weights; its state and torch's random numbers are not changed.
        windows: (n, L, F), a small batch on the CPU.
        target: (n,), its labels.
        devices: names, the preferred one first; those after cpu are not considered.
        precision: what the profile asks for. float16 is for GPUs: on a CPU it only costs time.
        is_present: returns True if a device can be used at all.
        compute: takes the passes.
    """
    with torch.random.fork_rng(devices=[]):
        return choose_device(
            filter(is_present, takewhile(lambda device: device != "cpu", devices)),
            precision,
            lambda device, candidate: compute(model, windows, target, device, candidate),
            errors=(RuntimeError, TypeError),
            cpu_precision="float32" if precision == "float16" else precision,
        )
