"""Models that are fitted in moments, walked forward with refits: one fit after another, each stored as JSON.

From the first validation row on, the model is fitted again every `refit_every_rows` rows on the last `history_rows` prices
(their logarithms, unless the label is a difference), up to and including that day; between refits its parameters are fixed while its state is updated with each new
day's price. Each row t is forecast from prices up to t only. A family says how to fit and how to forecast from a fit.

A fit's parameters are stored as JSON and loaded from it for every forecast, so that the file is all that is needed. Safe
points lie between fits; one fit takes moments, and the kernel pauses within it. The fits so far are also the checkpoint,
and an exact one: each fit depends only on the prices before it and on the library, whose version is stored with them.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, Note, Restored, Started
from cbi_queue.regular_files import check_folder, plain_words
from jobs.data.label import Label
from jobs.data.series import load_frame
from jobs.evaluation.splits import split_of
from jobs.process.channel import StopRequested
from jobs.results.run_folder import record_run
from jobs.training.probe import probe_cpu
from jobs.training.stored_fits import read_fits, write_fits
from jobs.training.work_clock import WorkClock
from jobs.training.work_reports import BlockReports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cbi_queue.models.parameters.statistical import RollingFitParams
    from cbi_queue.protocol import Finished
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

MODEL_FILE, CHECKPOINT_FILE = "model.json", "fits.json"
CHECKPOINT_EVERY_S = 30.0
"""Most work that a crash can cost, apart from the current fit."""
Fit = dict[str, Any]
"""One fit as plain JSON values; `first_row` and `fit_row` are the first and last row whose price it was fitted on."""


@dataclass(slots=True)
class _Fits:
    """The fits so far: the checkpoint."""

    identity: str
    source_sha256: str
    library: str
    """Name and version of the library that fitted: another one may choose other orders."""
    fits: list[Fit] = field(default_factory=list)
    fit_s: float = 0.0


class RollingFit(ABC):
    """Walks forward by itself, whatever the scheme. A subclass fits on levels (`Label.level`) and forecasts from a fit."""

    walks_forward = True
    library: ClassVar[str]
    """Name and version of the library that fits."""
    depends_on_threads: ClassVar[bool] = False
    """Whether the number of threads changes a bit of a fit: the fits of an attempt with another number are then not used."""
    record: ClassVar[Callable[..., Finished]] = staticmethod(record_run)
    """Scores the forecasts and fills the run's folder."""
    label = Label.LOG_RETURN
    """Of the frame, once prepared."""

    def prepare(self, task: Task) -> Started:
        """Load and split the series, plan the refits, restore those of an earlier attempt."""
        self.params = p = cast("RollingFitParams", task.spec.typed_params)
        self.frame = load_frame(task.processed_dir, task.spec.horizon)
        self.label = self.frame.label
        self.split = split_of(task, self.frame)
        self.chunks = list(refit_chunks(self.frame, self.split, p.refit_every_rows))
        threads = f", {task.assignment.threads} threads" if self.depends_on_threads else ""
        self.done = _restored(task, self.frame.source_sha256, self.library + threads)
        name = f"{task.spec.model} {task.spec.horizon} history{self.samples} {self.shape()}cpu"
        task.channel.probe = probe_cpu
        self._clock = WorkClock(task.channel)
        return Started(
            total_epochs=len(self.chunks),
            unit="fit",
            samples=self.samples,
            fingerprint=f"{name} threads{task.assignment.threads} {self.library}",
            can=("pace", "probe", "checkpoint"),
        )

    def train(self, task: Task) -> Finished:
        """Fit, then forecast, walking forward; fill the run's folder."""
        try:
            self._fit_all(task)
            predicted, predict_s = self._forecast_all(task)
        except StopRequested:
            self.done.fit_s = self._clock.worked_s
            _save(task, self.done)
            raise
        self.predicted = predicted
        return self.record(
            task,
            self.frame,
            self.split,
            predicted,
            fit_s=self.done.fit_s,
            predict_s=predict_s,
            model_files={
                MODEL_FILE: _as_json({"model": task.spec.model, "fits": self.done.fits}),
                **self.further_files(),
            },
            preproc=self.preproc(),
            details={"refits": len(self.done.fits), **self.details()},
        )

    def _fit_all(self, task: Task) -> None:
        clock, total, saved_at_s = self._clock, len(self.chunks), time.monotonic()
        clock.start(self.done.fit_s)
        reports = BlockReports(task.channel, clock, total)
        for number in range(len(self.done.fits), total):
            task.channel.safe_point(number)
            reports.start()
            self.done.fits.append(self.fit_before(int(self.chunks[number][0])))
            try:
                task.channel.safe_point(number + 1)  # after it, it is known how long the kernel stopped a fit
            finally:  # a stop keeps the fit, so it is reported as well
                self.done.fit_s = clock.worked_s
                reports.send(number + 1, self.samples)
            if time.monotonic() - saved_at_s >= CHECKPOINT_EVERY_S:
                with clock.set_aside():
                    _save(task, self.done)
                saved_at_s = time.monotonic()
        clock.stop()

    def _forecast_all(self, task: Task) -> tuple[np.ndarray, float]:
        predicted, clock = np.full(self.frame.rows, np.nan), WorkClock(task.channel)
        clock.start(0.0)
        for fit, chunk in zip(self.done.fits, self.chunks, strict=True):
            task.channel.safe_point(len(self.done.fits))
            predicted[chunk] = self.forecast_rows(fit, self.frame, chunk)
        return predicted, clock.worked_s

    def fit_before(self, row: int) -> Fit:
        """Return the fit that is made at *row*, from nothing that was known later, with its `first_row` and `fit_row`."""
        first = max(0, row + 1 - self.params.history_rows)
        return {"first_row": first, "fit_row": row, **self.fit(self.label.level(self.frame.price[first : row + 1]))}

    @abstractmethod
    def fit(self, level: np.ndarray) -> Fit:
        """Fit on *level*, log prices or prices: (days,) float64."""

    @abstractmethod
    def forecast_rows(self, fit: Fit, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
        """Return the forecast of each of *rows* (rising positions at or after the fit's last row): (rows,) float64."""

    @property
    def samples(self) -> int:
        """Days that a fit sees, at most."""
        return self.params.history_rows

    def shape(self) -> str:
        """Return the parameters that a fit's cost depends on, beside its history, each followed by a space."""
        return ""

    def preproc(self) -> dict[str, Any]:
        """Return what is done to the data before a fit."""
        return {"scaler": None, "transform": "log price" if self.label.is_relative else "price", "features": []}

    def further_files(self) -> dict[str, bytes | Callable[[Path], object]]:
        """Return what a forecast needs beside the fits and the prices: file name -> content, or what writes it."""
        return {}

    def details(self) -> dict[str, Any]:
        """Return further metrics, from the fits and from `predicted`, (rows,) f[t]."""
        return {}


def refit_chunks(frame: ForecastFrame, split: Split, refit_every_rows: int) -> Iterator[np.ndarray]:
    """Yield the rows that share a fit: at most *refit_every_rows* consecutive days; the fit is made on the first.

    Validation, backtest, final block and the last h rows, whose outcome is not known yet, are forecast.
    """
    future = np.flatnonzero(~np.isfinite(frame.y))
    rows = np.concatenate([split.validation, split.backtest, split.final, future])
    group = (rows - rows[0]) // refit_every_rows
    for number in np.unique(group):
        yield rows[group == number]


def _save(task: Task, done: _Fits) -> None:
    """Store the fits so far for a later attempt; a full disk costs the checkpoint, not the run."""
    started_s = time.monotonic()
    path = task.checkpoint_dir / CHECKPOINT_FILE
    try:
        check_folder(path.parent)
        path.parent.mkdir(exist_ok=True)
        size = write_fits(path, asdict(done))
    except OSError as exc:
        task.channel.report(CheckpointFailed(len(done.fits), plain_words(exc, path)))
        return
    task.channel.report(CheckpointSaved(len(done.fits), size, time.monotonic() - started_s))


def _restored(task: Task, source_sha256: str, library: str) -> _Fits:
    """Return the fits of an earlier attempt at the same job on the same data with the same library, else none."""
    path = task.checkpoint_dir / CHECKPOINT_FILE
    fresh = _Fits(task.assignment.identity, source_sha256, library)
    try:
        found = _Fits(**read_fits(path))
    except FileNotFoundError:
        return fresh
    except (OSError, ValueError, TypeError) as exc:
        task.channel.report(Note(f"starts from the first fit: {path} cannot be read ({plain_words(exc)})"))
        return fresh
    if (found.identity, found.source_sha256) != (fresh.identity, fresh.source_sha256):
        task.channel.report(Note(f"starts from the first fit: {path} was written for another job or other data"))
        return fresh
    if found.library != fresh.library:
        why = f"was made with {found.library}, this is {fresh.library}"
        task.channel.report(Note(f"starts from the first fit: {path} {why}"))
        return fresh
    task.channel.report(Restored(len(found.fits), str(path)))
    return found


def _as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()
