"""One run of one torch net, around the loop: device, data and net before it, forecasts and files after it.

A family calls it with its net's class and shape. Import it before torch: see `jobs.torch_backend.device`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from jobs.torch_backend.device import compute_repeatably  # before torch, whose memory ceilings it sets

# isort: split
import safetensors.torch
import torch

from jobs.nets.parity import PARITY_SAMPLES
from jobs.nets.run import NetRun
from jobs.torch_backend.batches import Windows
from jobs.torch_backend.compiler import spare_the_compiler
from jobs.torch_backend.loop import Blocks, TorchLoop
from jobs.torch_backend.parity import passes_on, placed
from jobs.torch_backend.passes import squared_error
from jobs.torch_backend.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import nn

    from jobs.nets.data import NeuralData
    from jobs.nets.parity import Placement
    from jobs.trainer import Task

WEIGHTS = "model.safetensors"


class TorchRun(NetRun):
    """Prepared on construction; `started`, then `finish`."""

    loop: TorchLoop
    loss: ClassVar[Callable[..., torch.Tensor]] = staticmethod(squared_error)
    """The loss of each sample, from its forecast and its label."""

    def __init__(self, task: Task, make_net: Callable[..., nn.Module], shape: dict[str, Any]) -> None:
        """Load the data, build the net, choose the device, restore a checkpoint if there is one.

        Args:
            task: the attempt.
            make_net: the net's class; takes `inputs` (columns of a window) and *shape* as keywords, and maps windows
                (n, L, inputs) to forecasts (n,), or (n, k) where `loss` takes them.
            shape: JSON values; with `inputs`, all that it takes to build the net again.

        Raises:
            BrokenSpec: when the job cannot run as written on this data.
        """
        spare_the_compiler()
        compute_repeatably(task.assignment.threads)
        super().__init__(task)
        self._shape = {"inputs": self.data.x.shape[1], **shape}
        torch.manual_seed(self._params.seed)
        net = make_net(**self._shape)
        self._placement = _place(task, net, self.data, self.loss)
        device = torch.device(self._placement.device)
        precision = Precision(self._placement.precision, device)
        windows = _windows(self.data, device, precision.weights)
        net = net.to(windows.x.device, precision.weights)
        blocks = _blocks(self.data, windows)
        self.loop = TorchLoop(task, self._params, net, windows, blocks, loss=self.loss, precision=precision)
        self.loop.restore()

    def _forecast(self) -> np.ndarray:
        rows = torch.from_numpy(self.data.forecast_rows).to(self._placement.device)
        forecast: np.ndarray = self.loop.predict(rows).cpu().numpy()  # (n,) or (n, k)
        return forecast

    def _weights(self) -> dict[str, bytes]:
        weights = {name: value.contiguous() for name, value in self.loop.model.state_dict().items()}
        return {WEIGHTS: safetensors.torch.save(weights)}

    def _architecture(self) -> dict[str, Any]:
        return {**self._shape, "weights": WEIGHTS}


def _place(
    task: Task,
    net: nn.Module,
    data: NeuralData,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Placement:
    rows = torch.from_numpy(data.train[:PARITY_SAMPLES])
    sample = _windows(data, torch.device("cpu"), torch.float32)
    assignment = task.assignment
    return placed(
        net,
        sample.gather(rows),
        sample.targets(rows),
        assignment.devices,
        assignment.precision,
        compute=partial(passes_on, loss=loss),
    )


def _windows(data: NeuralData, device: torch.device, dtype: torch.dtype) -> Windows:
    x, y = (torch.from_numpy(array).to(device, dtype) for array in (data.x, data.y))  # (rows, F), (rows,) or (rows, k)
    weight = None if data.weight is None else torch.from_numpy(data.weight).to(device, dtype)
    return Windows(x, y, data.sequence_length, weight)


def _blocks(data: NeuralData, windows: Windows) -> Blocks:
    train, validation = (torch.from_numpy(rows).to(windows.x.device) for rows in (data.train, data.validation))
    return Blocks(train, validation)
