"""Whether `quarantine_psi` helps: LightGBM walked forward with and without it, on the 20 daily series inside skfolio.

Each series is the price once, with the two that are 1 and 7 places further as covariates; four fits, each of which
forecasts half a year. A round is a series. Figures are differences of skill, in percentage points; nothing is judged.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np
import polars as pl
from skfolio.datasets import load_sp500_dataset

from benchmarks.measuring import Line
from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.models.parameters.features import FeatureParams
from cbi_queue.models.parameters.trees import LightGBMDartParams
from jobs.boosting.run import MemoryLimits
from jobs.data.feature_names import Series
from jobs.data.features import engineer
from jobs.data.series import frame_of
from jobs.evaluation.drift import drifted
from jobs.evaluation.splits import split_by
from jobs.evaluation.walk_forward import refits_of
from jobs.families.lightgbm_trees import library_params

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.data.series import ForecastFrame

HORIZONS = ("1w", "1m")
ROUNDS = 60
"""Trees of each fit."""
LIMIT = 0.25
NEIGHBOURS = (1, 7)
REFIT_EVERY = 126
PARAMS = LightGBMDartParams(scheme="walk_forward", backtest_rows=4 * REFIT_EVERY, final_block_rows=0)


def lines(rounds: int) -> list[Line]:
    """Measure the first *rounds* series at every horizon."""
    tables = list(_tables())[:rounds]
    return [_line(horizon, [_compared(frame_of(t, HORIZON_DAYS[horizon], "")) for t in tables]) for horizon in HORIZONS]


def _line(horizon: str, compared: list[tuple[float, float, float]]) -> Line:
    differences = tuple(100 * (with_it - without) for without, with_it, _ in compared)
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    words = (
        f"mean {statistics.fmean(differences):+.2f}, standard error {spread / math.sqrt(len(differences)):.2f}; better on {sum(d > 0 for d in differences)}, worse on "
        f"{sum(d < 0 for d in differences)} of {len(differences)} series; {100 * statistics.fmean(c[2] for c in compared):.1f} % "
        "of the features in quarantine"
    )
    return Line(f"{horizon}: skill with quarantine less skill without", "%", differences, note=words)


def _tables() -> Iterator[pl.DataFrame]:
    """Yield the features of each series."""
    prices = load_sp500_dataset()
    names, days = list(prices.columns), prices.index.to_numpy().astype("datetime64[D]").astype(np.int64)
    for at, name in enumerate(names):
        others = [names[(at + step) % len(names)] for step in NEIGHBOURS]
        columns = {"price": name, **{other: other for other in others}}
        levels = {key: prices[source].to_numpy().astype(float) for key, source in columns.items()}
        series = [Series(key, is_log=True) for key in columns]
        yield pl.DataFrame(engineer(days, levels, series, FeatureParams()))


def _compared(frame: ForecastFrame) -> tuple[float, float, float]:
    """Return the skill without and with quarantine, and the share of the features that were in it."""
    fits = refits_of(frame, split_by(frame, PARAMS), REFIT_EVERY)[1:-1]
    without, with_it = (np.full(frame.rows, np.nan) for _ in range(2))
    taken = 0.0
    for fit in fits:
        train, rows = fit.split.train, fit.split.backtest
        without[rows] = _forecast(frame.x, frame.y, train, rows)
        away = drifted(frame.x[train], LIMIT)
        taken += len(away) / frame.x.shape[1] / len(fits)
        x = frame.x.copy()
        x[:, away] = np.nan
        with_it[rows] = _forecast(x, frame.y, train, rows) if len(away) else without[rows]
    judged = np.concatenate([fit.split.backtest for fit in fits])
    return _skill(frame, judged, without), _skill(frame, judged, with_it), taken


def _forecast(x: np.ndarray, y: np.ndarray, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    params = library_params(PARAMS, MemoryLimits(PARAMS.max_bin, threads=1))
    booster = lgb.train(params, lgb.Dataset(x[train], y[train]), ROUNDS)
    return np.asarray(booster.predict(x[rows], num_threads=1))


def _skill(frame: ForecastFrame, rows: np.ndarray, predicted: np.ndarray) -> float:
    price = frame.price[rows]
    actual = price * np.exp(frame.y[rows])
    miss = np.abs(price * np.exp(predicted[rows]) - actual)
    return float(1 - miss.sum() / np.abs(price - actual).sum())
