"""Automatic ARIMA and exponential smoothing on log prices, walked forward with refits.

From the first validation row on, the model is fitted anew every `refit_every_rows` rows on the last `history_rows`
log prices, up to and including that day; between refits its parameters stand still while its state takes in each
new day's price. Each row t is forecast from prices up to t only: f[t] = (log price forecast h days ahead) - log p[t].

A fit's parameters are kept as JSON and are revived from it for every forecast, so that the file is all that is
needed. Safe points lie between refits; a stopped run starts over, which costs seconds. Neighbours: `run_record`.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from statsforecast import models
from statsforecast.arima import forecast_arima, forward_arima
from statsforecast.ets import forecast_ets, forward_ets

from cbi_queue.protocol import EpochReport, Note, Started
from jobs.run_record import record_run
from jobs.series import load_frame
from jobs.splits import holdout_split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.catalogue import AutoARIMAParams, RollingFitParams
    from cbi_queue.protocol import Finished
    from jobs.series import ForecastFrame
    from jobs.splits import Split
    from jobs.trainer import Task

MODEL_FILE = "model.json"
Fit = dict[str, Any]
"""One fit as plain JSON values; `first_row` and `fit_row` are the first and last row whose price it was fitted on."""


class _RollingFit:
    """What the two models share: walking forward. A subclass fits on log prices and forecasts from a fit."""

    def prepare(self, task: Task) -> Started:
        """Load and split the series, and plan the refits."""
        self.params = p = cast("RollingFitParams", task.spec.typed_params)
        self.frame = load_frame(task.processed_dir, task.spec.horizon)
        self.split = holdout_split(self.frame, p.validation_rows, p.backtest_rows, p.embargo_rows)
        self.chunks = list(refit_chunks(self.frame, self.split, p.refit_every_rows))
        name = f"{task.spec.model} {task.spec.horizon} history{p.history_rows} season{p.season_rows} cpu"
        return Started(total_epochs=len(self.chunks), unit="fit", samples=p.history_rows, fingerprint=name)

    def train(self, task: Task) -> Finished:
        """Walk forward fit by fit, and leave the folder filled."""
        _note_rerun(task)
        predicted = np.full(self.frame.rows, np.nan)
        fits, fit_s, predict_s = [], 0.0, 0.0
        for done, chunk in enumerate(self.chunks):
            task.channel.safe_point(done)
            started_s = time.monotonic()
            fits.append(self._fit_before(int(chunk[0])))
            fitted_s = time.monotonic()
            predicted[chunk] = self.forecast_rows(fits[-1], self.frame, chunk)
            done_s = time.monotonic()
            fit_s, predict_s = fit_s + fitted_s - started_s, predict_s + done_s - fitted_s
            _report(task, done + 1, len(self.chunks), done_s - started_s, self.params.history_rows)
        task.channel.safe_point(len(self.chunks))
        return record_run(
            task,
            self.frame,
            self.split,
            predicted,
            fit_s=fit_s,
            predict_s=predict_s,
            model_files={MODEL_FILE: _as_json({"model": task.spec.model, "fits": fits})},
            preproc={"scaler": None, "transform": "log price", "features": []},
            details={"refits": len(fits)},
        )

    def forecast_rows(self, fit: Fit, frame: ForecastFrame, rows: np.ndarray) -> np.ndarray:
        """Return f of each of *rows* (positions at or after the fit's last row): (rows,) float64."""
        log_price = np.log(frame.price)
        first, h = fit["first_row"], frame.horizon_days
        ahead = [self.ahead(fit, log_price[first : row + 1], h) for row in rows]
        return np.asarray(ahead) - log_price[rows]

    def _fit_before(self, row: int) -> Fit:
        first = max(0, row + 1 - self.params.history_rows)
        return {"first_row": first, "fit_row": row, **self.fit(np.log(self.frame.price[first : row + 1]))}

    def fit(self, log_price: np.ndarray) -> Fit:
        """Fit on *log_price*: (days,) float64."""
        raise NotImplementedError

    def ahead(self, fit: Fit, log_price: np.ndarray, horizon_days: int) -> float:
        """Return the log price forecast *horizon_days* after the end of *log_price*, with the fit's parameters."""
        raise NotImplementedError


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
    """Yield the rows that share a fit: at most *refit_every_rows* consecutive days, the fit is on the first.

    Forecast are the validation and backtest blocks and the last h rows, whose outcome is not known yet.
    """
    future = np.flatnonzero(~np.isfinite(frame.y))
    rows = np.concatenate([split.validation, split.backtest, future])
    group = (rows - rows[0]) // refit_every_rows
    for number in np.unique(group):
        yield rows[group == number]


def _report(task: Task, done: int, total: int, wall_s: float, samples: int) -> None:
    resumed = task.channel.take_was_paused()
    task.channel.report(EpochReport(done, total, wall_s, samples=samples, resumed=resumed))


def _note_rerun(task: Task) -> None:
    if task.assignment.attempt > 1:
        text = f"attempt {task.assignment.attempt} walks from the first fit: no checkpoint is kept, it costs seconds"
        task.channel.report(Note(text))


def _as_json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()
