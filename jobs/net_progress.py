"""How far the training of a net has come, whatever its library. Pure values."""

from __future__ import annotations

import math
from dataclasses import dataclass


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

    def close_epoch(self, validation_loss: float) -> bool:
        """Count the epoch as finished; tell whether it is the best so far. A loss that is not a number is no better."""
        self.epoch += 1
        self.step, self.loss_sum, self.samples = 0, 0.0, 0
        if validation_loss < self.best_loss:
            self.best_loss, self.best_epoch, self.stale_epochs = validation_loss, self.epoch, 0
            return True
        self.stale_epochs += 1
        return False
