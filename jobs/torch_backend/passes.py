"""Forward and backward passes of rows through the net: windows gathered on the device, in fixed shapes where needed.

Knows nothing of epochs, of safe points or of the optimiser.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from jobs.torch_backend.batches import Windows
    from jobs.torch_backend.precision import Precision


def squared_error(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the loss of each sample, (n,) and (n,) -> (n,): (f - y)^2."""
    return (predicted - target) ** 2


class Passes:
    """One net over one set of windows."""

    def __init__(
        self,
        model: nn.Module,
        data: Windows,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        precision: Precision,
        *,
        fixed_shapes: bool,
    ) -> None:
        """Pass windows of *data* through *model*.

        Args:
            model: maps windows (n, L, F) to predictions (n,), each a function of its own window alone.
            data: features and labels, on the device of the model.
            loss: the loss of each sample.
            precision: what to compute in.
            fixed_shapes: fill up a last, smaller piece with copies of its first row, which are not counted: Metal
                compiles and keeps a graph for every shape.
        """
        self._model, self._data, self._loss, self._precision = model, data, loss, precision
        self._fixed_shapes = fixed_shapes
        self._gathers_in_time = data.x.device.type == "cpu"
        self._data_s = 0.0

    @property
    def data(self) -> Windows:
        """The features and labels."""
        return self._data

    def on(self, data: Windows) -> Passes:
        """Return the same net and precision on other *data*, on the same device."""
        return Passes(self._model, data, self._loss, self._precision, fixed_shapes=self._fixed_shapes)

    @property
    def data_s(self) -> float | None:
        """Seconds spent gathering windows so far; None where the device does it asynchronously."""
        return self._data_s if self._gathers_in_time else None

    def backward(self, rows: torch.Tensor, size: int, batch: int) -> torch.Tensor:
        """Add the gradient of a piece of an effective batch; return the sum of its losses, a scalar on the device.

        Args:
            rows: (n,) int64, the piece.
            size: samples of a whole piece, at least n.
            batch: samples of the effective batch, by which each piece's sum is divided.
        """
        losses = self._loss(self._forward(rows, size), self._data.targets(rows))  # (n,)
        total = self._data.weighted(losses, rows).sum()
        self._precision.backward(total / batch)
        return total.detach()

    @torch.no_grad()
    def predict(self, rows: torch.Tensor, size: int) -> torch.Tensor:
        """Return the (n,) predictions of *rows*, (n,) int64, n at most *size*."""
        return self._forward(rows, size)

    @torch.no_grad()
    def mean_loss(self, predicted: torch.Tensor, rows: torch.Tensor) -> float:
        """Return the mean loss of the (n,) predictions of *rows*, weighted as their rows are."""
        losses = self._loss(predicted, self._data.targets(rows))
        if self._data.weight is None:
            return losses.mean().item()
        return (self._data.weighted(losses, rows).sum() / self._data.weight.index_select(0, rows).sum()).item()

    def _forward(self, rows: torch.Tensor, size: int) -> torch.Tensor:
        whole = _filled_up(rows, size) if self._fixed_shapes else rows
        started_s = time.perf_counter()
        windows = self._data.gather(whole)  # (size or n, L, F)
        self._data_s += time.perf_counter() - started_s
        with self._precision.autocast():
            predicted = self._model(windows)  # (size or n,)
        if whole is not rows:  # a slice of all would cost its own backward pass
            predicted = predicted[: len(rows)]
        dtype = self._data.y.dtype
        return predicted if predicted.dtype is dtype else predicted.to(dtype)  # (n,)


def _filled_up(rows: torch.Tensor, size: int) -> torch.Tensor:
    return torch.cat([rows, rows[:1].expand(size - len(rows))]) if len(rows) < size else rows
