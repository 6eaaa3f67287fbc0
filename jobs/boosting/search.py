"""Parameters of boosted trees chosen by Optuna, on purged folds of the training block; validation and backtest stay unseen.

A trial trains one model a fold and is scored by the mean of their best errors; one that is worse than half of the earlier
ones after a fold is pruned. The first trial is the plan's own parameters. The study is a journal in the checkpoint folder:
a stopped or killed search goes on with the trial it was at. The sampler is made anew for each trial, with a seed of the
number of trials that are done, so a search that was continued tries what an undisturbed one tries.

Pause, pace and stop act between two rounds, as in `jobs.boosting.loop`.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cbi_queue.protocol import CheckpointSaved, Note, Restored
from cbi_queue.regular_files import failure_of
from jobs.evaluation.splits import Split, purged_folds
from jobs.evaluation.walk_forward import NO_ROWS
from jobs.process.channel import StopRequested
from jobs.training.work_clock import WorkClock
from jobs.training.work_reports import BlockReports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import optuna

    from cbi_queue.models.parameters.trees import BoostedParams
    from jobs.boosting.loop import Rounds
    from jobs.trainer import Task

JOURNAL = "search.jsonl"
RANDOM_TRIALS = 8
"""Trials before the sampler learns from the earlier ones."""
WARM_TRIALS = 5
"""Trials before any is pruned."""


class MakeRounds(Protocol):
    """Makes a boosted model before its first round."""

    def __call__(self, params: Any, split: Split) -> Rounds:
        """Return the model with *params* on the rows of *split*."""
        ...


def planned_rounds(params: BoostedParams) -> int:
    """Return the most rounds that a search with *params* trains."""
    return params.search_trials * params.search_folds * params.n_estimators


class Search:
    """The search of one attempt at one boosted model."""

    def __init__(
        self, task: Task, split: Split, params: BoostedParams, make: MakeRounds, conditions: Mapping[str, str | int]
    ) -> None:
        """Prepare to search.

        Args:
            task: the attempt.
            split: of the run; only its training block is used.
            params: the plan's: how many trials and folds, and the first trial.
            make: the model.
            conditions: what a trial's result depends on beside the spec, by name.

        Raises:
            BrokenSpec: when the training block is too short for the folds.
        """
        self._task, self._params, self._make, self._conditions = task, params, make, dict(conditions)
        rows = split.train
        folds = purged_folds(len(rows), params.search_folds, split.purge_rows, split.embargo_rows)
        self._folds = [
            Split(rows[learn], rows[test], NO_ROWS, split.purge_rows, split.embargo_rows) for learn, test in folds
        ]
        self._clock = WorkClock(task.channel)
        self._path = task.checkpoint_dir / JOURNAL

    def run(self) -> tuple[BoostedParams, dict[str, Any]]:
        """Try what is left to try; return the best parameters, and the metrics `trials`, `chosen` and `search`.

        Raises:
            StopRequested: at the next round; the trials that are done are stored.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._task.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        study = self._study()
        channel, total = self._task.channel, planned_rounds(self._params)
        self._clock.start(0.0)
        self._reports = BlockReports(channel, self._clock, total + self._params.n_estimators)
        for number in range(len(_done(study)), self._params.search_trials):
            self._try(study, number)
        channel.safe_point(total)
        channel.count_on(total)
        best, trials = study.best_trial, _done(study)
        pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in trials)
        details = {
            "trials": len(trials),
            "chosen": best.params,
            "search": {
                "folds": len(self._folds),
                "pruned": pruned,
                "rmse": best.value,
                "plan_rmse": trials[0].value,
                "seconds": round(sum(trial.user_attrs["worked_s"] for trial in trials), 3),
            },
        }
        return self._params.model_copy(update=best.params), details

    def _try(self, study: optuna.Study, number: int) -> None:
        """Make the *number*-th trial, counted from 0, and store its outcome."""
        from optuna.trial import TrialState, create_trial

        worked_s, started_s = self._clock.worked_s, time.monotonic()
        space = _distributions(self._params)
        if number == 0:
            own = {name: _within(getattr(self._params, name), kind) for name, kind in space.items()}
            scores = self._scores(number, own, None)
            worked = {"worked_s": self._clock.worked_s - worked_s}
            steps = dict(enumerate(_running_means(scores)))
            study.add_trial(
                create_trial(
                    params=own,
                    distributions=space,
                    value=steps[len(scores) - 1],
                    intermediate_values=steps,
                    user_attrs=worked,
                )
            )
        else:
            study.sampler = _sampler(self._params.seed, number)
            trial = study.ask(space)
            try:
                scores = self._scores(number, trial.params, trial)
            except StopRequested:
                study.tell(trial, state=TrialState.FAIL)
                raise
            trial.set_user_attr("worked_s", self._clock.worked_s - worked_s)
            if len(scores) < len(self._folds):
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, float(np.mean(scores)))
        done = (number + 1) * len(self._folds) * self._params.n_estimators
        self._task.channel.report(CheckpointSaved(done, self._path.stat().st_size, time.monotonic() - started_s))

    def _scores(self, number: int, chosen: Mapping[str, Any], trial: optuna.Trial | None) -> list[float]:
        """Return the best error of each fold; fewer than there are folds when *trial* was pruned."""
        params, scores = self._params.model_copy(update=dict(chosen)), list[float]()
        each = self._params.n_estimators
        for fold, split in enumerate(self._folds):
            before = (number * len(self._folds) + fold) * each
            rmse, rounds = self._best_rmse(self._make(params, split), before)
            scores.append(rmse)
            self._reports.disturb()  # what a round costs differs from trial to trial
            self._reports.send(before + each, len(split.train) * rounds, validation_loss=rmse)
            if trial is not None:
                trial.report(float(np.mean(scores)), fold)
                if fold + 1 < len(self._folds) and trial.should_prune():
                    break
        return scores

    def _best_rmse(self, model: Rounds, before: int) -> tuple[float, int]:
        """Train one model by the plan's stopping rule; return its best error and the rounds it took."""
        best, best_round, patience = float("inf"), 0, self._params.early_stopping_rounds
        for number in range(1, self._params.n_estimators + 1):
            self._task.channel.safe_point(before + number - 1)
            grew = model.update()
            rmse = model.validation_rmse() if grew or number == 1 else None
            if rmse is not None and rmse < best:
                best, best_round = rmse, number
            if not grew or (patience is not None and number - best_round >= patience):
                return best, number
        return best, self._params.n_estimators

    def _study(self) -> optuna.Study:
        """Open the study of an earlier attempt under the same conditions, else begin one."""
        import optuna

        if self._path.exists():
            _cut_torn_line(self._path)
            try:
                study = self._opened()
                stored = study.user_attrs.get("conditions")
            except (ValueError, KeyError, AssertionError, OSError) as exc:
                why = f"cannot be read ({failure_of(exc):.120})"
            else:
                if stored == self._wanted:
                    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
                        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                    if done := len(_done(study)):
                        rounds = done * len(self._folds) * self._params.n_estimators
                        self._task.channel.report(Restored(rounds, str(self._path)))
                    return study
                why = "was made for another job, other data, another library or other threads"
            self._task.channel.report(Note(f"the search starts from the first trial: {self._path} {why}"))
            self._path.unlink()
        study = self._opened()
        study.set_user_attr("conditions", self._wanted)
        return study

    @property
    def _wanted(self) -> dict[str, str | int]:
        import optuna

        return {"identity": self._task.assignment.identity, "optuna": optuna.__version__, **self._conditions}

    def _opened(self) -> optuna.Study:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        lock = self._path.with_name(self._path.name + ".lock")
        lock.unlink(missing_ok=True)  # of a process that was killed: a job has one trainer at a time
        backend = JournalFileBackend(str(self._path), lock_obj=JournalFileOpenLock(str(self._path)))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=WARM_TRIALS, n_warmup_steps=0)
        return optuna.create_study(
            storage=JournalStorage(backend),
            pruner=pruner,
            study_name="search",
            direction="minimize",
            load_if_exists=True,
        )


def _done(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that count: complete or pruned, in order."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    import optuna

    digest = hashlib.sha256(json.dumps([seed, number]).encode()).digest()
    return optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "big"), n_startup_trials=RANDOM_TRIALS)


def _distributions(params: BoostedParams) -> dict[str, Any]:
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        name: (
            IntDistribution(int(span.low), int(span.high), log=span.log)
            if span.whole
            else FloatDistribution(span.low, span.high, log=span.log)
        )
        for name, span in params.searched.items()
    }


def _within(value: float, kind: Any) -> float:
    """Return *value*, or the end of the range that it lies beyond."""
    within: float = min(max(value, kind.low), kind.high)
    return within


def _running_means(scores: list[float]) -> list[float]:
    return [float(np.mean(scores[: n + 1])) for n in range(len(scores))]


def _cut_torn_line(path: Path) -> None:
    """Cut off a last line that a crash left without its end: the journal refuses whatever comes after one."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
