"""XGBoost with the DART booster: like gradient boosting, but each round may drop some of the trees before it.

Deterministic on a CPU with a given number of threads. On XGBoost 3.2 (the last for Python 3.11) a round costs more
the later it comes, because the dropped trees' predictions are computed anew. Neighbours: `jobs.boosting` (the
loop), `jobs.run_record` (the files).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xgboost as xgb

from cbi_queue.protocol import Started
from jobs.boosting import boost
from jobs.run_record import record_run
from jobs.series import load_frame
from jobs.splits import holdout_split

if TYPE_CHECKING:
    from cbi_queue.catalogue import XGBoostDartParams
    from cbi_queue.protocol import Finished
    from jobs.series import ForecastFrame
    from jobs.splits import Split
    from jobs.trainer import Task

MODEL_FILE = "model.ubj"


class XGBoostDart:
    """Trains `xgboost_dart`."""

    def prepare(self, task: Task) -> Started:
        """Load and split the features."""
        self.params = cast("XGBoostDartParams", task.spec.typed_params)
        self.frame = load_frame(task.processed_dir, task.spec.horizon)
        p = self.params
        self.split = holdout_split(self.frame, p.validation_rows, p.backtest_rows, p.embargo_rows)
        rows, features = len(self.split.train), self.frame.x.shape[1]
        shape = f"{rows}x{features} depth{p.max_depth} threads{task.assignment.threads}"
        return Started(
            total_epochs=p.n_estimators,
            unit="round",
            samples=rows,
            fingerprint=f"xgboost_dart {task.spec.horizon} {shape} cpu",
        )

    def train(self, task: Task) -> Finished:
        """Boost, keep the best round, forecast every row and leave the folder filled."""
        p, frame, threads = self.params, self.frame, task.assignment.threads
        rounds = _Rounds(frame, self.split, library_params(p, threads))
        boosted = boost(
            task, rounds, rounds=p.n_estimators, patience_rounds=p.early_stopping_rounds, samples=len(self.split.train)
        )
        started_s = time.monotonic()
        best = xgb.Booster({"nthread": threads}, model_file=bytearray(boosted.model))
        predicted = best.predict(_matrix(frame, slice(None), threads)).astype(np.float64)  # (rows,)
        return record_run(
            task,
            frame,
            self.split,
            predicted,
            fit_s=boosted.fit_s,
            predict_s=time.monotonic() - started_s,
            model_files={MODEL_FILE: boosted.model},
            preproc={"scaler": None, "missing": "NaN passes into the trees", "features": list(frame.feature_names)},
            details={"best_round": boosted.best_round, "rounds": boosted.rounds},
        )


def library_params(params: XGBoostDartParams, threads: int) -> dict[str, Any]:
    """Say the job's parameters in XGBoost's words."""
    return {
        "booster": "dart",
        "objective": "reg:squarederror",
        "eval_metric": "rmse",
        "tree_method": "hist",
        "max_depth": params.max_depth,
        "learning_rate": params.learning_rate,
        "rate_drop": params.rate_drop,
        "skip_drop": params.skip_drop,
        "min_child_weight": params.min_child_weight,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample_bytree,
        "max_bin": params.max_bin,
        "verbosity": 0,
        "seed": params.seed,
        "nthread": threads,
    }


class _Rounds:
    """An XGBoost booster as `jobs.boosting` wants it."""

    def __init__(self, frame: ForecastFrame, split: Split, params: dict[str, Any]) -> None:
        self._train = _matrix(frame, split.train, params["nthread"])
        self._validation = _matrix(frame, split.validation, params["nthread"])
        self._booster = xgb.Booster(params, [self._train, self._validation])
        self._round = 0

    def update(self) -> bool:
        self._booster.update(self._train, self._round)
        self._round += 1
        return True

    def validation_rmse(self) -> float:
        return float(self._booster.eval(self._validation).rsplit(":", 1)[1])  # "[0]\teval-rmse:0.0123"

    def train_rmse(self) -> None:
        """None: DART keeps no training predictions, so each value would cost a forecast of every row."""
        return

    def snapshot(self) -> bytes:
        return bytes(self._booster.save_raw("ubj"))


def _matrix(frame: ForecastFrame, rows: np.ndarray | slice, threads: int) -> xgb.DMatrix:
    # DMatrix takes NaN labels for an error, and forecasting needs none
    label = None if isinstance(rows, slice) else frame.y[rows]
    return xgb.DMatrix(frame.x[rows], label, feature_names=list(frame.feature_names), nthread=threads)
