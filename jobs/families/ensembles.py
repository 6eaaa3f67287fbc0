"""Mean, median and greedy selection of other models' forecasts: the ensembles that cost next to nothing.

With f[t, m] the forecast of member m: mean and median take those of row t. Greedy selection (Caruana et al. 2004) picks
members one after another, with replacement, each time the one that makes the mean of all picks best on the known rows; a
member's weight is its share of the picks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from jobs.ensembles.walk import Ensemble, LearnedEnsemble, equal_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.models.parameters.meta import GreedyParams
    from jobs.data.label import Label
    from jobs.rolling.walk import Fit


class Mean(Ensemble):
    """Trains `mean_ensemble`."""

    def combine(self, fit: Fit, f: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Return the mean."""
        return equal_weights(f)


class Median(Ensemble):
    """Trains `median_ensemble`."""

    def combine(self, fit: Fit, f: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Return the median."""
        return np.asarray(np.median(f, axis=1), dtype=np.float64)


class Greedy(LearnedEnsemble):
    """Trains `greedy_ensemble`."""

    def learn(self, known: np.ndarray, row: int) -> Fit:  # noqa: ARG002
        """Choose the weights on the *known* rows."""
        price, y = self.frame.price[known], self.frame.y[known]
        picks = cast("GreedyParams", self.params).picks
        return {
            "learned": greedy_weights(
                self.members.f[known], self.label.price_from(price, y), price, self.label, picks=picks
            )
        }

    def combine(self, fit: Fit, f: np.ndarray) -> np.ndarray:
        """Return the weighted mean; the plain one before the first weights."""
        learned = fit["learned"]
        return equal_weights(f) if learned is None else np.asarray(f @ np.array(learned), dtype=np.float64)

    def weights(self, fit: Fit) -> Sequence[float | None]:
        """Return the weights."""
        members = len(self.members.names)
        return [1.0 / members] * members if fit["learned"] is None else fit["learned"]


def greedy_weights(f: np.ndarray, actual: np.ndarray, price: np.ndarray, label: Label, *, picks: int) -> list[float]:
    """Return the share of the picks that each member has, where the mean absolute error of prices was least.

    Args:
        f: (rows, members) forecasts.
        actual: (rows,) prices a horizon later.
        price: (rows,) prices.
        label: what is forecast of them.
        picks: most picks.
    """
    counts, total = np.zeros(f.shape[1]), np.zeros(len(f))
    best, best_counts = np.inf, counts
    for picked in range(1, picks + 1):
        forecast = label.price_from(price[:, None], (total[:, None] + f) / picked)
        errors = np.abs(forecast - actual[:, None]).mean(axis=0)
        chosen = int(np.argmin(errors))
        counts = counts.copy()
        counts[chosen] += 1
        total = total + f[:, chosen]
        if errors[chosen] < best:
            best, best_counts = float(errors[chosen]), counts
    return [float(share) for share in best_counts / best_counts.sum()]
