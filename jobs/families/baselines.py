"""The baselines to beat: naive, seasonal naive and drift, scored like every model so that a leaderboard has them.

Each takes milliseconds, with a safe point before and one after. With h the horizon and p[t] the price at row t: naive
forecasts p[t]; seasonal naive the price of the same day of the season, the latest that is known; drift extends the mean
daily log return of the training block, or the mean daily difference where that is the label.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cbi_queue.protocol import EpochReport, Started
from jobs.data.label import Label
from jobs.data.series import load_frame
from jobs.evaluation.splits import split_of
from jobs.results.run_folder import record_run
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.models.parameters.common import EvaluationParams
    from cbi_queue.models.parameters.statistical import SeasonalNaiveParams
    from cbi_queue.protocol import Finished
    from jobs.trainer import Task

MODEL_FILE = "model.json"
Model = dict[str, Any]


def forecast(model: Model, price: np.ndarray, horizon_days: int) -> np.ndarray:
    """Return f[t] for each row from a baseline's model file. *price*: (rows,) -> (rows,) float64, NaN where unknown.

    naive: f = 0.    drift: f = h * mean daily log return, or difference.
    seasonal naive, season m: f = log p[t + h - m k] - log p[t], or the difference of these prices, with k = ceil(h / m), the fewest whole seasons back
    from t + h to a price that is known at t. When m divides h that is p[t] itself, and the forecast is naive's.
    """
    f: np.ndarray = np.zeros(len(price))
    if "season_rows" in model:
        back = rows_back(model["season_rows"], horizon_days)
        f[:back] = np.nan
        f[back:] = Label(model.get("label", Label.LOG_RETURN)).change(price[back:], price[: len(price) - back])
    mean: float = model.get("mean_daily_log_return") or model.get("mean_daily_difference") or 0.0
    f += horizon_days * mean
    return f


def rows_back(season_rows: int, horizon_days: int) -> int:
    """Return how many rows before t the price for the seasonal naive forecast of t + h is; 0 for row t itself."""
    return season_rows * math.ceil(horizon_days / season_rows) - horizon_days


class _Baseline(ABC):
    """The steps of a one-shot job, which the three share."""

    def prepare(self, task: Task) -> Started:
        """Load and split the features (of which a baseline uses the price alone)."""
        self.params = cast("EvaluationParams", task.spec.typed_params)
        self.frame = load_frame(task.processed_dir, task.spec.horizon)
        self.split = split_of(task, self.frame)
        name = f"{task.spec.model} {task.spec.horizon} {self.frame.rows} rows"
        return Started(total_epochs=1, unit="fit", one_shot=True, samples=len(self.split.train), fingerprint=name)

    def train(self, task: Task) -> Finished:
        """Forecast every row and leave the folder filled."""
        task.channel.safe_point(0)
        started_s = time.monotonic()
        model = self.fit()
        if not self.frame.label.is_relative:
            model["label"] = str(self.frame.label)
        fitted_s = time.monotonic()
        predicted = forecast(model, self.frame.price, self.frame.horizon_days)
        done_s = time.monotonic()
        resumed = task.channel.take_was_paused()
        task.channel.report(EpochReport(1, 1, done_s - started_s, samples=self.frame.rows, resumed=resumed))
        task.channel.safe_point(1)
        return record_run(
            task,
            self.frame,
            self.split,
            predicted,
            fit_s=fitted_s - started_s,
            predict_s=done_s - fitted_s,
            model_files={MODEL_FILE: json.dumps(model, indent=2, sort_keys=True).encode()},
            preproc={"scaler": None, "features": []},
        )

    @abstractmethod
    def fit(self) -> Model:
        """Return the model as it is written to its file."""


class Naive(_Baseline):
    """Trains `naive`."""

    def fit(self) -> Model:
        """Learn nothing: the forecast is the last price."""
        return {"model": "naive"}


class SeasonalNaive(_Baseline):
    """Trains `seasonal_naive`."""

    def prepare(self, task: Task) -> Started:
        """Load and split as every baseline does, and check that a season fits into the history.

        Raises:
            BrokenSpec: when no row has a price that many rows before it.
        """
        started = super().prepare(task)
        season_rows = cast("SeasonalNaiveParams", self.params).season_rows
        back, rows = rows_back(season_rows, self.frame.horizon_days), self.frame.rows
        if back >= rows:
            raise BrokenSpec(
                f"season_rows is {season_rows}: with a horizon of {self.frame.horizon_days} days each forecast needs the "
                f"price {back} rows earlier, and the features have {rows} rows; choose a season that leaves fewer than "
                f"{rows}, or use a longer history"
            )
        return started

    def fit(self) -> Model:
        """Take the season from the parameters."""
        return {"model": "seasonal_naive", "season_rows": cast("SeasonalNaiveParams", self.params).season_rows}


class Drift(_Baseline):
    """Trains `drift`."""

    def fit(self) -> Model:
        """Average the daily changes inside the training block."""
        level = self.frame.label.level(self.frame.price[self.split.train])
        key = "mean_daily_log_return" if self.frame.label.is_relative else "mean_daily_difference"
        return {"model": "drift", key: float(np.diff(level).mean())}
