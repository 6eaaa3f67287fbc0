"""How a net's training survives its ends: takes up the newest checkpoint, writes new ones when due, tells the slot.

Decides nothing about training. Neighbours: `jobs.nets.loop` above; `torch_state` and `keras_state` (what is in a
checkpoint), `checkpoint` (the file), `checkpoint_pace` (when) and `work_clock` (what counts as training) below.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, Note, Restored
from jobs.process.channel import StopRequested
from jobs.training.checkpoint import CheckpointFolder
from jobs.training.checkpoint_pace import CheckpointPace
from jobs.training.work_clock import WorkClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobs.nets.circumstances import Circumstances
    from jobs.nets.progress import Progress
    from jobs.trainer import Task
    from jobs.training.checkpoint import Checkpoint, Found


class Resumable(Protocol):
    """The state of a training that can be left in a checkpoint and taken up from one."""

    progress: Progress

    def capture(self, circumstances: Circumstances, data_digest: str) -> Checkpoint:
        """Put the state into a checkpoint."""
        ...

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take the state over from a checkpoint that `misfit` has nothing against."""
        ...

    def misfit(self, checkpoint: Checkpoint, data_digest: str) -> str | None:
        """Say why a checkpoint cannot be continued here, None when it can."""
        ...


class Resumption:
    """The checkpoints of one attempt at training one net."""

    def __init__(
        self,
        task: Task,
        state: Resumable,
        circumstances: Circumstances,
        data_digest: str,
        *,
        pace: CheckpointPace | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the checkpoints of *state* in the task's folder, those of other data or another net refused."""
        self.circumstances = circumstances
        self.clock = WorkClock(task.channel, now_s)
        self._channel, self._assigned_micro_batch = task.channel, task.assignment.micro_batch
        self._state, self._data_digest = state, data_digest
        self._folder = CheckpointFolder(task.checkpoint_dir, task.assignment.identity)
        self._pace = pace or CheckpointPace()
        self._found: Found | None = None
        self._safe_at: tuple[int, int] | None = None
        self._restarted = False

    def restore(self) -> None:
        """Take over the newest usable checkpoint, if there is one."""
        self._found = self._folder.load_latest(lambda checkpoint: self._state.misfit(checkpoint, self._data_digest))
        checkpoint = self._found.state
        if checkpoint is None:
            return
        stored = checkpoint.facts["circumstances"]["micro_batch"]
        if self._assigned_micro_batch is None and stored < self.circumstances.micro_batch:
            # a downgrade sticks, also when the slot has lost sight of it
            self.circumstances = replace(self.circumstances, micro_batch=stored)
        self._state.restore(checkpoint)
        self._safe_at, self._restarted = (checkpoint.epoch, checkpoint.step), True

    def begin(self) -> None:
        """Report what was restored or why nothing was, and start to count the training time."""
        found, self._found = self._found, None  # its arrays are four times the weights: not to be kept while training
        if found is not None and found.state is not None:
            self._channel.report(self._restored(found))
        elif found is not None and found.rejected:
            why = "; ".join(found.rejected)
            self._channel.report(Note(f"training starts anew, no checkpoint can be used: {why}"))
        self.clock.start(self._state.progress.worked_s)
        self._pace.paid(self.clock.worked_s, 0.0)

    def change_micro_batch(self, micro_batch: int) -> None:
        """Go on with *micro_batch*: the next checkpoint says so, and who goes on from it does the same."""
        self.circumstances = replace(self.circumstances, micro_batch=micro_batch)

    def take_restarted(self) -> bool:
        """Tell once whether this attempt went on from a checkpoint: that epoch's time is no baseline."""
        restarted, self._restarted = self._restarted, False
        return restarted

    @contextmanager
    def leaving_a_checkpoint(self) -> Iterator[None]:
        """On StopRequested save what is not saved yet, and let it pass."""
        try:
            yield
        except StopRequested:
            if self._safe_at != self._now_at:
                self.save()
            raise

    def save_if_due(self, *, mid_epoch: bool) -> None:
        """Save when the pace says so."""
        if self._pace.is_due(self.clock.worked_s, mid_epoch=mid_epoch):
            self.save()

    def save(self) -> None:
        """Leave a checkpoint; one that cannot be written is reported and does not end the training."""
        self._state.progress.worked_s = self.clock.worked_s
        epoch = self._state.progress.epoch
        with self.clock.set_aside() as taken_s:
            try:
                saved = self._folder.save(self._state.capture(self.circumstances, self._data_digest))
            except MemoryError as exc:
                self._channel.report(CheckpointFailed(epoch, f"no memory for it: {exc}".removesuffix(": ")))
            except OSError as exc:
                self._channel.report(CheckpointFailed(epoch, str(exc)))
            else:
                self._channel.report(CheckpointSaved(epoch, saved.bytes, saved.wall_s))
                self._safe_at = self._now_at
            cost_s = taken_s()
        self._pace.paid(self.clock.worked_s, cost_s)

    @property
    def _now_at(self) -> tuple[int, int]:
        return self._state.progress.epoch, self._state.progress.step

    def _restored(self, found: Found) -> Restored:
        changes = self.circumstances.changes_since(found.state.facts["circumstances"])
        if not self.circumstances.device.startswith("cpu"):
            changes.append(f"equal bits are not promised on {self.circumstances.device}")
        return Restored(
            self._state.progress.epoch,
            str(found.path),
            exact=not changes,
            note=f"equal within floating-point tolerance, not to the bit: {', '.join(changes)}" if changes else None,
            rejected=found.rejected,
        )
