"""The loop of boosted trees: one safe point a round, a report every few, and a stopping rule that suits DART.

Knows no library: a family passes in a `Rounds`. DART rescales earlier trees in later rounds, so the best model is not
the first n trees of the last one: it is kept as it was written in its round. LightGBM refuses its own early stopping in
DART mode for that reason.

Pause, pace and stop act between two rounds. Where the library resumes exactly from a stored model, a stop writes a
checkpoint; where it does not, a stop writes nothing and the next attempt starts from round 1, which gives the numbers of
an undisturbed run (same spec, threads and library).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from cbi_queue.protocol import Note
from jobs.boosting.checkpoints import BoostingProgress
from jobs.process.channel import StopRequested
from jobs.training.work_clock import WorkClock
from jobs.training.work_reports import BlockReports

if TYPE_CHECKING:
    from jobs.boosting.checkpoints import BoostingCheckpoints
    from jobs.trainer import Task

REPORT_EVERY_ROUNDS = 10
REPORT_EVERY_S = 0.25
"""A report is sent after the first round that reaches either; short rounds would otherwise flood the slot."""

KEEP_EVERY_ROUNDS = 10
"""Rounds between two models kept where no validation block says which is best."""


class Rounds(Protocol):
    """A boosted model while it is trained."""

    def update(self) -> bool:
        """Add one round; return False when nothing was left to split: the model is not usable after that."""
        ...

    def validation_rmse(self) -> float | None:
        """Return the error on the validation block after the last round; None where there is no such block."""
        ...

    def train_rmse(self) -> float | None:
        """Return the error on the training block; None where computing it would take too long."""
        ...

    def snapshot(self) -> bytes:
        """Return the present model in the library's own file format."""
        ...


class ResumableRounds(Rounds, Protocol):
    """A boosted model that resumes exactly from a snapshot."""

    def resume(self, model: bytes, rounds: int) -> None:
        """Continue from *model*, a snapshot after *rounds* rounds."""
        ...


@dataclass(frozen=True, slots=True)
class Boosted:
    """The outcome of a loop."""

    model: bytes
    """The best model by validation RMSE, as written in its round; without a validation block the last."""
    best_round: int
    best_rmse: float
    """Infinite without a validation block."""
    rounds: int
    """Rounds trained."""
    fit_s: float
    """Working time, pauses excluded."""


class BoostingLoop:
    """The rounds of one attempt at one boosted model."""

    def __init__(
        self,
        task: Task,
        model: Rounds,
        *,
        rounds: int,
        patience_rounds: int | None,
        samples: int,
        checkpoints: BoostingCheckpoints | None = None,
    ) -> None:
        """Prepare to train.

        Args:
            task: the attempt.
            model: before its first round; `ResumableRounds` when there are *checkpoints*.
            rounds: most rounds.
            patience_rounds: rounds without a better one that end the training; None: all rounds.
            samples: rows that a round learns from.
            checkpoints: None where the library does not resume exactly.
        """
        self._task, self._model, self._checkpoints = task, model, checkpoints
        self._rounds, self._patience_rounds, self._samples = rounds, patience_rounds, samples
        self._clock = WorkClock(task.channel)
        self._best, self._best_round, self._best_rmse = b"", 0, float("inf")
        self._grew = True
        self._done = 0

    def run(self) -> Boosted:
        """Train and return the best model.

        Raises:
            StopRequested: at the next round, after writing a checkpoint where there are any.
        """
        self._begin()
        try:
            while not self._is_over:
                self._round()
            self._task.channel.safe_point(self._done)
        except StopRequested:
            if self._checkpoints and self._done:
                self._checkpoints.save(self._clock, self._progress)
            raise
        return Boosted(self._best, self._best_round, self._best_rmse, self._done, self._clock.worked_s)

    def _begin(self) -> None:
        """Restore a checkpoint if there is one; report a later attempt that starts over."""
        progress = self._checkpoints.restore() if self._checkpoints else None
        if progress is not None:
            cast("ResumableRounds", self._model).resume(progress.model, progress.rounds)
            self._done = progress.rounds
            self._best, self._best_round, self._best_rmse = progress.best, progress.best_round, progress.best_rmse
        elif self._checkpoints is None and (attempt := self._task.assignment.attempt) > 1:
            of_fit = f" of fit {self._task.refit.number + 1}" if self._task.refit else ""
            text = (
                f"attempt {attempt} starts from round 1{of_fit}: training this model cannot be resumed exactly, so it has no "
                "checkpoints; the result is the same as that of an undisturbed run"
            )
            self._task.channel.report(Note(text))
        self._clock.start(progress.worked_s if progress else 0.0)
        self._reports = BlockReports(self._task.channel, self._clock, self._rounds, self._done)

    @property
    def _is_over(self) -> bool:
        """True when no further round is wanted."""
        stale = self._done - self._best_round
        patience_ended = self._patience_rounds is not None and stale >= self._patience_rounds
        return self._done >= self._rounds or not self._grew or patience_ended

    def _round(self) -> None:
        """Add a round, keep it if it is the best, and report it when that is due."""
        self._task.channel.safe_point(self._done)
        self._grew = self._model.update()
        self._done += 1
        rmse = self._model.validation_rmse()
        if not self._best or (self._grew and self._is_better(rmse)):
            self._best, self._best_round = self._model.snapshot(), self._done
            self._best_rmse = self._best_rmse if rmse is None else rmse
        rounds = self._done - self._reports.reported
        if self._is_over or rounds >= REPORT_EVERY_ROUNDS or self._reports.wall_s >= REPORT_EVERY_S:
            samples, train_rmse = self._samples * rounds, self._model.train_rmse()
            self._reports.send(self._done, samples, train_loss=train_rmse, validation_loss=rmse)
        if self._checkpoints:
            self._checkpoints.save_if_due(self._clock, self._progress)

    def _is_better(self, rmse: float | None) -> bool:
        """Return True if the present model is to be kept. Without a validation block the last round is.

        Such a model is also kept on the way: when nothing is left to split, the model after that round is unusable.
        """
        if rmse is None:
            return self._done >= self._rounds or self._done % KEEP_EVERY_ROUNDS == 0
        return rmse < self._best_rmse

    def _progress(self) -> BoostingProgress:
        worked_s = self._clock.worked_s
        return BoostingProgress(
            self._done, self._model.snapshot(), self._best, self._best_round, self._best_rmse, worked_s
        )
