"""XGBoost with the DART booster: like gradient boosting, but each round may drop some of the trees before it.

Deterministic on a CPU with a given number of threads. On XGBoost 3.2 (the last for Python 3.11) a round costs more
the later it is, because the dropped trees' predictions are computed again; training continues from a stored model to
the same bits unless rows or columns are drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jobs.boosting.library import importing
from jobs.boosting.run import BoostedRun

with importing("XGBoost"):
    import xgboost as xgb

if TYPE_CHECKING:
    from cbi_queue.models.parameters.trees import XGBoostDartParams
    from cbi_queue.protocol import Finished, Started
    from jobs.boosting.run import MemoryLimits
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

MODEL_FILE = "model.ubj"
LIBRARY = f"xgboost {xgb.__version__}"


class XGBoostDart:
    """Trains `xgboost_dart`."""

    def prepare(self, task: Task) -> Started:
        """Load and split the features."""
        self.params = p = cast("XGBoostDartParams", task.spec.typed_params)
        self.run = BoostedRun(task)
        return self.run.started(f"depth{p.max_depth}", LIBRARY, resumes_exactly=resumes_exactly(p))

    def train(self, task: Task) -> Finished:  # noqa: ARG002 - the run has it
        """Train, keep the best round, forecast every row and fill the run's folder."""
        run = self.run
        rounds = self._rounds(run.chosen(self._rounds, LIBRARY), run.split)
        library = LIBRARY if resumes_exactly(self.params) else None
        return run.finish(rounds, self._forecast, MODEL_FILE, library=library, load=self._load)

    def _rounds(self, params: Any, split: Split) -> _XGBoostRounds:
        return _XGBoostRounds(self.run.frame, split, library_params(params, self.run.limits))

    def _forecast(self, model: bytes) -> np.ndarray:
        return self._load(model).predict(self.run.frame.x)  # (rows,)

    def _load(self, model: bytes) -> _XGBoostTrees:
        threads = self.run.limits.threads
        booster = xgb.Booster({"nthread": threads}, model_file=bytearray(model))
        return _XGBoostTrees(booster, list(self.run.frame.feature_names), threads)


def resumes_exactly(params: XGBoostDartParams) -> bool:
    """Return True if training continues from a stored model to the same bits: where neither rows nor columns are drawn.

    The draws of DART itself come from a seed for each round; those of rows and columns do not.
    """
    return params.subsample >= 1.0 and params.colsample_bytree >= 1.0


def library_params(params: XGBoostDartParams, limits: MemoryLimits) -> dict[str, Any]:
    """Return the parameters as XGBoost names them."""
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
        "max_bin": limits.bins,
        "verbosity": 0,
        "seed": params.seed,
        "seed_per_iteration": True,
        "nthread": limits.threads,
    }


class _XGBoostTrees:
    """An XGBoost model that is done. Its contributions take DART's weights of trees into account; a test adds them up."""

    def __init__(self, booster: xgb.Booster, names: list[str], threads: int) -> None:
        self._booster, self._names, self._threads = booster, names, threads

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._booster.predict(self._matrix(x)).astype(np.float64)  # (n,)

    def contributions(self, x: np.ndarray) -> np.ndarray:
        return self._booster.predict(self._matrix(x), pred_contribs=True).astype(np.float64)  # (n, F + 1)

    def _matrix(self, x: np.ndarray) -> xgb.DMatrix:
        return xgb.DMatrix(x, feature_names=self._names, nthread=self._threads)


class _XGBoostRounds:
    """An XGBoost booster, as `jobs.boosting.loop` expects it."""

    def __init__(self, frame: ForecastFrame, split: Split, params: dict[str, Any]) -> None:
        self._train = _matrix(frame, split.train, params["nthread"])
        self._validation = _matrix(frame, split.validation, params["nthread"]) if len(split.validation) else None
        self._params = params
        self._known = [self._train, *([self._validation] if self._validation else [])]
        self._booster = xgb.Booster(params, self._known)
        self._round = 0

    def resume(self, model: bytes, rounds: int) -> None:
        self._booster = xgb.Booster(self._params, self._known, model_file=bytearray(model))
        self._round = rounds

    def update(self) -> bool:
        self._booster.update(self._train, self._round)
        self._round += 1
        return True

    def validation_rmse(self) -> float | None:
        if self._validation is None:
            return None
        return float(self._booster.eval(self._validation).rsplit(":", 1)[1])  # "[0]\teval-rmse:0.0123"

    def train_rmse(self) -> None:
        """Return None: DART keeps no training predictions, so each value would cost a forecast of every row."""
        return

    def snapshot(self) -> bytes:
        return bytes(self._booster.save_raw("ubj"))


def _matrix(frame: ForecastFrame, rows: np.ndarray, threads: int) -> xgb.DMatrix:
    return xgb.DMatrix(frame.x[rows], frame.y[rows], feature_names=list(frame.feature_names), nthread=threads)
