"""The training loop of every net: steps, epochs, early stopping; it stops and goes on at any batch.

A run that is stopped anywhere and continued any number of times ends on the CPU with the same bits as one that was
left alone: order and dropout are functions of (seed, epoch, step), a step counts whole or not at all, and the rest is
in the checkpoint. A smaller micro-batch accumulates to the same effective batch, so that only the order of
floating-point sums differs (no model here may use batch statistics). Knows no features, no scores and no files.
Neighbours: the families above; `batches`, `dropout`, `torch_state` and `resumption` below.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.utils import clip_grad_norm_

from cbi_queue.protocol import EpochReport, Started
from jobs.batches import epoch_order, pieces, steps_of
from jobs.dropout import seed_step
from jobs.resumption import Resumption
from jobs.torch_device import release_caches
from jobs.torch_state import Circumstances, Progress, TorchState

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from cbi_queue.catalogue import NeuralParams
    from jobs.batches import Windows
    from jobs.checkpoint_pace import CheckpointPace
    from jobs.trainer import Task

EVALUATION_FACTOR = 4
"""Micro-batches that go through the net at once where no gradient is kept: they need less memory than one that is."""


def squared_error(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the loss of each sample, (n,) and (n,) -> (n,): (f - y)^2."""
    return (predicted - target) ** 2


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
        pace: CheckpointPace | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to train *model*, which lies on the data's device.

        Args:
            task: the attempt, for its channel, its checkpoints and its micro-batch.
            params: epochs, batch and the rest.
            model: maps windows (n, L, F) to predictions (n,).
            data: features and labels.
            blocks: the samples that train and those that select.
            loss: the loss of each sample; the gradient is that of its mean over the effective batch.
            schedule_for: makes a learning-rate schedule, stepped after each epoch.
            pace: when a checkpoint is due.
            now_s: a clock that only rises.
        """
        self._task, self._params, self._data, self._blocks, self._loss = task, params, data, blocks, loss
        self._channel, self._device = task.channel, data.x.device
        optimiser = torch.optim.AdamW(  # without weight decay this is Adam
            model.parameters(),
            lr=params.learning_rate,
            weight_decay=params.weight_decay,
            fused=self._device.type == "cpu",  # 0.8 ms a step instead of 3.2 for 630,000 weights on one thread
        )
        schedule = schedule_for(optimiser) if schedule_for else None
        self._state = TorchState(model, optimiser, schedule, Progress(), {})
        micro_batch = min(task.assignment.micro_batch or params.batch_size, params.batch_size)
        around = Circumstances(micro_batch, torch.get_num_threads(), str(self._device), torch.__version__)
        digest = data.digest(blocks.train, blocks.validation)
        self._resumption = Resumption(task, self._state, around, digest, pace=pace, now_s=now_s)

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
        spec, params, (rows, features) = self._task.spec, self._params, self._data.x.shape
        samples, around = len(self._blocks.train), self._resumption.circumstances
        return Started(
            total_epochs=params.epochs,
            samples=samples,
            fingerprint=f"{spec.model} {spec.horizon} rows={rows} window={params.sequence_length}x{features} "
            f"samples={samples} weights={sum(weight.numel() for weight in self.model.parameters())} "
            f"batch={params.batch_size} micro={around.micro_batch} device={around.device} threads={around.threads}",
        )

    def run(self) -> None:
        """Train until the epochs or the patience are used up, then give the net its best weights.

        Raises:
            StopRequested: when an end was asked for, after a checkpoint was left (or reported as failed).
        """
        self._resumption.begin()
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
        started_s, seen_before = self.fit_s, self.progress.samples
        self._train()
        validation_loss = self._validation_loss()
        train_loss, samples = self.progress.loss_sum / self.progress.samples, self.progress.samples - seen_before
        self._count_epoch(validation_loss)
        self._report(train_loss, validation_loss, samples, self.fit_s - started_s)
        release_caches(self._device)
        self._resumption.save_if_due(mid_epoch=False)

    def _train(self) -> None:
        """Take the steps of the epoch that are not behind us yet."""
        self.model.train()
        samples, progress = len(self._blocks.train), self.progress
        order = epoch_order(samples, self._params.seed, progress.epoch).to(self._device)  # (samples,)
        batches = list(pieces(self._blocks.train[order], self._params.batch_size))
        for step in range(progress.step, steps_of(samples, self._params.batch_size)):
            loss_sum = self._step(batches[step], step)
            progress.step = step + 1
            progress.loss_sum += loss_sum
            progress.samples += len(batches[step])
            self._resumption.save_if_due(mid_epoch=True)

    def _step(self, rows: torch.Tensor, step: int) -> float:
        """Take one optimiser step on the effective batch *rows*, (n,); return the sum of its losses.

        A stop between micro-batches leaves weights and counters as they were: the step is taken anew.
        """
        seed_step(self.model, self._params.seed, self.progress.epoch, step)
        self._state.optimiser.zero_grad()
        loss_sum = 0.0
        for piece in pieces(rows, self.micro_batch):
            self._channel.safe_point(self.progress.epoch)
            losses = self._loss(self.model(self._data.gather(piece)), self._data.targets(piece))  # (micro,)
            total = losses.sum()
            (total / len(rows)).backward()  # each piece weighs as many samples as it has: together the batch's mean
            loss_sum += total.item()
        clip_grad_norm_(self.model.parameters(), self._params.gradient_clip)
        self._state.optimiser.step()
        return loss_sum

    def _validation_loss(self) -> float:
        rows = self._blocks.validation
        return self._loss(self._evaluated(rows), self._data.targets(rows)).mean().item()

    @torch.no_grad()
    def _evaluated(self, rows: torch.Tensor) -> torch.Tensor:
        self.model.eval()
        predicted = []
        for piece in pieces(rows, self.micro_batch * EVALUATION_FACTOR):
            self._channel.safe_point(self.progress.epoch)
            predicted.append(self.model(self._data.gather(piece)))
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

    def _report(self, train_loss: float, validation_loss: float, samples: int, wall_s: float) -> None:
        was_paused, restarted = self._channel.take_was_paused(), self._resumption.take_restarted()
        self._channel.report(
            EpochReport(
                epoch=self.progress.epoch,
                total_epochs=self._params.epochs,
                wall_s=wall_s,
                samples=samples or None,  # none are left when a stop had come during the validation
                train_loss=_finite(train_loss),
                validation_loss=_finite(validation_loss),
                micro_batch=self.micro_batch,
                resumed=was_paused or restarted,
            )
        )


def _finite(value: float) -> float | None:
    """Return *value*, or None when it is not a finite number: JSON has no NaN."""
    return value if math.isfinite(value) else None
