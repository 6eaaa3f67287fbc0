"""The training loop of every Keras net: `fit` in stretches of an epoch, and a callback that heeds the slot.

A run that is stopped anywhere and continued ends on the CPU as one that was left alone: order and dropout are functions
of (seed, epoch, step), a step counts whole or not at all, and the rest is in the checkpoint. A new micro-batch ends the
stretch after the step at hand; the net is then built anew with as many more accumulations, and the effective batch
stays. Knows no features, no scores and no files. Neighbours: `jobs.keras_backend.run` above; `net_loop` (epochs, early
stopping, orders and checkpoints), `keras_batches`, `keras_student` and `keras_state` below.
"""

from __future__ import annotations

import gc
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from jobs.keras_backend.batches import stretch_of
from jobs.keras_backend.device import keras, tf
from jobs.keras_backend.probe import probe_for
from jobs.keras_backend.state import KerasCircumstances, KerasState
from jobs.nets.loop import EVALUATION_FACTOR, NetLoop, Shape, assigned_micro_batch
from jobs.process.heap import give_back
from jobs.training.checkpoint import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.models.parameters.neural import NeuralParams
    from jobs.keras_backend.batches import Stretch
    from jobs.keras_backend.device import Placement
    from jobs.keras_backend.student import Student
    from jobs.nets.data import NeuralData
    from jobs.trainer import Task
    from jobs.training.checkpoint_pace import CheckpointPace


class KerasLoop(NetLoop):
    """One training run of one Keras net: `restore`, then `run`, then `predict`."""

    backend = "backend=tensorflow "

    def __init__(
        self,
        task: Task,
        params: NeuralParams,
        make_student: Callable[[int], Student],
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
            make_student: builds the net for a micro-batch, on the device.
            data: rows and blocks.
            placement: where and in what the net computes.
            pace: when a checkpoint is due.
            now_s: a clock that only rises.
        """
        self._data, self._placement = data, placement
        around = KerasCircumstances(
            assigned_micro_batch(task, params),
            tf.config.threading.get_intra_op_parallelism_threads(),
            placement.device,
            placement.precision,
            tf.__version__,
            keras.__version__,
        )
        state = KerasState(make_student, around.micro_batch)
        (rows, inputs), weights = data.x.shape, state.student.forecaster.count_params()
        super().__init__(
            task,
            params,
            state,
            around,
            Shape(rows, data.sequence_length, inputs, len(data.train), weights),
            digest_of(data.sequence_length, data.x, data.y, data.train, data.validation),
            probe=probe_for(placement),
            shrink=_shrink,
            pace=pace,
            now_s=now_s,
        )
        self._loss_sum = 0.0
        self._reports.disturb()  # the graph is traced in the first steps

    @property
    def forecaster(self) -> keras.Sequential:
        """The net as it is saved; after `run` it has the best weights."""
        return self._state.student.forecaster

    def restore(self) -> None:
        """Take over the newest usable checkpoint, and its micro-batch with it.

        Raises:
            OSError: when the run's folder is gone.
        """
        super().restore()
        if self.micro_batch != self._state.student.micro_batch:
            self._recut(self.micro_batch)

    def _train(self) -> None:
        """Take the steps that are left, with a `fit` for each micro-batch in turn."""
        params, train, progress = self._params, self._data.train, self.progress
        while progress.step < self._steps:
            self._take_over_micro_batch()
            stretch = stretch_of(
                train,
                params.batch_size,
                self.micro_batch,
                seed=params.seed,
                epoch=progress.epoch,
                step=progress.step,
            )
            arrays = stretch.rows, stretch.positions, stretch.weights, stretch.keys
            with self._placement.scope():
                self._state.student.fit(
                    tf.data.Dataset.from_tensor_slices(arrays),
                    verbose=0,
                    shuffle=False,
                    callbacks=[_Heed(self._before, partial(self._after, stretch))],
                )

    def _recut(self, micro_batch: int) -> None:
        self._state.recut(micro_batch)

    def _validation_loss(self) -> float:
        rows = self._data.validation
        errors = self._forecast(rows).astype(np.float64) - self._data.y[rows]  # (n,)
        return float(np.mean(errors**2))

    def _before(self, student: Student, piece: int) -> None:
        """Stand still or leave before the *piece*-th micro-batch of a stretch, if asked to."""
        self._channel.safe_point(self.progress.epoch)
        if piece % student.per_step == 0:
            self._loss_sum = 0.0
            student.align()

    def _after(self, stretch: Stretch, student: Student, piece: int, loss_sum: float) -> None:
        """Count the step whose last micro-batch this was; end the stretch when the rest is to be cut in another way."""
        self._loss_sum += loss_sum
        number, place = divmod(piece, stretch.per_step)
        if place < stretch.per_step - 1:
            return
        self.progress.loss_sum += self._loss_sum
        self._count_step(stretch.sizes[number])
        student.stop_training = self._wanted_micro_batch != self.micro_batch

    def _forecast(self, rows: np.ndarray) -> np.ndarray:
        """Forecast in pieces of one shape, the last one filled up: another shape would be another graph."""
        size, forecast = self.micro_batch * EVALUATION_FACTOR, []
        for at in range(0, len(rows), size):
            self._channel.safe_point(self.progress.epoch)
            piece = rows[at : at + size]
            filled = np.resize(piece, size).astype(np.int32)  # (size,)
            with self._placement.scope():
                forecast.append(self._state.student.forecast_rows(tf.constant(filled)).numpy()[: len(piece)])
        return np.concatenate(forecast)  # (n,)


def _shrink() -> None:
    gc.collect()
    give_back()


class _Heed(keras.callbacks.Callback):
    """Lets the loop look at the slot before each micro-batch, and count after it."""

    def __init__(self, before: Callable[[Student, int], None], after: Callable[[Student, int, float], None]) -> None:
        super().__init__()
        self._before, self._after = before, after

    def on_train_batch_begin(self, batch, logs=None) -> None:  # noqa: ARG002 - Keras' signature
        """Call before a micro-batch."""
        self._before(self.model, batch)

    def on_train_batch_end(self, batch, logs=None) -> None:
        """Call after a micro-batch; reading its loss waits for the device."""
        self._after(self.model, batch, float(logs["loss_sum"]))
