"""The training loop of every net: steps, epochs, early stopping; it stops and goes on at any batch.

A run that is stopped anywhere and continued any number of times ends on the CPU with the same bits as one that was
left alone: order and dropout are functions of (seed, epoch, step), a step counts whole or not at all, and the rest is
in the checkpoint. A smaller micro-batch accumulates to the same effective batch, so that only the order of
floating-point sums differs (no model here may use batch statistics). Knows no features, no scores and no files.
Neighbours: the families and `torch_run` above; `batches`, `dropout`, `torch_passes`, `torch_precision`, `torch_state`,
`resumption` and `work_reports` below.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from cbi_queue.protocol import MicroBatchChanged, Started
from jobs.batches import epoch_order, pieces, steps_of
from jobs.dropout import StepSeeds
from jobs.probe import probe_for
from jobs.resumption import Resumption
from jobs.torch_device import release_caches, shrink, wait_for
from jobs.torch_passes import Passes, squared_error
from jobs.torch_precision import Precision
from jobs.torch_state import Circumstances, Progress, TorchState
from jobs.work_reports import WorkReports

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from cbi_queue.catalogue import NeuralParams
    from cbi_queue.protocol import Probed
    from jobs.batches import Windows
    from jobs.checkpoint_pace import CheckpointPace
    from jobs.trainer import Task

CAN = ("pace", "micro_batch", "probe", "checkpoint")
"""Directives obeyed beyond pause and stop."""
EVALUATION_FACTOR = 4
"""Micro-batches that go through the net at once where no gradient is kept: they need less memory than one that is.
One of a net whose inputs are the larger part needs as much, so that after a downgrade it is a single one."""
SETTLE_EVERY_STEPS = 16
"""Steps after which an accelerator is waited for. Metal keeps up to 1 MB for each call of a recurrent layer until
then; waiting at every step instead would leave a fast device idle between small steps."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Row numbers of the samples, (n,) int64 each, on the data's device; none empty, none before `first_row`."""

    train: torch.Tensor
    validation: torch.Tensor


class TorchLoop:
    """One training run of one net: `restore`, then `run`, then `predict`."""

    def __init__(
        self,
        task: Task,
        params: NeuralParams,
        model: nn.Module,
        data: Windows,
        blocks: Blocks,
        *,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = squared_error,
        schedule_for: Callable[[Optimizer], LRScheduler] | None = None,
        precision: Precision | None = None,
        fixed_shapes: bool | None = None,
        pace: CheckpointPace | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to train *model*, which lies on the data's device.

        Args:
            task: the attempt, for its channel, its checkpoints and its micro-batch.
            params: epochs, batch and the rest.
            model: maps windows (n, L, F) to predictions (n,), each a function of its own window alone.
            data: features and labels.
            blocks: the samples that train and those that select.
            loss: the loss of each sample; the gradient is that of its mean over the effective batch.
            schedule_for: makes a learning-rate schedule, stepped after each epoch.
            precision: what to compute in; default float32.
            fixed_shapes: as for `Passes`; default: on Metal.
            pace: when a checkpoint is due.
            now_s: a clock that only rises.
        """
        self._task, self._params, self._blocks = task, params, blocks
        self._channel, self._device = task.channel, data.x.device
        self._precision = precision or Precision()
        self._weights, self._seeds = list(model.parameters()), StepSeeds(model)
        optimiser = torch.optim.AdamW(  # without weight decay this is Adam
            self._weights,
            lr=params.learning_rate,
            weight_decay=params.weight_decay,
            fused=self._device.type
            in {"cpu", "cuda"},  # 0.8 ms a step instead of 3.2 for 630,000 weights on one thread
        )
        schedule = schedule_for(optimiser) if schedule_for else None
        self._state = TorchState(model, optimiser, schedule, Progress(), {}, self._precision.scaler)
        fixed_shapes = self._device.type == "mps" if fixed_shapes is None else fixed_shapes
        self._passes = Passes(model, data, loss, self._precision, fixed_shapes=fixed_shapes)
        micro_batch = min(task.assignment.micro_batch or params.batch_size, params.batch_size)
        around = Circumstances(
            micro_batch, torch.get_num_threads(), str(self._device), torch.__version__, self._precision.name
        )
        digest = data.digest(blocks.train, blocks.validation)
        self._shape = f"rows={data.x.shape[0]} window={data.sequence_length}x{data.x.shape[1]}"
        self._resumption = Resumption(task, self._state, around, digest, pace=pace, now_s=now_s)
        self._reports = WorkReports(self._channel, self._resumption.clock, params.epochs, lambda: self._passes.data_s)
        self._channel.on_pause = partial(shrink, self._device)
        self._channel.probe = self._probed

    @property
    def model(self) -> nn.Module:
        """The net; after `run` it has the best weights."""
        return self._state.model

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

    def started(self) -> Started:
        """Say what is about to happen."""
        spec, params, samples = self._task.spec, self._params, len(self._blocks.train)
        around = self._resumption.circumstances
        weights = sum(weight.numel() for weight in self.model.parameters())
        return Started(
            total_epochs=params.epochs,
            samples=samples,
            fingerprint=f"{spec.model} {spec.horizon} {self._shape} samples={samples} weights={weights} "
            f"batch={params.batch_size} device={around.device} threads={around.threads} precision={around.precision}",
            device=self._device.type,
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
            while not self._is_over():
                self._epoch()
        self._resumption.clock.stop()
        if self._state.best:
            self.model.load_state_dict(self._state.best)

    def predict(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the (n,) predictions of *rows*, (n,) int64, in the unit of `Windows.y`.

        Raises:
            StopRequested: as `run`.
        """
        with self._resumption.leaving_a_checkpoint():
            return self._evaluated(rows)  # (n,)

    def _epoch(self) -> None:
        self._reports.begin_epoch()
        self._train()
        self._state.settle()
        self._reports.training_done()
        rows = self._blocks.validation
        validation_loss = self._passes.mean_loss(self._evaluated(rows), rows)
        train_loss = self.progress.loss_sum / self.progress.samples
        self._count_epoch(validation_loss)
        self._reports.epoch_done(self.progress.epoch, train_loss, validation_loss, self.micro_batch)
        release_caches(self._device)
        self._resumption.save_if_due(mid_epoch=False)

    def _train(self) -> None:
        """Take the steps of the epoch that are not behind us yet."""
        self.model.train()
        samples, progress = len(self._blocks.train), self.progress
        order = epoch_order(samples, self._params.seed, progress.epoch).to(self._device)  # (samples,)
        batches = list(pieces(self._blocks.train[order], self._params.batch_size))
        steps = steps_of(samples, self._params.batch_size)
        for step in range(progress.step, steps):
            self._take_over_micro_batch()
            self._state.pending += self._step(batches[step], step)
            progress.step = step + 1
            progress.samples += len(batches[step])
            self._reports.count(len(batches[step]))
            if progress.step % SETTLE_EVERY_STEPS == 0:
                self._state.settle()
            if self._reports.part_is_due and progress.step < steps:
                self._state.settle()
                self._reports.part_done(progress.epoch + 1, progress.step, steps, self.micro_batch)
            self._resumption.save_if_due(mid_epoch=True)

    def _step(self, rows: torch.Tensor, step: int) -> list[torch.Tensor]:
        """Take one optimiser step on the effective batch *rows*, (n,); return the sums of losses of its pieces.

        A stop between micro-batches leaves weights and counters as they were: the step is taken anew.
        """
        self._seeds.seed(self._params.seed, self.progress.epoch, step)
        self._state.optimiser.zero_grad()
        loss_sums = []
        for piece in pieces(rows, self.micro_batch):
            self._safe_point()
            loss_sums.append(self._passes.backward(piece, self.micro_batch, len(rows)))
        self._precision.step(self._weights, self._state.optimiser, self._params.gradient_clip)
        return loss_sums

    def _take_over_micro_batch(self) -> None:
        """Go on as ordered. Only here, between two steps: a step is cut in one way or the other."""
        wanted = self._channel.wanted_micro_batch
        if wanted is None or (micro_batch := min(max(wanted, 1), self._params.batch_size)) == self.micro_batch:
            return
        self._resumption.change_micro_batch(micro_batch)
        shrink(self._device)
        self._reports.disturb()
        self._channel.report(MicroBatchChanged(self.progress.epoch, micro_batch))

    def _safe_point(self) -> None:
        """Stand still or leave here if asked to. A paced device is waited for, or it would go on working in the rest."""
        if self._channel.is_paced:
            wait_for(self._device)
        self._channel.safe_point(self.progress.epoch)

    def _evaluated(self, rows: torch.Tensor) -> torch.Tensor:
        self.model.eval()
        size = self.micro_batch * (EVALUATION_FACTOR if self.micro_batch == self._params.batch_size else 1)
        predicted = []
        for piece in pieces(rows, size):
            self._safe_point()
            predicted.append(self._passes.predict(piece, size))
        return torch.cat(predicted)  # (n,)

    def _count_epoch(self, validation_loss: float) -> None:
        """Close the epoch. No safe point in here: counters, best weights and schedule change together."""
        progress = self.progress
        progress.epoch += 1
        progress.step, progress.loss_sum, progress.samples = 0, 0.0, 0
        if validation_loss < progress.best_loss:
            progress.best_loss, progress.best_epoch, progress.stale_epochs = validation_loss, progress.epoch, 0
            self._state.keep_as_best()
        else:  # a loss that is not a number counts as no better
            progress.stale_epochs += 1
        if self._state.schedule:
            self._state.schedule.step()

    def _is_over(self) -> bool:
        return self.progress.epoch >= self._params.epochs or self.progress.stale_epochs >= self._params.patience

    def _probed(self) -> Probed:
        with self._resumption.clock.set_cpu_aside():  # its wall time is the channel's to leave out
            return probe_for(self._device)()
