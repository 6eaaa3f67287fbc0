"""A walk-forward run of any family: one trainer after another, each for one fit; then all forecasts scored together.

A family knows nothing of it: its split comes from `split_of`, its result goes to `record_run` or the like. A fit that is done is
stored, so a run that is killed goes on with the next one; what it stored is refused when job, data, threads or library
differ. The last fit, on every known row, gives the model that is kept; it is made anew after a kill.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, Note, Restored
from cbi_queue.regular_files import plain_words
from jobs.data.series import load_frame
from jobs.evaluation.splits import split_of
from jobs.evaluation.walk_forward import refits_of
from jobs.results.run_folder import library_versions, record_run
from jobs.training.stored_fits import read_fits, write_fits

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.models.parameters.common import EvaluationParams
    from cbi_queue.protocol import Finished, Started
    from jobs.evaluation.walk_forward import Refit
    from jobs.trainer import Task, Trainer

STORE = "refits.json"


@dataclass(slots=True)
class _Done:
    """One fit that is done, as JSON values."""

    predicted: list[Any]
    """f[t] of the rows that it forecasts, in their order, a list each where several values are; None: no forecast."""
    details: dict[str, Any]
    fit_s: float
    predict_s: float
    epochs: int
    """Epochs (rounds, fits) that it took."""
    why: dict[str, Any] | None = None
    """What it says of its forecasts; None where it says nothing."""


@dataclass(slots=True)
class _Store:
    """The fits so far, and all that they depend on beside the spec."""

    conditions: dict[str, Any]
    fits: list[_Done] = field(default_factory=list)
    may_differ: list[str] = field(default_factory=list)
    """Of the task, when the last of them was done."""


def _quarantine(fits: list[_Done]) -> dict[str, Any]:
    """Return how many features the kept model does without, and how many each fit did; nothing without a quarantine."""
    counts = [fit.details.get("quarantined") for fit in fits]
    return {"quarantined": counts[-1], "quarantined_by_fit": counts} if counts[-1] is not None else {}


class WalkForward:
    """Trains a model of any family fit by fit."""

    def __init__(self, make: Callable[[], Trainer]) -> None:
        """Use *make*, a class, for the trainer of each fit: a trainer serves once. Its `record`, if it has one, scores."""
        self._make = make
        self._record_run: Callable[..., Finished] = getattr(make, "record", record_run)

    def prepare(self, task: Task) -> Started:
        """Plan the fits, restore those of an earlier attempt, prepare the next one."""
        params = cast("EvaluationParams", task.spec.typed_params)
        self._frame = load_frame(task.processed_dir, task.spec.horizon)
        self._split = split_of(task, self._frame)
        self._refits = refits_of(self._frame, self._split, params.refit_every_rows)
        self._store = self._restored(task)
        self._fits_before = len(self._store.fits)
        self._trainer: Trainer | None = self._make()
        started = self._trainer.prepare(self._task_for(task, self._next))
        self._epochs_each = started.total_epochs
        return replace(started, total_epochs=self._epochs_done + started.total_epochs * self._left)

    def train(self, task: Task) -> Finished:
        """Make the fits that are left, score all forecasts together, fill the run's folder.

        Raises:
            StopRequested: after the present fit has written a checkpoint, where its family can.
        """
        while self._left > 1:
            self._fit(task)
            self._save(task)
        self._fit(task)
        return self._record(task)

    @property
    def _next(self) -> Refit:
        return self._refits[len(self._store.fits)]

    @property
    def _left(self) -> int:
        return len(self._refits) - len(self._store.fits)

    @property
    def _epochs_done(self) -> int:
        return sum(fit.epochs for fit in self._store.fits)

    def _fit(self, task: Task) -> None:
        refit = self._next
        fit_task = self._task_for(task, refit)
        if self._trainer is None:
            self._trainer = self._make()
            self._epochs_each = self._trainer.prepare(fit_task).total_epochs
        task.channel.count_from(self._epochs_done, self._epochs_each * (self._left - 1))
        self._trainer.train(fit_task)
        self._trainer = None  # its model is no longer needed, and the next fit needs the memory
        recorded = refit.recorded[0]
        forecast = recorded.predicted[refit.split.backtest].astype(object)  # (n,) or (n, values)
        forecast[~np.isfinite(recorded.predicted[refit.split.backtest])] = None
        epochs = max(task.channel.last_epoch - self._epochs_done, 1)
        self._store.fits.append(
            _Done(
                forecast.tolist(),
                recorded.details,
                recorded.fit_s,
                recorded.predict_s,
                epochs=epochs,
                why=recorded.why,
            )
        )
        if self._left:  # only the last model is kept
            refit.recorded.clear()
        shutil.rmtree(fit_task.checkpoint_dir, ignore_errors=True)

    def _record(self, task: Task) -> Finished:
        fits, last = self._store.fits, self._refits[-1].recorded[0]
        why = {**(fits[0].why or {}), **(fits[-1].why or {})}
        predicted = np.full(last.predicted.shape, np.nan)
        for refit, done in zip(self._refits, fits, strict=True):
            predicted[refit.split.backtest] = np.array(done.predicted, dtype=np.float64)  # NaN for None
        return self._record_run(
            task,
            self._frame,
            self._split,
            predicted,
            fit_s=sum(fit.fit_s for fit in fits),
            predict_s=sum(fit.predict_s for fit in fits),
            model_files=last.model_files,
            preproc=last.preproc,
            details={**fits[-1].details, **fits[0].details, "fits": len(fits), **_quarantine(fits)},
            **({"explain": lambda: why} if why else {}),
        )

    def _task_for(self, task: Task, refit: Refit) -> Task:
        """Return *task* as one fit of it; after the first one its length is that which the first one selected."""
        (task.run_dir / task.checkpoint_dir.name).mkdir(exist_ok=True)
        if len(self._store.fits) > self._fits_before:  # no earlier attempt had begun this one
            task = replace(task, assignment=replace(task.assignment, attempt=1))
        if refit.selects:
            return replace(task, refit=refit)
        params = cast("EvaluationParams", task.spec.typed_params).refitted(self._store.fits[0].details)
        spec = task.spec.model_copy(update={"params": params.model_dump(mode="json")})
        return replace(task, refit=refit, spec=spec)

    def _conditions(self, task: Task) -> dict[str, Any]:
        return {
            "identity": task.assignment.identity,
            "source": self._frame.source_sha256,
            "threads": task.assignment.threads,
            "thrift": task.assignment.thrift,
            "libraries": library_versions(),
        }

    def _save(self, task: Task) -> None:
        """Store the fits so far; a full disk costs what was stored, not the run."""
        started_s, path = time.monotonic(), task.checkpoint_dir / STORE
        self._store.may_differ = task.may_differ
        task.channel.count_from(0, 0)
        try:
            size = write_fits(path, _plain(self._store))
        except OSError as exc:
            task.channel.report(CheckpointFailed(self._epochs_done, plain_words(exc, path)))
            return
        task.channel.report(CheckpointSaved(self._epochs_done, size, time.monotonic() - started_s))

    def _restored(self, task: Task) -> _Store:
        """Return the fits of an earlier attempt under the same conditions, else none."""
        path, fresh = task.checkpoint_dir / STORE, _Store(self._conditions(task))
        try:
            raw = read_fits(path)
            found = _Store(raw["conditions"], [_Done(**fit) for fit in raw["fits"]], raw.get("may_differ", []))
        except FileNotFoundError:
            return fresh
        except (OSError, ValueError, TypeError, KeyError) as exc:
            task.channel.report(Note(f"starts from the first fit: {path} cannot be read ({plain_words(exc)})"))
            return fresh
        changed = sorted(name for name, now in fresh.conditions.items() if found.conditions.get(name) != now)
        if changed or not 0 < len(found.fits) < len(self._refits):
            why = f"other {', '.join(changed)}" if changed else f"{len(found.fits)} fits"
            task.channel.report(Note(f"starts from the first fit: {path} was written with {why}"))
            return fresh
        for reason in found.may_differ:
            task.note_difference(reason)
        task.channel.report(Restored(sum(fit.epochs for fit in found.fits), str(path)))
        return found


def _plain(store: _Store) -> dict[str, Any]:
    """Return the store as JSON values; `asdict` would copy every forecast."""
    fits = [{part.name: getattr(fit, part.name) for part in fields(fit)} for fit in store.fits]
    return {"conditions": store.conditions, "fits": fits, "may_differ": store.may_differ}
