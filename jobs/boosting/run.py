"""One run of a boosted model around its library: data, parameters reduced to the memory, checkpoints, the run's files.

A family names its parameters as its library does and passes in the rounds and the forecast; the rest is the same for
all. A model that ran out of memory is trained again with half the bins and half the threads, each time: the histograms,
which are most of a boosted model's memory, shrink with the bins (LightGBM grew by 319 MiB with 255 bins, 166 with 127,
90 with 63; XGBoost by 897, 490, 293). Fewer bins make another model, so an event and metrics.json record it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from cbi_queue.openmp import torch_copy_in_use
from cbi_queue.protocol import Note, Started
from jobs.boosting.checkpoints import BoostingCheckpoints
from jobs.boosting.loop import BoostingLoop
from jobs.data.series import load_frame
from jobs.evaluation.drift import without_drifted
from jobs.evaluation.splits import split_of
from jobs.results.run_folder import record_run
from jobs.results.why import Explainable, explain
from jobs.training.checkpoint import digest_of
from jobs.training.probe import probe_cpu
from jobs.training.work_clock import WorkClock

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from cbi_queue.models.parameters.trees import BoostedParams, LightGBMDartParams, XGBoostDartParams
    from cbi_queue.protocol import Finished
    from jobs.boosting.loop import Rounds
    from jobs.boosting.search import MakeRounds
    from jobs.trainer import Task

LEAST_BINS = 15
"""Fewer bins hardly save memory and cost accuracy; a job that asks for fewer gets what it asks for."""


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """The bins and threads that a model may use: what its memory depends on."""

    bins: int
    threads: int

    def halved(self, times: int) -> MemoryLimits:
        """Return the limits after the model ran out of memory *times* times."""
        return MemoryLimits(max(self.bins >> times, min(self.bins, LEAST_BINS)), max(self.threads >> times, 1))


class Trees(Protocol):
    """A trained model, read from its file."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Map (n, features) float32 to (n,) float64, f[t]."""
        ...

    def contributions(self, x: np.ndarray) -> np.ndarray:
        """Return (n, features + 1) float64: what each feature adds to f[t], and last the mean before any."""
        ...


class BoostedRun:
    """Prepared on construction; `started`, then `finish`."""

    def __init__(self, task: Task) -> None:
        """Load and split the features.

        Raises:
            BrokenSpec: when the job cannot run as written on this data.
        """
        params = cast("LightGBMDartParams | XGBoostDartParams", task.spec.typed_params)
        planned = MemoryLimits(params.max_bin, task.assignment.threads)
        self.limits = planned.halved(task.assignment.thrift)
        if self.limits != planned:
            words = _downgrade_words(planned, self.limits)
            task.channel.report(Note(f"{words}; fewer bins make another model, and metrics.json records them"))
            task.note_difference(words)
        self._task = replace(task, assignment=replace(task.assignment, threads=self.limits.threads))
        self._params = params
        self._searched: dict[str, Any] = {}
        frame = load_frame(task.processed_dir, task.spec.horizon)
        self.split = split_of(task, frame)
        self.frame = without_drifted(task, frame, self.split)
        task.channel.probe = probe_cpu
        if (copy := torch_copy_in_use()) is not None:
            task.channel.report(Note(f"uses torch's OpenMP library ({copy}): Homebrew's is not installed"))

    def started(self, shape: str, library: str, *, resumes_exactly: bool) -> Started:
        """Return the report of what is about to be trained.

        Args:
            shape: parameters that a round's cost depends on, beside rows, features, bins and threads.
            library: name and version of the library: an update changes what a round costs.
            resumes_exactly: whether training can continue from a stored model to the same numbers.
        """
        task, rows, params = self._task, len(self.split.train), self._params
        if params.search_trials:
            shape = f"search{params.search_trials}x{params.search_folds} {shape}"
        cost = f"{rows}x{self.frame.x.shape[1]} {shape} bins{self.limits.bins} threads{self.limits.threads}"
        return Started(
            total_epochs=params.n_estimators + params.search_trials * params.search_folds * params.n_estimators,
            unit="round",
            samples=rows,
            fingerprint=f"{task.spec.model} {task.spec.horizon} {cost} cpu {library} by processor time",
            gets_dearer=True,
            can=("pace", "probe", "checkpoint") if resumes_exactly or params.search_trials else ("pace", "probe"),
        )

    def chosen(self, make: MakeRounds, library: str) -> BoostedParams:
        """Return the parameters to train with: the plan's, or the best that a search finds.

        Args:
            make: the model before its first round, from parameters and rows.
            library: its name and version.

        Raises:
            StopRequested: within the search; the trials that are done are stored.
            BrokenSpec: when the training block is too short for the search's folds.
        """
        if not self._params.search_trials:
            return self._params
        from jobs.boosting.search import Search  # optuna takes a while to import

        search = Search(self._task, self.split, self._params, make, self._conditions(library))
        found, self._searched = search.run()
        return found

    def finish(
        self,
        rounds: Rounds,
        forecast: Callable[[bytes], np.ndarray],
        model_file: str,
        *,
        library: str | None,
        record: Callable[..., Finished] = record_run,
        load: Callable[[bytes], Trees] | None = None,
    ) -> Finished:
        """Train, keep the best round, forecast every row and fill the run's folder.

        Args:
            rounds: the model before its first round.
            forecast: model file's content -> (rows,) float64, f[t] of every row.
            model_file: name of the model's file.
            library: name and version of a library that resumes exactly from a stored model; None for others.
            record: scores the forecasts and fills the folder.
            load: model file's content -> the model to explain; None for one that forecasts no price.

        Raises:
            StopRequested: after writing a checkpoint, where the library resumes exactly.
        """
        task, params = self._task, self._params
        checkpoints = BoostingCheckpoints(task, self._conditions(library)) if library else None
        boosted = BoostingLoop(
            task,
            rounds,
            rounds=params.n_estimators,
            patience_rounds=params.early_stopping_rounds,
            samples=len(self.split.train),
            checkpoints=checkpoints,
        ).run()
        clock = WorkClock(task.channel)
        clock.start(0.0)
        predicted = forecast(boosted.model)
        return record(
            task,
            self.frame,
            self.split,
            predicted,
            fit_s=boosted.fit_s,
            predict_s=clock.worked_s,
            model_files={model_file: boosted.model},
            preproc={
                "scaler": None,
                "missing": "NaN passes into the trees",
                "features": list(self.frame.feature_names),
            },
            details={
                "best_round": boosted.best_round,
                "rounds": boosted.rounds,
                "bins": self.limits.bins,
                "memory_downgrades": task.assignment.thrift,
                **self._searched,
            },
            **({"explain": lambda: self._explained(load(boosted.model))} if load else {}),
        )

    def _explained(self, trees: Trees) -> dict[str, Any]:
        x = self.frame.x
        model = Explainable(
            self.frame.feature_names,
            inputs=lambda rows: x[rows],
            predict=trees.predict,
            sample_cells=x.shape[1],
            contributions=lambda row: trees.contributions(x[row : row + 1])[0],
        )
        return explain(self._task, self.frame, self.split, model)

    def _conditions(self, library: str) -> dict[str, str | int]:
        data = digest_of(1, self.frame.x, self.frame.y, self.split.train, self.split.validation)
        return {"library": library, "data": data, "bins": self.limits.bins, "threads": self.limits.threads}


def _downgrade_words(planned: MemoryLimits, allowed: MemoryLimits) -> str:
    return (
        f"uses less memory after running out of it: {allowed.bins} bins instead of {planned.bins}, {allowed.threads} "
        f"threads instead of {planned.threads}"
    )
