"""The training loop of every torch net: it takes the steps of an epoch, and can stop and continue at any batch.

A run that is stopped anywhere and continued any number of times ends on the CPU with the same bits as an undisturbed
one: order and dropout are functions of (seed, epoch, step), a step counts whole or not at all, and the rest is in the
checkpoint. Gradients are computed in pieces of a micro-batch, which begins at the grain, and added in the order of the
batch. A micro-batch below the grain cuts other pieces, and float32 rounds otherwise: statistically the same training,
other numbers (no model here may use batch statistics). Knows no features, no scores and no files.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from jobs.nets.circumstances import Circumstances
from jobs.nets.loop import EVALUATION_FACTOR, NetLoop, NetShape, assigned_micro_batch
from jobs.nets.progress import NetProgress
from jobs.torch_backend.batches import Windows, epoch_order, pieces
from jobs.torch_backend.device import release_caches, shrink, wait_for
from jobs.torch_backend.dropout import StepSeeds
from jobs.torch_backend.passes import Passes, squared_error
from jobs.torch_backend.precision import Precision
from jobs.torch_backend.probe import probe
from jobs.torch_backend.state import TorchState

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from cbi_queue.models.parameters.neural import NeuralParams
    from jobs.trainer import Task
    from jobs.training.checkpoint_pace import CheckpointPace

SETTLE_EVERY_STEPS = 16
"""Steps between two waits for an accelerator. Metal keeps up to 1 MB for each call of a recurrent layer until then;
waiting at every step instead would leave a fast device idle between small steps."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Row numbers of the samples, (n,) int64 each, on the data's device; none before `first_row`."""

    train: torch.Tensor
    """Never empty."""
    validation: torch.Tensor
    """Empty where no block selects: every epoch is then trained and the last weights are kept."""


class TorchLoop(NetLoop):
    """One training run of one torch net: `restore`, then `run`, then `predict`."""

    _state: TorchState

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
        """Prepare to train *model*, which is on the data's device.

        Args:
            task: the attempt, for its channel, its checkpoints and its micro-batch.
            params: epochs, batch and the rest.
            model: maps windows (n, L, F) to predictions (n,), each a function of its own window alone.
            data: features and labels.
            blocks: the samples of training and of validation.
            loss: the loss of each sample; the gradient is that of its mean over the effective batch.
            schedule_for: makes a learning-rate schedule, stepped after each epoch.
            precision: what to compute in; default float32.
            fixed_shapes: as for `Passes`; default: on Metal.
            pace: when a checkpoint is due.
            now_s: a clock that only rises.
        """
        self._blocks, self._device = blocks, data.x.device
        self._precision = precision or Precision()
        self._weights, self._seeds = list(model.parameters()), StepSeeds(model)
        optimiser = torch.optim.AdamW(  # without weight decay this is Adam
            self._weights,
            lr=params.learning_rate,
            weight_decay=params.weight_decay,
            # 0.8 ms a step instead of 3.2 for 630,000 weights on one thread
            fused=self._device.type in {"cpu", "cuda"},
        )
        schedule = schedule_for(optimiser) if schedule_for else None
        fixed_shapes = self._device.type == "mps" if fixed_shapes is None else fixed_shapes
        self._passes = Passes(model, data, loss, self._precision, fixed_shapes=fixed_shapes)
        circumstances = Circumstances(
            assigned_micro_batch(task, params),
            torch.get_num_threads(),
            str(self._device),
            self._precision.name,
            {"torch": str(torch.__version__)},
        )
        weights = sum(weight.numel() for weight in self._weights)
        super().__init__(
            task,
            params,
            TorchState(model, optimiser, schedule, NetProgress(), {}, self._precision.scaler),
            circumstances,
            NetShape(data.x.shape[0], data.sequence_length, data.x.shape[1], len(blocks.train), weights),
            data.digest(blocks.train, blocks.validation),
            probe=partial(probe, self._device),
            shrink=partial(shrink, self._device),
            data_s=lambda: self._passes.data_s,
            pace=pace,
            now_s=now_s,
        )

    @property
    def model(self) -> nn.Module:
        """The net; after `run` it has the best weights."""
        return self._state.model

    def _epoch(self) -> None:
        super()._epoch()
        release_caches(self._device)

    def _train(self) -> None:
        self.model.train()
        samples, done = len(self._blocks.train), self.progress.step
        order = epoch_order(samples, self._params.seed, self.progress.epoch).to(self._device)  # (samples,)
        batches = list(pieces(self._blocks.train[order], self._params.batch_size))
        for step, batch in enumerate(batches[done:], done):
            self._apply_micro_batch()
            self._state.pending += self._step(batch, step)
            if (step + 1) % SETTLE_EVERY_STEPS == 0:
                self._state.settle()
            self._count_step(len(batch))

    def _step(self, rows: torch.Tensor, step: int) -> list[torch.Tensor]:
        """Take one optimiser step on the effective batch *rows*, (n,); return the sums of losses of its pieces.

        A stop between micro-batches leaves weights and counters as they were: the step is taken again.
        """
        self._seeds.seed(self._params.seed, self.progress.epoch, step)
        self._state.optimiser.zero_grad()
        loss_sums = []
        for piece in pieces(rows, self.micro_batch):
            self._safe_point()
            loss_sums.append(self._passes.backward(piece, self.micro_batch, len(rows)))
        self._precision.step(self._weights, self._state.optimiser, self._params.gradient_clip)
        return loss_sums

    def _safe_point(self) -> None:
        """Pause or stop here if requested. A paced device is waited for, or it would continue to work during the rest."""
        if self._channel.is_paced:
            wait_for(self._device)
        self._channel.safe_point(self.progress.epoch)

    def _validation_loss(self) -> float:
        rows = self._blocks.validation
        return self._passes.mean_loss(self._forecast(rows), rows) if len(rows) else math.nan

    def _recut(self, micro_batch: int) -> None:
        """Do nothing: the net takes any number of windows at once."""

    def _forecast_windows(self, windows: np.ndarray) -> np.ndarray:
        samples, length, inputs = windows.shape
        like = self._passes.data
        x = torch.from_numpy(windows.reshape(-1, inputs)).to(like.x.device, like.x.dtype)  # (n * L, F)
        apart = Windows(x, like.y.new_zeros(len(x)), length)
        rows = torch.arange(1, samples + 1, device=x.device) * length - 1  # (n,)
        forecast: np.ndarray = self._forecast(rows, self._passes.on(apart)).float().cpu().numpy()
        return forecast

    def _forecast(self, rows: torch.Tensor, passes: Passes | None = None) -> torch.Tensor:
        passes = passes or self._passes
        self.model.eval()
        # where inputs are most of the memory, no gradient saves little: after a downgrade one micro-batch at a time
        size = self.micro_batch * (EVALUATION_FACTOR if self.micro_batch == self._grain else 1)
        predicted = []
        for piece in pieces(rows, size):
            self._safe_point()
            predicted.append(passes.predict(piece, size))
        return torch.cat(predicted)  # (n,)
