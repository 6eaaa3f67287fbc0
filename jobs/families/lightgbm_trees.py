"""LightGBM with DART boosting: many shallow trees, some of which are dropped while the next is grown.

Deterministic: the same spec, data and number of threads give the same model text, byte for byte. Missing values
go into the trees, which learn a side for them; nothing is scaled. LightGBM does not store its draws of dropped trees,
so a stored model cannot be resumed exactly: a stopped run starts over. Nor can threads or bins change within a run:
`reset_parameter` restarts the draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jobs.boosting.library import importing
from jobs.boosting.run import BoostedRun

with importing("LightGBM"):
    import lightgbm as lgb

if TYPE_CHECKING:
    from cbi_queue.models.parameters.trees import LightGBMDartParams
    from cbi_queue.protocol import Finished, Started
    from jobs.boosting.run import MemoryLimits
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

MODEL_FILE = "model.txt"


class LightGBMDart:
    """Trains `lightgbm_dart`."""

    def prepare(self, task: Task) -> Started:
        """Load and split the features."""
        self.params = p = cast("LightGBMDartParams", task.spec.typed_params)
        self.run = BoostedRun(task)
        shape = f"leaves{p.num_leaves} depth{p.max_depth}"
        return self.run.started(shape, f"lightgbm {lgb.__version__}", resumes_exactly=False)

    def train(self, task: Task) -> Finished:  # noqa: ARG002 - the run has it
        """Train, keep the best round, forecast every row and fill the run's folder."""
        run = self.run
        params = run.chosen(self._rounds, f"lightgbm {lgb.__version__}")
        rounds = self._rounds(params, run.split)
        return run.finish(rounds, self._forecast, MODEL_FILE, library=None, load=self._load)

    def _rounds(self, params: Any, split: Split) -> _LightGBMRounds:
        return _LightGBMRounds(self.run.frame, split, library_params(params, self.run.limits))

    def _forecast(self, model: bytes) -> np.ndarray:
        return self._load(model).predict(self.run.frame.x)  # (rows,)

    def _load(self, model: bytes) -> _LightGBMTrees:
        return _LightGBMTrees(lgb.Booster(model_str=model.decode()), self.run.limits.threads)


def library_params(params: LightGBMDartParams, limits: MemoryLimits) -> dict[str, Any]:
    """Return the parameters as LightGBM names them; the last four make two runs equal."""
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
        "max_bin": limits.bins,
        "verbosity": -1,
        "seed": params.seed,
        "num_threads": limits.threads,
        "deterministic": True,
        "force_row_wise": True,
    }


class _LightGBMTrees:
    """A LightGBM model that is done. DART's weights are in its leaves, so its contributions are those of the forecast."""

    def __init__(self, booster: lgb.Booster, threads: int) -> None:
        self._booster, self._threads = booster, threads

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self._booster.predict(x, num_threads=self._threads))  # (n,) float64

    def contributions(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self._booster.predict(x, num_threads=self._threads, pred_contrib=True))  # (n, F + 1)


class _LightGBMRounds:
    """A LightGBM booster, as `jobs.boosting.loop` expects it."""

    def __init__(self, frame: ForecastFrame, split: Split, params: dict[str, Any]) -> None:
        train, validation = split.train, split.validation
        names = list(frame.feature_names)
        learned = lgb.Dataset(frame.x[train], frame.y[train], params=params, feature_name=names)
        self._booster = lgb.Booster(params, learned)
        self._is_judged = len(validation) > 0
        if self._is_judged:
            watched = lgb.Dataset(frame.x[validation], frame.y[validation], reference=learned, params=params)
            self._booster.add_valid(watched, "validation")

    def update(self) -> bool:
        # True from LightGBM: no leaf could be split. It then leaves the dropped trees negated.
        return not self._booster.update()

    def validation_rmse(self) -> float | None:
        return float(self._booster.eval_valid()[0][2]) if self._is_judged else None

    def train_rmse(self) -> float:
        return float(self._booster.eval_train()[0][2])

    def snapshot(self) -> bytes:
        return str(self._booster.model_to_string(num_iteration=-1)).encode()
