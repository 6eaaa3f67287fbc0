"""The loop of boosted trees: one safe point a round, a report every few, and a stopping rule that DART allows.

Knows no library: a family hands in a `Rounds` with four verbs. DART rescales earlier trees in later rounds, so the
best model is not the first n trees of the last one: it is kept as it was written in its round. LightGBM refuses its
own early stopping in DART mode for that reason.

No checkpoint: with the libraries' versions for Python 3.11 neither LightGBM nor XGBoost goes on from a saved DART
model to the same numbers, while a fit from round 1 does (same spec, threads and library). A stop leaves nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cbi_queue.protocol import EpochReport, Note

if TYPE_CHECKING:
    from jobs.channel import Channel
    from jobs.trainer import Task

REPORT_EVERY_ROUNDS = 10
REPORT_EVERY_S = 0.25
"""A report goes up after the first round that reaches either; short rounds would otherwise flood the slot."""


class Rounds(Protocol):
    """One boosted model while it is trained."""

    def update(self) -> bool:
        """Add one round; False when nothing was left to split and the model is not to be used after this call."""
        ...

    def validation_rmse(self) -> float:
        """Error on the validation block after the last round."""
        ...

    def train_rmse(self) -> float | None:
        """Error on the training block, None where it would cost more than it tells."""
        ...

    def snapshot(self) -> bytes:
        """The model as it is now, in the library's own file format."""
        ...


@dataclass(frozen=True, slots=True)
class Boosted:
    """The outcome of a loop."""

    model: bytes
    """The best model by validation RMSE, as written in its round."""
    best_round: int
    best_rmse: float
    rounds: int
    """Rounds trained."""
    fit_s: float
    """Working time, pauses excluded."""


def boost(task: Task, model: Rounds, *, rounds: int, patience_rounds: int | None, samples: int) -> Boosted:
    """Train up to *rounds* rounds and return the best; stop after *patience_rounds* without a better one.

    Raises:
        StopRequested: at the next round; nothing is left behind.
    """
    _note_rerun(task)
    started_s = working_s(task.channel)
    reports = _Reports(task.channel, rounds, samples)
    best = Boosted(b"", 0, float("inf"), 0, 0.0)
    done = 0
    for done in range(1, rounds + 1):
        task.channel.safe_point(done - 1)
        grew = model.update()
        rmse = model.validation_rmse()
        if not best.model or (grew and rmse < best.best_rmse):
            best = Boosted(model.snapshot(), done, rmse, done, 0.0)
        is_last = done == rounds or not grew or _is_stale(done - best.best_round, patience_rounds)
        if is_last or reports.is_due(done):
            reports.send(done, model.train_rmse(), rmse)
        if is_last:
            break
    task.channel.safe_point(done)
    return Boosted(best.model, best.best_round, best.best_rmse, done, working_s(task.channel) - started_s)


def working_s(channel: Channel) -> float:
    """Return a clock that stands still while the trainer is paused."""
    return time.monotonic() - channel.paused_s


def _is_stale(rounds_without_better: int, patience_rounds: int | None) -> bool:
    return patience_rounds is not None and rounds_without_better >= patience_rounds


def _note_rerun(task: Task) -> None:
    if task.assignment.attempt > 1:
        text = (
            f"attempt {task.assignment.attempt} fits from round 1: DART cannot be resumed exactly, so no checkpoint "
            "is kept; the result is the one that an undisturbed run has"
        )
        task.channel.report(Note(text))


class _Reports:
    """Which rounds are reported, and how long they took."""

    def __init__(self, channel: Channel, total_rounds: int, rows: int) -> None:
        self._channel, self._total, self._rows = channel, total_rounds, rows
        self._round, self._at_s = 0, working_s(channel)

    def is_due(self, done: int) -> bool:
        waited_s = working_s(self._channel) - self._at_s
        return done - self._round >= REPORT_EVERY_ROUNDS or waited_s >= REPORT_EVERY_S

    def send(self, done: int, train_rmse: float | None, validation_rmse: float) -> None:
        now_s = working_s(self._channel)
        report = EpochReport(
            epoch=done,
            total_epochs=self._total,
            wall_s=now_s - self._at_s,
            samples=self._rows * (done - self._round),
            train_loss=train_rmse,
            validation_loss=validation_rmse,
            resumed=self._channel.take_was_paused(),
        )
        self._channel.report(report)
        self._round, self._at_s = done, now_s
