"""A LightGBM stacker: it learns by how much the mean of the members misses, from what they forecast.

With m[t] the mean of the members' forecasts and g[t] what the trees say from the members' distances to it, from it and from
their spread, the forecast is f[t] = m[t] + share * g[t]. Rows are few and overlap, so the trees are small, their leaves hold
at least two horizons, and *share*, 0 to 1, is what the stacker's own earlier forecasts earned on the validation block: 0,
which is the mean, unless they were better than the mean beyond luck (`significance.shrinkage_of`).

Deterministic: the same members, seed and number of threads give the same trees, byte for byte.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jobs.boosting.library import importing
from jobs.ensembles.walk import LearnedEnsemble, equal_weights
from jobs.evaluation.significance import shrinkage_of

with importing("LightGBM"):
    import lightgbm as lgb

if TYPE_CHECKING:
    from cbi_queue.models.parameters.meta import StackerParams
    from cbi_queue.protocol import Started
    from jobs.rolling.walk import Fit
    from jobs.trainer import Task


class Stacker(LearnedEnsemble):
    """Trains `lightgbm_stacker`."""

    library = f"lightgbm {lgb.__version__}"
    depends_on_threads = True
    _threads = 1

    def __init__(self) -> None:
        """Know nothing yet of what earlier trees said."""
        self._said: dict[int, np.ndarray] = {}  # first row of a fit's validation rows -> what its trees said of them
        self._shares: dict[int, float] = {}  # validation rows judged -> the share they earned

    def prepare(self, task: Task) -> Started:
        """Prepare as every ensemble does."""
        self._threads = task.assignment.threads
        return super().prepare(task)

    def shape(self) -> str:
        """Name the size of the trees."""
        p = cast("StackerParams", self.params)
        return f"{super().shape()}trees{p.n_estimators} leaves{p.num_leaves} "

    def learn(self, known: np.ndarray, row: int) -> Fit:
        """Grow the trees on the *known* rows; decide how much of them counts from *row* on."""
        f = self.members.f[known]
        p = cast("StackerParams", self.params)
        learned = lgb.Dataset(inputs(f), self.frame.y[known] - equal_weights(f), params=self._library_params())
        booster = lgb.train(self._library_params(), learned, num_boost_round=p.n_estimators)
        return {"learned": booster.model_to_string(num_iteration=-1), "share": self._earned(row)}

    def combine(self, fit: Fit, f: np.ndarray) -> np.ndarray:
        """Return the mean, and what the trees add to it."""
        mean = equal_weights(f)
        if fit["learned"] is None or not fit["share"]:
            return mean
        return np.asarray(mean + fit["share"] * self._trees_say(fit, f), dtype=np.float64)

    def details(self) -> dict[str, Any]:
        """Return also how much of what the trees say counted, in the latest fit."""
        return {**super().details(), "stacker_share": float(self.done.fits[-1].get("share", 0.0))}

    def _trees_say(self, fit: Fit, f: np.ndarray) -> np.ndarray:
        return np.asarray(lgb.Booster(model_str=fit["learned"]).predict(inputs(f), num_threads=self._threads))

    def _earned(self, row: int) -> float:
        """Return the share that earlier fits earned on the validation rows whose outcome was known at *row*.

        The mean takes the place of naive's forecast, so that the question is whether the trees do better than the mean.
        """
        said = np.full(self.frame.rows, np.nan)
        known = np.intersect1d(self.known_rows(row), self.split.validation)
        for fit, chunk in zip(self.done.fits, self.chunks, strict=False):
            rows = np.intersect1d(chunk, self.split.validation)
            if len(rows) and fit["learned"] is not None:
                if rows[0] not in self._said:
                    self._said[rows[0]] = self._trees_say(fit, self.members.f[rows])
                said[rows] = self._said[rows[0]]
        judged = known[np.isfinite(said[known])]
        if len(judged) in self._shares:
            return self._shares[len(judged)]
        mean = np.zeros(self.frame.rows)
        mean[judged] = equal_weights(self.members.f[judged])
        after_mean = replace(self.frame, price=self.label.price_from(self.frame.price, mean), y=self.frame.y - mean)
        self._shares[len(judged)] = shrinkage_of(after_mean, judged, said)
        return self._shares[len(judged)]

    def _library_params(self) -> dict[str, Any]:
        p = cast("StackerParams", self.params)
        return {
            "objective": "regression",
            "num_leaves": p.num_leaves,
            "learning_rate": p.learning_rate,
            "min_child_samples": max(p.min_child_samples, 2 * self.frame.horizon_days),
            "lambda_l2": p.lambda_l2,
            "boost_from_average": False,
            "verbosity": -1,
            "seed": p.seed,
            "num_threads": self._threads,
            "deterministic": True,
            "force_row_wise": True,
        }


def inputs(f: np.ndarray) -> np.ndarray:
    """Return each member's distance to the mean, the mean, and the spread: (rows, members) -> (rows, members + 2)."""
    mean = equal_weights(f)
    return np.column_stack([f - mean[:, None], mean, f.std(axis=1)])
