"""The training loop of every Keras net: a `fit` for each micro-batch in turn, with a callback for the safe points.

A run that is stopped anywhere and continued ends on the CPU like an undisturbed one: order and dropout are functions of
(seed, epoch, step), a step counts whole or not at all, and the rest is in the checkpoint. A new micro-batch ends the
`fit` after the current step; the net is then built again with as many more accumulations: below the grain that is
statistically the same training, other numbers. Knows no features, no scores and no files.
"""

from __future__ import annotations

import gc
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.keras_backend.batches import micro_batches_of
from jobs.keras_backend.device import keras, scope, tf
from jobs.keras_backend.probe import probe_for
from jobs.keras_backend.state import KerasState
from jobs.nets.circumstances import Circumstances
from jobs.nets.loop import EVALUATION_FACTOR, NetLoop, NetShape, assigned_micro_batch
from jobs.process.heap import give_back
from jobs.training.checkpoint import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.models.parameters.neural import NeuralParams
    from jobs.keras_backend.batches import MicroBatches
    from jobs.keras_backend.training_net import TrainingNet
    from jobs.nets.data import NeuralData
    from jobs.nets.parity import Placement
    from jobs.trainer import Task
    from jobs.training.checkpoint_pace import CheckpointPace


class KerasLoop(NetLoop):
    """One training run of one Keras net: `restore`, then `run`, then `predict`."""

    backend = "backend=tensorflow "
    _state: KerasState

    def __init__(
        self,
        task: Task,
        params: NeuralParams,
        make_net: Callable[[int], TrainingNet],
        data: NeuralData,
        placement: Placement,
        *,
        pace: CheckpointPace | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to train.

        Args:
            task: the attempt, for its channel, its checkpoints and its micro-batch.
            params: epochs, batch and the rest.
            make_net: builds the net for a micro-batch, on the device.
            data: rows and blocks.
            placement: where and in what precision the net computes.
            pace: when a checkpoint is due.
            now_s: a clock that only rises.
        """
        self._data, self._placement = data, placement
        circumstances = Circumstances(
            assigned_micro_batch(task, params),
            tf.config.threading.get_intra_op_parallelism_threads(),
            placement.device,
            placement.precision,
            {"tensorflow": tf.__version__, "keras": keras.__version__},
        )
        state = KerasState(make_net, circumstances.micro_batch)
        (rows, inputs), weights = data.x.shape, state.net.forecaster.count_params()
        super().__init__(
            task,
            params,
            state,
            circumstances,
            NetShape(rows, data.sequence_length, inputs, len(data.train), weights),
            digest_of(data.sequence_length, data.x, data.y, data.train, data.validation),
            probe=probe_for(placement.device),
            shrink=_shrink,
            pace=pace,
            now_s=now_s,
        )
        self._loss_sum = 0.0
        self._reports.disturb()  # the graph is traced in the first steps

    @property
    def forecaster(self) -> keras.Sequential:
        """The net as it is saved; after `run` it has the best weights."""
        return self._state.net.forecaster

    def restore(self) -> None:
        """Restore the newest usable checkpoint, and its micro-batch with it.

        Raises:
            OSError: when the run's folder is gone.
        """
        super().restore()
        if self.micro_batch != self._state.net.micro_batch:
            self._recut(self.micro_batch)

    def _train(self) -> None:
        """Take the remaining steps, with a `fit` for each micro-batch in turn."""
        params, train, progress = self._params, self._data.train, self.progress
        while progress.step < self._steps:
            self._apply_micro_batch()
            batches = micro_batches_of(
                train,
                params.batch_size,
                self.micro_batch,
                seed=params.seed,
                epoch=progress.epoch,
                step=progress.step,
            )
            arrays = batches.rows, batches.positions, batches.weights, batches.keys
            with scope(self._placement.device):
                self._state.net.fit(
                    tf.data.Dataset.from_tensor_slices(arrays),
                    verbose=0,
                    shuffle=False,
                    callbacks=[_SafePoints(self._before, partial(self._after, batches))],
                )

    def _recut(self, micro_batch: int) -> None:
        self._state.recut(micro_batch)

    def _validation_loss(self) -> float:
        rows = self._data.validation
        if not len(rows):
            return math.nan
        errors = self._forecast(rows).astype(np.float64) - self._data.y[rows]  # (n,)
        return float(np.mean(errors**2))

    def _before(self, net: TrainingNet, piece: int) -> None:
        """Pause or stop before the *piece*-th micro-batch of a `fit`, if requested."""
        self._channel.safe_point(self.progress.epoch)
        if piece % net.per_step == 0:
            self._loss_sum = 0.0
            net.align()

    def _after(self, batches: MicroBatches, net: TrainingNet, piece: int, loss_sum: float) -> None:
        """Count the step whose last micro-batch this was; end the `fit` when another micro-batch was ordered."""
        self._loss_sum += loss_sum
        number, place = divmod(piece, batches.per_step)
        if place < batches.per_step - 1:
            return
        self.progress.loss_sum += self._loss_sum
        self._count_step(batches.sizes[number])
        net.stop_training = self._wanted_micro_batch != self.micro_batch

    def _forecast(self, rows: np.ndarray) -> np.ndarray:
        """Forecast in pieces of one shape, the last one filled up: another shape would be another graph."""
        size = self.micro_batch * EVALUATION_FACTOR
        forecast: list[np.ndarray] = []
        for at in range(0, len(rows), size):
            self._channel.safe_point(self.progress.epoch)
            piece = rows[at : at + size]
            filled = np.resize(piece, size).astype(np.int32)  # (size,)
            with scope(self._placement.device):
                forecast.append(self._state.net.forecast_rows(tf.constant(filled)).numpy()[: len(piece)])
        return np.concatenate(forecast)  # (n,)

    def _forecast_windows(self, windows: np.ndarray) -> np.ndarray:
        """Forecast in pieces of one shape, as `_forecast` does."""
        size = self.micro_batch * EVALUATION_FACTOR
        forecast: list[np.ndarray] = []
        for at in range(0, len(windows), size):
            self._channel.safe_point(self.progress.epoch)
            piece = windows[at : at + size]
            filled = np.concatenate([piece, np.repeat(piece[:1], size - len(piece), axis=0)])  # (size, L, F)
            with scope(self._placement.device):
                forecast.append(self._state.net.forecast_windows(tf.constant(filled)).numpy()[: len(piece)])
        return np.concatenate(forecast)  # (n,)


def _shrink() -> None:
    gc.collect()
    give_back()


class _SafePoints(keras.callbacks.Callback):
    """Calls the loop before each micro-batch, for the safe point, and after it, for the count."""

    def __init__(
        self, before: Callable[[TrainingNet, int], None], after: Callable[[TrainingNet, int, float], None]
    ) -> None:
        super().__init__()
        self._before, self._after = before, after

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras' own
        """Call before a micro-batch."""
        self._before(self.model, batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Call after a micro-batch; reading its loss waits for the device."""
        self._after(self.model, batch, float(logs["loss_sum"]))
