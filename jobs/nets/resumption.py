"""How a net's training survives a stop: it restores the newest checkpoint, writes new ones when due, reports both.

Decides nothing about training.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from cbi_queue.artifacts import MAY_DIFFER
from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, Note, Restored
from cbi_queue.regular_files import plain_words
from jobs.nets.progress import NetProgress
from jobs.process.channel import StopRequested
from jobs.training.checkpoint import CheckpointFolder
from jobs.training.checkpoint_pace import CheckpointPace
from jobs.training.work_clock import WorkClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from jobs.nets.circumstances import Circumstances
    from jobs.trainer import Task
    from jobs.training.checkpoint import Checkpoint


class NetState(Protocol):
    """Everything of a run that changes while it trains: weights and optimiser are the library's."""

    progress: NetProgress

    def capture(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return facts (JSON values) and arrays of weights (`model.<name>`), best weights (`best.<name>`), optimiser."""
        ...

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take weights, best weights and optimiser over from a checkpoint of the same data and the same net."""
        ...

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each of the arrays `model.<name>`, by name."""
        ...

    def settle(self) -> None:
        """Wait for the device and add the losses that it still has to the progress."""
        ...

    def close_epoch(self, validation_loss: float) -> None:
        """Count the epoch as finished, and keep the weights if they are the best so far."""
        ...

    def take_best(self) -> None:
        """Give the net its best weights, if there are any."""
        ...


class Resumption:
    """The checkpoints of one attempt at training one net."""

    def __init__(
        self,
        task: Task,
        state: NetState,
        circumstances: Circumstances,
        data_digest: str,
        *,
        pace: CheckpointPace | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the checkpoints of *state* in the task's folder; refuse those of other data or another net."""
        self.circumstances = circumstances
        self.clock = WorkClock(task.channel, now_s)
        self._channel, self._assigned_micro_batch = task.channel, task.assignment.micro_batch
        self._state, self._data_digest = state, data_digest
        self._task = task
        self._folder = CheckpointFolder(task.checkpoint_dir, task.assignment.identity)
        self._pace = pace or CheckpointPace()
        self._to_report: Note | Restored | None = None
        self._saved_at: tuple[int, int] | None = None
        self._restarted = False

    def restore(self) -> None:
        """Restore the newest usable checkpoint, if there is one."""
        found = self._folder.load_latest(self._misfit)
        checkpoint = found.state
        if checkpoint is None:
            if found.rejected:
                why = "; ".join(found.rejected)
                self._to_report = Note(f"training starts from scratch, no checkpoint can be used: {why}")
            return
        stored = checkpoint.facts["circumstances"]
        if self._assigned_micro_batch is None and stored["micro_batch"] < self.circumstances.micro_batch:
            # a downgrade is kept, also when the slot no longer knows of it
            self.change_micro_batch(stored["micro_batch"])
        self._state.restore(checkpoint)
        self._state.progress = NetProgress.of(checkpoint)
        self._saved_at, self._restarted = self._position, True
        changes = self.circumstances.changes_since(stored)
        if not self.circumstances.device.startswith("cpu"):
            changes.append(f"equal bits are not promised on {self.circumstances.device}")
        for reason in checkpoint.facts.get(MAY_DIFFER, []):
            self._task.note_difference(reason)
        words = ", ".join(changes)
        if others := ", ".join(
            change for change in changes if not change.startswith("micro_batch ")
        ):  # the loop notes it
            words_of_others = f"continued after epoch {self._state.progress.epoch}: {others}"
            self._task.note_difference(words_of_others, what=others)
        self._to_report = Restored(
            self._state.progress.epoch,
            str(found.path),
            exact=not changes,
            note=f"statistically the same training, other numbers: {words}" if changes else None,
            rejected=found.rejected,
        )

    def begin(self) -> None:
        """Report what was restored or why nothing was, and start to count the training time."""
        if self._to_report:
            self._channel.report(self._to_report)
        self.clock.start(self._state.progress.worked_s)
        self._pace.paid(self.clock.worked_s, 0.0)

    def change_micro_batch(self, micro_batch: int) -> None:
        """Continue with *micro_batch*; the next checkpoint records it, and an attempt that restores it does the same."""
        self.circumstances = replace(self.circumstances, micro_batch=micro_batch)

    def take_restarted(self) -> bool:
        """Return True once if this attempt continues from a checkpoint: that epoch's time is no cold baseline."""
        restarted, self._restarted = self._restarted, False
        return restarted

    @contextmanager
    def leaving_a_checkpoint(self) -> Iterator[None]:
        """On StopRequested save what is not saved yet, and raise it again."""
        try:
            yield
        except StopRequested:
            if self._saved_at != self._position:
                self.save()
            raise

    def save_if_due(self, *, mid_epoch: bool) -> None:
        """Save when a checkpoint is due."""
        if self._pace.is_due(self.clock.worked_s, mid_epoch=mid_epoch):
            self.save()

    def save(self) -> None:
        """Write a checkpoint; one that cannot be written is reported and does not end the training."""
        self._state.progress.worked_s = self.clock.worked_s
        epoch = self._state.progress.epoch
        with self.clock.set_aside() as taken_s:
            try:
                saved = self._folder.save(self._checkpoint())
            except MemoryError as exc:
                self._channel.report(CheckpointFailed(epoch, f"not enough memory for it: {exc}".removesuffix(": ")))
            except OSError as exc:
                self._channel.report(CheckpointFailed(epoch, plain_words(exc)))
            else:
                self._channel.report(CheckpointSaved(epoch, saved.bytes, saved.wall_s))
                self._saved_at = self._position
            cost_s = taken_s()
        self._pace.paid(self.clock.worked_s, cost_s)

    @property
    def _position(self) -> tuple[int, int]:
        return self._state.progress.epoch, self._state.progress.step

    def _checkpoint(self) -> Checkpoint:
        facts, arrays = self._state.capture()
        facts |= {
            "circumstances": self.circumstances.as_facts(),
            "data": self._data_digest,
            MAY_DIFFER: self._task.may_differ,
        }
        return self._state.progress.checkpoint(facts, arrays)

    def _misfit(self, checkpoint: Checkpoint) -> str | None:
        """Return why *checkpoint* cannot be continued here; None when it can."""
        if checkpoint.facts.get("data") != self._data_digest:
            return "trained on other data (the feature cache or its split has changed since)"
        wanted = self._state.weight_shapes()
        stored = {name: value.shape for name, value in checkpoint.arrays_of("model").items()}
        if stored == wanted:
            return None
        names = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
        return f"of a net of another shape: {', '.join(names[:3])}"
