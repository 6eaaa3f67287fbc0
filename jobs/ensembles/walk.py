"""An ensemble, walked forward: at each refit it learns from the members' forecasts whose outcome was known by then.

At origin t these are the rows s of the members' out-of-sample forecasts with s + h <= t: nothing that the market had not
said by the close of day t. The refits, their checkpoint and the safe points are those of `jobs.rolling`. The first fits, while
too little is known, forecast the mean of the members.

The final block is forecast like any other; its outcomes teach the fits after them, as they do the members' own refits. What is
chosen (the shrinkage of a stacker, the best single model) is chosen on the validation block.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cbi_queue.protocol import Note
from jobs.data.series import load_frame
from jobs.ensembles.against_best import against_best
from jobs.ensembles.members import read_members
from jobs.evaluation.splits import split_of
from jobs.rolling.walk import Fit, RollingFit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cbi_queue.models.parameters.meta import LearnedEnsembleParams
    from cbi_queue.protocol import Started
    from jobs.data.series import ForecastFrame
    from jobs.trainer import Task


MEMBERS_FILE = "members.parquet"


class Ensemble(RollingFit):
    """Combines forecasts. A subclass says what it learns and how it combines."""

    library = f"numpy {np.__version__}"

    def prepare(self, task: Task) -> Started:
        """Read the members, then prepare as every rolling model does."""
        frame = load_frame(task.processed_dir, task.spec.horizon)
        self.members = read_members(task, frame, split_of(task, frame))
        for words in self.members.left_out[len(task.assignment.left_out) :]:  # the slot has told of the others
            task.channel.report(Note(f"left out: {words}"))
        if len(self.members.names) == 1:
            task.channel.report(
                Note(f"{self.members.names[0]} is the only member: there is nothing to combine it with")
            )
        return super().prepare(task)

    def fit_before(self, row: int) -> Fit:
        """Learn nothing."""
        return {"first_row": row, "fit_row": row, "learned": None}

    def preproc(self) -> dict[str, Any]:
        """Return that the members' forecasts are the input."""
        return {"scaler": None, "features": [], "input": "the members' forecasts"}

    def fit(self, level: np.ndarray) -> Fit:
        """Never called: an ensemble learns nothing from prices."""
        raise NotImplementedError

    def forecast_rows(self, fit: Fit, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Return the combined forecast of each of *rows*: (rows,) float64."""
        return self.combine(fit, self.members.f[rows])

    @abstractmethod
    def combine(self, fit: Fit, f: np.ndarray) -> np.ndarray:
        """Combine the members' forecasts by what *fit* learned. *f*: (rows, members) -> (rows,) float64."""

    @property
    def samples(self) -> int:
        """Rows that are combined, for a rule that learns nothing."""
        return sum(map(len, self.chunks))

    def shape(self) -> str:
        """Name how many are combined."""
        return f"members{len(self.members.names)} "

    def further_files(self) -> dict[str, bytes | Callable[[Path], object]]:
        """Return the members' forecasts, so that the folder alone gives every forecast again."""
        return {MEMBERS_FILE: self._write_members}

    def _write_members(self, path: Path) -> None:
        import polars as pl

        rows = np.flatnonzero(np.isfinite(self.members.f).all(axis=1))
        columns = {name: self.members.f[rows, at] for at, name in enumerate(self.members.names)}
        pl.DataFrame({"date": self.frame.dates[rows], **columns}).write_parquet(path)

    def weights(self, fit: Fit) -> Sequence[float | None]:  # noqa: ARG002
        """Return the weight of each member in *fit*; None where a member has none of its own."""
        return [None] * len(self.members.names)

    def details(self) -> dict[str, Any]:
        """Return who takes part with which weight in the latest fit, who does not and why, and how the best compares."""
        who = zip(self.members.names, self.members.runs, self.weights(self.done.fits[-1]), strict=True)
        return {
            "members": [{"name": name, "run": run, "weight": weight} for name, run, weight in who],
            "left_out": list(self.members.left_out),
            "against_best": against_best(self.frame, self.split, self.predicted, self.members),
        }


class LearnedEnsemble(Ensemble):
    """Learns from the forecasts whose outcome was known by then."""

    def fit_before(self, row: int) -> Fit:
        """Learn from what is known at *row*; nothing while that is too little."""
        p = cast("LearnedEnsembleParams", self.params)
        known = self.known_rows(row)[-p.history_rows :]
        fit: Fit = {"first_row": int(known[0]) if len(known) else row, "fit_row": row, "learned": None}
        enough = len(known) >= p.least_independent * self.frame.horizon_days
        return {**fit, **self.learn(known, row)} if enough else fit

    def known_rows(self, row: int) -> np.ndarray:
        """Return the rows s, forecast out of sample, whose outcome was known at *row*: s + h <= row."""
        rows = np.concatenate([self.split.validation, self.split.backtest, self.split.final])
        return rows[rows + self.frame.horizon_days <= row]

    @abstractmethod
    def learn(self, known: np.ndarray, row: int) -> Fit:
        """Return what the *known* rows teach for the forecasts from *row* on: "learned", not None, as JSON values."""

    @property
    def samples(self) -> int:
        """Forecasts that a fit learns from, at most."""
        return cast("LearnedEnsembleParams", self.params).history_rows

    def details(self) -> dict[str, Any]:
        """Return also from which row on it learned, and how many of its fits did."""
        return {**super().details(), "fits_learned": sum(fit["learned"] is not None for fit in self.done.fits)}


def equal_weights(f: np.ndarray) -> np.ndarray:
    """Return the mean of the members. *f*: (rows, members) -> (rows,) float64."""
    return np.asarray(f.mean(axis=1), dtype=np.float64)
