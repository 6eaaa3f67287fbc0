"""How far the training of a net has come, and how a checkpoint stores it. Pure values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUMS = ("loss_sum", "best_loss", "worked_s")
"""Stored as an array of float64, so that every bit is restored, NaN included."""
_COUNTS = ("samples", "best_epoch", "stale_epochs")


@dataclass(slots=True)
class NetProgress:
    """The whole state of a training, apart from the weights and the optimiser's moments."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished optimiser steps of the epoch after those."""
    loss_sum: float = 0.0
    """Sum of the samples' losses in the unfinished epoch, as far as they are known: a device may still have some."""
    samples: int = 0
    """Samples seen in the unfinished epoch."""
    best_loss: float = math.inf
    """Lowest mean validation loss so far."""
    best_epoch: int = 0
    """Epoch (1-based) of the best weights; 0: none yet."""
    stale_epochs: int = 0
    """Epochs since then: the patience counter."""
    worked_s: float = 0.0
    """Seconds of training in this and all earlier attempts, pauses and checkpoints excluded."""

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> NetProgress:
        """Return the progress stored in *checkpoint*."""
        sums = dict(zip(_SUMS, checkpoint.arrays["sums"].tolist(), strict=True))
        return cls(checkpoint.epoch, checkpoint.step, **sums, **checkpoint.facts["counts"])

    def checkpoint(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Checkpoint:
        """Return a checkpoint of this progress, *facts* and *arrays*."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        sums = np.array([getattr(self, name) for name in _SUMS], dtype=np.float64)
        return Checkpoint(self.epoch, self.step, {**facts, "counts": counts}, {**arrays, "sums": sums})

    def close_epoch(self, validation_loss: float) -> bool:
        """Count the epoch as finished; return True if it is the best so far. A loss of NaN is not better."""
        self.epoch += 1
        self.step, self.loss_sum, self.samples = 0, 0.0, 0
        if validation_loss < self.best_loss:
            self.best_loss, self.best_epoch, self.stale_epochs = validation_loss, self.epoch, 0
            return True
        self.stale_epochs += 1
        return False

    def is_over(self, epochs: int, patience: int) -> bool:
        """Return True if all *epochs* are finished, or the last *patience* of them brought no better one."""
        return self.epoch >= epochs or self.stale_epochs >= patience


def steps_of(samples: int, batch_size: int) -> int:
    """Return the number of optimiser steps that *samples* make; the last one may be smaller."""
    return -(-samples // batch_size)
