"""One run of one Keras net, around the loop: device, data and net before it, forecasts and files after it.

A family calls it with its net's layers and stays as small as that. Neighbours: the families above; `net_run`,
`neural_data`, `keras_parity`, `keras_loop` below.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from jobs.keras_backend.device import Placement, clear, compute_repeatably, keras, set_policy
from jobs.keras_backend.loop import KerasLoop
from jobs.keras_backend.parity import passes_on, placed
from jobs.keras_backend.student import Rows, Student
from jobs.nets.data import load_neural_data
from jobs.nets.run import PARITY_SAMPLES, NetRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from cbi_queue.models.parameters.neural import NeuralParams
    from cbi_queue.protocol import Finished
    from jobs.keras_backend.parity import Evidence
    from jobs.trainer import Task

MODEL = "model.keras"


class KerasRun(NetRun):
    """Prepared on construction; `started`, then `finish`."""

    def __init__(self, task: Task, make_stages: Callable[[], Sequence[keras.layers.Layer]]) -> None:
        """Load the data, build the net, choose the device, take over a checkpoint if there is one.

        Args:
            task: the attempt.
            make_stages: makes the net's layers, the last one of one unit; drops by keras.layers.Dropout.

        Raises:
            BrokenSpec: when the job cannot run as written on this data.
        """
        self._task, self._make_stages = task, make_stages
        self._params = cast("NeuralParams", task.spec.typed_params)
        self.data = load_neural_data(task)
        compute_repeatably(task.assignment.threads, self._params.seed)
        self._placement = placed(task.assignment.devices, task.assignment.precision, self._passes)
        self.loop = KerasLoop(task, self._params, self._make_student, self.data, self._placement)
        self.loop.restore()

    def finish(self) -> Finished:
        """Train, forecast every row with a full window, record the run, clear the session.

        Raises:
            StopRequested: after leaving a checkpoint.
        """
        finished = super().finish()
        clear()
        return finished

    def _make_student(self, micro_batch: int) -> Student:
        return self._student_on(self._placement, micro_batch)

    def _student_on(self, placement: Placement, micro_batch: int) -> Student:
        set_policy(placement.precision)
        keras.utils.set_random_seed(self._params.seed)
        with placement.scope():
            data = Rows(self.data.x, self.data.y, self.data.sequence_length)
            return Student(self._make_stages(), data, self._params, micro_batch)

    def _passes(self, placement: Placement) -> Evidence:
        student = self._student_on(Placement("cpu", placement.precision), PARITY_SAMPLES)
        first = student.forecaster.get_weights()
        student = self._student_on(placement, PARITY_SAMPLES)
        student.forecaster.set_weights(first)  # a device may draw other first weights from the same seed
        with placement.scope():
            evidence = passes_on(student, self.data.train[:PARITY_SAMPLES])
        clear()
        return evidence

    def _forecast(self) -> np.ndarray:
        return self.loop.predict(self.data.forecast_rows)  # (n,)

    def _weights(self) -> dict[str, bytes]:
        return {MODEL: _saved(self.loop.forecaster)}

    def _architecture(self) -> dict[str, Any]:
        return {"backend": "tensorflow", "model": MODEL, "inputs": self.data.x.shape[1]}


def _saved(model: keras.Model) -> bytes:
    """Return the file that Keras writes: it insists on the ending of a name, which an unfinished file has not."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        model.save(path)
        return path.read_bytes()
