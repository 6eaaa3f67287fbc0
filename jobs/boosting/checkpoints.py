"""The checkpoints of a boosted model whose library resumes exactly: the present model, and the best one so far.

XGBoost 3.2 with its DART booster does, when the seed is a function of the round and neither rows nor columns are drawn
(compared: 60 rounds at once and 30 + 30 rounds give the same file). Conditions that could change a bit (library, data,
bins, threads) are stored too, and a checkpoint of others is refused: the run then starts over, which is always exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, Note, Restored
from cbi_queue.regular_files import plain_words
from jobs.training.checkpoint import Checkpoint, CheckpointFolder
from jobs.training.checkpoint_pace import CheckpointPace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobs.trainer import Task
    from jobs.training.work_clock import WorkClock


@dataclass(frozen=True, slots=True)
class BoostingProgress:
    """How far a boosted model has come."""

    rounds: int
    model: bytes
    """The model after those rounds."""
    best: bytes
    best_round: int
    best_rmse: float
    worked_s: float
    """Training seconds so far, in all attempts."""


class BoostingCheckpoints:
    """The checkpoints of one attempt at one boosted model."""

    def __init__(self, task: Task, conditions: Mapping[str, str | int], pace: CheckpointPace | None = None) -> None:
        """Keep them in the task's folder; *conditions* are what a round's result depends on beside the spec, by name."""
        self._channel, self._conditions = task.channel, dict(conditions)
        self._folder = CheckpointFolder(task.checkpoint_dir, task.assignment.identity)
        self._pace = pace or CheckpointPace()
        self._safe_rounds = 0

    def restore(self) -> BoostingProgress | None:
        """Return the progress of the newest usable checkpoint, and report it; None when there is none.

        Raises:
            OSError: when the run's folder is gone.
        """
        found = self._folder.load_latest(self._misfit)
        if found.state is None:
            if found.rejected:
                why = "; ".join(found.rejected)
                self._channel.report(Note(f"training starts from round 1, no checkpoint can be used: {why}"))
            return None
        facts, arrays = found.state.facts, found.state.arrays
        standing = facts["standing"]
        standing = {**standing, "best_rmse": math.inf if standing["best_rmse"] is None else standing["best_rmse"]}
        progress = BoostingProgress(found.state.epoch, arrays["model"].tobytes(), arrays["best"].tobytes(), **standing)
        self._safe_rounds = progress.rounds
        self._pace.paid(progress.worked_s, 0.0)
        self._channel.report(Restored(progress.rounds, str(found.path), rejected=found.rejected))
        return progress

    def save_if_due(self, clock: WorkClock, progress: Callable[[], BoostingProgress]) -> None:
        """Save when a checkpoint is due."""
        if self._pace.is_due(clock.worked_s, mid_epoch=False):
            self.save(clock, progress)

    def save(self, clock: WorkClock, progress: Callable[[], BoostingProgress]) -> None:
        """Write a checkpoint, unless there is one; a failure is reported and does not end the training."""
        now = progress()
        if now.rounds == self._safe_rounds:
            return
        with clock.set_aside() as taken_s:
            try:
                saved = self._folder.save(self._checkpoint(now))
            except OSError as exc:
                self._channel.report(CheckpointFailed(now.rounds, plain_words(exc)))
            else:
                self._channel.report(CheckpointSaved(now.rounds, saved.bytes, saved.wall_s))
                self._safe_rounds = now.rounds
            cost_s = taken_s()
        self._pace.paid(clock.worked_s, cost_s)

    def _checkpoint(self, now: BoostingProgress) -> Checkpoint:
        best_rmse = now.best_rmse if math.isfinite(now.best_rmse) else None  # JSON has no infinity
        progress = {"best_round": now.best_round, "best_rmse": best_rmse, "worked_s": now.worked_s}
        arrays = {"model": np.frombuffer(now.model, np.uint8), "best": np.frombuffer(now.best, np.uint8)}
        return Checkpoint(now.rounds, 0, {"around": self._conditions, "standing": progress}, arrays)

    def _misfit(self, checkpoint: Checkpoint) -> str | None:
        stored = checkpoint.facts.get("around", {})
        pairs = ((name, stored.get(name), now) for name, now in self._conditions.items())
        changed = [f"{name} {before!s:.40}, now {now!s:.40}" for name, before, now in pairs if before != now]
        return f"made with {'; '.join(changed)}" if changed else None
