"""The loop of every net, whatever its library: epochs, early stopping, the micro-batch, reports and checkpoints.

A library's loop takes the steps of an epoch, computes losses and forecasts; its state holds weights and optimiser.
Everything that a stop, a pause or a directive changes between two steps is here. Knows no library, no features and no
files.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from cbi_queue.protocol import MicroBatchChanged, Started
from jobs.nets.progress import steps_of
from jobs.nets.resumption import Resumption
from jobs.training.work_reports import WorkReports

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from cbi_queue.models.parameters.neural import NeuralParams
    from cbi_queue.protocol import Probed
    from jobs.nets.circumstances import Circumstances
    from jobs.nets.progress import NetProgress
    from jobs.nets.resumption import NetState
    from jobs.trainer import Task
    from jobs.training.checkpoint_pace import CheckpointPace

CAN = ("pace", "micro_batch", "probe", "checkpoint")
"""Directives obeyed beyond pause and stop."""
EVALUATION_FACTOR = 4
"""Micro-batches that go through the net at once where no gradient is kept: together they need less memory than one in
training."""


class NetShape(NamedTuple):
    """The sizes of data and net, which decide what an epoch costs."""

    rows: int
    window_rows: int
    inputs: int
    samples: int
    weights: int

    def __str__(self) -> str:
        """Return it as a fingerprint has it."""
        return f"rows={self.rows} window={self.window_rows}x{self.inputs} samples={self.samples} weights={self.weights}"


class NetLoop(ABC):
    """One training run of one net: `restore`, then `run`, then `predict`. A library's loop defines how steps are taken."""

    backend = ""
    """The library as a fingerprint names it, with a space after it; empty for torch, the first backend."""

    def __init__(
        self,
        task: Task,
        params: NeuralParams,
        state: NetState,
        circumstances: Circumstances,
        shape: NetShape,
        digest: str,
        *,
        probe: Callable[[], Probed],
        shrink: Callable[[], None],
        data_s: Callable[[], float | None] = lambda: None,
        pace: CheckpointPace | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to train.

        Args:
            task: the attempt, for its channel and its checkpoints.
            params: epochs, batch, patience.
            state: of the net, fresh.
            circumstances: with the micro-batch that was assigned.
            shape: of data and net.
            digest: identifies the data; checkpoints of other data are refused.
            probe: measures the device.
            shrink: frees what is cached, on a pause and on a change of the micro-batch.
            data_s: returns the seconds spent on gathering data so far; None: not known.
            pace: when a checkpoint is due.
            now_s: a clock that only rises.
        """
        self._task, self._params, self._channel = task, params, task.channel
        self._state, self._shape, self._probe, self._shrink = state, shape, probe, shrink
        self._grain = grain_of(params)
        self._steps = steps_of(shape.samples, params.batch_size)
        self._resumption = Resumption(task, state, circumstances, digest, pace=pace, now_s=now_s)
        self._reports = WorkReports(self._channel, self._resumption.clock, params.epochs, data_s)
        self._channel.on_pause = shrink
        self._channel.probe = self._probed

    @property
    def progress(self) -> NetProgress:
        """How far the training has come."""
        return self._state.progress

    @property
    def micro_batch(self) -> int:
        """Samples that go through the net at once while training."""
        return self._resumption.circumstances.micro_batch

    @property
    def device(self) -> str:
        """Where it trains: cpu | mps | cuda."""
        return self._resumption.circumstances.device.partition(":")[0]

    @property
    def fit_s(self) -> float:
        """Seconds of training so far in all attempts, pauses and checkpoints excluded."""
        return self._resumption.clock.worked_s

    def restore(self) -> None:
        """Restore the newest usable checkpoint, if there is one; `run` then reports it.

        Raises:
            OSError: when the run's folder is gone.
        """
        self._resumption.restore()

    def started(self) -> Started:
        """Return the report of what is about to be trained."""
        spec, params, around = self._task.spec, self._params, self._resumption.circumstances
        return Started(
            total_epochs=params.epochs,
            samples=self._shape.samples,
            fingerprint=f"{spec.model} {spec.horizon} {self.backend}{self._shape} batch={params.batch_size} "
            f"device={around.device} threads={around.threads} precision={around.precision} {around.libraries}",
            device=self.device,
            micro_batch=around.micro_batch,
            can=CAN,
        )

    def run(self) -> None:
        """Train until the epochs or the patience are used up, then give the net its best weights.

        Raises:
            StopRequested: when a stop was requested, after a checkpoint was written (or reported as failed).
        """
        self._resumption.begin()
        self._note_micro_batch()
        if self._resumption.take_restarted():
            self._reports.disturb()
        with self._resumption.leaving_a_checkpoint():
            while not self.progress.is_over(self._params.epochs, self._params.patience):
                self._epoch()
        self._resumption.clock.stop()
        self._state.take_best()

    def predict(self, rows: Any) -> Any:
        """Return the (n,) float32 forecasts of *rows*, (n,) int64, in the unit of the label and as the library's arrays.

        Raises:
            StopRequested: as `run`.
        """
        with self._resumption.leaving_a_checkpoint():
            return self._forecast(rows)  # (n,)

    def predict_windows(self, windows: np.ndarray) -> np.ndarray:
        """Return the (n,) float32 forecasts of *windows*, (n, L, F) float32, in the unit of the label.

        Raises:
            StopRequested: as `run`.
        """
        with self._resumption.leaving_a_checkpoint():
            return self._forecast_windows(windows)

    @abstractmethod
    def _forecast_windows(self, windows: np.ndarray) -> np.ndarray:
        """Forecast *windows*, with safe points in between."""

    def _epoch(self) -> None:
        self._reports.begin_epoch()
        self._train()
        self._state.settle()
        self._reports.training_done()
        validation_loss = self._validation_loss()
        train_loss = self.progress.loss_sum / self.progress.samples
        self._state.close_epoch(validation_loss)
        self._reports.epoch_done(self.progress.epoch, train_loss, validation_loss, self.micro_batch)
        self._resumption.save_if_due(mid_epoch=False)

    @abstractmethod
    def _train(self) -> None:
        """Take the remaining steps of the epoch, and count each with `_count_step`."""

    @abstractmethod
    def _validation_loss(self) -> float:
        """Return the mean loss of the validation samples; NaN without any."""

    @abstractmethod
    def _forecast(self, rows: Any) -> Any:
        """Forecast *rows*, with safe points in between."""

    @abstractmethod
    def _recut(self, micro_batch: int) -> None:
        """Prepare the net for *micro_batch*, where it was built for another."""

    def _count_step(self, samples: int) -> None:
        """Count a step of *samples*; report a part of a long epoch and write a checkpoint when they are due.

        There is no safe point in here: counters and weights belong together.
        """
        progress = self.progress
        progress.step += 1
        progress.samples += samples
        self._reports.count(samples)
        if self._reports.part_is_due and progress.step < self._steps:
            self._state.settle()
            self._reports.part_done(progress.epoch + 1, progress.step, self._steps, self.micro_batch)
        self._resumption.save_if_due(mid_epoch=True)

    @property
    def _wanted_micro_batch(self) -> int:
        wanted = self._channel.wanted_micro_batch
        return self.micro_batch if wanted is None else min(max(wanted, 1), self._grain)

    def _apply_micro_batch(self) -> None:
        """Change to the micro-batch that was ordered. Only between two steps: a step is cut in one way or the other."""
        if (micro_batch := self._wanted_micro_batch) == self.micro_batch:
            return
        self._recut(micro_batch)
        self._resumption.change_micro_batch(micro_batch)
        self._note_micro_batch()
        self._shrink()
        self._reports.disturb()
        self._channel.report(MicroBatchChanged(self.progress.epoch, micro_batch))

    def _note_micro_batch(self) -> None:
        """Note that the gradients are summed in other pieces from now on, the first time that they are."""
        if self.micro_batch < self._grain:
            changed = f"micro-batch {self.micro_batch} instead of {self._grain}"
            self._task.note_difference(f"{changed} from epoch {self.progress.epoch + 1} on", what=changed)

    def _probed(self) -> Probed:
        with self._resumption.clock.set_cpu_aside():  # the channel leaves out its wall time
            return self._probe()


def grain_of(params: NeuralParams) -> int:
    """Return the most samples whose gradient is computed in one piece."""
    return min(params.grain or params.batch_size, params.batch_size)


def assigned_micro_batch(task: Task, params: NeuralParams) -> int:
    """Return the micro-batch that an attempt begins with: the assigned one, at most the grain."""
    grain = grain_of(params)
    return min(task.assignment.micro_batch or grain, grain)
