"""One run of one Keras net, around the loop: device, data and net before it, forecasts and files after it.

A family calls it with its net's layers.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from jobs.keras_backend.device import clear, compute_repeatably, keras, scope, set_policy
from jobs.keras_backend.loop import KerasLoop
from jobs.keras_backend.parity import passes_on, placed
from jobs.keras_backend.training_net import Rows, TrainingNet
from jobs.nets.parity import PARITY_SAMPLES
from jobs.nets.run import NetRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from cbi_queue.protocol import Finished
    from jobs.nets.parity import PassResult
    from jobs.trainer import Task

MODEL = "model.keras"


class KerasRun(NetRun):
    """Prepared on construction; `started`, then `finish`."""

    loop: KerasLoop

    def __init__(self, task: Task, make_stages: Callable[[], Sequence[keras.layers.Layer]]) -> None:
        """Load the data, build the net, choose the device, restore a checkpoint if there is one.

        Args:
            task: the attempt.
            make_stages: makes the net's layers, the last one of one unit; drops by keras.layers.Dropout.

        Raises:
            BrokenSpec: when the job cannot run as written on this data.
        """
        super().__init__(task)
        self._make_stages = make_stages
        compute_repeatably(task.assignment.threads, self._params.seed)
        self._placement = placed(task.assignment.devices, task.assignment.precision, self._passes)
        self.loop = KerasLoop(task, self._params, self._make_net, self.data, self._placement)
        self.loop.restore()

    def finish(self) -> Finished:
        """Train, forecast every row with a full window, record the run, clear the session.

        Raises:
            StopRequested: after writing a checkpoint.
        """
        finished = super().finish()
        clear()
        return finished

    def _make_net(self, micro_batch: int) -> TrainingNet:
        return self._net_on(self._placement.device, self._placement.precision, micro_batch)

    def _net_on(self, device: str, precision: str, micro_batch: int) -> TrainingNet:
        set_policy(precision)
        keras.utils.set_random_seed(self._params.seed)
        with scope(device):
            data = Rows(self.data.x, self.data.y, self.data.sequence_length)
            return TrainingNet(self._make_stages(), data, self._params, micro_batch)

    def _passes(self, device: str, precision: str) -> PassResult:
        net = self._net_on("cpu", precision, PARITY_SAMPLES)
        first = net.forecaster.get_weights()
        net = self._net_on(device, precision, PARITY_SAMPLES)
        net.forecaster.set_weights(first)  # a device may draw other first weights from the same seed
        with scope(device):
            result = passes_on(net, self.data.train[:PARITY_SAMPLES])
        clear()
        return result

    def _forecast(self) -> np.ndarray:
        forecast: np.ndarray = self.loop.predict(self.data.forecast_rows)  # (n,)
        return forecast

    def _weights(self) -> dict[str, bytes]:
        return {MODEL: _saved(self.loop.forecaster)}

    def _architecture(self) -> dict[str, Any]:
        return {"backend": "tensorflow", "model": MODEL, "inputs": self.data.x.shape[1]}


def _saved(model: keras.Model) -> bytes:
    """Return the file that Keras writes: it requires the ending of the name, which an unfinished file does not have."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        model.save(path)
        return path.read_bytes()
