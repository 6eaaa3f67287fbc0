"""The training loop of every Keras net: `fit` in stretches of an epoch, and a callback that heeds the slot.

A run that is stopped anywhere and continued ends on the CPU as one that was left alone: order and dropout are functions
of (seed, epoch, step), a step counts whole or not at all, and the rest is in the checkpoint. A new micro-batch ends the
stretch after the step at hand; the net is then built anew with as many more accumulations, and the effective batch
stays. Knows no features, no scores and no files. Neighbours: `jobs.keras_run` above; `keras_batches`, `keras_student`,
`keras_state`, `resumption` and `work_reports` below.
"""

from __future__ import annotations

import gc
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cbi_queue.protocol import MicroBatchChanged, Started
from jobs.checkpoint import digest_of
from jobs.heap import give_back
from jobs.keras_batches import steps_of, stretch_of
from jobs.keras_device import keras, tf
from jobs.keras_probe import probe_for
from jobs.keras_state import Circumstances, KerasState
from jobs.resumption import Resumption
from jobs.work_reports import WorkReports

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.catalogue import NeuralParams
    from cbi_queue.protocol import Probed
    from jobs.checkpoint_pace import CheckpointPace
    from jobs.keras_batches import Stretch
    from jobs.keras_device import Placement
    from jobs.keras_student import Student
    from jobs.net_progress import Progress
    from jobs.neural_data import NeuralData
    from jobs.trainer import Task

EVALUATION_FACTOR = 4
"""Micro-batches that go through the net at once where no gradient is kept: they need less memory than one that is."""
CAN = ("pace", "micro_batch", "probe", "checkpoint")


class KerasLoop:
    """One training run of one net: `restore`, then `run`, then `predict`."""

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
        self._task, self._params, self._data, self._placement = task, params, data, placement
        self._channel = task.channel
        micro_batch = min(task.assignment.micro_batch or params.batch_size, params.batch_size)
        self._state = KerasState(make_student, micro_batch)
        around = Circumstances(
            micro_batch,
            tf.config.threading.get_intra_op_parallelism_threads(),
            placement.device,
            placement.precision,
            tf.__version__,
            keras.__version__,
        )
        digest = digest_of(data.sequence_length, data.x, data.y, data.train, data.validation)
        self._resumption = Resumption(task, self._state, around, digest, pace=pace, now_s=now_s)
        self._reports = WorkReports(self._channel, self._resumption.clock, params.epochs, lambda: None)
        self._channel.on_pause = _shrink
        self._loss_sum = 0.0
        self._probe = probe_for(placement)
        self._channel.probe = self._probed

    @property
    def forecaster(self) -> keras.Sequential:
        """The net as it is saved; after `run` it has the best weights."""
        return self._state.student.forecaster

    @property
    def progress(self) -> Progress:
        """How far the training has come."""
        return self._state.progress

    @property
    def micro_batch(self) -> int:
        """Samples that go through the net at once while training."""
        return self._resumption.circumstances.micro_batch

    @property
    def fit_s(self) -> float:
        """Seconds of training so far in all attempts, pauses and checkpoints excluded."""
        return self._resumption.clock.worked_s

    def restore(self) -> None:
        """Take over the newest usable checkpoint, if there is one; `run` then reports it.

        Raises:
            OSError: when the run's folder is gone.
        """
        self._resumption.restore()
        if self.micro_batch != self._state.student.micro_batch:
            self._state.recut(self.micro_batch)

    def started(self) -> Started:
        """Say what is about to happen."""
        spec, params, around = self._task.spec, self._params, self._resumption.circumstances
        samples, (rows, inputs) = len(self._data.train), self._data.x.shape
        return Started(
            total_epochs=params.epochs,
            samples=samples,
            fingerprint=f"{spec.model} {spec.horizon} backend=tensorflow rows={rows} "
            f"window={self._data.sequence_length}x{inputs} samples={samples} "
            f"weights={self.forecaster.count_params()} batch={params.batch_size} device={around.device} "
            f"threads={around.threads} precision={around.precision}",
            device=around.device,
            micro_batch=around.micro_batch,
            can=CAN,
        )

    def run(self) -> None:
        """Train until the epochs or the patience are used up, then give the net its best weights.

        Raises:
            StopRequested: when an end was asked for, after a checkpoint was left (or reported as failed).
        """
        self._resumption.begin()
        self._reports.disturb()  # the graph is traced in the first steps
        with self._resumption.leaving_a_checkpoint():
            while not self._is_over():
                self._epoch()
        self._resumption.clock.stop()
        self._state.take_best()

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the (n,) float32 forecasts of *rows*, (n,) int64, in the unit of `NeuralData.y`.

        Raises:
            StopRequested: as `run`.
        """
        with self._resumption.leaving_a_checkpoint():
            return self._forecast(rows)

    def _epoch(self) -> None:
        self._reports.begin_epoch()
        self._train()
        self._reports.training_done()
        rows, progress = self._data.validation, self.progress
        errors = self._forecast(rows).astype(np.float64) - self._data.y[rows]  # (n,)
        validation_loss, train_loss = float(np.mean(errors**2)), progress.loss_sum / progress.samples
        if progress.close_epoch(validation_loss):
            self._state.keep_as_best()
        self._reports.epoch_done(progress.epoch, train_loss, validation_loss, self.micro_batch)
        self._resumption.save_if_due(mid_epoch=False)

    def _train(self) -> None:
        """Take the steps of the epoch that are not behind us yet, with a `fit` for each micro-batch in turn."""
        params, train, progress = self._params, self._data.train, self.progress
        steps = steps_of(len(train), params.batch_size)
        while progress.step < steps:
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
                    callbacks=[_Heed(self._before, partial(self._after, stretch, steps))],
                )

    def _take_over_micro_batch(self) -> None:
        """Go on as ordered; between two steps, as a step is cut in one way or the other."""
        if (micro_batch := self._wanted_micro_batch) == self.micro_batch:
            return
        self._state.recut(micro_batch)
        self._resumption.change_micro_batch(micro_batch)
        _shrink()
        self._reports.disturb()
        self._channel.report(MicroBatchChanged(self.progress.epoch, micro_batch))

    @property
    def _wanted_micro_batch(self) -> int:
        wanted = self._channel.wanted_micro_batch
        return self.micro_batch if wanted is None else min(max(wanted, 1), self._params.batch_size)

    def _before(self, student: Student, piece: int) -> None:
        """Stand still or leave before the *piece*-th micro-batch of a stretch, if asked to."""
        self._channel.safe_point(self.progress.epoch)
        if piece % student.per_step == 0:
            self._loss_sum = 0.0
            student.align()

    def _after(self, stretch: Stretch, steps: int, student: Student, piece: int, loss_sum: float) -> None:
        """Count the step whose last micro-batch this was; end the stretch when the rest is to be cut in another way.

        No safe point in here: counters and weights belong together.
        """
        self._loss_sum += loss_sum
        number, place = divmod(piece, stretch.per_step)
        if place < stretch.per_step - 1:
            return
        progress, size = self.progress, stretch.sizes[number]
        progress.step += 1
        progress.loss_sum += self._loss_sum
        progress.samples += size
        self._reports.count(size)
        if self._reports.part_is_due and progress.step < steps:
            self._reports.part_done(progress.epoch + 1, progress.step, steps, self.micro_batch)
        self._resumption.save_if_due(mid_epoch=True)
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

    def _is_over(self) -> bool:
        return self.progress.epoch >= self._params.epochs or self.progress.stale_epochs >= self._params.patience

    def _probed(self) -> Probed:
        with self._resumption.clock.set_cpu_aside():  # its wall time is the channel's to leave out
            return self._probe()


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
