"""How far the training of a net has come, whatever its library, and its place in a checkpoint. Pure values.

Neighbours: `net_loop`, which counts; `torch_state` and `keras_state`, which store it; `checkpoint`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUMS = ("loss_sum", "best_loss", "worked_s")
"""Stored as an array of float64, so that they come back to the bit, NaN included."""
_COUNTS = ("samples", "best_epoch", "stale_epochs")


@dataclass(slots=True)
class Progress:
    """The model's weights and the optimiser's moments aside, this is the whole state of a training."""

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
    def of(cls, checkpoint: Checkpoint) -> Progress:
        """Return how far the training had come that left *checkpoint*."""
        sums = dict(zip(_SUMS, checkpoint.arrays["sums"].tolist(), strict=True))
        return cls(checkpoint.epoch, checkpoint.step, **sums, **checkpoint.facts["counts"])

    def checkpoint(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Checkpoint:
        """Return a checkpoint of *facts* and *arrays* that says how far the training has come."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        sums = np.array([getattr(self, name) for name in _SUMS], dtype=np.float64)
        return Checkpoint(self.epoch, self.step, {**facts, "counts": counts}, {**arrays, "sums": sums})

    def close_epoch(self, validation_loss: float) -> bool:
        """Count the epoch as finished; tell whether it is the best so far. A loss that is not a number is no better."""
        self.epoch += 1
        self.step, self.loss_sum, self.samples = 0, 0.0, 0
        if validation_loss < self.best_loss:
            self.best_loss, self.best_epoch, self.stale_epochs = validation_loss, self.epoch, 0
            return True
        self.stale_epochs += 1
        return False

    def is_over(self, epochs: int, patience: int) -> bool:
        """Tell whether all *epochs* are finished, or *patience* of them went by without a better one."""
        return self.epoch >= epochs or self.stale_epochs >= patience


def steps_of(samples: int, batch_size: int) -> int:
    """Return the number of optimiser steps that *samples* make; the last one may be smaller."""
    return -(-samples // batch_size)
