"""The regime classifier: LightGBM gives the probability of each regime at the end of the horizon, from today's features.

A forecast of row t uses features of row t, so it is filtered and never smoothed. The rows that learn are those whose
later regime was known before the block that follows. Missing values go into the trees. Deterministic as `lightgbm_trees`;
a stopped fit starts over, because a stored model cannot be resumed to the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cbi_queue.models.kinds import REGIMES
from jobs.boosting.library import importing
from jobs.boosting.run import BoostedRun
from jobs.evaluation.regimes import later, regimes_of
from jobs.results.regime_folder import record_regimes
from jobs.trainer import BrokenSpec

with importing("LightGBM"):
    import lightgbm as lgb

if TYPE_CHECKING:
    from cbi_queue.models.parameters.regimes import RegimeClassifierParams
    from cbi_queue.protocol import Finished, Started
    from jobs.boosting.run import MemoryLimits
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

MODEL_FILE = "model.txt"
LIBRARY = f"lightgbm {lgb.__version__}"


class RegimeLightGBM:
    """Trains `regime_lightgbm`."""

    record = staticmethod(record_regimes)

    def prepare(self, task: Task) -> Started:
        """Load and split the features, tell the regimes.

        Raises:
            BrokenSpec: when regimes cannot be told on these prices, or the training rows have only one.
        """
        self.params = p = cast("RegimeClassifierParams", task.spec.typed_params)
        self.run = BoostedRun(task)
        regime, _ = regimes_of(self.run.frame, p)
        self._later = later(regime, self.run.frame.horizon_days)
        there = np.unique(self._later[_known(self._later, self.run.split.train)])
        if len(there) < 2:
            found = f"only {REGIMES[there[0]]}" if len(there) else "no regime"
            raise BrokenSpec(
                f"the {len(self.run.split.train)} training rows have {found}: there is nothing to tell apart; use a longer "
                "series, or shorten validation_rows, backtest_rows or embargo_rows"
            )
        shape = f"leaves{p.num_leaves} depth{p.max_depth}"
        return self.run.started(shape, LIBRARY, resumes_exactly=False)

    def train(self, task: Task) -> Finished:  # noqa: ARG002 - the run has it
        """Train, keep the best round, forecast every row and fill the run's folder."""
        run = self.run
        rounds = self._rounds(run.chosen(self._rounds, LIBRARY), run.split)
        return run.finish(rounds, self._forecast, MODEL_FILE, library=None, record=self.record)

    def _rounds(self, params: Any, split: Split) -> _RegimeRounds:
        return _RegimeRounds(self.run.frame.x, self._later, split, library_params(params, self.run.limits))

    def _forecast(self, model: bytes) -> np.ndarray:
        best = lgb.Booster(model_str=model.decode())
        return np.asarray(best.predict(self.run.frame.x, num_threads=self.run.limits.threads))  # (rows, regimes)


def library_params(params: RegimeClassifierParams, limits: MemoryLimits) -> dict[str, Any]:
    """Return the parameters as LightGBM names them; the last four make two runs equal."""
    return {
        "objective": "multiclass",
        "num_class": len(REGIMES),
        "metric": "multi_logloss",
        "num_leaves": params.num_leaves,
        "max_depth": params.max_depth,
        "learning_rate": params.learning_rate,
        "min_child_samples": params.min_child_samples,
        "feature_fraction": params.colsample_bytree,
        "max_bin": limits.bins,
        "verbosity": -1,
        "seed": params.seed,
        "num_threads": limits.threads,
        "deterministic": True,
        "force_row_wise": True,
    }


class _RegimeRounds:
    """A LightGBM booster of four classes, as `jobs.boosting.loop` expects it: its error is the log loss."""

    def __init__(self, x: np.ndarray, actual: np.ndarray, split: Split, params: dict[str, Any]) -> None:
        train, validation = _known(actual, split.train), _known(actual, split.validation)
        learned = lgb.Dataset(x[train], actual[train], params=params)
        self._booster = lgb.Booster(params, learned)
        self._is_judged = len(validation) > 0
        if self._is_judged:
            self._booster.add_valid(
                lgb.Dataset(x[validation], actual[validation], reference=learned, params=params), "validation"
            )

    def update(self) -> bool:
        return not self._booster.update()

    def validation_rmse(self) -> float | None:
        return float(self._booster.eval_valid()[0][2]) if self._is_judged else None

    def train_rmse(self) -> float:
        return float(self._booster.eval_train()[0][2])

    def snapshot(self) -> bytes:
        return str(self._booster.model_to_string(num_iteration=-1)).encode()


def _known(actual: np.ndarray, rows: np.ndarray) -> np.ndarray:
    known: np.ndarray = rows[actual[rows] >= 0]
    return known
