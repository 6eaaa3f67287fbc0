"""One run of one torch net, around the loop: device, data and net before it, forecasts and files after it.

A family calls it with its net's class and shape and stays as small as that. Neighbours: the families above;
`neural_data`, `parity`, `torch_loop` below. Import it before torch: see `torch_device`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from jobs.torch_device import compute_repeatably  # before torch, whose memory ceilings it sets

# isort: split
import safetensors.torch
import torch

from cbi_queue.protocol import Note
from jobs.batches import Windows
from jobs.neural_data import load_neural_data, record_forecast
from jobs.parity import placed
from jobs.torch_loop import Blocks, TorchLoop
from jobs.torch_precision import Precision
from jobs.work_clock import WorkClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from cbi_queue.catalogue import NeuralParams
    from cbi_queue.protocol import Finished, Started
    from jobs.neural_data import NeuralData
    from jobs.parity import Placement
    from jobs.trainer import Task

WEIGHTS, ARCHITECTURE = "model.safetensors", "model.json"
PARITY_SAMPLES = 8
"""Windows that a device is compared with the CPU on: enough to see a wrong kernel, cheap enough for every start."""


class TorchRun:
    """Prepared on construction; `started`, then `finish`."""

    def __init__(self, task: Task, make_net: Callable[..., nn.Module], shape: dict[str, Any]) -> None:
        """Load the data, build the net, choose the device, take over a checkpoint if there is one.

        Args:
            task: the attempt.
            make_net: the net's class; takes `inputs` (columns of a window) and *shape* as keywords, and maps windows
                (n, L, inputs) to forecasts (n,).
            shape: JSON values; together with `inputs` they are all that it takes to build the net again.

        Raises:
            BrokenSpec: when the job cannot run as written on this data.
        """
        compute_repeatably(task.assignment.threads)
        params = cast("NeuralParams", task.spec.typed_params)
        self._task, self.data = task, load_neural_data(task)
        self._shape = {"inputs": self.data.x.shape[1], **shape}
        torch.manual_seed(params.seed)
        net = make_net(**self._shape)
        self._placement = _place(task, net, self.data)
        precision = Precision(self._placement.precision, self._placement.device)
        windows = _windows(self.data, self._placement.device, precision.weights)
        net = net.to(windows.x.device, precision.weights)
        self.loop = TorchLoop(task, params, net, windows, _blocks(self.data, windows), precision=precision)
        self.loop.restore()

    def started(self) -> Started:
        """Say what is about to happen, and which device was refused."""
        for refusal in self._placement.refusals:
            self._task.channel.report(Note(f"trains on {self._placement.device} instead: {refusal}"))
        return self.loop.started()

    def finish(self) -> Finished:
        """Train, forecast every row with a full window, record the run.

        Raises:
            StopRequested: after leaving a checkpoint.
        """
        self.loop.run()
        clock = WorkClock(self._task.channel)
        clock.start(0.0)
        rows = torch.from_numpy(self.data.forecast_rows).to(self._placement.device)
        forecast = self.loop.predict(rows).cpu().numpy()  # (n,)
        return record_forecast(
            self._task,
            self.data,
            forecast,
            fit_s=self.loop.fit_s,
            predict_s=clock.worked_s,
            model_files=self._model_files(),
            details={"epochs": self.loop.progress.epoch, "best_epoch": self.loop.progress.best_epoch},
        )

    def _model_files(self) -> dict[str, bytes]:
        architecture = {
            "kind": self._task.spec.model,
            **self._shape,
            "window_rows": self.data.sequence_length,
            "weights": WEIGHTS,
            "micro_batch": self.loop.micro_batch,
            "device": self._placement.device.type,
            "precision": self._placement.precision,
        }
        weights = {name: value.contiguous() for name, value in self.loop.model.state_dict().items()}
        return {
            WEIGHTS: safetensors.torch.save(weights),
            ARCHITECTURE: json.dumps(architecture, indent=2, sort_keys=True).encode() + b"\n",
        }


def _place(task: Task, net: nn.Module, data: NeuralData) -> Placement:
    rows = torch.from_numpy(data.train[:PARITY_SAMPLES])
    sample = _windows(data, torch.device("cpu"), torch.float32)
    assignment = task.assignment
    return placed(net, sample.gather(rows), sample.targets(rows), assignment.devices, assignment.precision)


def _windows(data: NeuralData, device: torch.device, dtype: torch.dtype) -> Windows:
    x, y = (torch.from_numpy(array).to(device, dtype) for array in (data.x, data.y))  # (rows, F), (rows,)
    return Windows(x, y, data.sequence_length)


def _blocks(data: NeuralData, windows: Windows) -> Blocks:
    train, validation = (torch.from_numpy(rows).to(windows.x.device) for rows in (data.train, data.validation))
    return Blocks(train, validation)
