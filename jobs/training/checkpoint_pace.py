"""When a checkpoint is due: often enough to lose little, rarely enough to cost at most 3.5 % of the training. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CheckpointPace:
    """After each epoch, but not more often than the gap; within an epoch, when it is a long one.

    The gap after a checkpoint that cost c seconds is max(every_s, c / cost_share) seconds of training: on a slow disk
    checkpoints are rarer, and training is not slowed down further.
    """

    every_s: float = 2.0
    """Seconds of training between checkpoints at the ends of epochs: what SIGKILL costs when epochs are short."""
    mid_epoch_s: float = 60.0
    """The same within an epoch: what SIGKILL costs when epochs are long."""
    cost_share: float = 0.035
    """Largest share of training time spent on checkpoints (the bound of CheckFreq)."""
    paid_at_s: float = 0.0
    """Training time at the last checkpoint, written or failed."""
    last_cost_s: float = 0.0

    def is_due(self, worked_s: float, *, mid_epoch: bool) -> bool:
        """Return True if a checkpoint is due at *worked_s* seconds of training."""
        wanted_s = self.mid_epoch_s if mid_epoch else self.every_s
        return worked_s - self.paid_at_s >= max(wanted_s, self.last_cost_s / self.cost_share)

    def paid(self, worked_s: float, cost_s: float) -> None:
        """Record a checkpoint, written or failed, and its cost in seconds."""
        self.paid_at_s, self.last_cost_s = worked_s, cost_s
