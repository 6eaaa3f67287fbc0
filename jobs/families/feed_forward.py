"""A feed-forward net over a flattened window of feature rows (PyTorch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from jobs.torch_backend.run import TorchRun  # before torch, whose memory ceilings it sets

# isort: split
import torch
from torch import nn

from jobs.nets.run import NetTrainer
from jobs.torch_backend.dense import hidden_layers

if TYPE_CHECKING:
    from cbi_queue.models.parameters.neural import FeedForwardParams
    from jobs.trainer import Task


class FeedForwardNet(nn.Module):
    """(n, L, F) windows -> (n,) forecasts: flatten, then per hidden layer linear, ReLU, dropout, then one linear."""

    def __init__(self, inputs: int, window_rows: int, hidden: list[int], dropout: float) -> None:
        """Pass windows of *window_rows* rows and *inputs* columns through layers of *hidden* units."""
        super().__init__()
        layers = hidden_layers(window_rows * inputs, hidden, dropout)
        self.layers = nn.Sequential(nn.Flatten(), *layers, nn.Linear(hidden[-1], 1))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Forecast each window."""
        return self.layers(windows).squeeze(-1)  # (n, L, F) -> (n, 1) -> (n,)


class FeedForward(NetTrainer):
    """Trains the feed-forward net of one job."""

    def run_of(self, task: Task) -> TorchRun:
        """Load the data, build the net, restore a checkpoint if there is one."""
        params = cast("FeedForwardParams", task.spec.typed_params)
        shape = {"window_rows": params.sequence_length, "hidden": list(params.hidden), "dropout": params.dropout}
        return TorchRun(task, FeedForwardNet, shape)
