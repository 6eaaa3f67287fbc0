"""Automatic ARIMA and exponential smoothing on log prices, walked forward with refits.

From the first validation row on, the model is fitted again every `refit_every_rows` rows on the last `history_rows` log
prices, up to and including that day; between refits its parameters are fixed while its state is updated with each new
day's price. Each row t is forecast from prices up to t only: f[t] = (log price forecast h days ahead) - log p[t].

A fit's parameters are stored as JSON and loaded from it for every forecast, so that the file is all that is needed. Safe
points lie between fits; one fit takes moments, and the kernel pauses within it. The fits so far are also the checkpoint,
and an exact one: each fit depends only on the prices before it and on the library, whose version is stored with them.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from statsforecast import __version__ as statsforecast_version
from statsforecast import models
from statsforecast.arima import forecast_arima, forward_arima
from statsforecast.ets import forecast_ets, forward_ets

from cbi_queue.protocol import CheckpointFailed, CheckpointSaved, Note, Restored, Started
from cbi_queue.regular_files import check_folder
from jobs.data.series import load_frame
from jobs.evaluation.splits import split_of
from jobs.process.channel import StopRequested
from jobs.results.run_folder import record_run
from jobs.training.probe import probe_cpu
from jobs.training.stored_fits import read_fits, write_fits
from jobs.training.work_clock import WorkClock
from jobs.training.work_reports import BlockReports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.models.parameters.statistical import AutoARIMAParams, RollingFitParams
    from cbi_queue.protocol import Finished
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

MODEL_FILE, CHECKPOINT_FILE = "model.json", "fits.json"
LIBRARY = f"statsforecast {statsforecast_version}"
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


class _RollingFit(ABC):
    """Walks forward by itself, whatever the scheme. A subclass fits on log prices and forecasts from a fit."""

    walks_forward = True

    def prepare(self, task: Task) -> Started:
        """Load and split the series, plan the refits, restore those of an earlier attempt."""
        self.params = p = cast("RollingFitParams", task.spec.typed_params)
        self.frame = load_frame(task.processed_dir, task.spec.horizon)
        self.split = split_of(task, self.frame)
        self.chunks = list(refit_chunks(self.frame, self.split, p.refit_every_rows))
        self.done = _restored(task, self.frame.source_sha256)
        name = f"{task.spec.model} {task.spec.horizon} history{p.history_rows} season{p.season_rows} cpu"
        task.channel.probe = probe_cpu
        self._clock = WorkClock(task.channel)
        return Started(
            total_epochs=len(self.chunks),
            unit="fit",
            samples=p.history_rows,
            fingerprint=f"{name} threads{task.assignment.threads} {LIBRARY}",
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
        return record_run(
            task,
            self.frame,
            self.split,
            predicted,
            fit_s=self.done.fit_s,
            predict_s=predict_s,
            model_files={MODEL_FILE: _as_json({"model": task.spec.model, "fits": self.done.fits})},
            preproc={"scaler": None, "transform": "log price", "features": []},
            details={"refits": len(self.done.fits)},
        )

    def _fit_all(self, task: Task) -> None:
        clock, total, saved_at_s = self._clock, len(self.chunks), time.monotonic()
        clock.start(self.done.fit_s)
        reports = BlockReports(task.channel, clock, total)
        for number in range(len(self.done.fits), total):
            task.channel.safe_point(number)
            reports.start()
            self.done.fits.append(self._fit_before(int(self.chunks[number][0])))
            try:
                task.channel.safe_point(number + 1)  # after it, it is known how long the kernel stopped a fit
            finally:  # a stop keeps the fit, so it is reported as well
                self.done.fit_s = clock.worked_s
                reports.send(number + 1, self.params.history_rows)
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

    def forecast_rows(self, fit: Fit, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
        """Return f of each of *rows* (positions at or after the fit's last row): (rows,) float64."""
        log_price = np.log(frame.price)
        first, h = fit["first_row"], frame.horizon_days
        ahead = [self.ahead(fit, log_price[first : row + 1], h) for row in rows]
        f: np.ndarray = np.asarray(ahead) - log_price[rows]
        return f

    def _fit_before(self, row: int) -> Fit:
        first = max(0, row + 1 - self.params.history_rows)
        return {"first_row": first, "fit_row": row, **self.fit(np.log(self.frame.price[first : row + 1]))}

    @abstractmethod
    def fit(self, log_price: np.ndarray) -> Fit:
        """Fit on *log_price*: (days,) float64."""

    @abstractmethod
    def ahead(self, fit: Fit, log_price: np.ndarray, horizon_days: int) -> float:
        """Return the log price forecast *horizon_days* after the end of *log_price*, with the fit's parameters."""


class AutoARIMA(_RollingFit):
    """Trains `auto_arima`: orders by AICc, stepwise; forecasts by the Kalman filter with fixed coefficients."""

    def fit(self, log_price: np.ndarray) -> Fit:
        """Search the orders and estimate the coefficients."""
        p = cast("AutoARIMAParams", self.params)
        model = models.AutoARIMA(max_p=p.max_p, max_q=p.max_q, season_length=p.season_rows).fit(log_price).model_
        return {
            "arma": [int(order) for order in model["arma"]],
            "coef": {name: float(value) for name, value in model["coef"].items()},
            "sigma2": float(model["sigma2"]),
            "days": len(log_price),
        }

    def ahead(self, fit: Fit, log_price: np.ndarray, horizon_days: int) -> float:
        """Filter *log_price* with the fit's coefficients and forecast."""
        days = np.arange(1.0, fit["days"] + 1).reshape(-1, 1)  # (days, 1), the regressor of a drift
        revived = {
            "arma": tuple(fit["arma"]),
            "coef": dict(fit["coef"]),
            "sigma2": fit["sigma2"],
            "xreg": days if "drift" in fit["coef"] else None,
            "x": log_price[: fit["days"]],
            "lambda": None,
        }
        applied = forward_arima(revived, y=log_price, method=None)
        return float(forecast_arima(applied, horizon_days)["mean"][-1])


class ETS(_RollingFit):
    """Trains `ets`: error, trend and season chosen by AICc; the initial state belongs to the fit's first day."""

    def fit(self, log_price: np.ndarray) -> Fit:
        """Choose the components and estimate the smoothing parameters."""
        model = models.AutoETS(season_length=self.params.season_rows).fit(log_price).model_
        return {
            "components": str(model["components"]),
            "season_rows": int(model["m"]),
            "par": [None if np.isnan(value) else float(value) for value in model["par"]],
            "n_params": int(model["n_params"]),
        }

    def ahead(self, fit: Fit, log_price: np.ndarray, horizon_days: int) -> float:
        """Run *log_price* through the fitted states and forecast."""
        revived = {
            "components": fit["components"],
            "m": fit["season_rows"],
            "par": np.array([np.nan if value is None else value for value in fit["par"]]),
            "n_params": fit["n_params"],
            "fit": None,
        }
        return float(forecast_ets(forward_ets(revived, y=log_price), h=horizon_days)["mean"][-1])


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
        task.channel.report(CheckpointFailed(len(done.fits), f"{path}: {exc}"))
        return
    task.channel.report(CheckpointSaved(len(done.fits), size, time.monotonic() - started_s))


def _restored(task: Task, source_sha256: str) -> _Fits:
    """Return the fits of an earlier attempt at the same job on the same data with the same library, else none.

    The number of threads does not matter: it changes no bit of a fit (compared: 1000 prices, one thread and two).
    """
    path = task.checkpoint_dir / CHECKPOINT_FILE
    fresh = _Fits(task.assignment.identity, source_sha256, LIBRARY)
    try:
        found = _Fits(**read_fits(path))
    except FileNotFoundError:
        return fresh
    except (OSError, ValueError, TypeError) as exc:
        task.channel.report(Note(f"starts from the first fit: {path} cannot be read ({exc})"))
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
