"""A temporal convolutional net: causal residual blocks, one per dilation, over a window of feature rows (PyTorch).

No batch or weight normalisation: batch statistics would make a forecast depend on how a batch is cut.

Letters: k the kernel's size, d a dilation, C channels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

from jobs.torch_backend.run import TorchRun  # before torch, whose memory ceilings it sets

# isort: split
import torch
from torch import nn
from torch.nn import functional

from jobs.nets.run import NetTrainer
from jobs.torch_backend.dropout import RowDropout

if TYPE_CHECKING:
    from cbi_queue.models.parameters.neural import TCNParams
    from jobs.trainer import Task


class CausalConvolution(nn.Module):
    """(n, C, L) -> (n, C', L): each step sees itself and the k - 1 steps before it, d apart."""

    def __init__(self, width_in: int, width_out: int, kernel_size: int, dilation: int) -> None:
        """Fill up with zeros the steps before the window."""
        super().__init__()
        self.reach = (kernel_size - 1) * dilation
        """Earlier steps that it sees."""
        self.convolution = nn.Conv1d(width_in, width_out, kernel_size, dilation=dilation)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        return self.convolution(functional.pad(steps, (self.reach, 0)))


class ResidualBlock(nn.Module):
    """(n, C, L) -> (n, C', L): twice convolution, ReLU, dropout; then the input is added."""

    def __init__(self, width_in: int, width_out: int, kernel_size: int, dilation: int, dropout: float) -> None:
        """Convert the input to *width_out* channels where it has another number."""
        super().__init__()
        self.first = CausalConvolution(width_in, width_out, kernel_size, dilation)
        self.second = CausalConvolution(width_out, width_out, kernel_size, dilation)
        self.dropouts = nn.ModuleList([RowDropout(dropout), RowDropout(dropout)])
        self.shortcut = nn.Conv1d(width_in, width_out, 1) if width_in != width_out else nn.Identity()

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        """Transform and add."""
        inner = self.dropouts[0](functional.relu(self.first(steps)))  # (n, C', L)
        inner = self.dropouts[1](functional.relu(self.second(inner)))  # (n, C', L)
        return functional.relu(inner + self.shortcut(steps))


class TemporalConvolutionNet(nn.Module):
    """(n, L, F) windows -> (n,) forecasts: one residual block per dilation, the last step, one linear."""

    def __init__(self, inputs: int, channels: int, kernel_size: int, dilations: list[int], dropout: float) -> None:
        """Stack a block for each of *dilations*."""
        super().__init__()
        widths = (inputs, *(channels for _ in dilations))
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(width_in, width_out, kernel_size, dilation, dropout)
                for (width_in, width_out), dilation in zip(pairwise(widths), dilations, strict=True)
            )
        )
        self.head = nn.Linear(channels, 1)
        self.sees_steps = 1 + 2 * (kernel_size - 1) * sum(dilations)
        """Last steps of a window that reach the forecast: 61 with the defaults."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Forecast each window. Steps that the forecast does not depend on are left out."""
        steps = windows[:, -self.sees_steps :].transpose(1, 2)  # (n, F, L)
        return self.head(self.blocks(steps)[:, :, -1]).squeeze(-1)  # (n, C, L) -> (n, C) -> (n,)


class TemporalConvolution(NetTrainer):
    """Trains the temporal convolutional net of one job."""

    def run_of(self, task: Task) -> TorchRun:
        """Load the data, build the net, restore a checkpoint if there is one."""
        params = cast("TCNParams", task.spec.typed_params)
        shape = {
            "channels": params.channels,
            "kernel_size": params.kernel_size,
            "dilations": list(params.dilations),
            "dropout": params.dropout,
        }
        return TorchRun(task, TemporalConvolutionNet, shape)
