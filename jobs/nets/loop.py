"""The loop of every net, whatever its library: epochs, early stopping, the micro-batch, reports and checkpoints.

A library's loop takes the steps of an epoch, scores and forecasts; its state holds weights and optimiser. All that a
stop, a pause or an order of the slot touches between two steps is here, and the same for all. Knows no library, no
features and no files. Neighbours: `torch_loop` and `keras_loop` above; `net_progress`, `resumption` and `work_reports`
below.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cbi_queue.protocol import MicroBatchChanged, Started
from jobs.nets.progress import steps_of
from jobs.nets.resumption import Resumable, Resumption
from jobs.training.work_reports import WorkReports

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.models.parameters.neural import NeuralParams
    from cbi_queue.protocol import Probed
    from jobs.nets.circumstances import Circumstances
    from jobs.nets.progress import Progress
    from jobs.trainer import Task
    from jobs.training.checkpoint_pace import CheckpointPace

CAN = ("pace", "micro_batch", "probe", "checkpoint")
"""Directives obeyed beyond pause and stop."""
EVALUATION_FACTOR = 4
"""Micro-batches that go through the net at once where no gradient is kept: they need less memory than one that is."""


class NetState(Resumable, Protocol):
    """Everything of a run that changes while it trains, as the loop needs it."""

    def settle(self) -> None:
        """Wait for the device and add the losses that it still has to the progress."""
        ...

    def close_epoch(self, validation_loss: float) -> None:
        """Count the epoch as finished, and keep the weights if they are the best so far."""
        ...

    def take_best(self) -> None:
        """Give the net its best weights, if there are any."""
        ...


class Shape(NamedTuple):
    """What an epoch costs by: the sizes of data and net."""

    rows: int
    window_rows: int
    inputs: int
    samples: int
    weights: int

    def __str__(self) -> str:
        """Write it as a fingerprint has it."""
        return f"rows={self.rows} window={self.window_rows}x{self.inputs} samples={self.samples} weights={self.weights}"


class NetLoop(ABC):
    """One training run of one net: `restore`, then `run`, then `predict`. A library's loop says how steps are taken."""

    backend = ""
    """What a fingerprint says of the library, with a space behind it; nothing for torch, the first backend."""

    def __init__(
        self,
        task: Task,
        params: NeuralParams,
        state: NetState,
        around: Circumstances,
        shape: Shape,
        digest: str,
        *,
        probe: Callable[[], Probed],
        shrink: Callable[[], object],
        data_s: Callable[[], float | None] = lambda: None,
        pace: CheckpointPace | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to train.

        Args:
            task: the attempt, for its channel and its checkpoints.
            params: epochs, batch, patience.
            state: of the net, fresh.
            around: with the micro-batch that was assigned.
            shape: of data and net.
            digest: names the data; checkpoints of other data are refused.
            probe: measures the device.
            shrink: gives back what is cached, when the training stands still or takes a smaller micro-batch.
            data_s: seconds spent on bringing data together so far; None: not known.
            pace: when a checkpoint is due.
            now_s: a clock that only rises.
        """
        self._task, self._params, self._channel = task, params, task.channel
        self._state, self._shape, self._probe, self._shrink = state, shape, probe, shrink
        self._steps = steps_of(shape.samples, params.batch_size)
        self._resumption = Resumption(task, state, around, digest, pace=pace, now_s=now_s)
        self._reports = WorkReports(self._channel, self._resumption.clock, params.epochs, data_s)
        self._channel.on_pause = shrink
        self._channel.probe = self._probed

    @property
    def progress(self) -> Progress:
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
        """Take over the newest usable checkpoint, if there is one; `run` then reports it.

        Raises:
            OSError: when the run's folder is gone.
        """
        self._resumption.restore()

    def started(self) -> Started:
        """Say what is about to happen."""
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
            StopRequested: when an end was asked for, after a checkpoint was left (or reported as failed).
        """
        self._resumption.begin()
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
        """Take the steps of the epoch that are not behind us yet, and count each with `_count_step`."""

    @abstractmethod
    def _validation_loss(self) -> float:
        """Return the mean loss of the samples that select."""

    @abstractmethod
    def _forecast(self, rows: Any) -> Any:
        """Forecast *rows*, with safe points on the way."""

    @abstractmethod
    def _recut(self, micro_batch: int) -> None:
        """Make the net ready for *micro_batch*, where it was built for one."""

    def _count_step(self, samples: int) -> None:
        """Count a step of *samples*; tell the part of a long epoch and leave a checkpoint when they are due.

        No safe point in here: counters and weights belong together.
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
        return self.micro_batch if wanted is None else min(max(wanted, 1), self._params.batch_size)

    def _take_over_micro_batch(self) -> None:
        """Go on as ordered. Only between two steps: a step is cut in one way or the other."""
        if (micro_batch := self._wanted_micro_batch) == self.micro_batch:
            return
        self._recut(micro_batch)
        self._resumption.change_micro_batch(micro_batch)
        self._shrink()
        self._reports.disturb()
        self._channel.report(MicroBatchChanged(self.progress.epoch, micro_batch))

    def _probed(self) -> Probed:
        with self._resumption.clock.set_cpu_aside():  # its wall time is the channel's to leave out
            return self._probe()


def assigned_micro_batch(task: Task, params: NeuralParams) -> int:
    """Return the micro-batch that an attempt begins with: the assigned one, at most the whole batch."""
    return min(task.assignment.micro_batch or params.batch_size, params.batch_size)
