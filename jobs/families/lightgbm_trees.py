"""LightGBM with DART boosting: many shallow trees, some of which are dropped while the next is grown.

Deterministic: the same spec, data and number of threads give the same model text, byte for byte. Missing values
pass into the trees, which learn a side for them; nothing is scaled. Neighbours: `jobs.boosting` (the loop),
`jobs.run_record` (the files).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import lightgbm as lgb
import numpy as np

from cbi_queue.protocol import Started
from jobs.boosting import boost
from jobs.run_record import record_run
from jobs.series import load_frame
from jobs.splits import holdout_split

if TYPE_CHECKING:
    from cbi_queue.catalogue import LightGBMDartParams
    from cbi_queue.protocol import Finished
    from jobs.series import ForecastFrame
    from jobs.splits import Split
    from jobs.trainer import Task

MODEL_FILE = "model.txt"


class LightGBMDart:
    """Trains `lightgbm_dart`."""

    def prepare(self, task: Task) -> Started:
        """Load and split the features."""
        self.params = cast("LightGBMDartParams", task.spec.typed_params)
        self.frame = load_frame(task.processed_dir, task.spec.horizon)
        p = self.params
        self.split = holdout_split(self.frame, p.validation_rows, p.backtest_rows, p.embargo_rows)
        rows, features = len(self.split.train), self.frame.x.shape[1]
        shape = f"{rows}x{features} leaves{p.num_leaves} depth{p.max_depth} threads{task.assignment.threads}"
        return Started(
            total_epochs=p.n_estimators,
            unit="round",
            samples=rows,
            fingerprint=f"lightgbm_dart {task.spec.horizon} {shape} cpu",
        )

    def train(self, task: Task) -> Finished:
        """Boost, keep the best round, forecast every row and leave the folder filled."""
        p, frame = self.params, self.frame
        rounds = _Rounds(frame, self.split, library_params(p, task.assignment.threads))
        boosted = boost(
            task, rounds, rounds=p.n_estimators, patience_rounds=p.early_stopping_rounds, samples=len(self.split.train)
        )
        started_s = time.monotonic()
        best = lgb.Booster(model_str=boosted.model.decode())
        predicted = np.asarray(best.predict(frame.x, num_threads=task.assignment.threads))  # (rows,) float64
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


def library_params(params: LightGBMDartParams, threads: int) -> dict[str, Any]:
    """Say the job's parameters in LightGBM's words; the last four lines are what makes two runs equal."""
    return {
        "boosting": "dart",
        "objective": "regression",
        "metric": "rmse",
        "num_leaves": params.num_leaves,
        "max_depth": params.max_depth,
        "learning_rate": params.learning_rate,
        "drop_rate": params.drop_rate,
        "min_child_samples": params.min_child_samples,
        "bagging_fraction": params.subsample,
        "bagging_freq": 1 if params.subsample < 1 else 0,
        "feature_fraction": params.colsample_bytree,
        "max_bin": params.max_bin,
        "verbosity": -1,
        "seed": params.seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
    }


class _Rounds:
    """A LightGBM booster as `jobs.boosting` wants it."""

    def __init__(self, frame: ForecastFrame, split: Split, params: dict[str, Any]) -> None:
        train, validation = split.train, split.validation
        names = list(frame.feature_names)
        learned = lgb.Dataset(frame.x[train], frame.y[train], params=params, feature_name=names)
        self._booster = lgb.Booster(params, learned)
        watched = lgb.Dataset(frame.x[validation], frame.y[validation], reference=learned, params=params)
        self._booster.add_valid(watched, "validation")

    def update(self) -> bool:
        # True from LightGBM: no leaf could be split. It then leaves the dropped trees negated.
        return not self._booster.update()

    def validation_rmse(self) -> float:
        return float(self._booster.eval_valid()[0][2])

    def train_rmse(self) -> float:
        return float(self._booster.eval_train()[0][2])

    def snapshot(self) -> bytes:
        return str(self._booster.model_to_string(num_iteration=-1)).encode()
